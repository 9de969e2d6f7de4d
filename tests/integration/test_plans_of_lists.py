"""A page of a list reads about a page of rows, wherever it begins and whatever it is filtered by, also where a plan was kept for all parameters."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest

from ordersaga import delivery, order, payment, stock
from ordersaga.delivery import store as deliveries
from ordersaga.delivery.app import handler as delivery_handler
from ordersaga.devstack import DevStack
from ordersaga.messaging.database import Connection, planned_anew
from ordersaga.order import store as orders
from ordersaga.order.handlers import handler as order_handler
from ordersaga.payment import store as payments
from ordersaga.payment.handlers import handler as payment_handler
from ordersaga.stock import store as products
from ordersaga.stock.handlers import handler as stock_handler
from tests.integration.service import Bench, bench
from tests.integration.test_plans import KEPT, ROWS, SOME_ROWS, rows_read

LIMIT = 50
READ_MAX = 3 * LIMIT
"""A page of orders reads two tables."""
READABLE = [
    """UPDATE orders SET recipient =
        '{"address":"1","addressDetail":null,"zipcode":"1","phone":"1","name":"1","deliveryMemo":null}'""",
    """UPDATE saga SET facts = '{"lines":[]}'""",
]


async def read(db: Connection, page: Callable[[Connection], Awaitable[Any]]) -> int:
    """How many rows a page reads."""
    async with planned_anew(db):
        before = sum((await rows_read(db)).values())
        assert len(await page(db)) == LIMIT
        return sum((await rows_read(db)).values()) - before


@pytest.fixture(scope="module")
async def shops(stack: DevStack) -> AsyncIterator[dict[str, Bench]]:
    """The four services, each with `ROWS` rows in its tables."""
    async with (
        bench(stack, "order", order, order_handler) as one,
        bench(stack, "stock", stock, stock_handler) as two,
        bench(stack, "payment", payment, payment_handler) as three,
        bench(stack, "delivery", delivery, delivery_handler) as four,
    ):
        for each in one, two, three, four:
            for statement in SOME_ROWS[each.service]:
                await each.pool.execute(statement, *([ROWS] if "$1" in statement else []))
        for statement in READABLE:
            await one.pool.execute(statement)
        for each in one, two, three, four:
            await each.pool.execute("VACUUM ANALYZE")
        yield {each.service: each for each in (one, two, three, four)}


async def middle(db: Connection, table: str, column: str) -> Any:
    return await db.fetchval(f"SELECT {column} FROM {table} ORDER BY {column} OFFSET $1 LIMIT 1", ROWS // 2)


@pytest.mark.parametrize(
    ("service", "table", "column", "page"),
    [
        ("order", "orders", "order_id", lambda db, key: orders.page(db, None, key, LIMIT)),
        ("stock", "product", "product_id", lambda db, key: products.page(db, key, LIMIT)),
        ("delivery", "delivery", "order_id", lambda db, key: deliveries.page(db, None, key, LIMIT)),
    ],
    ids=["order", "stock", "delivery"],
)
async def test_a_page_in_the_middle_reads_as_much_as_the_first(
    shops: dict[str, Bench], service: str, table: str, column: str, page: Callable[[Connection, Any], Awaitable[Any]]
) -> None:
    async with shops[service].pool.acquire() as db:
        await db.execute(KEPT)
        key = await middle(db, table, column)
        assert await read(db, lambda db: page(db, None)) <= READ_MAX
        assert await read(db, lambda db: page(db, key)) <= READ_MAX


async def test_a_page_of_the_payments_of_one_order_reads_as_much_as_the_first(shops: dict[str, Bench]) -> None:
    async with shops["payment"].pool.acquire() as db:
        await db.execute(KEPT)
        await db.execute("UPDATE payment SET order_id = $1 WHERE requested_at IS NOT NULL", some := uuid4())
        await db.execute("VACUUM ANALYZE payment")
        row = await db.fetchrow("SELECT requested_at, payment_key FROM payment ORDER BY 1, 2 OFFSET $1", ROWS // 2)
        assert row is not None
        after = row["requested_at"], row["payment_key"]
        assert await read(db, lambda db: payments.payments_of_order(db, some, None, after, LIMIT)) <= READ_MAX
