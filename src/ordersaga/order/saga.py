"""The order process as one pure function: `decide(order, message) -> (order, what goes out)`, no I/O, total over every pair.

A message first becomes a fact about the order (`_learn`: one case per message, the rows of the table in the architecture notes).
What follows from the facts is the same whatever came last and in whatever order (`_follow`): ready orders are delivered, dead ones
give back what they hold. That is why every arrival order comes out alike.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.contracts import messages as m
from ordersaga.order.deadlines import Deadlines, Wait, overdue, waits
from ordersaga.order.model import Ask, Awaited, Order, Payment, StockState
from ordersaga.order.outgoing import (
    completed,
    delivery_request,
    payable,
    refund_request,
    rollback,
    rollback_id,
    stock_request,
)


class CancelBeforeDelivery(Struct, frozen=True):
    """The customer does not want the order any more."""


class Return(Struct, frozen=True):
    """The customer gives a completed order back."""


class Priced(Struct, frozen=True):
    """The prices of all products of an order that was placed without are known. Won."""

    listed_total: int


class TimePassed(Struct, frozen=True):
    """The order's timer has fired."""


Answer: TypeAlias = (
    m.StockResponseMessage
    | m.PaymentSuccessMessage
    | m.DeliveryStartMessage
    | m.StockRollbackCompletedMessage
    | m.StockRollbackFailedMessage
    | m.PaymentCancelledMessage
)
Input: TypeAlias = Answer | CancelBeforeDelivery | Return | Priced | TimePassed

DEADLINES: Final = Deadlines()
DUPLICATE: Final = "a duplicate: no effect"
ANOMALY: Final = "an anomaly"


class Decision(Struct, frozen=True):
    """The order as it is now, what goes out, and a note where there is something to say.

    `refused`: a customer may not do this now.
    """

    order: Order
    outgoing: tuple[m.Message, ...] = ()
    note: str | None = None
    refused: bool = False


def place(order: Order, deadlines: Deadlines = DEADLINES) -> Decision:
    """Steps 1 and 2: ask Stock for the products, and tell Payment who may pay what, once the total is known to be right."""
    request = stock_request(order)
    return _awake(order, (request,) if order.facts.listed_total is None else (request, payable(order)), None, deadlines)


def decide(
    order: Order, message: Input, now: datetime, deadlines: Deadlines = DEADLINES, answers: str | None = None
) -> Decision:
    """What a message makes of an order. `answers`: the `message-id` of the rollback that it answers, where its sender says so."""
    if answers is not None and _is_answered(order, answers):
        return Decision(order, note=DUPLICATE)
    learned = _learn(order, message, now, deadlines)
    if learned.order is order:
        return learned
    after, outgoing = _follow(order, learned.order, now)
    return _awake(after, learned.outgoing + outgoing, learned.note, deadlines)


def _awake(order: Order, outgoing: tuple[m.Message, ...], note: str | None, deadlines: Deadlines) -> Decision:
    """See to it that the timer fires when the first of the awaited answers is overdue; one that is set for earlier does as well.

    An order that waits for nothing has come to its end: nobody has to look at it any more, and it has no timer.
    """
    waiting = waits(order, deadlines)
    order = _with_asks_of(order, waiting)
    wanted, armed = min((each.until for each in waiting), default=None), order.facts.look_at
    if wanted is None and order.facts.flag is not None:
        order = order.flagged(None)
    if wanted == armed or (wanted is not None and armed is not None and armed <= wanted):
        return Decision(order, outgoing, note)
    return Decision(replace(order, facts=replace(order.facts, look_at=wanted)), outgoing, note)


def _with_asks_of(order: Order, waiting: Sequence[Wait]) -> Order:
    """The order without what it says of answers that have come. A dead order that has asked Stock often enough waits for it no more,
    and that it has stays known."""
    if not order.facts.asks:
        return order
    awaited: set[tuple[Awaited, str | None]] = {(each.awaited, each.about) for each in waiting}
    if any(line.stock == "REQUESTED" for line in order.facts.lines):
        awaited.add(("stock", None))
    kept = tuple(each for each in order.facts.asks if (each.awaited, each.about) in awaited)
    return order if len(kept) == len(order.facts.asks) else replace(order, facts=replace(order.facts, asks=kept))


def _learn(order: Order, message: Input, now: datetime, deadlines: Deadlines) -> Decision:
    match message:
        case m.StockResponseMessage():
            return _stock_answered(order, message)
        case m.PaymentSuccessMessage(status="SUCCESS"):
            return _paid(order, message)
        case m.PaymentSuccessMessage():
            return _declined(order, message)
        case m.DeliveryStartMessage():
            return _delivery_answered(order, message)
        case m.StockRollbackCompletedMessage():
            return _release_answered(order, "RELEASED", None)
        case m.StockRollbackFailedMessage():
            return _release_answered(order, "RELEASE_FAILED", message.error_message)
        case m.PaymentCancelledMessage():
            return _refund_answered(order, message)
        case CancelBeforeDelivery():
            return _cancelled(order)
        case Return():
            return _returned(order)
        case Priced():
            return _priced(order, message.listed_total)
        case TimePassed():
            return Decision(*overdue(order, now, deadlines))


# What each message says ---------------------------------------------------------------------------------------------------


def _stock_answered(order: Order, answer: m.StockResponseMessage) -> Decision:
    """Per product, or without a product for the whole order; counts only where an answer is awaited."""
    meant = [line for line in order.facts.lines if answer.product_id in (None, line.product_id)]
    if not meant:
        return _anomaly(order, f"stock answered for product {answer.product_id}, which is not in the order")
    state: StockState = "RESERVED" if answer.status == "SUCCESS" else "REJECTED"
    awaited = {line.product_id for line in meant if line.stock == "REQUESTED"}
    if not awaited:
        contrary = any((line.stock == "REJECTED") != (state == "REJECTED") for line in meant)
        return (
            _anomaly(order, f"stock says {answer.status} after the opposite")
            if contrary
            else Decision(order, note=DUPLICATE)
        )
    lines = tuple(replace(line, stock=state) if line.product_id in awaited else line for line in order.facts.lines)
    order = order.with_lines(lines)
    if state == "REJECTED" and order.status == "PENDING":
        order = order.ended("FAILED", "OUT_OF_STOCK", answer.message)
    return Decision(order, note=answer.message if state == "REJECTED" else None)


def _paid(order: Order, answer: m.PaymentSuccessMessage) -> Decision:
    """The first payment of the right amount pays a pending order; any other is refunded at what it captured."""
    key, amount = answer.payment_key or "", answer.amount or 0
    known = order.payment(key)
    if known is not None and known.state != "DECLINED":
        same = known.amount == amount
        return (
            Decision(order, note=DUPLICATE)
            if same
            else _anomaly(order, f"payment {key} was {known.amount} won before and is {amount} now")
        )
    was_paid = order.is_paid
    order = order.with_payment(Payment(key, amount, "PAID"))
    if order.status == "PENDING" and not was_paid and amount != order.total_amount:
        detail = f"{amount} won were paid for an order of {order.total_amount} won"
        return Decision(order.ended("FAILED", "AMOUNT_MISMATCH", detail), note=detail)
    return Decision(order, note="a further payment" if was_paid else None)


def _declined(order: Order, answer: m.PaymentSuccessMessage) -> Decision:
    key = answer.payment_key or ""
    if order.payment(key) is not None:
        return Decision(order, note=DUPLICATE)
    paid = order.is_paid
    order = order.with_payment(Payment(key, 0, "DECLINED"))
    if order.status == "PENDING" and not paid:
        order = order.ended("FAILED", "PAYMENT_DECLINED", None)
    return Decision(order, note="a payment was declined")


def _delivery_answered(order: Order, answer: m.DeliveryStartMessage) -> Decision:
    facts = order.facts
    if facts.delivery != "REQUESTED":
        same = facts.delivery == answer.status
        return (
            Decision(order, note=DUPLICATE)
            if same
            else _anomaly(order, f"delivery says {answer.status} and is {facts.delivery}")
        )
    order = replace(order, facts=replace(facts, delivery=answer.status, delivery_id=answer.delivery_id))
    if order.status != "PENDING":
        return Decision(order, note=f"{ANOMALY}: delivery {answer.status} for an order that is {order.status}")
    if answer.status == "STARTED":
        return Decision(replace(order, status="COMPLETED"))
    return Decision(order.ended("FAILED", "DELIVERY_FAILED", "the address cannot be delivered to"))


def _is_answered(order: Order, rollback: str) -> bool:
    """Whether a rollback's answer has come before: one that was asked again has several, and they say nothing of the next rollback."""
    answered = range(1, order.facts.rollbacks_answered + 1)
    return any(rollback == str(rollback_id(order.order_id, number)) for number in answered)


def _release_answered(order: Order, state: StockState, error: str | None) -> Decision:
    """The answer names only the order, which is why one rollback at most is in flight."""
    lines = tuple(
        replace(line, stock=state) if line.stock == "RELEASE_REQUESTED" else line for line in order.facts.lines
    )
    if lines == order.facts.lines:
        if state == "RELEASE_FAILED" and all(line.stock != "RELEASE_FAILED" for line in lines):
            return _anomaly(order, f"stock refuses a release that is not awaited: {error}")
        return Decision(order, note=DUPLICATE)
    flag = None if state == "RELEASED" else f"stock refuses the release: {error}"
    facts = replace(order.facts, lines=lines, rollbacks_answered=order.facts.rollbacks)
    return Decision(replace(order, facts=facts).flagged(flag or order.facts.flag), note=flag)


def _refund_answered(order: Order, answer: m.PaymentCancelledMessage) -> Decision:
    known = order.payment(answer.payment_key)
    if known is None:
        return _anomaly(order, f"payment {answer.payment_key}, which this order does not know, was refunded")
    if known.state == "REFUNDED" or (known.state == "REFUND_FAILED" and answer.status == "FAILED"):
        return Decision(order, note=DUPLICATE)
    if known.state not in ("REFUND_REQUESTED", "REFUND_FAILED"):
        return _anomaly(
            order, f"a refund was answered that nobody asked for; payment {known.payment_key} is {known.state}"
        )
    if answer.status == "SUCCESS" and answer.amount >= known.amount:
        return Decision(order.with_payment(replace(known, state="REFUNDED")))
    flag = (
        f"payment refuses the refund: {answer.message}"
        if answer.status == "FAILED"
        else f"only {answer.amount} of {known.amount} won were refunded"
    )
    return Decision(order.with_payment(replace(known, state="REFUND_FAILED")).flagged(flag), note=flag)


def _cancelled(order: Order) -> Decision:
    """Who asks again because the answer was lost is told the same; likewise in `_returned`."""
    if order.reason == "CUSTOMER_CANCELLED":
        return Decision(order, note=DUPLICATE)
    if order.status != "PENDING" or order.facts.delivery != "NOT_REQUESTED":
        return Decision(order, note="an order can be cancelled only before its delivery is requested", refused=True)
    return Decision(order.ended("CANCELLED", "CUSTOMER_CANCELLED"))


def _returned(order: Order) -> Decision:
    if order.reason == "RETURNED":
        return Decision(order, note=DUPLICATE)
    if order.status != "COMPLETED":
        return Decision(order, note="only a completed order can be returned", refused=True)
    return Decision(order.ended("CANCELLED", "RETURNED"))


def _priced(order: Order, listed_total: int) -> Decision:
    if order.status != "PENDING" or order.facts.listed_total is not None:
        return Decision(order, note=DUPLICATE)
    order = replace(order, facts=replace(order.facts, listed_total=listed_total))
    return Decision(order, (payable(order),) if listed_total == order.total_amount else ())


def _anomaly(order: Order, what: str) -> Decision:
    return Decision(order, note=f"{ANOMALY}: {what}")


# What follows from the facts ----------------------------------------------------------------------------------------------


def _follow(before: Order, order: Order, now: datetime) -> tuple[Order, tuple[m.Message, ...]]:
    outgoing: list[m.Message] = []
    listed_total = order.facts.listed_total
    if order.status == "PENDING" and listed_total is not None:
        if listed_total != order.total_amount:
            order = order.ended("FAILED", "AMOUNT_MISMATCH", f"the products cost {listed_total} won")
        elif order.facts.delivery == "NOT_REQUESTED" and order.is_paid and order.is_reserved:
            order = replace(order, facts=replace(order.facts, delivery="REQUESTED")).asked(Ask("delivery", now))
            outgoing.append(delivery_request(order))
    if order.status == "COMPLETED" and before.status != "COMPLETED":
        outgoing.append(completed(order))
    if order.is_dead and not before.is_dead:
        outgoing.append(payable(order))
    if order.is_dead:
        order = _release(order, now, outgoing)
    order = _refund(order, now, outgoing)
    return order, tuple(outgoing)


def _release(order: Order, now: datetime, outgoing: list[m.Message]) -> Order:
    """Give back what is reserved, unless a rollback is in flight: then what came later waits for its answer."""
    if any(line.stock == "RELEASE_REQUESTED" for line in order.facts.lines):
        return order
    held = tuple(line for line in order.facts.lines if line.stock == "RESERVED")
    if not held:
        return order
    outgoing.append(rollback(order, held))
    lines = tuple(
        replace(line, stock="RELEASE_REQUESTED") if line.stock == "RESERVED" else line for line in order.facts.lines
    )
    return order.with_lines(lines).asked(Ask("release", now)).rolled_back()


def _refund(order: Order, now: datetime, outgoing: list[m.Message]) -> Order:
    """Refund every captured payment of a dead order, and every one but the first of a living one."""
    paid = [payment for payment in order.facts.payments if payment.state == "PAID"]
    for payment in paid if order.is_dead else paid[1:]:
        outgoing.append(refund_request(order, payment))
        order = order.with_payment(replace(payment, state="REFUND_REQUESTED"))
        order = order.asked(Ask("refund", now, about=payment.payment_key))
    return order
