"""Clicks, tabs, reloads, the back button and lost connections: one order and one payment, whatever the browser sends again."""

import re
import time
from collections.abc import Callable

import httpx
import psutil
from playwright.sync_api import expect

from ordersaga.devstack.system import System
from tests.browser.troubles import enter
from tests.browser.visitor import PAY, Visitor
from tests.chaos.struck import pid_of, send_signals

Visitors = Callable[..., Visitor]
WRITE_DOWN = """() => {
  const form = document.querySelector("form:has([data-slow])");
  const write = (what) => localStorage.getItem(what) ?? localStorage.setItem(what, `${localStorage.length}`);
  new MutationObserver(() => {
    if (form.querySelector("[aria-busy]")) write("busy");
    if (form.querySelector("[data-slow]").textContent) write("longer");
  }).observe(form, { subtree: true, attributes: true, childList: true, characterData: true });
}"""
CONNECTION = r"net::ERR_|status of 50[0-9]"


def captured(system: System, customer: str) -> list[dict[str, object]]:
    """The payments of a customer's newest order, as Payment has them."""
    headers = {"User-Id": customer, "User-Roles": "CUSTOMER"}
    order = httpx.get(f"{system.urls['order']}/api/v1/orders", headers=headers).json()["items"][0]
    url = f"{system.urls['payment']}/api/v1/payments?orderId={order['orderId']}"
    return [each for each in httpx.get(url, headers=headers).json()["items"] if each["capturedAmount"]]


MINJUN = "00000000-0000-4000-8000-0000000000a2"
JORDAN = "00000000-0000-4000-8000-0000000000a3"


def test_two_clicks_two_tabs_and_the_back_button_are_one_order(visitor: Visitors) -> None:
    one = visitor()
    one.sign_in("Minjun Lee")
    before = one.orders()
    one.put_in_cart("Dotted notebook")
    one.follow("Go to checkout")
    other = one.tab()
    other.goto(one.url + "/checkout")
    one.fill_address()
    one.page.get_by_role("button", name="Place order").dblclick()
    one.sees("Ready for your payment")
    placed = one.page.url

    one.fill_address(other)
    other.get_by_role("button", name="Place order").click()
    other.wait_for_url(re.compile("/orders/"))
    assert other.url == placed, "the other tab's form is the same order"

    one.page.go_back()
    one.page.wait_for_url(re.compile("/(checkout|cart)$"))
    other.goto(placed)
    assert one.orders() == before + 1


def test_a_cart_that_was_ordered_is_not_ordered_to_another_address(visitor: Visitors) -> None:
    one = visitor()
    one.sign_in("Minjun Lee")
    one.put_in_cart("Dotted notebook")
    one.follow("Go to checkout")
    other = one.tab()
    other.goto(one.url + "/checkout")
    one.fill_address()
    one.press("Place order")
    one.sees("Ready for your payment")
    one.fill_address(other, address="2 Elsewhere-ro, Busan")
    other.get_by_role("button", name="Place order").click()
    expect(other.get_by_text("This cart was ordered already")).to_be_visible()


def test_paying_twice_takes_the_money_once(visitor: Visitors, system: System) -> None:
    one = visitor()
    path = one.order("Canvas bag")
    second = one.tab()
    second.goto(one.url + path)
    one.press(PAY)
    second.get_by_role("button", name=PAY).click()
    one.page.get_by_role("button", name=PAY).click()
    one.sees("Your parcel is on its way")
    second.get_by_role("button", name=PAY).click()
    expect(second.locator("#said")).to_contain_text("Your parcel is on its way")
    assert len(captured(system, "00000000-0000-4000-8000-0000000000a1")) == 1
    calm = second.get_by_role("status").filter(has_text="Nothing was charged a second time")
    expect(calm).to_contain_text("This order has its payment already")
    second.go_back()
    second.get_by_role("link", name="Back to the order").click()
    expect(calm).to_contain_text("This order has its payment already")
    assert second.url == one.url + path


def test_a_reload_in_the_middle_of_paying_confirms_the_same_payment(visitor: Visitors, system: System) -> None:
    jordan = visitor()
    jordan.sign_in("Jordan Park")
    jordan.put_in_cart("Canvas bag")
    jordan.follow("Go to checkout")
    jordan.fill_address()
    jordan.press("Place order")
    jordan.sees("Ready for your payment")
    seen: list[str] = []
    jordan.page.on("request", lambda request: seen.append(request.url) if "/paid?" in request.url else None)
    jordan.pay()
    jordan.sees("Your parcel is on its way")
    jordan.page.goto(seen[0])
    expect(jordan.page.locator("#said")).to_contain_text("Your parcel is on its way")
    jordan.page.go_back()
    assert len(captured(system, JORDAN)) == 1


def test_a_payment_whose_answer_was_lost_is_found_and_told(visitor: Visitors) -> None:
    hana = visitor()
    hana.order("Steel bottle")
    hana.pay("answer-lost")
    hana.sees("Your parcel is on its way")


def test_the_steps_go_on_after_the_web_process_was_started_again(visitor: Visitors, system: System) -> None:
    hana = visitor()
    hana.expected.append(CONNECTION)
    path = hana.order("Quiet plant")
    system.kill("web")
    expect(hana.page.locator("#live")).to_contain_text("interrupted")
    system.start("web")
    expect(hana.page.locator("#live")).to_contain_text("updates by itself")
    hana.evaluate("window.stayed = true")
    headers = {"User-Id": "00000000-0000-4000-8000-0000000000a1", "User-Roles": "CUSTOMER"}
    httpx.post(f"{system.urls['order']}/api/v1{path}/cancel/delivery-before", headers=headers).raise_for_status()
    hana.sees("This order is cancelled")
    assert hana.evaluate("window.stayed"), "the page was not loaded again"


def test_an_order_service_that_is_away_is_told_and_the_same_button_works_later(
    visitor: Visitors, system: System
) -> None:
    one = visitor()
    one.expected.append(CONNECTION)
    one.sign_in("Minjun Lee")
    before = one.orders()
    of_staff = enter(visitor)
    one.put_in_cart("Dotted notebook")
    one.follow("Go to checkout")
    one.fill_address()
    system.kill("order")
    try:
        one.press("Place order")
        expect(one.page.get_by_text("We could not hear whether your order was placed")).to_be_visible()
        other = one.tab()
        other.goto(one.url)
        expect(other.get_by_role("link", name="Dotted notebook")).to_be_visible()
        other.get_by_role("link", name="My orders").click()
        expect(other.get_by_text("Orders are not answering.")).to_be_visible()
        of_staff.open("/console/orders")
        expect(of_staff.page.locator("main")).to_contain_text("Order is not answering")
        expect(of_staff.page.locator("main")).not_to_contain_text("The rest of this page")  # there is none
    finally:
        system.start("order")
    one.press("Place order, safely again")
    one.sees("Ready for your payment")
    assert one.orders() == before + 1


def test_a_button_says_at_once_that_it_works_and_soon_that_it_takes_longer(visitor: Visitors, system: System) -> None:
    one = visitor()
    one.sign_in("Minjun Lee")
    before = one.orders()
    one.put_in_cart("Dotted notebook")
    one.follow("Go to checkout")
    one.fill_address()
    # What the page shows is written down by the page, and read in another tab: once a page navigates, the browser's driver waits for the answer.
    other = one.tab()
    other.goto(one.url)
    one.evaluate(WRITE_DOWN)
    frozen = [psutil.Process(pid_of(system.processes["order"]))]
    send_signals(frozen, "SIGSTOP")
    try:
        one.page.get_by_role("button", name="Place order").dblclick(no_wait_after=True)
        end_s = time.monotonic() + 60
        while other.evaluate("localStorage.getItem('longer')") is None and time.monotonic() < end_s:
            time.sleep(0.1)
        assert other.evaluate("[localStorage.getItem('busy'), localStorage.getItem('longer')]") == ["0", "1"]
    finally:
        send_signals(frozen, "SIGCONT")
    one.sees("Ready for your payment")
    assert one.orders() == before + 1


def test_a_catalogue_that_is_away_takes_only_names_from_an_order(visitor: Visitors, system: System) -> None:
    hana = visitor()
    hana.expected.append(CONNECTION)
    of_one = hana.order("Linen cushion")
    hana.put_in_cart("Quiet plant")
    of_two = hana.order("Linen cushion")
    system.kill("stock")
    try:
        hana.open(of_one)
        expect(hana.page.locator(".lines")).to_contain_text("Linen cushion")
        expect(hana.page.get_by_text("The catalogue does not answer")).to_have_count(0)
        hana.open(of_two)
        expect(hana.page.get_by_text("The catalogue does not answer")).to_be_visible()
        hana.sees("Ready for your payment")
        hana.open("/")
        expect(hana.page.get_by_text("The catalogue is not answering.")).to_be_visible()
    finally:
        system.start("stock")


def test_a_strangers_order_and_a_forged_form_do_nothing(visitor: Visitors, system: System) -> None:
    hana, stranger = visitor(), visitor()
    stranger.expected.append("status of 404")
    path = hana.order("Dotted notebook")
    stranger.sign_in("Jordan Park")
    stranger.open(path)
    expect(stranger.page.get_by_role("heading", name="There is nothing here")).to_be_visible()
    cookies = {each["name"]: each["value"] for each in hana.context.cookies()}
    forged = httpx.post(f"{system.urls['web']}{path}/cancel", cookies=cookies, data={"csrf": "guessed"})
    token = hana.page.locator("input[name=csrf]").first.get_attribute("value") or ""
    elsewhere = httpx.post(
        f"{system.urls['web']}{path}/cancel",
        cookies=cookies,
        data={"csrf": token},
        headers={"Origin": "http://evil.example"},
    )
    assert (forged.status_code, elsewhere.status_code) == (403, 403)
    hana.open(path)
    hana.sees("Ready for your payment")


ODD = (
    "/?q=%00&category=%ff&cursor=x",
    "/?cursor=' OR 1=1",
    f"/?q={'찻' * 3_000}",
    "/products/not-an-id",
    f"/products/{'0' * 32}",
    "/orders/not-an-id/stream",
    "/orders/00000000-0000-4000-8000-000000000000/paid?amount=x&paymentKey=../..",
    "/sign-in?then=//evil.example",
    "/language/xx?then=/",
    "/static/../app.py",
    "/pictures/none.svg",
    "/nowhere",
)
FORMS: tuple[dict[str, str], ...] = (
    {},
    {"product": "x"},
    {"pieces": "-1"},
    {"pieces": "9" * 40},
    {"draft": "x.y"},
    {"customer": "nobody"},
)


def test_no_odd_request_is_an_error_of_ours(visitor: Visitors, system: System) -> None:
    hana = visitor()
    path = hana.order("Dotted notebook")
    token = hana.page.locator("input[name=csrf]").first.get_attribute("value") or ""
    cookies = {each["name"]: each["value"] for each in hana.context.cookies()}
    with httpx.Client(base_url=system.urls["web"], cookies=cookies) as client:
        for odd in ODD:
            assert client.get(odd).status_code in (200, 303, 404, 414, 431), odd
        for form in FORMS:
            for to in ("/cart/add", "/cart/change", "/checkout", "/sign-in", f"{path}/nothing"):
                answer = client.post(to, data={**form, "csrf": token})
                assert answer.status_code in (303, 400, 404), (to, form, answer.status_code)
        for body in (b"\xff\xfe", b"a=1&" * 5_000, b"csrf=" + b"x" * 60_000):
            assert client.post("/cart/add", content=body).status_code == 403
        broken = {name: value[:-3] + "xxx" for name, value in cookies.items()} | {"ordersaga_notice": "../x"}
    assert httpx.get(system.urls["web"], cookies=broken).status_code == 200
    assert "a page failed" not in system.processes["web"].log_path.read_text()
