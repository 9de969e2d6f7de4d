"""Order's copy of the product prices: it says what an order should cost, and which orders have to wait for a price."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from ordersaga.messaging.database import Connection
from ordersaga.order import store
from ordersaga.order.changes import Changes
from ordersaga.order.deadlines import Deadlines
from ordersaga.order.model import Order
from ordersaga.order.saga import Priced, decide


def lacks_price(order: Order) -> bool:
    """Whether a pending order was placed before the prices of all its products were known."""
    return order.facts.listed_total is None and order.status == "PENDING"


def listed_total(order: Order, prices: Mapping[UUID, int]) -> int | None:
    """The sum of the products' own prices; None: one of them is not known. Won."""
    total = 0
    for line in order.facts.lines:
        price = prices.get(line.product_id)
        if price is None:
            return None
        total += price * line.quantity
    return total


async def with_prices(
    db: Connection, orders: Sequence[Order], now: datetime, deadlines: Deadlines, changes: Changes
) -> list[Order]:
    """Orders that lacked a price, each priced if all its prices have come, and as it was if not."""
    if not orders:
        return []
    prices = await store.prices(db, (line.product_id for order in orders for line in order.facts.lines))
    after = []
    for order in orders:
        total = listed_total(order, prices)
        if total is not None:
            decision = decide(order, Priced(total), now, deadlines)
            changes.add(Priced.__name__, order, decision)
            order = decision.order
        after.append(order)
    return after
