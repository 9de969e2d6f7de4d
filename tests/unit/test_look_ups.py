"""The pure rule of Payment: what a look-up at the gateway, for a webhook or a decline, makes of a payment, and what goes out."""

from uuid import uuid4

import pytest
from msgspec.structs import replace

from ordersaga.contracts.limits import TEXT_CHARS_MAX
from ordersaga.contracts.messages import (
    Message,
    PaymentCancelledMessage,
)
from ordersaga.payment import approval
from ordersaga.payment.approval import Settled, after_find
from ordersaga.payment.gateway import (
    Found,
    GatewayPayment,
    GatewayRefund,
)
from ordersaga.payment.model import Account, Payable
from ordersaga.payment.settlement import ask_refund, settle
from tests.unit.payment_cases import (
    AMOUNT,
    NOW,
    OTHER_ORDER,
    PAYABLE,
    account,
    at_gateway,
    intent,
    listed,
    refund_request,
)


def test_a_refund_at_the_gateways_own_console_is_followed() -> None:
    look = intent("LOOK", 0)
    for seen, status in ((at_gateway("CANCELED"), "CANCELLED"), (at_gateway("PARTIAL_CANCELED"), "PARTLY_CANCELLED")):
        books = account("APPROVED", AMOUNT, 0, look)
        settle(books, look, Settled(True, seen=seen), NOW, uuid4)
        assert books.payment is not None
        assert books.payment.status == status


CONSOLE = GatewayRefund(5_000, "by the console")


def look_at(books: Account, seen: GatewayPayment) -> list[Message]:
    look = replace(intent("LOOK", 0), id=uuid4())
    books.intents[look.id] = look
    return settle(books, look, Settled(True, seen=seen), NOW, uuid4)


@pytest.mark.parametrize(("gone", "left"), [(AMOUNT, 0), (5_000, 7_000)])
def test_what_went_back_at_the_gateway_is_told_to_order_once_with_what_is_still_held(gone: int, left: int) -> None:
    books = account("APPROVED", AMOUNT)
    seen = listed(GatewayRefund(gone, "by the console"))
    [told] = look_at(books, seen)
    assert isinstance(told, PaymentCancelledMessage)
    assert (told.status, told.amount, told.balance_amount, told.request_id) == ("SUCCESS", gone, left, None)
    assert look_at(books, seen) == [], "the same look-up again says nothing new"


def test_a_refund_of_orders_is_told_by_its_own_answer_alone_though_a_look_up_sees_it_first() -> None:
    books = account("APPROVED", AMOUNT)
    ask_refund(books, refund_request(4_000), NOW, uuid4)
    [mine] = books.open_refunds
    seen = listed(GatewayRefund(4_000, approval.refund_reason(mine)))
    assert look_at(books, seen) == []
    [told] = settle(books, mine, Settled(True, seen=seen), NOW, uuid4)
    assert isinstance(told, PaymentCancelledMessage)
    assert (told.amount, told.balance_amount) == (4_000, 8_000)


def test_beside_a_part_that_order_asked_for_what_went_back_meanwhile_is_told_too() -> None:
    books = account("APPROVED", AMOUNT)
    ask_refund(books, refund_request(4_000), NOW, uuid4)
    [mine] = books.open_refunds
    seen = listed(CONSOLE, GatewayRefund(4_000, approval.refund_reason(mine)))
    told = settle(books, mine, Settled(True, seen=seen), NOW, uuid4)
    amounts = [(each.amount, each.balance_amount) for each in told if isinstance(each, PaymentCancelledMessage)]
    assert amounts == [(5_000, 3_000), (4_000, 3_000)]


def test_a_refused_refund_tells_how_much_is_still_held() -> None:
    books = account("APPROVED", AMOUNT)
    ask_refund(books, refund_request(8_000), NOW, uuid4)
    [mine] = books.open_refunds
    outcome = after_find(mine, Found(listed(CONSOLE)), None)
    assert isinstance(outcome, Settled)
    told = settle(books, mine, outcome, NOW, uuid4)[-1]
    assert isinstance(told, PaymentCancelledMessage)
    assert (told.status, told.balance_amount) == ("FAILED", 7_000)


def test_money_that_went_back_of_a_failed_payment_is_not_orders_to_hear() -> None:
    books = account("FAILED", AMOUNT)
    assert look_at(books, listed(GatewayRefund(AMOUNT, "by the console"))) == []


def test_what_was_seen_later_is_not_undone_by_what_is_settled_later() -> None:
    books = account("APPROVED", AMOUNT)
    ask_refund(books, refund_request(4_000), NOW, uuid4)
    ask_refund(books, refund_request(3_000), NOW, uuid4)
    first, second = books.open_refunds
    once, twice = (GatewayRefund(each.amount, approval.refund_reason(each)) for each in (first, second))
    settle(books, second, Settled(True, seen=listed(once, twice)), NOW, uuid4)
    settle(books, first, Settled(True, seen=listed(once)), NOW, uuid4)
    assert books.payment is not None
    assert books.payment.refunded == 7_000


def test_money_captured_after_a_failure_was_told_goes_back() -> None:
    look = intent("LOOK", 0)
    books = account("FAILED", 0, 0, look)
    books.payable = PAYABLE
    assert settle(books, look, Settled(True, seen=at_gateway()), NOW, uuid4) == []
    assert books.payment is not None
    assert (books.payment.status, books.payment.captured) == ("FAILED", AMOUNT)
    assert [each.amount for each in books.open_refunds] == [AMOUNT]


@pytest.mark.parametrize(
    ("payable", "taken", "seen", "status", "given_back"),
    [
        (PAYABLE, False, at_gateway(), "APPROVED", []),
        (PAYABLE, True, at_gateway(), "FAILED", [AMOUNT]),
        (PAYABLE, False, at_gateway(total=AMOUNT + 1), "FAILED", [AMOUNT + 1]),
        (None, False, at_gateway(), None, []),
        (PAYABLE, False, at_gateway("IN_PROGRESS"), None, []),
        (PAYABLE, False, at_gateway(order=OTHER_ORDER), None, []),
    ],
)
def test_a_capture_that_nobody_knows_here_is_taken_over_or_given_back_or_left_to_its_owner(
    payable: Payable | None, taken: bool, seen: GatewayPayment, status: str | None, given_back: list[int]
) -> None:
    look = intent("LOOK", 0)
    books = Account(None, {look.id: look})
    books.payable, books.order_is_taken = payable, taken
    told = settle(books, look, Settled(True, seen=seen), NOW, uuid4)
    assert (books.payment and books.payment.status) == status
    assert [each.amount for each in books.open_refunds] == given_back
    assert len(told) == (status == "APPROVED")


def test_a_webhook_that_says_what_we_know_is_no_news() -> None:
    known = account("APPROVED", AMOUNT).payment
    assert not approval.is_news("DONE", known, True)
    assert approval.is_news("CANCELED", known, True)
    assert not approval.is_news("IN_PROGRESS", account().payment, True)
    assert approval.is_news("DONE", account().payment, True), "for a confirm that was put off"
    assert not approval.is_news("CANCELED", account("CANCELLED", AMOUNT, AMOUNT).payment, True)
    assert not approval.is_news("DONE", None, False)
    assert approval.is_news("DONE", None, True)


def pause_s_after(books: Account, attempt: int, seen: GatewayPayment) -> float:
    """How long the next look-up waits after a look-up that was the `attempt`-th in a row."""
    look = replace(intent("LOOK", 0, attempt), id=uuid4())
    books.intents[look.id] = look
    settle(books, look, Settled(True, seen=seen), NOW, uuid4)
    due_at = books.intents[look.id].due_at
    return 0.0 if due_at is None else (due_at - NOW).total_seconds()


def test_look_ups_without_a_change_space_out_up_to_a_minute_and_a_change_ends_the_pause() -> None:
    books = account("APPROVED", AMOUNT)
    pauses_s = [pause_s_after(books, attempt, at_gateway()) for attempt in (1, 2, 3, 4, 5, 6, 1_000)]
    assert pauses_s == [5, 10, 20, 40, 60, 60, 60]
    assert pause_s_after(books, 6, listed(CONSOLE)) == 0
    assert pause_s_after(books, 1, listed(CONSOLE)) == 5, "the same again is no change"


@pytest.mark.parametrize(("seen", "attempt", "pause_s"), [(at_gateway(), 4, 20), (listed(CONSOLE), 1, 0)])
def test_a_webhook_that_comes_while_the_gateway_is_asked_leads_to_another_look_up(
    seen: GatewayPayment, attempt: int, pause_s: float
) -> None:
    carried = intent("LOOK", 0, attempt=3)
    books = account("APPROVED", AMOUNT, 0, replace(carried, asked=True))
    settle(books, carried, Settled(True, seen=seen), NOW, uuid4)
    settled, next_one = books.intents.values()
    assert (settled.status, next_one.status, next_one.attempt) == ("DONE", "OPEN", attempt)
    assert next_one.due_at is not None
    assert (next_one.due_at - NOW).total_seconds() == pause_s


def test_a_look_up_while_a_confirm_is_in_flight_is_followed_by_another_one() -> None:
    """The gateway captures, a person gives all of it back, and the confirm's answer, which comes last, says DONE."""
    confirm, look = intent(), replace(intent("LOOK", 0), id=uuid4())
    books = account("PENDING", 0, 0, confirm, look)
    settle(books, look, Settled(True, seen=at_gateway("CANCELED")), NOW, uuid4)
    [later] = [each for each in books.intents.values() if each.kind == "LOOK" and each.status == "OPEN"]
    settle(books, confirm, Settled(True, seen=at_gateway()), NOW, uuid4)
    [told] = settle(books, later, Settled(True, seen=at_gateway("CANCELED")), NOW, uuid4)
    assert isinstance(told, PaymentCancelledMessage)
    assert (told.amount, told.balance_amount) == (AMOUNT, 0)
    assert not any(each.status == "OPEN" for each in books.intents.values())


def test_a_look_up_beside_a_postponed_confirm_is_the_last_one_since_the_confirm_asks_by_itself() -> None:
    confirm, look = replace(intent(), tries=1), replace(intent("LOOK", 0), id=uuid4())
    books = account("PENDING", 0, 0, confirm, look)
    settle(books, look, Settled(True, seen=at_gateway()), NOW, uuid4)
    assert [each.kind for each in books.intents.values() if each.status == "OPEN"] == ["CONFIRM"]


def test_words_of_the_gateway_are_kept_as_the_database_can_keep_them() -> None:
    it = intent()
    books = account("PENDING", 0, 0, it)
    settle(books, it, Settled(False, "CODE", "a\0b" + "x" * 5_000), NOW, uuid4)
    assert books.payment is not None
    assert books.payment.message is not None
    assert "\0" not in books.payment.message
    assert len(books.payment.message) <= TEXT_CHARS_MAX
