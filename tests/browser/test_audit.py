"""The audit in the console: run in a browser, whole and broken, each difference leading to what it is about."""

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import httpx
import psycopg
import pytest
from playwright.sync_api import Page, expect

from ordersaga.audit import verify
from ordersaga.devstack.system import System
from tests.browser.conftest import seeded
from tests.browser.troubles import FACE, OPERATOR, enter, letter_of, spoil
from tests.browser.visitor import WAIT_MS, Visitor, axe

Visitors = Callable[..., Visitor]
RUN = re.compile(r"/console/audit/[0-9a-f-]{36}$")


def run_at_rest(one: Visitor, button: str = "Run the audit") -> Page:
    """Press the button, and wait for the end of the run, which the page tells by itself."""
    page = one.open("/console/audit")
    page.locator("input[name=seconds]").fill("0")
    one.press(button)
    page.wait_for_url(RUN)
    expect(page.locator("#audit-state [data-ended]")).to_be_visible()
    return page


@pytest.fixture(scope="module")
def system(browser_path: str) -> Iterator[System]:
    """A system of this file's own: the audit finds whatever is broken in it."""
    with seeded() as running:
        yield running


async def until_at_rest(system: System) -> None:
    """Wait until each record is handled and published."""
    end = time.monotonic() + WAIT_MS / 1000
    while [
        each for each in await verify(system.settings, 0.0) if each.invariant.startswith("every") and each.broken_count
    ]:
        assert time.monotonic() < end, "something is still under way"


@pytest.fixture
def completed(visitor: Visitors, system: System) -> UUID:
    """An order that is completed."""
    customer = visitor()
    path = customer.order()
    customer.pay()
    customer.sees("on its way")
    with ThreadPoolExecutor(1) as beside:  # in this thread Playwright's event loop counts as running
        beside.submit(asyncio.run, until_at_rest(system)).result()
    return UUID(path.rpartition("/")[2])


@pytest.fixture
def undelivered(system: System, completed: UUID) -> Iterator[UUID]:
    """A completed order whose delivery is lost, until the test has ended."""
    with psycopg.connect(system.settings.database_url("delivery"), autocommit=True) as db:
        db.execute("CREATE TABLE lost AS SELECT * FROM delivery WHERE order_id = %s", [completed])
        db.execute("DELETE FROM delivery WHERE order_id = %s", [completed])
        yield completed
        db.execute("INSERT INTO delivery SELECT * FROM lost")
        db.execute("DROP TABLE lost")


def test_a_whole_system_is_told_to_be_whole(visitor: Visitors, completed: UUID) -> None:
    one = enter(visitor)
    page = run_at_rest(one)
    expect(page.locator("#audit-state")).to_contain_text("16 of 16 invariants judged")
    expect(page.locator(".invariants .badge.holds")).to_have_count(16)
    axe(page)
    page = one.open("/console/audit")
    expect(page.locator("#latest")).to_contain_text("Every invariant holds")
    expect(page.locator("#latest")).to_contain_text("Run by Oliver")
    expect(page.locator("tbody tr").first).to_contain_text("Oliver")
    axe(page)


def test_a_broken_invariant_leads_to_the_order(visitor: Visitors, undelivered: UUID) -> None:
    one = enter(visitor)
    page = run_at_rest(one)
    broken = page.locator("#invariant-completed")
    expect(broken.locator(".badge.broken")).to_be_visible()
    expect(page.locator(".invariants > li").first).to_have_id("invariant-completed")  # the worst first
    axe(page)
    broken.get_by_role("link", name="1 broken").click()
    expect(page.locator(".differences li")).to_have_count(1)
    axe(page)
    page.locator(".differences").get_by_role("link", name="Order").click()
    expect(page).to_have_url(f"{one.url}/console/orders/{undelivered}")
    expect(page.locator("#order-story .story li").first).to_be_visible()
    one.open("/console")
    expect(page.locator("#verdict")).to_contain_text("The audit has found what is broken")
    one.follow("The audit has found")
    expect(page.locator("#latest")).to_contain_text("An invariant is broken")


def test_a_letter_that_nobody_has_decided_on_leads_to_the_letter(visitor: Visitors, system: System) -> None:
    (order_id,) = spoil(system, 1)
    letter = letter_of(system, order_id)
    with psycopg.connect(system.settings.database_url("delivery"), autocommit=True) as db:
        db.execute("UPDATE dead_letter SET status = 'DISCARDED' WHERE id = %s", [letter])
        try:
            one = enter(visitor)
            page = run_at_rest(one)
            page.locator("#invariant-letters .differences").get_by_role("link", name="Dead letter").click()
            expect(page).to_have_url(f"{one.url}/console/letters/delivery/{letter}")
        finally:
            db.execute("UPDATE dead_letter SET status = 'OPEN' WHERE id = %s", [letter])
    body = {"reason": "a test", "version": "OPEN"}
    httpx.post(f"{system.urls['delivery']}{FACE}/dead-letters/{letter}/discard", json=body, headers=OPERATOR)


def test_a_run_that_waits_is_watched_and_stopped(visitor: Visitors, system: System) -> None:
    one = enter(visitor)
    with psycopg.connect(system.settings.database_url("order")) as db:
        db.execute("LOCK TABLE price")
        page = one.open("/console/audit")
        one.press("Run the audit")
        page.wait_for_url(RUN)
        expect(page.locator("#audit-state")).to_contain_text("Running")
        expect(page.locator("#audit-state progress")).not_to_have_attribute("value", "16")
        other = enter(visitor)
        other.open("/console/audit")
        other.press("Run the audit")
        expect(other.page.get_by_role("alert").first).to_contain_text("running already")
        one.press("Stop")
        expect(page.locator("#audit-state")).to_contain_text("stopped by Oliver")
        db.rollback()
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)


def test_a_reader_sees_the_result_and_runs_nothing(visitor: Visitors, system: System) -> None:
    run_at_rest(enter(visitor))
    rin = enter(visitor, "reader")
    page = rin.open("/console/audit")
    expect(page.get_by_role("button", name="Run the audit")).to_have_count(0)
    page.locator("tbody a").first.click()
    expect(page.locator(".invariants > li")).to_have_count(16)
    refused = httpx.post(f"{system.urls['audit']}{FACE}/audits", json={}, headers=OPERATOR | {"User-Roles": "READER"})
    assert refused.status_code == 403


def test_the_audit_away_takes_only_its_page(visitor: Visitors, system: System) -> None:
    one = enter(visitor)
    system.kill("audit")
    try:
        page = one.open("/console/audit")
        expect(page.locator("main")).to_contain_text("Audit is not answering")
        expect(page.locator("main")).not_to_contain_text("The rest of this page")  # there is none
        page = one.open("/console")
        expect(page.locator("#services")).to_contain_text("Stock well")
    finally:
        system.start("audit")
    page = one.open("/console/audit")
    expect(page.locator("tbody tr").first).to_be_visible()  # its results have outlived it


def test_an_operator_reads_korean_on_a_phone(visitor: Visitors) -> None:
    one = enter(visitor, language="ko-KR", width=360, color_scheme="dark")
    page = run_at_rest(one, "감사 실행")
    expect(page.locator("#audit-state")).to_contain_text("불변 조건 16개 중 16개 확인")
    assert one.evaluate("document.documentElement.scrollWidth") <= 360
    axe(page)
    page = one.open("/console/audit")
    expect(page.locator("#latest")).to_contain_text("올리버 님이")
    assert one.evaluate("document.documentElement.scrollWidth") <= 360
    axe(page)
