"""The console for everybody: two languages, a phone's width, light and dark, the keyboard alone, and nothing that axe finds."""

import re
from collections.abc import Callable, Iterator
from itertools import chain
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Page, expect

from ordersaga.devstack.system import System
from tests.browser.conftest import seeded
from tests.browser.keyboard import Keyboard
from tests.browser.troubles import (
    FACE,
    OPERATOR,
    REQUESTS,
    ask_delivery,
    enter,
    execute,
    letter_of,
    lose_position,
    orders_in_trouble,
    parked_of,
    set_faults,
    spoil,
)
from tests.browser.visitor import ADDRESS, Visitor, is_for_everybody

Visitors = Callable[..., Visitor]
pytestmark = pytest.mark.usefixtures("nothing_left")
ENGLISH = """() => {
  const words = /[A-Za-z][a-z'’]+(?:[ ,;:.]+[A-Za-z][a-z'’]+)+/g, found = [];
  const look = (text) => found.push(...(text.match(words) ?? []));
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const inside = walker.currentNode.parentElement;
    if (!inside.closest("code:not([lang]), pre, q, textarea, script, .language")) look(walker.currentNode.data);
  }
  for (const each of document.querySelectorAll("[aria-label], [placeholder], [title]")) {
    if (!each.matches("time")) for (const name of ["aria-label", "placeholder", "title"]) look(each.getAttribute(name) ?? "");
  }
  return found;
}"""
"""Runs of English words on a page, outside of records, of code, and of what people have typed. What a service says in its own English has a
`lang`, and is found."""
NAMES = {"Hana Kim", "Morning cup", "earliest, latest", *re.findall("[A-Z][a-z]+[^0-9]*", ADDRESS["address"])}
"""What has no other name in Korean, and what the customers of these tests have written."""


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
        "/console/history",
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


@pytest.mark.timeout(400)
def test_no_page_of_the_console_has_a_fault_that_axe_finds_or_scrolls_sideways(
    visitor: Visitors, system: System
) -> None:
    visitor().order()
    for page in pages(enter(visitor, reduced_motion="reduce"), system):
        is_for_everybody(page, "en")


@pytest.fixture(scope="module")
def system(browser_path: str) -> Iterator[System]:
    """A system of this file's own: the pages show what other tests have typed."""
    with seeded() as running:
        yield running


@pytest.fixture
def troubled(system: System) -> list[str]:
    """The ids of orders in trouble, which are placed before a price is wrong."""
    return orders_in_trouble(system)


@pytest.fixture
def wrong_price(system: System) -> Iterator[None]:
    """A difference that the audit finds, until the test has ended."""
    change = "UPDATE price SET price = price {} 1 WHERE product_id = (SELECT product_id FROM price ORDER BY 1 LIMIT 1)"
    execute(system, "order", change.format("+"))
    yield
    execute(system, "order", change.format("-"))


@pytest.mark.timeout(400)
def test_no_page_in_korean_has_such_a_fault_or_an_english_sentence(
    visitor: Visitors, system: System, troubled: list[str], wrong_price: None
) -> None:
    visitor().order()
    one = enter(visitor, language="ko-KR", reduced_motion="reduce")
    found: dict[str, list[str]] = {}
    of_orders = (one.open(f"/console/orders/{order_id}") for order_id in troubled)
    for page in chain(pages(one, system), of_orders):
        found[page.url] = one.evaluate(ENGLISH)
        is_for_everybody(page, "ko")
    page = one.open("/console/audit")
    page.locator("input[name=seconds]").fill("0")
    page.locator("form.filter button").click()
    expect(page.locator("#audit-state [data-ended]")).to_be_visible()
    expect(page.locator("#invariant-prices .differences")).to_contain_text("원이라고 합니다")
    found[page.url] = one.evaluate(ENGLISH)
    for href in page.locator("#audit-invariants a[href*='?kind=']").evaluate_all(
        "all => all.map((a) => a.getAttribute('href'))"
    ):
        found[href] = (one.open(href), one.evaluate(ENGLISH))[1]
    page = one.open("/console")
    expect(page.locator(".concerns")).to_contain_text("장애를 걸어 두었습니다")
    found["overview"] = one.evaluate(ENGLISH)
    strange = {url: [each for each in words if not any(each in name for name in NAMES)] for url, words in found.items()}
    assert {url: words for url, words in strange.items() if words} == {}


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
    expect(page.get_by_role("status").first).to_contain_text("This is the edited copy, which is being replayed")
    hands.activate("^Sign out")
    page.wait_for_url(re.compile("/console/sign-in"))
