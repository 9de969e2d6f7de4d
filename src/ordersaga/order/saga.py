"""The order process as one pure function: `decide(order, message) -> (order, what goes out)`, no I/O, total over every pair.

A message first becomes a fact about the order (`_learn`: one case per message, the rows of the table in the architecture notes).
What follows from the facts is the same whatever came last and in whatever order (`_follow`): ready orders are delivered, dead ones
give back what they hold. That is why every arrival order comes out alike.
"""

from datetime import datetime
from typing import Final, Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.contracts import messages as m
from ordersaga.contracts.status import ORDER_CODES
from ordersaga.order.model import Line, Order, Payment, Reason, StockState


class CancelBeforeDelivery(Struct, frozen=True):
    """The customer does not want the order any more."""


class Return(Struct, frozen=True):
    """The customer gives a completed order back."""


Answer: TypeAlias = (
    m.StockResponseMessage
    | m.PaymentSuccessMessage
    | m.DeliveryStartMessage
    | m.StockRollbackCompletedMessage
    | m.StockRollbackFailedMessage
    | m.PaymentCancelledMessage
)
Input: TypeAlias = Answer | CancelBeforeDelivery | Return

DUPLICATE: Final = "a duplicate: no effect"


class Decision(Struct, frozen=True):
    """The order as it is now, what goes out, and a note where there is something to say. `refused`: a customer may not do this now."""

    order: Order
    outgoing: tuple[m.Message, ...] = ()
    note: str | None = None
    refused: bool = False


def place(order: Order) -> tuple[m.Message, ...]:
    """Steps 1 and 2: ask Stock for the products, and tell Payment who may pay what."""
    return stock_request(order), payable(order)


def decide(order: Order, message: Input, now: datetime) -> Decision:
    """What a message makes of an order."""
    learned = _learn(order, message)
    if learned.order is order:
        return learned
    after, outgoing = _follow(order, learned.order, now)
    return Decision(after, outgoing, learned.note)


def _learn(order: Order, message: Input) -> Decision:
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
            if order.status != "PENDING" or order.facts.delivery != "NOT_REQUESTED":
                return Decision(
                    order, note="an order can be cancelled only before its delivery is requested", refused=True
                )
            return Decision(_end(order, "CANCELLED", "CUSTOMER_CANCELLED", None))
        case Return():
            if order.status != "COMPLETED":
                return Decision(order, note="only a completed order can be returned", refused=True)
            return Decision(_end(order, "CANCELLED", "RETURNED", None))


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
    order = _with_lines(order, lines)
    if state == "REJECTED" and order.status == "PENDING":
        order = _end(order, "FAILED", "OUT_OF_STOCK", answer.message)
    return Decision(order, note=answer.message if state == "REJECTED" else None)


def _paid(order: Order, answer: m.PaymentSuccessMessage) -> Decision:
    """The first payment of the right amount pays a pending order; any other is refunded at what it captured."""
    key, amount = answer.payment_key or "", answer.amount or 0
    known = _payment(order, key)
    if known is not None and known.state != "DECLINED":
        same = known.amount == amount
        return (
            Decision(order, note=DUPLICATE)
            if same
            else _anomaly(order, f"payment {key} was {known.amount} won before and is {amount} now")
        )
    was_paid = is_paid(order)
    order = _with_payment(order, Payment(key, amount, "PAID"))
    if order.status == "PENDING" and not was_paid and amount != order.total_amount:
        detail = f"{amount} won were paid for an order of {order.total_amount} won"
        return Decision(_end(order, "FAILED", "AMOUNT_MISMATCH", detail), note=detail)
    return Decision(order, note="a further payment" if was_paid else None)


def _declined(order: Order, answer: m.PaymentSuccessMessage) -> Decision:
    key = answer.payment_key or ""
    if _payment(order, key) is not None:
        return Decision(order, note=DUPLICATE)
    paid = is_paid(order)
    order = _with_payment(order, Payment(key, 0, "DECLINED"))
    if order.status == "PENDING" and not paid:
        order = _end(order, "FAILED", "PAYMENT_DECLINED", None)
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
        return Decision(order, note=f"an anomaly: delivery {answer.status} for an order that is {order.status}")
    if answer.status == "STARTED":
        return Decision(replace(order, status="COMPLETED"))
    return Decision(_end(order, "FAILED", "DELIVERY_FAILED", "the address cannot be delivered to"))


def _release_answered(order: Order, state: StockState, error: str | None) -> Decision:
    """The answer names only the order, which is why one rollback at most is in flight."""
    lines = tuple(
        replace(line, stock=state) if line.stock == "RELEASE_REQUESTED" else line for line in order.facts.lines
    )
    if lines == order.facts.lines:
        return Decision(order, note=DUPLICATE)
    flag = None if state == "RELEASED" else f"stock refuses the release: {error}"
    order = _with_lines(order, lines)
    return Decision(replace(order, facts=replace(order.facts, flag=flag or order.facts.flag)), note=flag)


def _refund_answered(order: Order, answer: m.PaymentCancelledMessage) -> Decision:
    known = _payment(order, answer.payment_key)
    if known is None:
        return _anomaly(order, f"payment {answer.payment_key}, which this order does not know, was refunded")
    if known.state == "REFUNDED" or (known.state == "REFUND_FAILED" and answer.status == "FAILED"):
        return Decision(order, note=DUPLICATE)
    if known.state not in ("REFUND_REQUESTED", "REFUND_FAILED"):
        return _anomaly(
            order, f"a refund was answered that nobody asked for; payment {known.payment_key} is {known.state}"
        )
    if answer.status == "SUCCESS":
        return Decision(_with_payment(order, replace(known, state="REFUNDED")))
    flag = f"payment refuses the refund: {answer.message}"
    order = _with_payment(order, replace(known, state="REFUND_FAILED"))
    return Decision(replace(order, facts=replace(order.facts, flag=flag)), note=flag)


def _anomaly(order: Order, what: str) -> Decision:
    return Decision(order, note=f"an anomaly: {what}")


# What follows from the facts ----------------------------------------------------------------------------------------------


def _follow(before: Order, order: Order, now: datetime) -> tuple[Order, tuple[m.Message, ...]]:
    outgoing: list[m.Message] = []
    if order.status == "PENDING" and _all_reserved(order) and order.facts.listed_total != order.total_amount:
        detail = (
            f"the products cost {order.facts.listed_total} won"
            if order.facts.listed_total is not None
            else "a price is not known"
        )
        order = _end(order, "FAILED", "AMOUNT_MISMATCH", detail)
    if (
        order.status == "PENDING"
        and _all_reserved(order)
        and is_paid(order)
        and order.facts.delivery == "NOT_REQUESTED"
    ):
        order = replace(order, facts=replace(order.facts, delivery="REQUESTED", asked_at=now, attempts=1))
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
    items = tuple(m.OrderedProduct(product_id=line.product_id, quantity=line.quantity) for line in held)
    outgoing.append(m.StockRollbackRequestedMessage(order_id=order.order_id, items=items))
    lines = tuple(
        replace(line, stock="RELEASE_REQUESTED") if line.stock == "RESERVED" else line for line in order.facts.lines
    )
    return replace(order, facts=replace(order.facts, lines=lines, asked_at=now, attempts=1))


def _refund(order: Order, now: datetime, outgoing: list[m.Message]) -> Order:
    """Refund every captured payment of a dead order, and every one but the first of a living one."""
    paid = [payment for payment in order.facts.payments if payment.state == "PAID"]
    for payment in paid if order.is_dead else paid[1:]:
        reason = order.reason or "PAID_TWICE"
        outgoing.append(
            m.PaymentCancelRequestedMessage(
                order_id=order.order_id, payment_key=payment.payment_key, amount=payment.amount, reason=reason
            )
        )
        order = _with_payment(order, replace(payment, state="REFUND_REQUESTED"))
        order = replace(order, facts=replace(order.facts, asked_at=now, attempts=1))
    return order


# The messages that go out -------------------------------------------------------------------------------------------------


def stock_request(order: Order) -> m.StockDecreaseRequestMessage:
    """Step 2."""
    products = tuple(m.OrderedProduct(product_id=line.product_id, quantity=line.quantity) for line in order.facts.lines)
    return m.StockDecreaseRequestMessage(order_id=order.order_id, products=products)


def delivery_request(order: Order) -> m.DeliveryRequestMessage:
    """Step 9."""
    to = order.recipient
    return m.DeliveryRequestMessage(
        order_id=order.order_id,
        customer_id=order.customer_id,
        address=to.address,
        address_detail=to.address_detail,
        zipcode=to.zipcode,
        phone=to.phone,
        name=to.name,
        delivery_memo=to.delivery_memo,
    )


def completed(order: Order) -> m.OrderCompletedMessage:
    """Step 11."""
    return m.OrderCompletedMessage(
        order_id=order.order_id,
        customer_id=order.customer_id,
        status=ORDER_CODES["COMPLETED"],
        total_amount=order.total_amount,
        order_name=order.order_name,
    )


def payable(order: Order) -> m.OrderPayableMessage:
    """Who may pay what until when, or, with another status than PENDING, that nobody may."""
    return m.OrderPayableMessage(
        order_id=order.order_id,
        customer_id=order.customer_id,
        total_amount=order.total_amount,
        pay_before=order.pay_before,
        status=ORDER_CODES[order.status],
    )


# Small questions and changes ----------------------------------------------------------------------------------------------


def is_paid(order: Order) -> bool:
    """Whether a payment of this order is captured and not being given back."""
    return any(payment.state == "PAID" for payment in order.facts.payments)


def _all_reserved(order: Order) -> bool:
    return all(line.stock == "RESERVED" for line in order.facts.lines)


def _end(order: Order, status: Literal["FAILED", "CANCELLED"], reason: Reason, detail: str | None) -> Order:
    return replace(order, status=status, reason=reason, detail=detail)


def _with_lines(order: Order, lines: tuple[Line, ...]) -> Order:
    return replace(order, facts=replace(order.facts, lines=lines))


def _payment(order: Order, key: str) -> Payment | None:
    return next((payment for payment in order.facts.payments if payment.payment_key == key), None)


def _with_payment(order: Order, payment: Payment) -> Order:
    others = [each for each in order.facts.payments if each.payment_key != payment.payment_key]
    place = next(
        (i for i, each in enumerate(order.facts.payments) if each.payment_key == payment.payment_key), len(others)
    )
    payments = (*others[:place], payment, *others[place:])
    return replace(order, facts=replace(order.facts, payments=payments))
