"""What the tests of Stock share: products, and what is counted of them."""

from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from uuid import UUID

from uuid_utils.compat import uuid7

from ordersaga import stock
from ordersaga.devstack import DevStack
from ordersaga.stock import commands
from ordersaga.stock.handlers import handler
from tests.integration.service import Bench, bench

PRODUCTS = "/api/v1/products"


def stock_bench(stack: DevStack) -> AbstractAsyncContextManager[Bench]:
    """Stock's database, turns and settings, of its own."""
    return bench(stack, "stock", stock, handler)


async def product(shop: Bench, quantity: int) -> UUID:
    product_id: UUID = uuid7()
    async with shop.pool.acquire() as db, db.transaction():
        await commands.add(
            db, [commands.AddProduct(uuid7(), product_id, "a cup", 1_000, quantity, None)], datetime.now(UTC)
        )
    return product_id


async def counters(shop: Bench, product_id: UUID) -> tuple[int, int, int, int]:
    query = "SELECT received, reserved, released, available FROM product WHERE product_id = $1"
    row = await shop.pool.fetchrow(query, product_id)
    assert row is not None
    return row["received"], row["reserved"], row["released"], row["available"]


async def assert_conserved(shop: Bench) -> None:
    """The ledger, the counters and the reservations say the same of every product."""
    wrong = await shop.pool.fetch(
        """
        WITH moved AS (
            SELECT product_id, coalesce(sum(quantity) FILTER (WHERE kind = 'received'), 0) AS received,
                   coalesce(sum(quantity) FILTER (WHERE kind = 'reserved'), 0) AS reserved,
                   coalesce(sum(quantity) FILTER (WHERE kind = 'released'), 0) AS released
            FROM movement GROUP BY product_id
        ), held AS (
            SELECT (item ->> 'productId')::uuid AS product_id, sum((item ->> 'quantity')::bigint) AS pieces
            FROM reservation, json_array_elements(items) AS item WHERE item ->> 'state' = 'RESERVED' GROUP BY 1
        )
        SELECT p.*, m.*, h.pieces FROM product p LEFT JOIN moved m USING (product_id) LEFT JOIN held h USING (product_id)
        WHERE (p.received, p.reserved, p.released)
              <> (coalesce(m.received, 0), coalesce(m.reserved, 0), coalesce(m.released, 0))
           OR p.available <> p.received - coalesce(h.pieces, 0) OR p.available < 0
        """
    )
    assert wrong == []
