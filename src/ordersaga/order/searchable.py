"""Finds orders by their search words, and adds those of orders that have none: a process of an older version has placed them while this one was installed.

Whole words are found by their index among all orders. Parts of words have none, since it would cost each order that is placed: they are looked for in the
newest orders of a page, a bounded number.
"""

from typing import Final
from uuid import UUID

from ordersaga.messaging.database import Connection
from ordersaga.messaging.queries import queries
from ordersaga.messaging.runtime import Runtime
from ordersaga.order import store
from ordersaga.order.model import Order, words
from ordersaga.order.search import EVERY_ORDER, OrderFilter

sql: Final = queries(__file__)

LOOK_EVERY_S: Final = 60.0
ROWS_MAX: Final = 200
LOOKED_MAX: Final = 10_000


def start(runtime: Runtime) -> None:
    """Look once a minute. It costs a look into an index that has only these orders."""

    async def look() -> None:
        while True:
            async with runtime.pool.acquire() as db:
                if await add_search_words(db) < ROWS_MAX:
                    return

    runtime.every(LOOK_EVERY_S, look, "search words")


async def page(db: Connection, before: UUID | None, rows_max: int, wanted: OrderFilter = EVERY_ORDER) -> list[Order]:
    """One page of orders, the newest first. `before`: the last order id of the page before."""
    found = await store.page(db, before, rows_max, wanted)
    parts = words(wanted.text or "")
    if not parts or wanted.order_id is not None or wanted.payment_key is not None:
        return found
    rows = await sql.orders_with_parts(
        db,
        ids_below=wanted.ids_below(before),
        ids_from=wanted.ids_from,
        customer_id=wanted.customer_id,
        looked_max=LOOKED_MAX,
        patterns=[f"%{each}%" for each in parts],  # a word has no character that means something to LIKE
        status=wanted.status,
        reason=wanted.reason,
        placed_before=wanted.placed_before,
        placed_after=wanted.placed_after,
        product=wanted.product_id and str(wanted.product_id),
        rows_max=rows_max,
    )
    both = {order.order_id: order for order in (*map(store.order_of, rows), *found)}
    return [both[order_id] for order_id in sorted(both, reverse=True)[:rows_max]]


async def add_search_words(db: Connection) -> int:
    """Give the oldest orders without search words theirs; how many there were."""
    order_ids = [row["order_id"] for row in await sql.unsearched(db, rows_max=ROWS_MAX)]
    found = await store.find(db, order_ids) if order_ids else {}
    for order in found.values():
        await sql.save_search_words(db, order_id=order.order_id, search_words=order.search_words)
    return len(found)
