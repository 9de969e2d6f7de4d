"""Every page for everybody: two languages, a phone's width, the keyboard alone, light and dark, and nothing that axe finds."""

import re
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect

from ordersaga.devstack.system import System
from ordersaga.web.desk import CART
from ordersaga.web.shop.seeds import SEEDS
from ordersaga.web.signing import Signer
from ordersaga.web.visit import Cart
from tests.browser.keyboard import Keyboard
from tests.browser.troubles import OPERATOR, enter
from tests.browser.visitor import ADDRESS, PAY, Visitor, is_for_everybody

Visitors = Callable[..., Visitor]


def pages(one: Visitor, path: str, secret: str) -> Iterator[Page]:
    """Each page of the shop for somebody who has an order at this path, something in the cart, and is signed in."""
    one.expected.append("status of 404")
    product = f"/products/{SEEDS[0].product_id}"
    for each in ("/", "/?q=nothing-like-this", product, "/cart", "/checkout", "/orders", path, "/sign-in", "/nowhere"):
        yield one.open(each)
    # A cart that was begun to be ordered two days ago: the order may be this one.
    left = Cart(pieces={SEEDS[0].product_id: 1}, offered_at=int(time.time()) - 172_800)
    one.context.add_cookies([{"name": CART, "value": Signer(secret.encode()).sign(CART, left), "url": one.url}])
    page = one.open("/checkout")
    expect(page.locator("button[name=again]")).to_have_count(2)
    yield page


@pytest.mark.parametrize("language", ["en-US", "ko-KR"])
def test_no_page_has_a_fault_that_axe_finds_or_scrolls_sideways(
    visitor: Visitors, system: System, language: str
) -> None:
    one = visitor(language, reduced_motion="reduce")
    path = ordered(one)
    one.open(f"/products/{SEEDS[3].product_id}")
    one.page.locator(".add button").click()
    for page in pages(one, path, system.environment["ORDERSAGA_WEB_SESSION_SECRET"]):
        is_for_everybody(page, language[:2])


def ordered(one: Visitor) -> str:
    """Order something without a word of any language; returns the order's path."""
    one.open("/sign-in")
    one.page.locator("button.person").first.click()
    one.open(f"/products/{SEEDS[3].product_id}")
    one.page.locator(".add button").click()
    one.open("/checkout")
    one.fill_address()
    one.page.locator("form.checkout button").click()
    one.page.wait_for_url(re.compile("/orders/"))
    return one.page.url.removeprefix(one.url)


def test_a_korean_visitor_reads_korean_from_the_shelf_to_the_end(visitor: Visitors) -> None:
    one = visitor("ko-KR")
    ordered(one)
    one.sees("결제를 기다립니다")
    expect(one.said).to_contain_text("5단계 중 3단계")
    one.press(PAY)
    expect(one.page.get_by_role("heading", name="결제하기")).to_be_visible()
    one.page.get_by_role("button", name=PAY).click()
    one.sees("상품이 출발했습니다")
    expect(one.said).to_contain_text("9,800원을 결제하셨습니다")


def test_the_language_is_switched_and_stays(visitor: Visitors) -> None:
    one = visitor("en-US")
    one.open("/cart")
    one.follow("한국어")
    expect(one.page.get_by_role("heading", name="장바구니", exact=True)).to_be_visible()
    assert one.page.url == one.url + "/cart"
    one.open("/")
    one.follow("English")
    expect(one.page.get_by_role("heading", name="Good things for everyday life")).to_be_visible()


def test_an_order_is_placed_and_paid_by_keyboard_alone(visitor: Visitors) -> None:
    one = visitor()
    page = one.open("/sign-in")

    hands = Keyboard(page)
    hands.activate("Hana Kim")
    page.wait_for_url(one.url + "/")
    hands.activate("Skip to content")
    hands.activate("Stoneware teapot")
    page.wait_for_url(re.compile("/products/"))
    hands.activate("Add to cart")
    page.wait_for_url(re.compile("/cart"))
    hands.activate("Go to checkout")
    page.wait_for_url(re.compile("/checkout"))
    for label, value in zip(("Recipient", "Phone", "Postcode", "Address"), list(ADDRESS.values()), strict=False):
        hands.fill(f"^{label}", value)
    hands.activate("Place order")
    one.sees("Ready for your payment")
    hands.activate("^Pay ")
    page.wait_for_url(re.compile("/checkout"))
    hands.activate("^Pay ")
    one.sees("Your parcel is on its way")


def test_the_pages_load_nothing_from_another_host(visitor: Visitors, system: System) -> None:
    one = visitor()
    asked: set[str] = set()
    one.page.on("request", lambda request: asked.add(request.url))
    one.open("/")
    assert asked and all(each.startswith(system.urls["web"]) for each in asked)
    policy = one.page.request.get(system.urls["web"]).headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy


def test_a_name_without_a_space_makes_no_page_scroll_sideways(visitor: Visitors, system: System) -> None:
    one = visitor(width=360)
    name = "Extraordinarily" + "long" * 25
    product = {"name": name, "price": 2_000, "quantity": 5, "description": "x" * 200, "category": "desk"}
    made = httpx.post(
        f"{system.urls['stock']}/api/v1/products", json=product, headers=OPERATOR | {"User-Roles": "MASTER"}
    )
    address = f"/products/{made.raise_for_status().json()['productId']}"
    one.sign_in()
    for path in ("/", address):
        one.open(path)
        expect(one.page.get_by_text(name).first).to_be_visible()
        assert one.evaluate("document.documentElement.scrollWidth") <= 360, path
    one.press("Add to cart")
    expect(one.page.get_by_role("heading", name="Your cart")).to_be_visible()
    for path in ("/cart", "/checkout"):
        one.open(path)
        assert one.evaluate("document.documentElement.scrollWidth") <= 360, path
    one.fill_address(name="N" * 50, address="A" * 100)
    one.press("Place order")
    one.sees("Ready for your payment")
    order_id = one.page.url.rpartition("/")[2]
    staff = enter(visitor, width=360)
    assert staff.evaluate("document.documentElement.scrollWidth") <= 360
    for each, path in (
        (one, f"/orders/{order_id}"),
        (one, "/orders"),
        (staff, f"/console/orders/{order_id}"),
        (staff, "/console/orders"),
    ):
        each.open(path)
        expect(each.page.locator("main")).to_contain_text(name)
        assert each.evaluate("document.documentElement.scrollWidth") <= 360, path
