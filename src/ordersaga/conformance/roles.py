"""The four roles: which topics each reads and writes, its cases, its first request, and our own hooks for it."""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from ordersaga.conformance import (
    delivery,
    order,
    order_compensation,
    order_failures,
    order_flow,
    payment,
    payment_flow,
    payment_refund,
    stock,
    stock_flow,
    stock_rollback,
)
from ordersaga.conformance.cases import Case
from ordersaga.conformance.exchange import Exchange
from ordersaga.contracts.topics import GUIDE_TOPICS, OUR_TOPICS, Role


class Part(Struct, frozen=True):
    """A role as the kit tests it. `first`: the exchange whose answer shows that the service is there. `hooks`: the default of each hook."""

    role: Role
    cases: Sequence[Case]
    first: Exchange
    hooks: Mapping[str, str] = {}
    port: int = 0

    @property
    def reads(self) -> list[str]:
        """The guide's topics that the role reads."""
        return [topic.name for topic in GUIDE_TOPICS if self.role in topic.consumers]

    @property
    def writes(self) -> list[str]:
        """The guide's topics that the role writes."""
        return [topic.name for topic in GUIDE_TOPICS if topic.producer == self.role]

    @property
    def compensation(self) -> list[str]:
        """The further topics that the role reads where it can give back stock or money."""
        return [topic.name for topic in OUR_TOPICS if self.role in topic.consumers and not topic.table]

    @property
    def compensation_answers(self) -> list[str]:
        """The further topics that the role writes where it can give back stock or money, or asks for either."""
        return [topic.name for topic in OUR_TOPICS if topic.producer == self.role and not topic.table]

    @property
    def played(self) -> list[str]:
        """All topics that the kit may write for this role."""
        return [topic.name for topic in (*GUIDE_TOPICS, *OUR_TOPICS) if self.role in topic.consumers]


OUR_SEED: Final = (
    'POST {url}/api/v1/products {"productId": "$productId", "name": "$name", "price": $price, "quantity": $quantity}'
)
OUR_CHECKOUT: Final = 'POST {gateway}/sandbox/payments {"orderId": "$orderId", "amount": $amount, "orderName": "$orderName", "card": "$card"}'
OUR_PAY: Final = (
    'POST {url}/api/v1/payments/confirm {"paymentKey": "$paymentKey", "orderId": "$orderId", "amount": $amount}'
)
OUR_PLACE: Final = (
    'POST {url}/api/v1/orders {"orderName": "$orderName", "totalAmount": $totalAmount, "items": $items, "address": "$address", '
    '"addressDetail": "$addressDetail", "zipcode": "$zipcode", "phone": "$phone", "name": "$name", "deliveryMemo": "$deliveryMemo"}'
)

PARTS: Final[dict[str, Part]] = {
    "delivery": Part("delivery", delivery.CASES.all, delivery.REQUEST, port=8084),
    "order": Part(
        "order",
        [*order.CASES.all, *order_failures.CASES.all, *order_compensation.CASES.all],
        order_flow.PLACING,
        {
            "place": OUR_PLACE,
            "cancel": "POST {url}/api/v1/orders/$orderId/cancel/delivery-before {}",
            "return": "POST {url}/api/v1/orders/$orderId/cancel/return {}",
        },
        8081,
    ),
    "payment": Part(
        "payment",
        [*payment.CASES.all, *payment_refund.CASES.all],
        payment_flow.EXCHANGE,
        {"checkout": OUR_CHECKOUT, "pay": OUR_PAY},
        8083,
    ),
    "stock": Part("stock", [*stock.CASES.all, *stock_rollback.CASES.all], stock_flow.REQUEST, {"seed": OUR_SEED}, 8082),
}
