"""The pure rule of Payment: which confirm is allowed, and what each answer of the gateway makes of an intent."""

from itertools import product
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from ordersaga.http.problems import REFUSAL_STATUS
from ordersaga.payment import approval
from ordersaga.payment.approval import Call, CallAnswer, Find, Later, Settled, Step, after_call, after_find
from ordersaga.payment.gateway import (
    AlreadyProcessed,
    Approved,
    Cancelled,
    Declined,
    FindAnswer,
    Found,
    GatewayRefund,
    NotFound,
    OurFault,
    Retry,
    Unknown,
)
from ordersaga.payment.model import Confirm, Intent, IntentKind, Payable
from tests.unit.payment_cases import (
    AMOUNT,
    KEY,
    ME,
    NOW,
    ORDER,
    OTHER_ORDER,
    PAYABLE,
    SOMEBODY,
    account,
    at_gateway,
    intent,
)

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
    AlreadyProcessed("ALREADY_PROCESSED_PAYMENT"),
    OurFault("UNAUTHORIZED_KEY", ""),
)


def confirm(amount: int = AMOUNT, caller: UUID = ME, order: UUID = ORDER, operator: bool = False) -> Confirm:
    return Confirm(uuid4(), KEY, order, amount, caller, operator)


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
    assert REFUSAL_STATUS[refused.kind] == status


def test_a_stranger_learns_nothing_about_the_order() -> None:
    strangers = confirm(caller=SOMEBODY, amount=1_000)
    dead = replace(PAYABLE, status="ORD0003")
    assert approval.refusal(strangers, PAYABLE, NOW, False) == approval.refusal(strangers, dead, NOW, False)


def test_without_orders_word_nothing_is_checked_unless_it_is_required() -> None:
    assert approval.refusal(confirm(), None, NOW, False) is None
    assert approval.refusal(confirm(), None, NOW, True) is approval.ORDER_NOT_PUBLISHED


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
        assert REFUSAL_STATUS[refused.kind] == status


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
    assert all(isinstance(step, Call | Later | Settled) for *_, step in every_cell())


def test_the_idempotency_key_changes_only_after_an_unknown_or_refused_call_and_a_get_that_shows_nothing_done() -> None:
    for it, seen, answer, step in every_cell():
        if isinstance(step, Call) and step.attempt > it.attempt:
            assert isinstance(answer, Unknown) or (isinstance(answer, Declined) and it.kind == "REFUND")
            assert isinstance(seen, Found | NotFound)
            if it.kind == "CONFIRM" and isinstance(seen, Found):
                assert seen.payment.status in ("READY", "IN_PROGRESS")


def test_a_confirm_is_approved_only_for_a_capture_of_equal_order_amount_and_currency_of_which_something_is_held() -> (
    None
):
    for it, seen, _, step in every_cell():
        if it.kind == "CONFIRM" and isinstance(step, Settled):
            right = isinstance(seen, Found) and seen.payment in (at_gateway(), at_gateway("PARTIAL_CANCELED"))
            assert step.done is right
    for status in ("DONE", "PARTIAL_CANCELED"):
        step = after_find(intent(), Found(replace(at_gateway(status), currency="USD")), None)
        assert isinstance(step, Settled)
        assert not step.done


def test_a_confirm_whose_money_is_held_is_never_put_off_or_sent_again() -> None:
    for it, seen, _, step in every_cell():
        if it.kind == "CONFIRM" and isinstance(seen, Found) and seen.payment.status == "DONE":
            assert isinstance(step, Settled)


def test_another_orders_payment_is_never_written_down() -> None:
    for it, seen, _, step in every_cell():
        if it.kind == "CONFIRM" and isinstance(seen, Found) and seen.payment.order_id != str(ORDER):
            assert step == Settled(False, "FOREIGN", "the payment key belongs to another order")


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
        ("CONFIRM", "REFUND"), (Unknown("PROVIDER_ERROR", ""), AlreadyProcessed("ALREADY_CANCELED_PAYMENT"))
    ):
        assert after_call(intent(kind), Call(1, AMOUNT, AMOUNT), answer) == Find()  # type: ignore[arg-type]


def test_a_decline_is_final_unless_an_earlier_attempt_may_have_captured() -> None:
    declined = Declined("REJECT_CARD_COMPANY", "no")
    assert after_call(intent(), Call(1, AMOUNT), declined) == Settled(False, "REJECT_CARD_COMPANY", "no")
    assert after_call(intent(attempt=2), Call(2, AMOUNT), declined) == Find()
    captured = after_find(intent(attempt=2), Found(at_gateway()), (Call(2, AMOUNT), declined))
    assert captured == Settled(True, seen=at_gateway())
    open_still = after_find(intent(attempt=2), Found(at_gateway("IN_PROGRESS")), (Call(2, AMOUNT), declined))
    assert isinstance(open_still, Settled)
    assert not open_still.done
    assert open_still.code == "REJECT_CARD_COMPANY"


def test_a_deposit_that_is_awaited_is_waited_for() -> None:
    for last in (None, (Call(1, AMOUNT), Unknown("MISMATCHED_ANSWER", ""))):
        assert isinstance(after_find(intent(), Found(at_gateway("WAITING_FOR_DEPOSIT")), last), Later)


def test_a_refund_already_made_is_recognised_by_its_id_not_by_its_amount() -> None:
    it = intent("REFUND", 5_000)
    another = GatewayRefund(5_000, "by the console")
    mine = GatewayRefund(5_000, approval.refund_reason(it))
    seen = replace(at_gateway("PARTIAL_CANCELED", balance=AMOUNT - 5_000), cancels=(another,))
    assert after_find(it, Found(seen), None) == Call(1, 5_000, AMOUNT - 5_000)
    seen = replace(seen, cancels=(another, mine), balance_amount=AMOUNT - 10_000)
    assert after_find(it, Found(seen), None) == Settled(True, seen=seen)


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
    assert isinstance(part, Settled)
    assert not part.done


def test_a_refund_above_what_was_captured_is_refused_even_when_all_went_back() -> None:
    step = after_find(intent("REFUND", AMOUNT + 1), Found(at_gateway("CANCELED")), None)
    assert isinstance(step, Settled)
    assert not step.done


def test_approval_answers_are_outcomes() -> None:
    assert after_call(intent(), Call(1, AMOUNT), Approved(at_gateway())) == Settled(True, seen=at_gateway())
    gone = at_gateway("CANCELED")
    assert after_call(intent("REFUND"), Call(1, AMOUNT, AMOUNT), Cancelled(gone)) == Settled(True, seen=gone)


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [("CONFIRM", "IN_PROGRESS", "ALREADY_PROCESSED_PAYMENT"), ("REFUND", "DONE", "ALREADY_CANCELED_PAYMENT")],
)
def test_what_is_said_to_be_done_and_is_not_is_asked_for_later_under_a_new_key(
    kind: IntentKind, status: str, code: str
) -> None:
    mine = intent(kind)
    step = after_find(mine, Found(at_gateway(status)), (Call(mine.attempt, AMOUNT, AMOUNT), AlreadyProcessed(code)))
    assert isinstance(step, Later)
    assert step.attempt == mine.attempt + 1
    assert step.wait_s > 0
