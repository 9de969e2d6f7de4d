"""Adds the search words of orders that have none: a process of an older version has placed them while this one was installed."""

from typing import Final

from ordersaga.messaging.database import Connection
from ordersaga.messaging.queries import queries
from ordersaga.messaging.runtime import Runtime
from ordersaga.order import store

sql: Final = queries(__file__)

LOOK_EVERY_S: Final = 60.0
ROWS_MAX: Final = 200


def start(runtime: Runtime) -> None:
    """Look once a minute. It costs a look into an index that has only these orders."""

    async def look() -> None:
        while True:
            async with runtime.pool.acquire() as db:
                if await add_search_words(db) < ROWS_MAX:
                    return

    runtime.every(LOOK_EVERY_S, look, "search words")


async def add_search_words(db: Connection) -> int:
    """Give the oldest orders without search words theirs; how many there were."""
    order_ids = [row["order_id"] for row in await sql.unsearched(db, rows_max=ROWS_MAX)]
    found = await store.find(db, order_ids) if order_ids else {}
    for order in found.values():
        await sql.save_search_words(db, order_id=order.order_id, search_words=order.search_words)
    return len(found)
