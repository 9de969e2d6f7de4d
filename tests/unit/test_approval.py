"""The pure rule of Payment: what is allowed, what each answer makes of an intent, what a settled intent makes of the payment."""

from datetime import UTC, datetime, timedelta
from itertools import product
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from ordersaga.contracts.messages import PaymentCancelledMessage, PaymentCancelRequestedMessage, PaymentSuccessMessage
from ordersaga.payment import approval
from ordersaga.payment.approval import Ask, Call, CallAnswer, Later, Outcome, Step, after_call, after_find
from ordersaga.payment.gateway import (
    Approved,
    Cancelled,
    Declined,
    FindAnswer,
    Found,
    GatewayPayment,
    NotFound,
    OurFault,
    Refund,
    Retry,
    TakeOver,
    Unknown,
)
from ordersaga.payment.model import Account, Confirm, Intent, IntentKind, Payable, Payment
from ordersaga.payment.settlement import ask_refund, settle

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ORDER, OTHER_ORDER, ME, SOMEBODY = (UUID(int=n) for n in range(1, 5))
KEY, AMOUNT = "tgen_1", 12_000
PAYABLE = Payable(ORDER, ME, AMOUNT, NOW + timedelta(minutes=10), "ORD0001")
STATUSES = [
    "DONE",
    "CANCELED",
    "PARTIAL_CANCELED",
    "READY",
    "IN_PROGRESS",
    "WAITING_FOR_DEPOSIT",
    "ABORTED",
    "EXPIRED",
    "SOMETHING_NEW",
]
CALL_ANSWERS: tuple[CallAnswer, ...] = (
    Declined("REJECT_CARD_COMPANY", "no"),
    Unknown("PROVIDER_ERROR", ""),
    Retry("TIMEOUT", 1.0),
    TakeOver("ALREADY_PROCESSED_PAYMENT"),
    OurFault("UNAUTHORIZED_KEY", ""),
)


def confirm(amount: int = AMOUNT, caller: UUID = ME, order: UUID = ORDER, operator: bool = False) -> Confirm:
    return Confirm(uuid4(), KEY, order, amount, caller, operator)


def intent(kind: IntentKind = "CONFIRM", amount: int = AMOUNT, attempt: int = 1) -> Intent:
    return Intent(UUID(int=99), kind, KEY, ORDER, amount, "OUT_OF_STOCK", NOW, NOW, attempt=attempt)


def at_gateway(
    status: str = "DONE", total: int = AMOUNT, balance: int | None = None, order: UUID = ORDER
) -> GatewayPayment:
    held = {"CANCELED": 0, "PARTIAL_CANCELED": total - 1_000}.get(status, total) if balance is None else balance
    return GatewayPayment(KEY, str(order), status, total, held, "KRW")


def account(status: str = "PENDING", captured: int = 0, refunded: int = 0, *intents: Intent) -> Account:
    payment = Payment(KEY, ORDER, ME, AMOUNT, status, NOW, captured, refunded)  # type: ignore[arg-type]
    return Account(payment, {each.id: each for each in intents})


def refund_request(amount: int = AMOUNT, key: str = KEY, order: UUID = ORDER) -> PaymentCancelRequestedMessage:
    return PaymentCancelRequestedMessage(order_id=order, payment_key=key, amount=amount, reason="OUT_OF_STOCK")


# Which confirm is allowed


def test_a_confirm_that_fits_the_order_is_allowed() -> None:
    assert approval.refusal(confirm(), PAYABLE, NOW, True) is None
    assert approval.refusal(confirm(caller=SOMEBODY, operator=True), PAYABLE, NOW, True) is None


@pytest.mark.parametrize(
    ("asked", "payable", "status"),
    [
        (confirm(amount=AMOUNT + 1), PAYABLE, 422),
        (confirm(amount=AMOUNT - 1), PAYABLE, 422),
        (confirm(caller=SOMEBODY), PAYABLE, 404),
        (confirm(), replace(PAYABLE, status="ORD0002"), 409),
        (confirm(), replace(PAYABLE, status="ORD0003"), 409),
        (confirm(), replace(PAYABLE, status="ORD0004"), 409),
        (confirm(), replace(PAYABLE, pay_before=NOW), 409),
    ],
)
def test_a_confirm_against_the_orders_word_is_refused(asked: Confirm, payable: Payable, status: int) -> None:
    refused = approval.refusal(asked, payable, NOW, False)
    assert refused is not None
    assert refused.status == status


def test_a_stranger_learns_nothing_about_the_order() -> None:
    strangers = confirm(caller=SOMEBODY, amount=1_000)
    dead = replace(PAYABLE, status="ORD0003")
    assert approval.refusal(strangers, PAYABLE, NOW, False) == approval.refusal(strangers, dead, NOW, False)


def test_without_orders_word_nothing_is_checked_unless_it_is_required() -> None:
    assert approval.refusal(confirm(), None, NOW, False) is None
    assert approval.refusal(confirm(), None, NOW, True) is approval.ORDER_NOT_HEARD_OF


def test_a_known_payment_key_answers_its_repeat_and_nothing_else() -> None:
    payment = account("APPROVED", AMOUNT).payment
    assert payment is not None
    assert approval.repeat_refusal(confirm(), payment) is None
    for other, status in (
        (confirm(amount=AMOUNT + 1), 409),
        (confirm(order=OTHER_ORDER), 409),
        (confirm(caller=SOMEBODY), 404),
    ):
        refused = approval.repeat_refusal(other, payment)
        assert refused is not None
        assert refused.status == status


# What an answer makes of an intent


def finds() -> list[FindAnswer]:
    seen: list[FindAnswer] = [NotFound("NOT_FOUND_PAYMENT"), Retry("TIMEOUT", 1.0), OurFault("UNAUTHORIZED_KEY", "")]
    for status, total, order in product(STATUSES, (AMOUNT, AMOUNT + 1), (ORDER, OTHER_ORDER)):
        seen.append(Found(at_gateway(status, total, order=order)))
    return seen


def every_cell() -> list[tuple[Intent, FindAnswer, CallAnswer | None, Step]]:
    cells = []
    for kind, seen, answer in product(("CONFIRM", "REFUND"), finds(), (None, *CALL_ANSWERS)):
        it = intent(kind)  # type: ignore[arg-type]
        last = None if answer is None else (Call(1, AMOUNT, AMOUNT), answer)
        cells.append((it, seen, answer, after_find(it, seen, last)))
    return cells


def test_every_answer_after_every_call_has_a_next_step() -> None:
    assert len(every_cell()) == 2 * (3 + 4 * len(STATUSES)) * 6
    assert all(isinstance(step, Call | Later | Outcome) for *_, step in every_cell())


def test_the_idempotency_key_changes_only_after_an_unknown_or_refused_call_and_a_get_that_shows_nothing_done() -> None:
    for it, seen, answer, step in every_cell():
        if isinstance(step, Call) and step.attempt > it.attempt:
            assert isinstance(answer, Unknown) or (isinstance(answer, Declined) and it.kind == "REFUND")
            assert isinstance(seen, Found | NotFound)
            if it.kind == "CONFIRM" and isinstance(seen, Found):
                assert seen.payment.status in ("READY", "IN_PROGRESS")


def test_a_confirm_is_approved_only_for_done_with_equal_order_amount_and_currency() -> None:
    for it, seen, _, step in every_cell():
        if it.kind == "CONFIRM" and isinstance(step, Outcome):
            right = isinstance(seen, Found) and seen.payment == at_gateway()
            assert step.fine is right
    dollars = replace(at_gateway(), currency="USD")
    step = after_find(intent(), Found(dollars), None)
    assert isinstance(step, Outcome)
    assert not step.fine


def test_a_confirm_whose_money_is_held_is_never_put_off_or_sent_again() -> None:
    for it, seen, _, step in every_cell():
        if it.kind == "CONFIRM" and isinstance(seen, Found) and seen.payment.status == "DONE":
            assert isinstance(step, Outcome)


def test_another_orders_payment_is_never_written_down() -> None:
    for it, seen, _, step in every_cell():
        if it.kind == "CONFIRM" and isinstance(seen, Found) and seen.payment.order_id != str(ORDER):
            assert step == Outcome(False, "FOREIGN", "the payment key belongs to another order")


def test_a_refund_is_never_sent_for_another_orders_payment_nor_above_what_is_held() -> None:
    for it, seen, _, step in every_cell():
        if it.kind == "REFUND" and isinstance(step, Call):
            assert isinstance(seen, Found)
            assert seen.payment.order_id == str(ORDER)
            assert 0 < step.amount <= seen.payment.balance_amount
            assert step.refundable_amount == seen.payment.balance_amount


def test_our_own_fault_leaves_the_intent_open() -> None:
    fault = OurFault("UNAUTHORIZED_KEY", "")
    for kind in ("CONFIRM", "REFUND"):
        for step in (after_call(intent(kind), Call(1, AMOUNT), fault), after_find(intent(kind), fault, None)):
            assert isinstance(step, Later)
            assert step.our_fault
            assert step.attempt == 1


def test_a_lost_answer_is_asked_for_again_with_the_same_key_and_growing_patience() -> None:
    waits = []
    for tries in range(12):
        step = after_call(replace(intent(), tries=tries), Call(1, AMOUNT), Retry("TIMEOUT", 1.0))
        assert isinstance(step, Later)
        assert step.attempt == 1
        waits.append(step.wait_s)
    assert waits == sorted(waits)
    assert waits[0] == 1.0
    assert waits[-1] == approval.BACKOFF_S_MAX


def test_an_unknown_outcome_is_looked_up_before_anything_else_is_done() -> None:
    for kind, answer in product(
        ("CONFIRM", "REFUND"), (Unknown("PROVIDER_ERROR", ""), TakeOver("ALREADY_CANCELED_PAYMENT"))
    ):
        assert after_call(intent(kind), Call(1, AMOUNT, AMOUNT), answer) == Ask()  # type: ignore[arg-type]


def test_a_decline_is_final_unless_an_earlier_attempt_may_have_captured() -> None:
    declined = Declined("REJECT_CARD_COMPANY", "no")
    assert after_call(intent(), Call(1, AMOUNT), declined) == Outcome(False, "REJECT_CARD_COMPANY", "no")
    assert after_call(intent(attempt=2), Call(2, AMOUNT), declined) == Ask()
    captured = after_find(intent(attempt=2), Found(at_gateway()), (Call(2, AMOUNT), declined))
    assert captured == Outcome(True, seen=at_gateway())
    open_still = after_find(intent(attempt=2), Found(at_gateway("IN_PROGRESS")), (Call(2, AMOUNT), declined))
    assert isinstance(open_still, Outcome)
    assert not open_still.fine
    assert open_still.code == "REJECT_CARD_COMPANY"


def test_a_deposit_that_is_awaited_is_waited_for() -> None:
    for last in (None, (Call(1, AMOUNT), Unknown("MISMATCHED_ANSWER", ""))):
        assert isinstance(after_find(intent(), Found(at_gateway("WAITING_FOR_DEPOSIT")), last), Later)


def test_a_refund_already_made_is_recognised_by_its_id_not_by_its_amount() -> None:
    it = intent("REFUND", 5_000)
    another = Refund(5_000, "by the console")
    mine = Refund(5_000, approval.refund_reason(it))
    seen = replace(at_gateway("PARTIAL_CANCELED", balance=AMOUNT - 5_000), cancels=(another,))
    assert after_find(it, Found(seen), None) == Call(1, 5_000, AMOUNT - 5_000)
    seen = replace(seen, cancels=(another, mine), balance_amount=AMOUNT - 10_000)
    assert after_find(it, Found(seen), None) == Outcome(True, seen=seen)


def test_a_refusal_stored_for_what_was_held_before_does_not_answer_for_what_is_held_now() -> None:
    it = intent("REFUND", 5_000)
    keys = {approval.idempotency_key(it, Call(1, 5_000, held)) for held in (12_000, 7_000)}
    assert len(keys) == 2


def test_the_reason_of_a_refund_fits_the_gateways_200_characters_whatever_order_sends() -> None:
    assert len(approval.refund_reason(replace(intent("REFUND"), reason="x" * 5_000))) <= 200


def test_a_full_refund_gives_back_what_is_left_after_the_console_gave_back_a_part() -> None:
    seen = at_gateway("PARTIAL_CANCELED", balance=7_000)
    assert after_find(intent("REFUND"), Found(seen), None) == Call(1, 7_000, 7_000)
    part = after_find(intent("REFUND", 8_000), Found(seen), None)
    assert isinstance(part, Outcome)
    assert not part.fine


def test_a_refund_above_what_was_captured_is_refused_even_when_all_went_back() -> None:
    step = after_find(intent("REFUND", AMOUNT + 1), Found(at_gateway("CANCELED")), None)
    assert isinstance(step, Outcome)
    assert not step.fine


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


def test_approval_answers_are_outcomes() -> None:
    assert after_call(intent(), Call(1, AMOUNT), Approved(at_gateway())) == Outcome(True, seen=at_gateway())
    gone = at_gateway("CANCELED")
    assert after_call(intent("REFUND"), Call(1, AMOUNT, AMOUNT), Cancelled(gone)) == Outcome(True, seen=gone)
