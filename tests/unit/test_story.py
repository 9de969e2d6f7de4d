"""An order's story in the console: its lines have titles that people read, and the demo's staff have names."""

from datetime import UTC, datetime
from typing import cast
from uuid import uuid4

import pytest

from ordersaga.web.console.frame import named
from ordersaga.web.console.model import DeliveryView, PaymentView
from ordersaga.web.console.staff import STAFF
from ordersaga.web.console.story import story
from ordersaga.web.texts import LANGUAGES, TEXTS, Language
from ordersaga.web.visit import Visit

NOW = datetime(2026, 5, 5, 12, tzinfo=UTC)


class Reader:
    """The part of a visit that texts need."""

    def __init__(self, language: Language) -> None:
        self._texts = TEXTS[language]

    def t(self, key: str) -> str:
        return self._texts[key]


@pytest.mark.parametrize("language", LANGUAGES)
def test_payments_and_deliveries_have_titles_and_their_keys_stand_below(language: Language) -> None:
    payment = PaymentView("key-1", 500, "APPROVED", 500, 0, NOW, NOW)
    lines = story([], [payment], DeliveryView(uuid4(), "STARTED", "OS1", NOW), {}, [])
    assert [(each.service, each.what, each.words) for each in lines] == [
        ("payment", "requested", "key-1"),
        ("payment", "approved", "key-1"),
        ("delivery", "STARTED", "OS1"),
    ]
    assert {f"console.orders.paying.{each.what}" for each in lines[:2]} <= set(TEXTS[language])


@pytest.mark.parametrize(("language", "name"), [("en", "Oliver"), ("ko", "올리버")])
def test_a_services_words_name_the_staff_of_the_demo(language: Language, name: str) -> None:
    visit = cast(Visit, Reader(language))
    stranger = uuid4()
    assert (
        named(visit, f"{STAFF['operator'].user_id} has paused it, not {stranger}")
        == f"{name} has paused it, not {stranger}"
    )
