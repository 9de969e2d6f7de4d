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
from ordersaga.messaging.refusal import Refusal
from ordersaga.order.deadlines import Deadlines, Wait, overdue, waits
from ordersaga.order.model import Ask, Awaited, Order, Payment, PaymentState, StockState
from ordersaga.order.outgoing import (
    completed,
    delivery_request,
    payable,
    refund_id,
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


class RequestReturn(Struct, frozen=True):
    """The customer wants to give a completed order back, and an operator has to have the goods first."""


class ReceiveReturn(Struct, frozen=True):
    """An operator says that the goods of a return have come."""

    who: str
    why: str


class RefuseReturn(Struct, frozen=True):
    """An operator says that a return is not accepted. The customer may ask again."""

    who: str
    why: str


class AcceptRefund(Struct, frozen=True):
    """An operator says that money of this order which went back at the gateway was meant to."""

    who: str
    why: str


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
OperatorsWord: TypeAlias = AcceptRefund | ReceiveReturn | RefuseReturn
Wish: TypeAlias = CancelBeforeDelivery | Return | RequestReturn | OperatorsWord
Input: TypeAlias = Answer | Wish | Priced | TimePassed

DEADLINES: Final = Deadlines()
DUPLICATE: Final = "a duplicate: no effect"
ANOMALY: Final = "an anomaly"


class Decision(Struct, frozen=True):
    """The order as it is now, what goes out, and a note where there is something to say.

    `refusal`: why a customer or an operator may not do this now; nothing has changed then.
    """

    order: Order
    outgoing: tuple[m.Message, ...] = ()
    note: str | None = None
    refusal: Refusal | None = None


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

    An order that waits for nothing has come to its end: nobody has to look at it any more, and it has no timer. But money that went
    back and was not meant to waits for a person, whatever else there is.
    """
    waiting = waits(order, deadlines)
    order = _with_asks_of(order, waiting)
    wanted, armed = min((each.until for each in waiting), default=None), order.facts.look_at
    flag = order.facts.flag
    if wanted is None or flag is None:
        due = _unmeant_flag(order)
        if flag != due:
            order = order.flagged(due)
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


def _unmeant_flag(order: Order) -> str | None:
    """What a person has to decide about money that went back and was not meant to; None: there is none."""
    gone = [f"{each.given_back:,} of {each.amount:,} won of payment {each.payment_key}" for each in order.unmeant]
    return f"given back at the gateway, and nobody has said that it was meant: {', '.join(gone)}" if gone else None


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
        case Priced():
            return _priced(order, message.listed_total)
        case TimePassed():
            return Decision(*overdue(order, now, deadlines))
        case _:
            return _wished(order, message)


def _wished(order: Order, wish: Wish) -> Decision:
    match wish:
        case CancelBeforeDelivery():
            return _cancelled(order)
        case Return():
            return _returned(order)
        case RequestReturn():
            return _return_requested(order)
        case ReceiveReturn():
            return _return_received(order, wish)
        case RefuseReturn():
            return _return_refused(order, wish)
        case AcceptRefund():
            return _accepted(order, wish)


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
    if known is not None and known.state not in ("DECLINED", "AWAITING"):
        same = known.amount == amount
        return (
            Decision(order, note=DUPLICATE)
            if same
            else _anomaly(order, f"payment {key} was {known.amount} won before and is {amount} now")
        )
    was_paid = bool(_captured(order))
    payment = Payment(key, amount, "PAID")
    if known is not None and known.state == "AWAITING" and known.left < amount:
        payment = replace(payment, held=known.left, state="PAID" if known.left else "REFUNDED")
    if payment.state == "REFUNDED" and was_paid:
        payment = replace(payment, meant=amount)
    order = order.with_payment(payment)
    if order.status == "PENDING" and not was_paid and amount != order.total_amount:
        detail = f"{amount} won were paid for an order of {order.total_amount} won"
        return Decision(order.ended("FAILED", "AMOUNT_MISMATCH", detail), note=detail)
    return Decision(_without_its_money(order), note="a further payment" if was_paid else None)


def _declined(order: Order, answer: m.PaymentSuccessMessage) -> Decision:
    key = answer.payment_key or ""
    known = order.payment(key)
    if known is not None and known.state != "AWAITING":
        return Decision(order, note=DUPLICATE)
    paid = bool(_captured(order))
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
    """The answer to a refund, or word of money that went back at the gateway without this order having asked. Both may say how much is
    still held; that only falls, so what comes twice or late changes nothing.
    """
    known = order.payment(answer.payment_key)
    if known is None:
        if answer.balance_amount is None:
            return _anomaly(order, f"payment {answer.payment_key}, which this order does not know, was refunded")
        told_early = Payment(answer.payment_key, 0, "AWAITING", held=answer.balance_amount)
        return Decision(order.with_payment(told_early), note="a refund of a payment that is still to be told")
    if known.state == "REFUNDED":
        return Decision(order, note=DUPLICATE)
    left = _left(known, answer)
    if known.state == "AWAITING":
        changed = order.with_payment(replace(known, held=left)) if left < known.left else order
        return Decision(changed, note=DUPLICATE if changed is order else None)
    if known.state not in ("REFUND_REQUESTED", "REFUND_FAILED"):
        return _given_back_unasked(order, known, left, answer)
    if left == 0:
        return Decision(order.with_payment(replace(known, state="REFUNDED", held=0)))
    if left < known.left:
        # A refusal that shows less held was one of the amount alone: as PAID it is asked for again, as what is left.
        state: PaymentState = "PAID" if answer.status == "FAILED" else known.state
        note = f"{left} of {known.amount} won are still held"
        return Decision(order.with_payment(replace(known, state=state, held=left)), note=note)
    of_this_refund = answer.request_id in (None, refund_id(order.order_id, known))
    if answer.status == "SUCCESS" and answer.balance_amount is None:
        flag = f"only {answer.amount} of {left} won were refunded"
    elif answer.status == "FAILED" and known.state != "REFUND_FAILED" and of_this_refund:
        flag = f"payment refuses the refund: {answer.message}"
    else:
        return Decision(order, note=DUPLICATE)
    return Decision(order.with_payment(replace(known, state="REFUND_FAILED")).flagged(flag), note=flag)


def _left(known: Payment, answer: m.PaymentCancelledMessage) -> int:
    """What is still held. A partner that does not say so has given back what it says; only if that is all is it told from a repeat."""
    if answer.balance_amount is not None:
        return min(known.left, answer.balance_amount)
    return 0 if answer.status == "SUCCESS" and answer.amount >= known.left else known.left


def _given_back_unasked(order: Order, known: Payment, left: int, answer: m.PaymentCancelledMessage) -> Decision:
    """Money went back that this order has not asked for. Before delivery is asked for, all of it ends the order; anything else waits for
    a person, for the goods may be on their way.
    """
    if known.state == "DECLINED" or left == known.left:
        if answer.balance_amount is not None and known.state != "DECLINED":
            return Decision(order, note=DUPLICATE)
        return _anomaly(
            order, f"a refund was answered that nobody asked for; payment {known.payment_key} is {known.state}"
        )
    state: PaymentState = "PAID" if left else "REFUNDED"
    note = f"{known.left - left} won of payment {known.payment_key} went back at the gateway, {left} are still held"
    return Decision(_without_its_money(order.with_payment(replace(known, state=state, held=left))), note=note)


def _without_its_money(order: Order) -> Order:
    """Cancelled if all its money has gone back before delivery was asked for; else as it is."""
    captured = _captured(order)
    if order.status != "PENDING" or order.facts.delivery != "NOT_REQUESTED" or not captured or order.is_paid:
        return order
    return order.ended("CANCELLED", "PAYMENT_CANCELLED", "the payment was cancelled at the gateway")


def _captured(order: Order) -> list[Payment]:
    """The payments that were captured, whatever has become of them. The first of a living order pays it."""
    return [each for each in order.facts.payments if each.state not in ("AWAITING", "DECLINED")]


def _accepted(order: Order, message: AcceptRefund) -> Decision:
    if not order.unmeant:
        if all(each.given_back <= 0 for each in order.facts.payments):
            return _refused(order, "no money of this order went back")
        return Decision(order, note=DUPLICATE)
    for each in order.unmeant:
        order = order.with_payment(replace(each, meant=each.given_back))
    return Decision(order.flagged(None), note=f"{message.who}: {message.why}")


def _cancelled(order: Order) -> Decision:
    """Who asks again because the answer was lost is told the same; likewise in `_returned`."""
    if order.reason == "CUSTOMER_CANCELLED":
        return Decision(order, note=DUPLICATE)
    if order.status != "PENDING" or order.facts.delivery != "NOT_REQUESTED":
        return _refused(order, "an order can be cancelled only before its delivery is requested")
    return Decision(order.ended("CANCELLED", "CUSTOMER_CANCELLED"))


def _returned(order: Order) -> Decision:
    if order.reason == "RETURNED":
        return Decision(order, note=DUPLICATE)
    if order.status != "COMPLETED":
        return _refused(order, "only a completed order can be returned")
    return Decision(order.ended("CANCELLED", "RETURNED"))


def _return_requested(order: Order) -> Decision:
    if order.facts.returning == "REQUESTED" or order.status != "COMPLETED":
        return Decision(order, note=DUPLICATE) if order.facts.returning == "REQUESTED" else _returned(order)
    return Decision(order.returning("REQUESTED"), note="nothing is given back until the goods have come")


def _return_received(order: Order, word: ReceiveReturn) -> Decision:
    if order.facts.returning == "NOT_REQUESTED" and order.reason != "RETURNED":
        return _refused(order, "no return of this order was asked for")
    returned = _returned(order)
    return returned if returned.order is order else replace(returned, note=f"{word.who}: {word.why}")


def _return_refused(order: Order, word: RefuseReturn) -> Decision:
    if order.status != "COMPLETED" or order.facts.returning == "NOT_REQUESTED":
        return _refused(order, "no return of this order waits for an answer")
    if order.facts.returning == "REFUSED":
        return Decision(order, note=DUPLICATE)
    return Decision(order.returning("REFUSED"), note=f"{word.who}: {word.why}")


def _priced(order: Order, listed_total: int) -> Decision:
    if order.status != "PENDING" or order.facts.listed_total is not None:
        return Decision(order, note=DUPLICATE)
    order = replace(order, facts=replace(order.facts, listed_total=listed_total))
    return Decision(order, (payable(order),) if listed_total == order.total_amount else ())


def _refused(order: Order, why: str) -> Decision:
    return Decision(
        order, refusal=Refusal("CONFLICT", "The order's state does not allow that", f"{why}; it is {order.status}")
    )


def _anomaly(order: Order, what: str) -> Decision:
    return Decision(order, note=f"{ANOMALY}: {what}")


# What follows from the facts ----------------------------------------------------------------------------------------------


def _follow(before: Order, order: Order, now: datetime) -> tuple[Order, tuple[m.Message, ...]]:
    outgoing: list[m.Message] = []
    listed_total = order.facts.listed_total
    if order.status == "PENDING" and listed_total is not None:
        if listed_total != order.total_amount:
            order = order.ended("FAILED", "AMOUNT_MISMATCH", f"the products cost {listed_total} won")
        elif _is_ready(order):
            order = replace(order, facts=replace(order.facts, delivery="REQUESTED")).asked(Ask("delivery", now))
            outgoing.append(delivery_request(order))
    if order.status == "COMPLETED" and before.status != "COMPLETED":
        outgoing.append(completed(order))
    if order.is_dead and not before.is_dead:
        outgoing.append(payable(order))
        if before.unmeant:
            order = order.flagged(None)  # all goes back now, so nobody has to say what was meant
    if order.is_dead:
        order = _release(order, now, outgoing)
    order = _refund(order, now, outgoing)
    return order, tuple(outgoing)


def _is_ready(order: Order) -> bool:
    """Whether its delivery is to be asked for now."""
    return order.facts.delivery == "NOT_REQUESTED" and order.is_paid and order.is_reserved and not order.unmeant


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
    """Refund what is held of every captured payment of a dead order, and of every one but the first of a living one."""
    captured = _captured(order)
    for payment in captured if order.is_dead else captured[1:]:
        if payment.state == "PAID":
            outgoing.append(refund_request(order, payment))
            order = order.with_payment(replace(payment, state="REFUND_REQUESTED", meant=payment.amount))
            order = order.asked(Ask("refund", now, about=payment.payment_key))
    return order
