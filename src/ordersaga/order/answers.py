"""What each answer of Stock, Payment and Delivery says about an order. Answers to refunds are in `refunds.py`.

An answer of Stock or Delivery counts only while it is awaited. Later it is a duplicate, or, if it says the opposite of the fact, an anomaly.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from ordersaga.contracts import messages as m
from ordersaga.order.decision import ANOMALY, Decision, anomaly, duplicate
from ordersaga.order.model import Order, OrderPayment, StockState
from ordersaga.order.outgoing import rollback_id


def stock_answered(order: Order, answer: m.StockResponseMessage) -> Decision:
    """Stock has reserved or rejected one product. An answer without a product id is about all products of the order."""
    named = [line for line in order.facts.lines if answer.product_id in (None, line.product_id)]
    if not named:
        return anomaly(order, f"stock answered for product {answer.product_id}, which is not in the order")
    state: StockState = "RESERVED" if answer.status == "SUCCESS" else "REJECTED"
    awaited = {line.product_id for line in named if line.stock == "REQUESTED"}
    if not awaited:
        opposite = any((line.stock == "REJECTED") != (state == "REJECTED") for line in named)
        return anomaly(order, f"stock answers {answer.status} after the opposite") if opposite else duplicate(order)
    lines = tuple(replace(line, stock=state) if line.product_id in awaited else line for line in order.facts.lines)
    order = order.with_lines(lines)
    if state == "REJECTED" and order.status == "PENDING":
        order = order.ended("FAILED", "OUT_OF_STOCK", answer.message)
    return Decision(order, note=answer.message if state == "REJECTED" else None)


def payment_captured(order: Order, answer: m.PaymentSuccessMessage) -> Decision:
    """The first captured payment pays a pending order. If its amount is not the order's total, the order ends FAILED, AMOUNT_MISMATCH.

    Every further payment is refunded at the amount that was captured, and so is every payment of an order that has ended (`saga.py` `_refund`).
    """
    key, amount = answer.payment_key or "", answer.amount or 0
    known = order.payment(key)
    if known is not None and known.state not in ("DECLINED", "AWAITING"):
        if known.amount == amount:
            return duplicate(order)
        return anomaly(order, f"payment {key} was {known.amount} won before and is {amount} now")
    was_paid = bool(order.captured)
    payment = OrderPayment(key, amount, "PAID")
    if known is not None and known.state == "AWAITING" and known.left < amount:
        payment = replace(payment, held=known.left, state="PAID" if known.left else "REFUNDED")
    if payment.state == "REFUNDED" and was_paid:
        payment = replace(payment, meant=amount)
    order = order.with_payment(payment)
    if order.status == "PENDING" and not was_paid and amount != order.total_amount:
        detail = f"{amount} won were paid for an order of {order.total_amount} won"
        return Decision(order.ended("FAILED", "AMOUNT_MISMATCH", detail), note=detail)
    return Decision(cancelled_without_its_money(order), note="a further payment" if was_paid else None)


def cancelled_without_its_money(order: Order) -> Order:
    """The order, which becomes CANCELLED if all its captured money went back before delivery was requested."""
    if order.status != "PENDING" or order.facts.delivery != "NOT_REQUESTED" or not order.captured or order.is_paid:
        return order
    return order.ended("CANCELLED", "PAYMENT_CANCELLED", "the payment was cancelled at the gateway")


def payment_declined(order: Order, answer: m.PaymentSuccessMessage) -> Decision:
    """A declined payment fails a pending order, unless another payment has paid it."""
    key = answer.payment_key or ""
    known = order.payment(key)
    if known is not None and known.state != "AWAITING":
        return duplicate(order)
    paid = bool(order.captured)
    order = order.with_payment(OrderPayment(key, 0, "DECLINED"))
    if order.status == "PENDING" and not paid:
        order = order.ended("FAILED", "PAYMENT_DECLINED", None)
    return Decision(order, note="a payment was declined")


def delivery_answered(order: Order, answer: m.DeliveryStartMessage) -> Decision:
    """A started delivery completes a pending order, a failed one fails it."""
    facts = order.facts
    if facts.delivery != "REQUESTED":
        if facts.delivery == answer.status:
            return duplicate(order)
        return anomaly(order, f"delivery answers {answer.status} and is {facts.delivery}")
    order = replace(order, facts=replace(facts, delivery=answer.status, delivery_id=answer.delivery_id))
    if order.status != "PENDING":
        return Decision(order, note=f"{ANOMALY}: delivery {answer.status} for an order that is {order.status}")
    if answer.status == "STARTED":
        return Decision(replace(order, status="COMPLETED"))
    return Decision(order.ended("FAILED", "DELIVERY_FAILED", "the address cannot be delivered to"))


def release_answered(order: Order, state: StockState, error: str | None) -> Decision:
    """The products of the rollback in flight are released, or Stock refuses the release and the order is flagged.

    The answer names only the order and not its products, which is why one rollback at most is in flight.
    """
    lines = tuple(
        replace(line, stock=state) if line.stock == "RELEASE_REQUESTED" else line for line in order.facts.lines
    )
    if lines == order.facts.lines:
        if state == "RELEASE_FAILED" and all(line.stock != "RELEASE_FAILED" for line in lines):
            return anomaly(order, f"stock refuses a release that is not awaited: {error}")
        return duplicate(order)
    flag = None if state == "RELEASED" else f"stock refuses the release: {error}"
    facts = replace(order.facts, lines=lines, rollbacks_answered=order.facts.rollbacks)
    return Decision(replace(order, facts=facts).flagged(flag or order.facts.flag), note=flag)


def rollback_named(order: Order, named: Iterable[str | None]) -> str | None:
    """The first of these ids that is the `message-id` of a rollback of this order; None: none is."""
    sent = {str(rollback_id(order.order_id, number)) for number in range(1, order.facts.rollbacks + 1)}
    return next((each for each in named if each in sent), None)


def is_answered(order: Order, rollback: str) -> bool:
    """Whether the rollback with this `message-id` has its answer already.

    A rollback that was sent again may be answered more than once. A further answer must not be taken for the answer to the next rollback.
    """
    answered = range(1, order.facts.rollbacks_answered + 1)
    return any(rollback == str(rollback_id(order.order_id, number)) for number in answered)
