"""Many windows of one browser, and pages that wait for something: each is told what happens, without a click."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from ordersaga.devstack.system import System
from tests.browser.visitor import PAY, Visitor

Visitors = Callable[..., Visitor]
MANY = 8
"""More windows than a browser has connections to one host."""


def hide(page: Page, hidden: bool) -> None:
    """Have a page believe that its tab is hidden or seen; a browser without a window hides none."""
    page.evaluate(
        "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        hidden,
    )


def test_more_tabs_than_a_browser_has_connections_are_all_told(visitor: Visitors) -> None:
    """Six connections to one host: a tab that nobody sees must hold none, or the seventh page would wait for ever."""
    hana = visitor()
    path = hana.order("Steel bottle")
    tabs = [hana.tab() for _ in range(8)]
    for tab in tabs:
        tab.goto(hana.url + path)
        expect(tab.locator("#said")).to_contain_text("Ready for your payment")
        hide(tab, True)
    hana.press("Cancel order")
    hana.sees("This order is cancelled")
    for tab in tabs:
        hide(tab, False)
        expect(tab.locator("#said")).to_contain_text("This order is cancelled")


@pytest.mark.parametrize("counts", [True, False], ids=["all seen", "without locks"])
def test_more_windows_than_a_browser_has_connections_are_all_seen_and_all_told(visitor: Visitors, counts: bool) -> None:
    """With locks some windows have a stream, and the others ask. Without, each has one, as long as there are connections."""
    hana = visitor()
    if not counts:
        hana.context.add_init_script("Object.defineProperty(navigator, 'locks', {value: undefined})")
    path = hana.order("Steel bottle")
    windows = [hana.tab() for _ in range(MANY if counts else 3)]
    for window in windows:
        window.goto(hana.url + path)
        expect(window.locator("#said")).to_contain_text("Ready for your payment")
    hana.press("Cancel order")
    hana.sees("This order is cancelled")
    for window in windows:
        expect(window.locator("#said")).to_contain_text("This order is cancelled")
        expect(window.locator("#live")).to_have_count(0)


def test_a_window_that_asks_takes_the_stream_of_one_that_is_closed(visitor: Visitors) -> None:
    hana = visitor()
    path = hana.order("Steel bottle")
    windows = [hana.tab() for _ in range(MANY)]
    for window in windows:
        window.goto(hana.url + path)
    last = windows.pop()
    with last.expect_request(re.compile("/stream")):
        for window in windows:
            window.close()
    hana.press("Cancel order")
    expect(last.locator("#said")).to_contain_text("This order is cancelled")


def test_a_page_whose_service_is_away_comes_by_itself(visitor: Visitors, system: System) -> None:
    one = visitor()
    one.expected.append("status of 503")
    system.kill("stock")
    try:
        one.open("/")
        expect(one.page.locator("main")).to_contain_text("This page looks again by itself")
        expect(one.page.get_by_role("link", name="Back to the shop")).to_have_count(0)  # it is this page
    finally:
        system.start("stock")
    expect(one.page.get_by_role("heading", name="Good things for everyday life")).to_be_visible()


def test_a_payment_whose_service_is_away_is_asked_for_until_it_is_heard(visitor: Visitors, system: System) -> None:
    one = visitor()
    one.expected.append("status of 503")
    one.order("Steel bottle")
    one.press(PAY)
    one.page.locator("input[name=card][value=approve]").check()
    system.kill("payment")
    try:
        one.press(PAY)
        expect(one.page.locator("main")).to_contain_text("This page asks again by itself")
    finally:
        system.start("payment")
    one.sees("Your parcel is on its way")
