"""The pure rule of Payment: what a refund asked for, or an intent settled, makes of a payment, and what goes out."""

from datetime import timedelta
from uuid import uuid4

import pytest
from msgspec.structs import replace

from ordersaga.contracts.messages import (
    PaymentCancelledMessage,
    PaymentCancelRequestedMessage,
    PaymentSuccessMessage,
)
from ordersaga.payment import approval
from ordersaga.payment.approval import Call, Later, Settled, after_find
from ordersaga.payment.gateway import (
    Found,
    GatewayPayment,
    GatewayRefund,
)
from ordersaga.payment.model import Account
from ordersaga.payment.settlement import MADE_BEFORE, ask_refund, settle
from tests.unit.payment_cases import (
    AMOUNT,
    KEY,
    NOW,
    ORDER,
    OTHER_ORDER,
    PAYABLE,
    account,
    at_gateway,
    intent,
    listed,
    refund_request,
)

# What a settled intent makes of the payment


def test_an_approved_confirm_is_told_once() -> None:
    it = intent()
    books = account("PENDING", 0, 0, it)
    outcome = Settled(True, seen=at_gateway())
    told = settle(books, it, outcome, NOW, uuid4)
    assert told == [PaymentSuccessMessage(order_id=ORDER, payment_key=KEY, amount=AMOUNT, status="SUCCESS")]
    assert books.payment is not None
    assert (books.payment.status, books.payment.captured, books.payment.approved_at) == ("APPROVED", AMOUNT, NOW)
    assert settle(books, it, outcome, NOW, uuid4) == []


def test_a_declined_confirm_is_told_as_failed() -> None:
    it = intent()
    books = account("PENDING", 0, 0, it)
    told = settle(books, it, Settled(False, "REJECT_CARD_COMPANY", "no"), NOW, uuid4)
    assert told == [PaymentSuccessMessage(order_id=ORDER, payment_key=KEY, amount=AMOUNT, status="FAILED")]
    assert books.payment is not None
    assert (books.payment.status, books.payment.captured, books.payment.code) == ("FAILED", 0, "REJECT_CARD_COMPANY")


@pytest.mark.parametrize("status", ["PARTIAL_CANCELED", "DONE"])
def test_a_confirm_of_which_a_part_went_back_already_is_told_as_paid_and_the_part_with_what_is_held(
    status: str,
) -> None:
    it = intent()
    books = account("PENDING", 0, 0, it)
    books.payable = PAYABLE
    seen = replace(at_gateway(status, balance=7_000), cancels=(GatewayRefund(5_000, "by the console"),))
    outcome = after_find(it, Found(seen), None)
    assert isinstance(outcome, Settled)
    paid, gone = settle(books, it, outcome, NOW, uuid4)
    assert paid == PaymentSuccessMessage(order_id=ORDER, payment_key=KEY, amount=AMOUNT, status="SUCCESS")
    assert isinstance(gone, PaymentCancelledMessage)
    assert (gone.status, gone.amount, gone.balance_amount) == ("SUCCESS", 5_000, 7_000)
    assert books.payment is not None
    assert (books.payment.status, books.payment.captured, books.payment.refunded) == ("PARTLY_CANCELLED", AMOUNT, 5_000)
    assert not books.open_refunds


@pytest.mark.parametrize(
    "seen", [at_gateway("CANCELED"), at_gateway("PARTIAL_CANCELED", total=AMOUNT + 1_000, balance=7_000)]
)
def test_a_confirm_of_which_nothing_is_held_or_that_captured_another_amount_is_told_as_failed(
    seen: GatewayPayment,
) -> None:
    it = intent()
    books = account("PENDING", 0, 0, it)
    books.payable = PAYABLE
    outcome = after_find(it, Found(seen), None)
    assert isinstance(outcome, Settled)
    [told] = settle(books, it, outcome, NOW, uuid4)
    assert isinstance(told, PaymentSuccessMessage)
    assert told.status == "FAILED"
    assert [each.amount for each in books.open_refunds] == ([seen.total_amount] if seen.balance_amount else [])


def test_a_decline_after_an_unanswered_attempt_is_looked_at_once_more() -> None:
    it = intent(attempt=2)
    books = account("PENDING", 0, 0, it)
    settle(books, it, Settled(False, "EXCEED_MAX_AUTH_COUNT", "", at_gateway("IN_PROGRESS")), NOW, uuid4)
    [look] = [each for each in books.intents.values() if each.kind == "LOOK"]
    assert look.due_at is not None
    assert look.due_at > NOW
    assert approval.may_change(books.payment)
    books.payable = PAYABLE
    settle(books, look, Settled(True, seen=at_gateway()), NOW, uuid4)
    assert [each.amount for each in books.open_refunds] == [AMOUNT], "what was captured late goes back"


def test_an_instance_whose_attempt_was_overtaken_settles_nothing() -> None:
    it = intent()
    books = account("PENDING", 0, 0, replace(it, attempt=2))
    assert settle(books, it, Settled(False, "REJECT_CARD_COMPANY", "no"), NOW, uuid4) == []
    assert books.payment is not None
    assert books.payment.status == "PENDING"


def test_a_capture_of_another_amount_fails_and_goes_back_if_the_order_proves_it_wrong() -> None:
    it = intent()
    wrong = at_gateway(total=AMOUNT + 500)
    step = after_find(it, Found(wrong), None)
    assert isinstance(step, Settled)
    books = account("PENDING", 0, 0, it)
    books.payable = PAYABLE
    [told] = settle(books, it, step, NOW, uuid4)
    assert isinstance(told, PaymentSuccessMessage)
    assert told.status == "FAILED"
    assert books.payment is not None
    assert (books.payment.status, books.payment.captured) == ("FAILED", AMOUNT + 500)
    [back] = books.open_refunds
    assert (back.amount, back.asked, back.due_at) == (AMOUNT + 500, False, NOW)
    gone = replace(wrong, status="CANCELED", balance_amount=0)
    assert settle(books, back, Settled(True, seen=gone), NOW, uuid4) == [], (
        "Order asked for nothing, so it is told nothing"
    )
    assert books.payment.refunded == AMOUNT + 500
    assert books.payment.status == "FAILED"


def test_a_paid_order_confirmed_again_with_a_wrong_amount_gets_no_money_back_where_order_has_said_nothing() -> None:
    it = intent(amount=1_000)
    books = account("PENDING", 0, 0, it)
    step = after_find(it, Found(at_gateway()), None)
    assert isinstance(step, Settled)
    settle(books, it, step, NOW, uuid4)
    assert books.open_refunds == []


def test_a_refund_waits_for_the_confirm_and_is_answered_after_it() -> None:
    it = intent()
    books = account("PENDING", 0, 0, it)
    assert ask_refund(books, refund_request(), NOW, uuid4) == []
    [waiting] = books.open_refunds
    assert waiting.due_at is None
    later = NOW + timedelta(seconds=3)
    settle(books, it, Settled(True, seen=at_gateway()), later, uuid4)
    [waiting] = books.open_refunds
    assert waiting.due_at == later
    assert books.payment is not None
    assert (books.payment.status, books.payment.refunded) == ("CANCEL_PENDING", 0)
    [told] = settle(books, waiting, Settled(True, seen=at_gateway("CANCELED")), later, uuid4)
    assert told == PaymentCancelledMessage(
        order_id=ORDER, payment_key=KEY, amount=AMOUNT, status="SUCCESS", balance_amount=0
    )
    assert (books.payment.status, books.payment.refunded) == ("CANCELLED", AMOUNT)


def test_a_repeat_of_a_done_refund_is_answered_again_without_a_second_refund() -> None:
    done = replace(intent("REFUND"), status="DONE", due_at=None)
    books = account("CANCELLED", AMOUNT, AMOUNT, done)
    [told] = ask_refund(books, refund_request(), NOW, uuid4)
    assert isinstance(told, PaymentCancelledMessage)
    assert told.status == "SUCCESS"
    assert not books.intents_changed


def test_a_repeat_of_an_open_refund_makes_no_second_one() -> None:
    books = account("APPROVED", AMOUNT)
    for _ in range(3):
        assert ask_refund(books, refund_request(), NOW, uuid4) == []
    assert len(books.intents) == 1


def test_a_failed_refund_asked_for_again_is_tried_under_a_new_key() -> None:
    failed = replace(intent("REFUND"), status="FAILED", due_at=None, tries=3)
    books = account("APPROVED", AMOUNT, 0, failed)
    assert ask_refund(books, refund_request(), NOW, uuid4) == []
    [again] = books.open_refunds
    assert (again.attempt, again.tries, again.due_at) == (2, 0, NOW)
    calls = [after_find(each, Found(at_gateway()), None) for each in (failed, again)]
    keys = {
        approval.idempotency_key(each, call)
        for each, call in zip((failed, again), calls, strict=True)
        if isinstance(call, Call)
    }
    assert len(keys) == 2


def test_a_refund_that_cannot_be_is_answered_at_once_with_the_reason() -> None:
    for books, request in (
        (Account(None, {}), refund_request()),
        (account("APPROVED", AMOUNT), refund_request(order=OTHER_ORDER)),
        (account("APPROVED", AMOUNT), refund_request(amount=0)),
        (account("APPROVED", AMOUNT), refund_request(amount=-5)),
    ):
        [told] = ask_refund(books, request, NOW, uuid4)
        assert isinstance(told, PaymentCancelledMessage)
        assert told.status == "FAILED"
        assert told.message
        assert books.intents == {}


def test_a_part_refunded_leaves_the_payment_partly_cancelled() -> None:
    books = account("APPROVED", AMOUNT)
    ask_refund(books, refund_request(5_000), NOW, uuid4)
    [part] = books.open_refunds
    settle(books, part, Settled(True, seen=at_gateway("PARTIAL_CANCELED", balance=7_000)), NOW, uuid4)
    assert books.payment is not None
    assert (books.payment.status, books.payment.refunded) == ("PARTLY_CANCELLED", 5_000)


def test_a_refused_refund_leaves_the_payment_approved() -> None:
    books = account("APPROVED", AMOUNT)
    ask_refund(books, refund_request(), NOW, uuid4)
    [asked] = books.open_refunds
    [told] = settle(books, asked, Settled(False, "EXCEED_MAX_REFUND_DUE", "too late", at_gateway()), NOW, uuid4)
    assert isinstance(told, PaymentCancelledMessage)
    assert (told.status, told.message) == ("FAILED", "EXCEED_MAX_REFUND_DUE: too late")
    assert books.payment is not None
    assert books.payment.status == "APPROVED"


# Which refund is which


def named(request_id: str | None, amount: int = 4_000) -> PaymentCancelRequestedMessage:
    return replace(refund_request(amount), request_id=request_id)


def test_two_equal_parts_with_ids_of_their_own_are_two_refunds_and_one_asked_again_is_one() -> None:
    books = account("APPROVED", AMOUNT)
    for request_id in ("a", "b", "a", "b"):
        assert ask_refund(books, named(request_id), NOW, uuid4) == []
    assert [(each.request_id, each.amount) for each in books.open_refunds] == [("a", 4_000), ("b", 4_000)]
    first, second = books.open_refunds
    seen = listed(GatewayRefund(4_000, approval.refund_reason(first)))
    [told] = settle(books, first, Settled(True, seen=seen), NOW, uuid4)
    assert isinstance(told, PaymentCancelledMessage)
    assert told.request_id == "a"
    assert isinstance(after_find(second, Found(seen), None), Call), (
        "the first of that amount is not taken for the second"
    )


def test_an_id_stands_for_one_amount() -> None:
    books = account("APPROVED", AMOUNT)
    ask_refund(books, named("a"), NOW, uuid4)
    [told] = ask_refund(books, named("a", 5_000), NOW, uuid4)
    assert isinstance(told, PaymentCancelledMessage)
    assert (told.status, told.request_id) == ("FAILED", "a")


@pytest.mark.parametrize("request_id", [None, ""])
def test_without_an_id_the_same_amount_is_the_same_refund_and_the_answer_says_so(request_id: str | None) -> None:
    done = replace(intent("REFUND", 4_000), status="DONE", due_at=None)
    books = account("PARTLY_CANCELLED", AMOUNT, 4_000, done)
    [told] = ask_refund(books, named(request_id), NOW, uuid4)
    assert isinstance(told, PaymentCancelledMessage)
    assert (told.status, told.balance_amount, told.message) == ("SUCCESS", 8_000, MADE_BEFORE)
    assert not books.open_refunds


def test_a_part_that_is_not_among_the_refunds_of_a_payment_that_is_gone_was_not_made() -> None:
    outcome = after_find(intent("REFUND", 4_000), Found(listed(GatewayRefund(AMOUNT, "by the console"))), None)
    assert isinstance(outcome, Settled)
    assert (outcome.done, outcome.code) == (False, "EXCEEDS_BALANCE")


def test_a_refund_that_the_gateway_is_still_at_is_waited_for_and_one_it_gave_up_is_asked_for_again() -> None:
    it = intent("REFUND", 4_000)
    for status, step in (("IN_PROGRESS", Later), ("ABORTED", Call), ("DONE", Settled)):
        mine = GatewayRefund(4_000, approval.refund_reason(it), cancel_status=status)
        assert isinstance(after_find(it, Found(listed(mine)), None), step)
