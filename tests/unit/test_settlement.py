"""The pure rule of Payment: what a refund asked for, or an intent settled, makes of a payment, and what goes out."""

from datetime import timedelta
from uuid import uuid4

import pytest
from msgspec.structs import replace

from ordersaga.contracts.messages import PaymentCancelledMessage, PaymentSuccessMessage
from ordersaga.payment import approval
from ordersaga.payment.approval import Call, Outcome, after_find
from ordersaga.payment.gateway import (
    Found,
    GatewayPayment,
)
from ordersaga.payment.model import Account, Payable
from ordersaga.payment.settlement import ask_refund, settle
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
    refund_request,
)

# What a settled intent makes of the payment


def test_an_approved_confirm_is_told_once() -> None:
    it = intent()
    books = account("PENDING", 0, 0, it)
    outcome = Outcome(True, seen=at_gateway())
    told = settle(books, it, outcome, NOW, uuid4)
    assert told == [PaymentSuccessMessage(order_id=ORDER, payment_key=KEY, amount=AMOUNT, status="SUCCESS")]
    assert books.payment is not None
    assert (books.payment.status, books.payment.captured, books.payment.approved_at) == ("APPROVED", AMOUNT, NOW)
    assert settle(books, it, outcome, NOW, uuid4) == []


def test_a_declined_confirm_is_told_as_failed() -> None:
    it = intent()
    books = account("PENDING", 0, 0, it)
    told = settle(books, it, Outcome(False, "REJECT_CARD_COMPANY", "no"), NOW, uuid4)
    assert told == [PaymentSuccessMessage(order_id=ORDER, payment_key=KEY, amount=AMOUNT, status="FAILED")]
    assert books.payment is not None
    assert (books.payment.status, books.payment.captured, books.payment.code) == ("FAILED", 0, "REJECT_CARD_COMPANY")


def test_a_decline_after_an_unanswered_attempt_is_looked_at_once_more() -> None:
    it = intent(attempt=2)
    books = account("PENDING", 0, 0, it)
    settle(books, it, Outcome(False, "EXCEED_MAX_AUTH_COUNT", "", at_gateway("IN_PROGRESS")), NOW, uuid4)
    [look] = [each for each in books.intents.values() if each.kind == "LOOK"]
    assert look.due_at is not None
    assert look.due_at > NOW
    assert approval.is_news(look.reason, books.payment, True)
    books.payable = PAYABLE
    settle(books, look, Outcome(True, seen=at_gateway()), NOW, uuid4)
    assert [each.amount for each in books.open_refunds] == [AMOUNT], "what was captured late goes back"


def test_an_instance_whose_attempt_was_overtaken_settles_nothing() -> None:
    it = intent()
    books = account("PENDING", 0, 0, replace(it, attempt=2))
    assert settle(books, it, Outcome(False, "REJECT_CARD_COMPANY", "no"), NOW, uuid4) == []
    assert books.payment is not None
    assert books.payment.status == "PENDING"


def test_a_capture_of_another_amount_fails_and_goes_back_if_the_order_proves_it_wrong() -> None:
    it = intent()
    wrong = at_gateway(total=AMOUNT + 500)
    step = after_find(it, Found(wrong), None)
    assert isinstance(step, Outcome)
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
    assert settle(books, back, Outcome(True, seen=gone), NOW, uuid4) == [], (
        "Order asked for nothing, so it is told nothing"
    )
    assert books.payment.refunded == AMOUNT + 500
    assert books.payment.status == "FAILED"


def test_a_paid_order_confirmed_again_with_a_wrong_amount_gets_no_money_back_where_order_has_said_nothing() -> None:
    it = intent(amount=1_000)
    books = account("PENDING", 0, 0, it)
    step = after_find(it, Found(at_gateway()), None)
    assert isinstance(step, Outcome)
    settle(books, it, step, NOW, uuid4)
    assert books.open_refunds == []


def test_a_refund_waits_for_the_confirm_and_is_answered_after_it() -> None:
    it = intent()
    books = account("PENDING", 0, 0, it)
    assert ask_refund(books, refund_request(), NOW, uuid4) == []
    [waiting] = books.open_refunds
    assert waiting.due_at is None
    later = NOW + timedelta(seconds=3)
    settle(books, it, Outcome(True, seen=at_gateway()), later, uuid4)
    [waiting] = books.open_refunds
    assert waiting.due_at == later
    assert books.payment is not None
    assert (books.payment.status, books.payment.refunded) == ("CANCEL_PENDING", 0)
    [told] = settle(books, waiting, Outcome(True, seen=at_gateway("CANCELED")), later, uuid4)
    assert told == PaymentCancelledMessage(order_id=ORDER, payment_key=KEY, amount=AMOUNT, status="SUCCESS")
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
    settle(books, part, Outcome(True, seen=at_gateway("PARTIAL_CANCELED", balance=7_000)), NOW, uuid4)
    assert books.payment is not None
    assert (books.payment.status, books.payment.refunded) == ("PARTLY_CANCELLED", 5_000)


def test_a_refused_refund_leaves_the_payment_approved() -> None:
    books = account("APPROVED", AMOUNT)
    ask_refund(books, refund_request(), NOW, uuid4)
    [asked] = books.open_refunds
    [told] = settle(books, asked, Outcome(False, "EXCEED_MAX_REFUND_DUE", "too late", at_gateway()), NOW, uuid4)
    assert isinstance(told, PaymentCancelledMessage)
    assert (told.status, told.message) == ("FAILED", "EXCEED_MAX_REFUND_DUE: too late")
    assert books.payment is not None
    assert books.payment.status == "APPROVED"


# What a webhook leads to


def test_a_refund_at_the_gateways_own_console_is_followed() -> None:
    look = intent("LOOK", 0)
    for seen, status in ((at_gateway("CANCELED"), "CANCELLED"), (at_gateway("PARTIAL_CANCELED"), "PARTLY_CANCELLED")):
        books = account("APPROVED", AMOUNT, 0, look)
        assert settle(books, look, Outcome(True, seen=seen), NOW, uuid4) == []
        assert books.payment is not None
        assert books.payment.status == status


def test_money_captured_after_a_failure_was_told_goes_back() -> None:
    look = intent("LOOK", 0)
    books = account("FAILED", 0, 0, look)
    books.payable = PAYABLE
    assert settle(books, look, Outcome(True, seen=at_gateway()), NOW, uuid4) == []
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
    told = settle(books, look, Outcome(True, seen=seen), NOW, uuid4)
    assert (books.payment and books.payment.status) == status
    assert [each.amount for each in books.open_refunds] == given_back
    assert len(told) == (status == "APPROVED")


def test_a_webhook_that_says_what_we_know_is_no_news() -> None:
    known = account("APPROVED", AMOUNT).payment
    assert not approval.is_news("DONE", known, True)
    assert approval.is_news("CANCELED", known, True)
    assert not approval.is_news("DONE", account().payment, True), "its confirm is open and asks itself"
    assert not approval.is_news("CANCELED", account("CANCELLED", AMOUNT, AMOUNT).payment, True)
    assert not approval.is_news("DONE", None, False)
    assert approval.is_news("DONE", None, True)


def test_words_of_the_gateway_are_kept_as_the_database_can_keep_them() -> None:
    it = intent()
    books = account("PENDING", 0, 0, it)
    settle(books, it, Outcome(False, "CODE", "a\0b" + "x" * 5_000), NOW, uuid4)
    assert books.payment is not None
    assert books.payment.message is not None
    assert "\0" not in books.payment.message
    assert len(books.payment.message) <= approval.TEXT_CHARS_MAX
