"""The page of faults: the system bends and recovers before one's eyes, and what was begun there ends with its readers."""

import re
import time
from collections.abc import Callable

import httpx
import psutil
import pytest
from playwright.sync_api import Page, expect

from ordersaga.devstack.system import System
from tests.browser.troubles import OPERATOR, ask_delivery, enter, pay, place
from tests.browser.visitor import Visitor

Visitors = Callable[..., Visitor]
pytestmark = pytest.mark.usefixtures("nothing_left")
END_LIMIT_S = 40.0


def generators(system: System) -> list[psutil.Process]:
    """The load generators that run for this system."""
    found = []
    for each in psutil.process_iter(["cmdline", "environ"]):
        command, environment = each.info["cmdline"] or [], each.info["environ"] or {}
        if "load" in command and environment.get("ORDERSAGA_ORDER_URL") == system.urls["order"]:
            found.append(each)
    return found


def until_none(system: System) -> None:
    end = time.monotonic() + END_LIMIT_S
    while generators(system):
        assert time.monotonic() < end, "a load generator goes on"
        time.sleep(0.2)


def begin(page: Page) -> None:
    """Have orders placed, at 10 a second."""
    slider = page.get_by_role("slider")
    slider.fill("10")
    expect(page.locator("#load-control output")).to_have_text("10")
    page.get_by_role("button", name="Begin").click()
    expect(page.get_by_role("status").first).to_contain_text("Orders are placed now")


def figure(page: Page, name: str) -> int:
    """A figure of the orders that are placed; 0 while there is none."""
    shown = page.locator("#load-now dl div").filter(has=page.get_by_text(name, exact=True)).locator("dd")
    return int(float(shown.inner_text())) if shown.count() else 0


def test_a_gateway_that_answers_badly_is_a_trouble_with_its_figures(visitor: Visitors, system: System) -> None:
    one = enter(visitor)
    expect(one.page.locator("#verdict")).to_contain_text("All is well")  # Payment has written down where it stands
    cut = {"percent": {"confirm": {"dropped": 100}}}
    httpx.put(f"{system.urls['sandbox']}/sandbox/faults", json=cut).raise_for_status()
    for _ in range(3):
        order_id, customer, total = place(system)
        pay(system, order_id, customer, total)
    verdict = one.page.locator("#verdict")
    expect(verdict).to_contain_text("The payment gateway answers badly", timeout=60_000)
    expect(verdict).to_contain_text(
        re.compile(r"confirms in the last 3 minutes [1-9]\d* % had no clear answer, and 0 % a slow one")
    )


def test_the_gateways_faults_are_switched_on_and_off(visitor: Visitors, system: System) -> None:
    one = enter(visitor)
    page = one.open("/console/faults")
    gateway = page.get_by_role("region", name="Faults of the gateway")
    gateway.get_by_label("Confirm, slow").fill("100")
    gateway.get_by_label("A slow answer takes (ms)").fill("40")
    gateway.get_by_label("Reason", exact=True).fill("a rehearsal")
    gateway.get_by_role("button", name="Set these faults").click()
    expect(page.get_by_role("status").first).to_contain_text("These faults are in force now")
    there = f"{system.urls['sandbox']}/sandbox/faults"
    assert httpx.get(there).json()["percent"]["confirm"] == {"slow": 100}
    gateway.get_by_label("Confirm, slow").fill("101")
    gateway.get_by_label("Reason", exact=True).fill("a rehearsal")
    gateway.get_by_role("button", name="Set these faults").click()
    expect(page.get_by_role("alert").first).to_contain_text("The sandbox does not take these values")
    assert httpx.get(there).json()["percent"]["confirm"] == {"slow": 100}
    gateway.get_by_label("Reason", exact=True).fill("enough")
    gateway.get_by_role("button", name="End the gateway's faults").click()
    expect(page.get_by_role("status").first).to_contain_text("All these faults are ended")
    assert httpx.get(there).json()["percent"] == {}
    page = one.open("/console/trail?target=gateway")
    expect(page.locator("tbody tr").first).to_contain_text("enough")
    expect(page.locator("tbody tr").first).to_contain_text("Confirm, slow (%): 100 → 0")
    expect(page.locator("tbody tr").nth(1)).to_contain_text("A slow answer takes (ms): 8000 → 40")
    one.press("Sign out")  # nobody is left before the console whom another test does not know of


def test_a_services_consumer_fails_on_purpose_and_recovers_on_the_same_page(visitor: Visitors, system: System) -> None:
    one = enter(visitor)
    page = one.open("/console/faults")
    depot = page.get_by_role("region", name="Delivery", exact=True)
    expect(depot.get_by_role("button", name="End the faults of Delivery")).to_have_count(0)
    depot.get_by_label("Fail for a passing reason (%)").fill("100")
    depot.get_by_label("Reason", exact=True).fill("a rehearsal")
    depot.get_by_role("button", name="Set these faults").click()
    expect(page.get_by_role("status").first).to_contain_text("These faults are in force now")
    row = page.locator("#roles tbody tr").filter(has=page.get_by_role("rowheader", name="Delivery"))
    expect(row).to_contain_text("100 % of the tries fail")
    ask_delivery(system)
    expect(row.get_by_role("link").first).to_have_text("1")  # parked, seen without a reload
    one.open("/console")
    expect(page.locator("#verdict")).to_contain_text("Delivery raises an alarm")

    page = one.open("/console/faults")
    depot.get_by_label("Reason", exact=True).fill("enough")
    depot.get_by_role("button", name="End the faults of Delivery").click()
    expect(page.get_by_role("status").first).to_contain_text("All these faults are ended")
    expect(row).to_contain_text("well")
    expect(row.get_by_role("link").first).to_have_text("0")
    page = one.open("/console/trail?target=delivery")
    expect(page.locator("tbody tr").first).to_contain_text("enough")
    expect(page.locator("tbody tr").first).to_contain_text("Fail for a passing reason (%): 100 → 0")
    expect(page.locator("tbody tr").nth(1)).to_contain_text("Fail for a passing reason (%): 0 → 100")
    one.press("Sign out")


def test_orders_are_placed_at_a_rate_that_a_slider_changes(visitor: Visitors, system: System) -> None:
    one = enter(visitor)
    page = one.open("/console/faults")
    begin(page)
    one.evaluate("window.stayed = true")
    expect(page.locator("#load-now")).to_contain_text("Orders are placed for another")
    for _ in range(200):
        if figure(page, "Completed") > 5:
            break
        time.sleep(0.2)
    assert figure(page, "Completed") > 5
    expect(page.locator("#curves polyline").first).to_be_attached()
    page.get_by_role("slider").press("ArrowRight")
    expect(page.locator("#curves .legend").first).to_contain_text("wanted 15")
    assert one.evaluate("window.stayed"), "the page was not loaded again"
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("status").first).to_contain_text("No more orders are placed")
    expect(page.locator("#load-now")).to_contain_text("Ended", timeout=END_LIMIT_S * 1000)
    assert (figure(page, "Failed"), figure(page, "Under way")) == (0, 0)
    orders = httpx.get(f"{system.urls['order']}/api/v1/orders", params={"limit": "200"}, headers=OPERATOR).json()[
        "items"
    ]
    assert sum(each["status"] == "COMPLETED" for each in orders) >= 5
    assert generators(system) == []
    expect(page.get_by_role("button", name="Begin")).to_be_visible()
    page = one.open("/console/trail?target=load")
    expect(page.locator("tbody tr").first).to_contain_text("Orders a second: 15 → 0")
    expect(page.locator("tbody tr").nth(1)).to_contain_text("Orders a second: 10 → 15")
    expect(page.locator("tbody tr").nth(2)).to_contain_text("begin placing orders")
    one.press("Sign out")


def test_orders_end_with_the_last_reader_of_the_console(visitor: Visitors, system: System) -> None:
    one, other = enter(visitor), enter(visitor, "reader")
    begin(one.open("/console/faults"))
    page = other.open("/console/faults")
    expect(page.get_by_role("button", name="Begin")).to_have_count(0)
    expect(page.locator("#load-now")).to_contain_text("Orders are placed for another")
    one.press("Sign out")
    time.sleep(3)
    assert len(generators(system)) == 1, "somebody still looks"
    other.press("Sign out")
    until_none(system)


def test_orders_end_with_the_web_process(visitor: Visitors, system: System) -> None:
    one = enter(visitor)
    begin(one.open("/console/faults"))
    expect(one.page.locator("#load-now")).to_contain_text("Orders are placed for another")
    assert len(generators(system)) == 1
    one.page.goto("about:blank")
    system.kill("web")
    try:
        until_none(system)
    finally:
        system.start("web")
