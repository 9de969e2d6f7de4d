"""An order's story in the console: its lines have titles that people read, and the demo's staff have names."""

from datetime import UTC, datetime, timedelta
from typing import cast
from uuid import uuid4

import pytest

from ordersaga.operations.resources import DeadLetterResource
from ordersaga.web.console.failures import failures
from ordersaga.web.console.model import DeliveryView, PaymentView, ReservationView, ReservedItem
from ordersaga.web.console.sayings import named
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


def test_the_letters_of_one_topic_and_cause_are_one_failure() -> None:
    letters = [letter("a", 1), letter("b", 2), letter("a", 3), letter("a", 2, topic="another")]
    found = failures(letters)
    assert [(each.latest.cause, each.latest.topic, len(each.letters)) for each in found] == [
        ("a", "topic", 2),
        ("b", "topic", 1),
        ("a", "another", 1),
    ]
    assert (found[0].first.at, found[0].latest.at) == (letters[0].at, letters[2].at)


def letter(cause: str, minute: int, topic: str = "topic") -> DeadLetterResource:
    return DeadLetterResource(
        id=uuid4(),
        version="OPEN",
        status="OPEN",
        topic=topic,
        partition=0,
        offset=minute,
        order_id=uuid4(),
        cause=cause,
        reason="x",
        attempts=5,
        at=NOW + timedelta(minutes=minute),
        follows=None,
        replayed_as=None,
        imported_from=None,
        consumer_group=None,
    )


def test_what_stock_has_decided_stands_between_the_request_and_the_answer() -> None:
    short = ReservedItem(uuid4(), 2, "REFUSED", "only 1 left")
    (line,) = story([], [], None, {}, [], ReservationView("REFUSED", NOW, (short, ReservedItem(uuid4(), 1, "REFUSED"))))
    assert (line.service, line.status, line.words) == ("stock", "REFUSED", "only 1 left")
    assert [each.message for each in line.mentions] == ["StockDecreaseRequestMessage", "StockResponseMessage"]
    (released,) = story([], [], None, {}, [], ReservationView("RELEASED", NOW))
    assert released.status == "RESERVED", "it was decided before the release"
    (tombstone,) = story([], [], None, {}, [], ReservationView("OVERTAKEN", NOW))
    assert [each.message for each in tombstone.mentions] == [
        "StockRollbackRequestedMessage",
        "StockRollbackCompletedMessage",
    ]
