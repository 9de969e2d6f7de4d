"""Every cell of the saga: every state that can come about, with every message; and the page that shows them."""

import pytest

from ordersaga.contracts import messages as m
from ordersaga.order.deadlines import TimePassed, due_at, waits
from ordersaga.order.resending import Resend
from ordersaga.order.returns import ReceiveReturn, RequestReturn, Return
from ordersaga.order.saga import decide
from tests.docs.saga_page import DEADLINES, DOCS, Step, documents, walk

ANSWERS_THAT_NAME_ONLY_THE_ORDER = m.StockRollbackCompletedMessage | m.StockRollbackFailedMessage


def test_the_page_shows_what_the_code_does_in_both_languages() -> None:
    for name, text in documents().items():
        assert (DOCS / name).read_text() == text, "run `make saga`"


@pytest.mark.parametrize(("products", "keys"), [(1, 2), (2, 1)])
def test_every_cell_keeps_what_the_saga_promises(products: int, keys: int) -> None:
    cells, checked = 0, None
    for step in walk(products, keys):
        cells += 1
        if step.after is step.before and not step.decision.outgoing:
            # Without an effect a step's promises depend on its state alone. So the first such step of a state stands for all of them.
            if step.before is checked:
                continue
            checked = step.before
        for promise in PROMISES:
            assert promise(step), (promise.__name__, step)
    assert cells > 50_000


def only_a_pending_order_changes_its_status_but_for_a_return(step: Step) -> bool:
    before, after = step.before.status, step.after.status
    if before in ("PENDING", after):
        return True
    return isinstance(step.arrival.message, Return | ReceiveReturn) and (before, after) == ("COMPLETED", "CANCELLED")


def a_repeat_has_no_effect(step: Step) -> bool:
    message = step.arrival.message
    if isinstance(message, ANSWERS_THAT_NAME_ONLY_THE_ORDER | TimePassed | Resend):
        return True  # the first may stand for a rollback sent meanwhile; time is no message that comes twice; a resend is meant to have one
    again = decide(step.after, message, step.arrival.at, DEADLINES)
    return again.order == step.after and not again.outgoing


def a_dead_order_asks_for_all_that_it_holds(step: Step) -> bool:
    facts = step.after.facts
    if not step.after.is_dead:
        return True
    in_flight = any(line.stock == "RELEASE_REQUESTED" for line in facts.lines)
    asked = in_flight or all(line.stock != "RESERVED" for line in facts.lines)
    return asked and all(payment.state != "PAID" for payment in facts.payments)


def a_living_order_keeps_one_payment_of_its_total_at_most(step: Step) -> bool:
    kept = [payment.amount for payment in step.after.facts.payments if payment.state == "PAID"]
    return step.after.is_dead or kept in ([], [step.after.total_amount])


def what_is_refunded_was_captured_and_is_not_back_yet(step: Step) -> bool:
    for message in step.decision.outgoing:
        if isinstance(message, m.PaymentCancelRequestedMessage):
            payment = step.after.payment(message.payment_key)
            if payment is None or (payment.left, payment.state) != (message.amount, "REFUND_REQUESTED"):
                return False
    return True


def what_is_rolled_back_was_reserved_and_one_rollback_is_in_flight(step: Step) -> bool:
    rollbacks = [each for each in step.decision.outgoing if isinstance(each, m.StockRollbackRequestedMessage)]
    asked = {line.product_id for line in step.after.facts.lines if line.stock == "RELEASE_REQUESTED"}
    return not rollbacks or (len(rollbacks) == 1 and {item.product_id for item in rollbacks[0].items} == asked)


def only_a_reserved_and_paid_order_is_delivered(step: Step) -> bool:
    asks = any(isinstance(each, m.DeliveryRequestMessage) for each in step.decision.outgoing)
    paid = step.after.is_paid or any(each.meant >= each.amount for each in step.after.facts.payments)
    ready = step.after.status == "PENDING" and step.after.is_reserved and paid
    return not asks or ready


def only_an_order_whose_total_is_right_is_payable_or_delivered(step: Step) -> bool:
    goes_on = [
        each
        for each in step.decision.outgoing
        if isinstance(each, m.DeliveryRequestMessage)
        or (isinstance(each, m.OrderPayableMessage) and each.status == "ORD0001")
    ]
    return not goes_on or step.after.facts.listed_total == step.after.total_amount


def asking_for_one_answer_leaves_the_others_as_they_were(step: Step) -> bool:
    """Of what is still awaited, only what goes out was asked for."""
    names = {type(each).__name__.removesuffix("Message") for each in step.decision.outgoing}
    requests = {
        "stock": "StockDecreaseRequest",
        "delivery": "DeliveryRequest",
        "release": "StockRollbackRequested",
        "refund": "PaymentCancelRequested",
    }
    still = {(each.awaited, each.about) for each in waits(step.after, DEADLINES)}
    return all(
        step.after.ask(each.awaited, each.about) == step.before.ask(each.awaited, each.about)
        for each in waits(step.before, DEADLINES)
        if each.awaited in requests and requests[each.awaited] not in names and (each.awaited, each.about) in still
    )


def money_that_went_back_unasked_waits_for_a_person_and_holds_the_goods(step: Step) -> bool:
    asks = any(isinstance(each, m.DeliveryRequestMessage) for each in step.decision.outgoing)
    return not step.after.unmeant or (step.after.facts.flag is not None and not asks)


def nothing_is_asked_back_twice(step: Step) -> bool:
    """What is asked back is held: never what went back already."""
    asked = [each for each in step.decision.outgoing if isinstance(each, m.PaymentCancelRequestedMessage)]
    return all(each.amount > 0 for each in asked) and len({each.payment_key for each in asked}) == len(asked)


def an_unpaid_order_is_never_delivered_for_money_that_went_back(step: Step) -> bool:
    gone = step.after.facts.payments and all(each.state == "REFUNDED" for each in step.after.facts.payments)
    return not gone or step.after.is_dead or step.after.facts.delivery != "NOT_REQUESTED"


def an_order_is_told_completed_when_it_becomes_so(step: Step) -> bool:
    told = sum(isinstance(each, m.OrderCompletedMessage) for each in step.decision.outgoing)
    becomes = step.after.status == "COMPLETED" and step.before.status != "COMPLETED"
    return told == int(becomes)


def a_return_that_needs_the_goods_gives_nothing_back_before_they_came(step: Step) -> bool:
    return not isinstance(step.arrival.message, RequestReturn) or not step.decision.outgoing


def who_is_refused_changes_nothing(step: Step) -> bool:
    return not step.decision.refusal or (step.after == step.before and not step.decision.outgoing)


def who_waits_has_a_timer(step: Step) -> bool:
    if step.after is step.before or not waits(step.after, DEADLINES):
        return True
    wanted, armed = due_at(waits(step.after, DEADLINES)), step.after.facts.look_at
    return wanted is not None and armed is not None and armed <= wanted


PROMISES = (
    only_a_pending_order_changes_its_status_but_for_a_return,
    a_repeat_has_no_effect,
    a_dead_order_asks_for_all_that_it_holds,
    a_living_order_keeps_one_payment_of_its_total_at_most,
    what_is_refunded_was_captured_and_is_not_back_yet,
    what_is_rolled_back_was_reserved_and_one_rollback_is_in_flight,
    only_a_reserved_and_paid_order_is_delivered,
    only_an_order_whose_total_is_right_is_payable_or_delivered,
    asking_for_one_answer_leaves_the_others_as_they_were,
    money_that_went_back_unasked_waits_for_a_person_and_holds_the_goods,
    nothing_is_asked_back_twice,
    an_unpaid_order_is_never_delivered_for_money_that_went_back,
    an_order_is_told_completed_when_it_becomes_so,
    a_return_that_needs_the_goods_gives_nothing_back_before_they_came,
    who_is_refused_changes_nothing,
    who_waits_has_a_timer,
)
