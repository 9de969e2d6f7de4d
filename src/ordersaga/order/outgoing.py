"""The messages that Order sends, each made from an order alone."""

from typing import Final
from uuid import UUID, uuid5

from ordersaga.contracts import messages as m
from ordersaga.contracts.status import ORDER_CODES
from ordersaga.messaging.handler import Incoming, Outgoing
from ordersaga.order.model import Line, Order, Payment

ROLLBACKS: Final = UUID("7b0cf8c2-6a0c-4cf5-9d0e-6d0d1d3f8a55")
REFUNDS: Final = UUID("c9a1a8d6-3a53-4a6e-9f0b-0d1f6f1f6a0e")


def sent(order: Order, messages: tuple[m.Message, ...], cause: Incoming | None = None) -> list[Outgoing]:
    """What a decision sends, for the outbox. `order` is as the decision left it: its last rollback is the one among these messages."""
    return [
        Outgoing(message, cause, rollback_id(order.order_id, order.facts.rollbacks))
        if isinstance(message, m.StockRollbackRequestedMessage)
        else Outgoing(message, cause)
        for message in messages
    ]


def rollback_id(order_id: UUID, number: int) -> UUID:
    """The `message-id` of an order's n-th rollback. Its answer names only the order, and this id as its cause if the partner says one."""
    return uuid5(ROLLBACKS, f"{order_id}/{number}")


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


def rollback(order: Order, lines: tuple[Line, ...]) -> m.StockRollbackRequestedMessage:
    items = tuple(m.OrderedProduct(product_id=line.product_id, quantity=line.quantity) for line in lines)
    return m.StockRollbackRequestedMessage(order_id=order.order_id, items=items)


def refund_request(order: Order, payment: Payment) -> m.PaymentCancelRequestedMessage:
    """All that is still held."""
    return m.PaymentCancelRequestedMessage(
        order_id=order.order_id,
        payment_key=payment.payment_key,
        amount=payment.left,
        reason=order.reason or "PAID_TWICE",
        request_id=refund_id(order.order_id, payment),
    )


def refund_id(order_id: UUID, payment: Payment) -> str:
    """The id of the refund of what is held of a payment now. That only falls, so asked for again the same amount has the same id, and
    the next has another.
    """
    return str(uuid5(REFUNDS, f"{order_id}/{payment.payment_key}/{payment.left}"))


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
