"""The messages that Order sends, each made from an order alone."""

from typing import Final
from uuid import UUID, uuid5

from msgspec.structs import asdict

from ordersaga.contracts import messages as m
from ordersaga.contracts.status import ORDER_CODES
from ordersaga.order.model import Line, Order, OrderPayment

ROLLBACKS: Final = UUID("7b0cf8c2-6a0c-4cf5-9d0e-6d0d1d3f8a55")
REFUNDS: Final = UUID("c9a1a8d6-3a53-4a6e-9f0b-0d1f6f1f6a0e")


def stock_request(order: Order) -> m.StockDecreaseRequestMessage:
    """Step 2 of the guide: asks Stock for all products of the order."""
    products = tuple(m.OrderedProduct(product_id=line.product_id, quantity=line.quantity) for line in order.facts.lines)
    return m.StockDecreaseRequestMessage(order_id=order.order_id, products=products)


def delivery_request(order: Order) -> m.DeliveryRequestMessage:
    """Step 9 of the guide: asks Delivery to send the parcel."""
    return m.DeliveryRequestMessage(order_id=order.order_id, customer_id=order.customer_id, **asdict(order.recipient))


def rollback(order: Order, lines: tuple[Line, ...]) -> m.StockRollbackRequestedMessage:
    """Asks Stock to release these products."""
    items = tuple(m.OrderedProduct(product_id=line.product_id, quantity=line.quantity) for line in lines)
    return m.StockRollbackRequestedMessage(order_id=order.order_id, items=items)


def rollback_id(order_id: UUID, number: int) -> UUID:
    """The `message-id` of an order's n-th rollback.

    The answer to a rollback names only the order. A partner that sends `causation-id` names this id there too, which tells the rollbacks apart.
    """
    return uuid5(ROLLBACKS, f"{order_id}/{number}")


def refund_request(order: Order, payment: OrderPayment) -> m.PaymentCancelRequestedMessage:
    """Asks Payment to refund all that the gateway still holds of this payment."""
    return m.PaymentCancelRequestedMessage(
        order_id=order.order_id,
        payment_key=payment.payment_key,
        amount=payment.left,
        reason=order.reason or "PAID_TWICE",
        request_id=refund_id(order.order_id, payment),
    )


def refund_id(order_id: UUID, payment: OrderPayment) -> str:
    """The `requestId` of the refund of the amount that is held now. That amount only falls, so a repeated request has the same id, and a
    request for another amount has another.
    """
    return str(uuid5(REFUNDS, f"{order_id}/{payment.payment_key}/{payment.left}"))


def completed(order: Order) -> m.OrderCompletedMessage:
    """Step 11 of the guide: tells the client that the order is COMPLETED."""
    return m.OrderCompletedMessage(
        order_id=order.order_id,
        customer_id=order.customer_id,
        status=ORDER_CODES["COMPLETED"],
        total_amount=order.total_amount,
        order_name=order.order_name,
    )


def payable(order: Order) -> m.OrderPayableMessage:
    """Tells Payment who may pay how much until when. With another status than PENDING nobody may pay the order."""
    return m.OrderPayableMessage(
        order_id=order.order_id,
        customer_id=order.customer_id,
        total_amount=order.total_amount,
        pay_before=order.pay_before,
        status=ORDER_CODES[order.status],
    )
