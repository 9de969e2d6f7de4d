"""The pure rule of Payment: what a refund asked for, or an intent settled, makes of a payment, and what goes out."""

from datetime import timedelta
from uuid import uuid4

import pytest
from msgspec.structs import replace

from ordersaga.contracts.messages import (
    Message,
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
from ordersaga.payment.model import Account, Payable
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


# What a webhook leads to


def test_a_refund_at_the_gateways_own_console_is_followed() -> None:
    look = intent("LOOK", 0)
    for seen, status in ((at_gateway("CANCELED"), "CANCELLED"), (at_gateway("PARTIAL_CANCELED"), "PARTLY_CANCELLED")):
        books = account("APPROVED", AMOUNT, 0, look)
        settle(books, look, Settled(True, seen=seen), NOW, uuid4)
        assert books.payment is not None
        assert books.payment.status == status


def listed(*refunds: GatewayRefund) -> GatewayPayment:
    """The payment with these refunds in its list."""
    left = AMOUNT - sum(each.cancel_amount for each in refunds if each.is_done)
    return replace(at_gateway("PARTIAL_CANCELED" if left else "CANCELED", balance=left), cancels=refunds)


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
    assert len(books.payment.message) <= approval.TEXT_CHARS_MAX
