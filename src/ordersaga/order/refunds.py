"""Decides what a refund means for an order: a refund that Order asked for, or one that a person made at the gateway's dashboard.

Each message may say how much of a payment the gateway still holds. That amount only falls, so Order keeps the smallest, and a repeated or
late message changes nothing.
"""

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.contracts import messages as m
from ordersaga.contracts.answers import words
from ordersaga.order.answers import cancelled_without_its_money
from ordersaga.order.decision import Decision, anomaly, by, duplicate, refused
from ordersaga.order.model import Order, OrderPayment, PaymentState
from ordersaga.order.outgoing import refund_id
from ordersaga.said import say


class AcceptRefund(Struct, frozen=True):
    """An operator accepts the refunds of this order that were made at the gateway's dashboard."""

    who: str
    why: str


def refund_answered(order: Order, answer: m.PaymentCancelledMessage) -> Decision:
    """The answer to a refund that this order asked for, or news of a refund at the gateway's dashboard."""
    known = order.payment(answer.payment_key)
    if known is None:
        if answer.balance_amount is None:
            unknown = say(
                "order.refund_unknown",
                "payment {payment}, which this order does not know, was refunded",
                payment=answer.payment_key,
            )
            return anomaly(order, unknown)
        uncaptured = OrderPayment(answer.payment_key, 0, "AWAITING", held=answer.balance_amount)
        note = say("order.refund_first", "a refund came before its payment")
        return Decision(order.with_payment(uncaptured), note=note)
    if known.state == "REFUNDED":
        return duplicate(order)
    left = _left(known, answer)
    if known.state == "AWAITING":
        return Decision(order.with_payment(replace(known, held=left))) if left < known.left else duplicate(order)
    if known.state not in ("REFUND_REQUESTED", "REFUND_FAILED"):
        return _refunded_unasked(order, known, left, answer)
    if left == 0:
        return Decision(order.with_payment(replace(known, state="REFUNDED", held=0)))
    if left < known.left:
        # FAILED with less held than the request's amount: the gateway refused only the amount. Set the payment to PAID, so that what is
        # left is refunded.
        state: PaymentState = "PAID" if answer.status == "FAILED" else known.state
        note = say("order.still_held", "{left} of {amount} won are still held", left=left, amount=known.amount)
        return Decision(order.with_payment(replace(known, state=state, held=left)), note=note)
    return _not_refunded(order, known, left, answer)


def _not_refunded(order: Order, known: OrderPayment, left: int, answer: m.PaymentCancelledMessage) -> Decision:
    """The gateway holds as much as before: the refund failed and the order is flagged, or the answer is a duplicate."""
    is_of_this_refund = answer.request_id in (None, refund_id(order.order_id, known))
    if answer.status == "SUCCESS" and answer.balance_amount is None:
        flag = say("order.refund_short", "only {amount} of {left} won were refunded", amount=answer.amount, left=left)
    elif answer.status == "FAILED" and known.state != "REFUND_FAILED" and is_of_this_refund:
        flag = say("order.refund_refused", "payment refuses the refund: ") + words(answer.message)
    else:
        return duplicate(order)
    return Decision(order.with_payment(replace(known, state="REFUND_FAILED")).flagged(flag), note=flag)


def _left(known: OrderPayment, answer: m.PaymentCancelledMessage) -> int:
    """How many won the gateway still holds after this answer.

    An answer without a balance counts only if it refunds all that is held: a second answer about a part may be a repeat or a further part.
    """
    if answer.balance_amount is not None:
        return min(known.left, answer.balance_amount)
    return 0 if answer.status == "SUCCESS" and answer.amount >= known.left else known.left


def _refunded_unasked(order: Order, known: OrderPayment, left: int, answer: m.PaymentCancelledMessage) -> Decision:
    """Money went back without this order having asked. All of it, before delivery is requested, cancels the order.

    A part, or all of it later, waits for an operator: the parcel may be on its way.
    """
    if known.state == "DECLINED" or left == known.left:
        if answer.balance_amount is not None and known.state != "DECLINED":
            return duplicate(order)
        unasked = say(
            "order.refund_unasked",
            "a refund that this order did not ask for; payment {payment} is {state}",
            payment=known.payment_key,
            state=known.state,
        )
        return anomaly(order, unasked)
    state: PaymentState = "PAID" if left else "REFUNDED"
    note = say(
        "order.refunded_unasked",
        "{back} won of payment {payment} went back at the gateway, {left} are still held",
        back=known.left - left,
        payment=known.payment_key,
        left=left,
    )
    order = order.with_payment(replace(known, state=state, held=left))
    return Decision(cancelled_without_its_money(order), note=note)


def accept_refund(order: Order, command: AcceptRefund) -> Decision:
    """The order goes on with the money that is still held, and is not flagged any more."""
    if not order.unmeant:
        if all(each.given_back <= 0 for each in order.facts.payments):
            return refused(order, say("refused.nothing_back", "no money of this order went back"))
        return duplicate(order)
    for each in order.unmeant:
        order = order.with_payment(replace(each, meant=each.given_back))
    return Decision(order.flagged(None), note=by(command))
