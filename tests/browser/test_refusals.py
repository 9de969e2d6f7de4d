"""An act of an operator that a service refuses: the page says that nothing was done, and why."""

from collections.abc import Callable
from uuid import uuid4

import httpx
import pytest
from confluent_kafka import Producer
from playwright.sync_api import expect

from ordersaga.devstack.system import System
from tests.browser.troubles import FACE, OPERATOR, REQUESTS, enter, letter_of, place
from tests.browser.visitor import Visitor

Visitors = Callable[..., Visitor]
pytestmark = pytest.mark.usefixtures("nothing_left")
TOLD = {
    "en-US": ("Replay", "Nothing was changed", "Why: the letter has no value"),
    "ko-KR": ("다시 처리", "아무것도 바뀌지 않았습니다", "이유: 데드 레터에 값이 없습니다"),
}


def test_an_act_that_cannot_be_done_is_not_told_as_somebody_elses(visitor: Visitors, system: System) -> None:
    order_id = uuid4()
    producer = Producer({"bootstrap.servers": system.settings.kafka_bootstrap_servers})
    producer.produce(REQUESTS, None, str(order_id).encode())
    producer.flush()
    letter_id = letter_of(system, order_id)
    for language, (replay, nothing, why) in TOLD.items():
        one = enter(visitor, language=language)
        page = one.open(f"/console/letters/delivery/{letter_id}")
        page.locator("main [name=reason]").first.fill("a test")
        page.get_by_role("button", name=replay, exact=True).click()
        told = page.get_by_role("alert").first
        expect(told).to_contain_text(nothing)
        expect(told).to_contain_text(why)
        page.reload()
        expect(page.locator(".notice")).to_be_empty()


def test_an_order_that_does_not_allow_an_act_says_why(visitor: Visitors, system: System) -> None:
    order_id, _, _ = place(system, pieces=9_999)
    one = enter(visitor)
    page = one.open(f"/console/orders/{order_id}")
    expect(page.locator("h1 .badge")).to_have_text("failed")
    now = httpx.get(f"{system.urls['order']}{FACE}/orders/{order_id}", headers=OPERATOR).raise_for_status().json()
    form = {
        "csrf": page.locator("[name=csrf]").first.get_attribute("value") or "",
        "version": now["version"],
        "reason": "late",
    }
    answer = page.request.post(f"{one.url}/console/orders/{order_id}/resend", form=form)
    assert "Why: the order waits for no answer" in answer.text()
