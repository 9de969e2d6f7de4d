"""Computes what an order should cost from Order's copy of the product prices, and finds the orders that wait for a price."""

from collections.abc import Mapping, Sequence, Set
from datetime import datetime
from uuid import UUID

from ordersaga.messaging.database import Connection
from ordersaga.messaging.refusal import FieldError, Refusal
from ordersaga.order import store
from ordersaga.order.changes import Changes
from ordersaga.order.deadlines import Deadlines
from ordersaga.order.model import Order
from ordersaga.order.saga import Priced, decide


def lacks_price(order: Order) -> bool:
    """Whether a pending order was placed before the prices of all its products were known."""
    return order.facts.listed_total is None and order.status == "PENDING"


def listed_total(order: Order, prices: Mapping[UUID, int]) -> int | None:
    """The sum of the products' own prices; None if a price is not known. Won."""
    total = 0
    for line in order.facts.lines:
        price = prices.get(line.product_id)
        if price is None:
            return None
        total += price * line.quantity
    return total


def inactive_products(order: Order, inactive: Set[UUID]) -> Refusal | None:
    """Why an order cannot be placed now: Stock does not sell these products any more. An order that was placed before goes on."""
    errors = [
        FieldError(f"items[{n}].productId", "is not sold any more", "inactive")
        for n, line in enumerate(order.facts.lines)
        if line.product_id in inactive
    ]
    if not errors:
        return None
    detail = "; ".join(f"{each.field}: {each.message}" for each in errors[:3])
    return Refusal("INVALID", "The request is not valid", detail, tuple(errors))


async def with_prices(
    db: Connection, orders: Sequence[Order], now: datetime, deadlines: Deadlines, changes: Changes
) -> list[Order]:
    """Orders that lacked a price, each priced if all its prices have come, and as it was if not."""
    if not orders:
        return []
    prices, _ = await store.prices(db, (line.product_id for order in orders for line in order.facts.lines))
    after = []
    for order in orders:
        total = listed_total(order, prices)
        if total is not None:
            decision = decide(order, Priced(total), now, deadlines)
            changes.add(Priced.__name__, order, decision)
            order = decision.order
        after.append(order)
    return after
