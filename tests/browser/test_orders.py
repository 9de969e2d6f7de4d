"""An order from the shelf to its end, in a browser: each way in which it can end."""

import re
from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.visitor import PAY, Visitor

Visitors = Callable[..., Visitor]


def test_an_order_advances_to_its_end_without_a_reload(visitor: Visitors) -> None:
    hana = visitor()
    hana.order("Stoneware teapot")
    hana.sees("Ready for your payment")
    expect(hana.said).to_contain_text("Step 3 of 5")
    assert hana.step.startswith("Payment")
    hana.pay()
    hana.sees("Your parcel is on its way")
    expect(hana.said).to_contain_text("Step 5 of 5")
    expect(hana.said).to_contain_text("You have paid ₩48,000")
    assert hana.step.startswith("On its way")
    expect(hana.page.locator(".steps li.done")).to_have_count(5)
    expect(hana.page.locator(".steps time")).to_have_count(5)
    expect(hana.page.locator("#live")).to_have_count(0)
    expect(hana.page.get_by_text("Tracking number")).to_be_visible()


def test_a_sold_out_order_says_so_at_once(visitor: Visitors) -> None:
    hana, minjun, rival = visitor(), visitor("ko-KR"), visitor()
    hana.sign_in()
    hana.put_in_cart("Oak board", 2)
    hana.follow("Go to checkout")
    hana.fill_address()
    put_in_korean_cart(minjun)
    rival.order("Oak board", 2)  # the last but one
    hana.press("Place order")
    hana.sees("Sold out, sorry")
    expect(hana.said).to_contain_text("You were not charged")
    assert hana.step.startswith("Items set aside") and "stopped here" in hana.step
    hana.press("Order the same again")
    expect(hana.page.get_by_text(re.compile("Only 1 left"))).to_be_visible()
    minjun.press("주문하기")
    minjun.sees("죄송합니다, 품절되었습니다")
    expect(minjun.said).to_contain_text("결제된 금액은 없습니다")
    assert "여기서 멈춤" in minjun.step
    minjun.press("같은 상품 다시 담기")
    expect(minjun.page.get_by_text("1개만 남았습니다")).to_be_visible()


def put_in_korean_cart(one: Visitor) -> None:
    """Two oak boards, up to the page of the checkout."""
    one.open("/sign-in")
    one.press("이민준")
    one.follow("참나무 도마")
    one.page.get_by_label("수량").fill("2")
    one.press("장바구니에 담기")
    one.follow("주문하기")
    one.fill_address()


def test_a_declined_card_ends_the_order_and_nothing_is_charged(visitor: Visitors) -> None:
    hana = visitor()
    hana.order()
    hana.pay("REJECT_CARD_COMPANY")
    hana.sees("The payment was declined")
    expect(hana.said).to_contain_text("You were not charged")


def test_an_address_that_cannot_be_served_gives_the_money_back(visitor: Visitors) -> None:
    hana = visitor()
    hana.order(zipcode="63000")
    hana.pay()
    hana.sees("We cannot deliver to this address")
    expect(hana.said).to_contain_text("was sent back to your card")


def test_an_order_is_cancelled_before_it_is_paid(visitor: Visitors) -> None:
    hana = visitor()
    hana.order()
    hana.press("Cancel order")
    hana.sees("This order is cancelled")
    expect(hana.said).to_contain_text("Stopped at step 3 of 5")
    expect(hana.page.get_by_role("button", name=PAY)).to_have_count(0)


def test_a_completed_order_is_returned_and_refunded(visitor: Visitors) -> None:
    hana = visitor()
    hana.order("Brass pen")
    hana.pay()
    hana.sees("Your parcel is on its way")
    hana.press("Return this order")
    hana.sees("This order was returned")
    expect(hana.said).to_contain_text("₩34,000 was sent back to your card")


def test_who_leaves_the_gateways_page_can_pay_later(visitor: Visitors) -> None:
    hana = visitor()
    hana.order()
    hana.pay("abort")
    expect(hana.page.get_by_text("Nothing was charged")).to_be_visible()
    hana.pay()
    hana.sees("Your parcel is on its way")


def test_products_are_found_by_a_part_of_their_name_in_both_languages(visitor: Visitors) -> None:
    hana = visitor()
    for word, category, found in (
        ("teap", "", 1),
        ("찻주", "", 1),
        ("", "kitchen", 3),
        ("board", "kitchen", 1),
        ("zzz", "", 0),
    ):
        hana.open(f"/?q={word}&category={category}")
        expect(hana.page.locator(".card")).to_have_count(found)
    expect(hana.page.get_by_text("No product matches “zzz”")).to_be_visible()


def test_a_slow_card_is_told_and_the_order_cannot_be_paid_again_meanwhile(visitor: Visitors) -> None:
    hana = visitor()
    hana.order()
    hana.pay("slow")
    hana.sees("Your payment is being confirmed")
    expect(hana.page.get_by_text("Tracking number")).to_have_count(0)
    hana.evaluate("window.stayed = true")
    expect(hana.page.get_by_role("button", name=PAY)).to_have_count(0)
    hana.sees("Your parcel is on its way")
    expect(hana.page.locator("#tracking")).to_contain_text("Tracking number")
    assert hana.evaluate("window.stayed"), "the page was not loaded again"
