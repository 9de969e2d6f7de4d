"""What each answer of Stock, Payment and Delivery says about an order. Answers to refunds are in `refunds.py`.

An answer of Stock or Delivery counts only while it is awaited. Later it is a duplicate, or, if it says the opposite of the fact, an anomaly.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from ordersaga.contracts import messages as m
from ordersaga.contracts.answers import understood, words
from ordersaga.order.decision import ANOMALY, Decision, anomaly, duplicate
from ordersaga.order.model import Order, OrderPayment, StockState
from ordersaga.order.outgoing import rollback_id
from ordersaga.said import say


def stock_answered(order: Order, answer: m.StockResponseMessage) -> Decision:
    """Stock has reserved or rejected one product. An answer without a product id is about all products of the order."""
    named = [line for line in order.facts.lines if answer.product_id in (None, line.product_id)]
    if not named:
        strange = say(
            "order.strange_product",
            "stock answered for product {product}, which is not in the order",
            product=str(answer.product_id),
        )
        return anomaly(order, strange)
    state: StockState = "RESERVED" if answer.status == "SUCCESS" else "REJECTED"
    awaited = {line.product_id for line in named if line.stock == "REQUESTED"}
    if not awaited:
        opposite = any((line.stock == "REJECTED") != (state == "REJECTED") for line in named)
        after = say("order.stock_opposite", "stock answers {status} after the opposite", status=answer.status)
        return anomaly(order, after) if opposite else duplicate(order)
    lines = tuple(replace(line, stock=state) if line.product_id in awaited else line for line in order.facts.lines)
    order = order.with_lines(lines)
    if state == "RESERVED":
        return Decision(order)
    why = answer.message and understood(answer.message)
    if order.status == "PENDING":
        order = order.ended("FAILED", "OUT_OF_STOCK", why)
    return Decision(order, note=why)


def payment_captured(order: Order, answer: m.PaymentSuccessMessage) -> Decision:
    """The first captured payment pays a pending order. If its amount is not the order's total, the order ends FAILED, AMOUNT_MISMATCH.

    Every further payment is refunded at the amount that was captured, and so is every payment of an order that has ended (`saga.py` `_refund`).
    """
    key, amount = answer.payment_key or "", answer.amount or 0
    known = order.payment(key)
    if known is not None and known.state not in ("DECLINED", "AWAITING"):
        if known.amount == amount:
            return duplicate(order)
        changed = say(
            "order.payment_changed",
            "payment {payment} was {before} won before and is {now} now",
            payment=key,
            before=known.amount,
            now=amount,
        )
        return anomaly(order, changed)
    was_paid = bool(order.captured)
    payment = OrderPayment(key, amount, "PAID")
    if known is not None and known.state == "AWAITING" and known.left < amount:
        payment = replace(payment, held=known.left, state="PAID" if known.left else "REFUNDED")
    if payment.state == "REFUNDED" and was_paid:
        payment = replace(payment, meant=amount)
    order = order.with_payment(payment)
    if order.status == "PENDING" and not was_paid and amount != order.total_amount:
        detail = say(
            "order.paid_another_amount",
            "{amount} won were paid for an order of {total} won",
            amount=amount,
            total=order.total_amount,
        )
        return Decision(order.ended("FAILED", "AMOUNT_MISMATCH", detail), note=detail)
    further = say("order.further_payment", "a further payment") if was_paid else None
    return Decision(cancelled_without_its_money(order), note=further)


def cancelled_without_its_money(order: Order) -> Order:
    """The order, which becomes CANCELLED if all its captured money went back before delivery was requested."""
    if order.status != "PENDING" or order.facts.delivery != "NOT_REQUESTED" or not order.captured or order.is_paid:
        return order
    cancelled = say("order.cancelled_at_gateway", "the payment was cancelled at the gateway")
    return order.ended("CANCELLED", "PAYMENT_CANCELLED", cancelled)


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
    return Decision(order, note=say("order.declined", "a payment was declined"))


def delivery_answered(order: Order, answer: m.DeliveryStartMessage) -> Decision:
    """A started delivery completes a pending order, a failed one fails it."""
    facts = order.facts
    if facts.delivery != "REQUESTED":
        if facts.delivery == answer.status:
            return duplicate(order)
        known = facts.delivery
        return anomaly(
            order,
            say(
                "order.delivery_opposite", "delivery answers {status} and is {known}", status=answer.status, known=known
            ),
        )
    order = replace(order, facts=replace(facts, delivery=answer.status, delivery_id=answer.delivery_id))
    if order.status != "PENDING":
        late = say(
            "order.delivery_late",
            "delivery {delivery} for an order that is {status}",
            delivery=answer.status,
            status=order.status,
        )
        return Decision(order, note=ANOMALY + late)
    if answer.status == "STARTED":
        return Decision(replace(order, status="COMPLETED"))
    why = say("order.undeliverable", "the address cannot be delivered to")
    return Decision(order.ended("FAILED", "DELIVERY_FAILED", why))


def release_answered(order: Order, state: StockState, error: str | None) -> Decision:
    """The products of the rollback in flight are released, or Stock refuses the release and the order is flagged.

    The answer names only the order and not its products, which is why one rollback at most is in flight.
    """
    lines = tuple(
        replace(line, stock=state) if line.stock == "RELEASE_REQUESTED" else line for line in order.facts.lines
    )
    if lines == order.facts.lines:
        if state == "RELEASE_FAILED" and all(line.stock != "RELEASE_FAILED" for line in lines):
            unasked = say("order.release_unasked", "stock refuses a release that is not awaited: ")
            return anomaly(order, unasked + words(error))
        return duplicate(order)
    facts = replace(order.facts, lines=lines, rollbacks_answered=order.facts.rollbacks)
    order = replace(order, facts=facts)
    if state == "RELEASED":
        return Decision(order)
    flag = say("order.release_refused", "stock refuses the release: ") + words(error)
    return Decision(order.flagged(flag), note=flag)


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
