"""The console for everybody: two languages, a phone's width, light and dark, the keyboard alone, and nothing that axe finds."""

import re
from collections.abc import Callable, Iterator
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Page, expect

from ordersaga.devstack.system import System
from tests.browser.keyboard import Keyboard
from tests.browser.troubles import (
    FACE,
    OPERATOR,
    REQUESTS,
    ask_delivery,
    enter,
    letter_of,
    lose_position,
    parked_of,
    set_faults,
    spoil,
)
from tests.browser.visitor import Visitor, axe

Visitors = Callable[..., Visitor]
pytestmark = pytest.mark.usefixtures("nothing_left")
LOOKS = [("en-US", 1280, "light"), ("en-US", 360, "dark"), ("ko-KR", 1280, "dark"), ("ko-KR", 360, "light")]


def job_of(system: System, letter_id: str) -> str:
    """The id of a job that has rehearsed a letter."""
    body = {"act": "replay", "selection": {"ids": [letter_id]}, "dryRun": True, "reason": "a test"}
    answer = httpx.post(f"{system.urls['delivery']}{FACE}/jobs", json=body, headers=OPERATOR)
    answer.raise_for_status()
    return str(answer.json()["id"])


def order_of(system: System) -> str:
    """The id of somebody's order."""
    found = httpx.get(f"{system.urls['order']}/api/v1/orders", params={"limit": "1"}, headers=OPERATOR).json()["items"]
    return str(found[0]["orderId"])


def pages(one: Visitor, system: System) -> Iterator[Page]:
    """Each page of the console, while there are an order, a dead letter, a parked record, a job, a stopped partition and faults."""
    (spoilt,) = spoil(system, 1)
    letter_id = letter_of(system, spoilt)
    letter = f"/console/letters/delivery/{letter_id}"
    set_faults(system, "delivery", passingPercent=100, turnDelayMs=10)
    held = parked_of(system, ask_delivery(system, 0))
    lose_position(system, 1)
    one.expected.append("status of 404")
    for path in (
        "/console",
        "/console/orders",
        "/console/orders?status=COMPLETED",
        f"/console/orders/{order_of(system)}",
        f"/console/orders/{spoilt}",
        "/console/letters",
        letter,
        f"{letter}/edit",
        f"{letter}/edit?whole=1",
        f"/console/jobs/new?service=delivery&topic={REQUESTS}",
        "/console/jobs",
        f"/console/jobs/delivery/{job_of(system, letter_id)}",
        "/console/parked",
        f"/console/parked/delivery/{held['topic']}/{held['partition']}/{held['offset']}",
        "/console/topics?service=delivery",
        f"/console/topics/{REQUESTS}",
        "/console/audit",
        "/console/trail",
        "/console/faults",
        "/console/sign-in",
        "/console/nowhere",
    ):
        yield one.open(path)
    page = one.open(f"{letter}/edit")
    page.locator("input[name='value.customerId']").fill(str(uuid4()))
    page.locator("#reason").fill("a test")
    page.locator("form.fields p.row > button.button").click()
    expect(page.locator(".diff")).to_be_visible()
    yield page


@pytest.mark.parametrize(("language", "width", "scheme"), LOOKS)
def test_no_page_of_the_console_has_a_fault_that_axe_finds_or_scrolls_sideways(
    visitor: Visitors, system: System, language: str, width: int, scheme: str
) -> None:
    visitor().order()
    one = enter(visitor, language=language, width=width, color_scheme=scheme, reduced_motion="reduce")
    for page in pages(one, system):
        axe(page)
        assert one.evaluate("document.documentElement.scrollWidth") <= width, page.url
        assert page.locator("html").get_attribute("lang") == language[:2]


def test_a_dead_letter_is_edited_and_replayed_by_keyboard_alone(visitor: Visitors, system: System) -> None:
    (order_id,) = spoil(system, 1)
    letter_id = letter_of(system, order_id)
    one = visitor()
    page = one.open("/console")
    hands = Keyboard(page)
    hands.activate("Oliver")
    page.wait_for_url(f"{one.url}/console")
    hands.activate("^Skip to content")
    assert one.evaluate("document.activeElement.id") == "main"
    hands.activate("^Delivery has dead letters: 1")
    page.wait_for_url(re.compile("/console/letters"))
    hands.activate(r"\d:\d\d")  # the time at which it became a letter
    page.wait_for_url(re.compile(f"/console/letters/delivery/{letter_id}"))
    hands.activate("^Edit")
    page.wait_for_url(re.compile("/edit"))
    hands.fill("customerId", str(uuid4()))
    hands.fill("^Reason", "the customer is known now")
    hands.activate("^Look at the difference")
    expect(page.locator(".minus")).to_contain_text("nobody")
    hands.activate("^Save and replay")
    expect(page.get_by_role("status").first).to_contain_text("The edited copy is replayed")
    hands.activate("^Sign out")
    page.wait_for_url(re.compile("/console/sign-in"))
