"""An order, and the words of its partners and its customer, for the tests of the saga."""

from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID, uuid5

from msgspec.structs import replace

from ordersaga.contracts import messages as m
from ordersaga.contracts.address import Address
from ordersaga.order.decision import Decision
from ordersaga.order.model import Facts, Line, Order
from ordersaga.order.refunds import AcceptRefund
from ordersaga.order.saga import Input, decide

NOW = datetime(2026, 11, 24, tzinfo=UTC)
ORDER, CUSTOMER, A, B = (uuid5(UUID(int=0), name) for name in ("order", "customer", "a", "b"))
TOTAL = 25_000


def placed(*products: UUID) -> Order:
    lines = tuple(Line(product, 1) for product in products or (A,))
    recipient = Address("1 Sejong-daero", None, "04524", "010", "Kim", None)
    return Order(ORDER, CUSTOMER, "keyboard", TOTAL, recipient, NOW, NOW, Facts(lines, listed_total=TOTAL))


def unpriced() -> Order:
    order = placed()
    return replace(order, pay_before=NOW + timedelta(minutes=30), facts=replace(order.facts, listed_total=None))


def stock(status: Literal["SUCCESS", "FAILED"], product: UUID | None = A) -> m.StockResponseMessage:
    return m.StockResponseMessage(order_id=ORDER, product_id=product, status=status, message=f"{status} said")


def payment(
    status: Literal["SUCCESS", "FAILED"] = "SUCCESS", key: str = "k1", amount: int = TOTAL
) -> m.PaymentSuccessMessage:
    return m.PaymentSuccessMessage(order_id=ORDER, payment_key=key, amount=amount, status=status)


def delivery(status: Literal["STARTED", "FAILED"]) -> m.DeliveryStartMessage:
    return m.DeliveryStartMessage(order_id=ORDER, delivery_id=B, status=status)


def refunded(status: Literal["SUCCESS", "FAILED"] = "SUCCESS", key: str = "k1") -> m.PaymentCancelledMessage:
    return m.PaymentCancelledMessage(order_id=ORDER, payment_key=key, amount=TOTAL, status=status)


def gone(left: int, key: str = "k1", amount: int = TOTAL) -> m.PaymentCancelledMessage:
    """Word of money that went back at the gateway's own dashboard."""
    return m.PaymentCancelledMessage(
        order_id=ORDER, payment_key=key, amount=amount - left, status="SUCCESS", balance_amount=left
    )


def asked_back(messages: list[m.Message]) -> list[tuple[str, int]]:
    return [(each.payment_key, each.amount) for each in messages if isinstance(each, m.PaymentCancelRequestedMessage)]


MEANT = AcceptRefund("operator", "a discount")
PART = 20_000
RELEASED = m.StockRollbackCompletedMessage(order_id=ORDER)
RELEASE_FAILED = m.StockRollbackFailedMessage(order_id=ORDER, error_message="no")


def run(order: Order, *inputs: Input) -> tuple[Order, list[Any], Decision]:
    """The order after the inputs, the messages that were sent meanwhile, and the last decision."""
    out: list[Any] = []
    decision = Decision(order)
    for each in inputs:
        decision = decide(order, each, NOW)
        order = decision.order
        out += decision.outgoing
    return order, out, decision


def names(messages: list[m.Message]) -> list[str]:
    return [type(message).__name__.removesuffix("Message") for message in messages]


def end(order: Order) -> tuple[str, str | None]:
    return order.status, order.reason
