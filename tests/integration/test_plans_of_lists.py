"""A page of a list reads about a page of rows, wherever it begins and whatever it is filtered by, also where a plan was kept for all parameters."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from itertools import combinations
from typing import Any
from uuid import UUID, uuid4

import pytest

from ordersaga import delivery, order, payment, stock
from ordersaga.delivery import store as deliveries
from ordersaga.delivery.app import handler as delivery_handler
from ordersaga.devstack import DevStack
from ordersaga.messaging.database import Connection, planned_anew
from ordersaga.order import searchable
from ordersaga.order import store as orders
from ordersaga.order.handlers import handler as order_handler
from ordersaga.order.model import ENDS
from ordersaga.order.search import OrderFilter
from ordersaga.payment import store as payments
from ordersaga.payment.handlers import handler as payment_handler
from ordersaga.stock import store as products
from ordersaga.stock.handlers import handler as stock_handler
from ordersaga.stock.listing import search
from ordersaga.stock.store import CatalogueFilter
from tests.integration.service import Bench, bench
from tests.integration.test_plans import KEPT, ROWS, SOME_ROWS, rows_read

LIMIT = 50
READ_MAX = 3 * LIMIT
"""A page of orders reads two tables."""
CUSTOMER = UUID(int=77)
SPARSE = [
    # A second apart, the newest first in the order of their ids. Few have not ended well, and these are old.
    """WITH old AS (DELETE FROM orders RETURNING order_id) DELETE FROM saga USING old WHERE saga.order_id = old.order_id""",
    """INSERT INTO orders SELECT (lpad(to_hex((1700000000 + n)::bigint * 1000), 12, '0') || substr(md5(n::text), 1, 20))::uuid,
        CASE WHEN n % 200 = 0 THEN '00000000-0000-0000-0000-00000000004d'::uuid ELSE gen_random_uuid() END, 'x', 1, '{}',
        to_timestamp(1700000000 + n), now() FROM generate_series(1, $1) AS n""",
    """INSERT INTO saga SELECT order_id, CASE WHEN n <= 100 THEN 'PENDING' WHEN n <= 150 THEN 'FAILED' ELSE 'COMPLETED' END,
        CASE WHEN n BETWEEN 101 AND 150 THEN 'OUT_OF_STOCK' END, NULL, '{}'
        FROM (SELECT order_id, row_number() OVER (ORDER BY order_id) AS n FROM orders) AS each""",
    """UPDATE orders SET search_words = CASE WHEN n % 500 = 0 THEN ARRAY['cup', 'rare', '00000000-0000-0000-0000-000000000005'] ELSE ARRAY['cup'] END
        FROM (SELECT order_id, row_number() OVER (ORDER BY order_id) AS n FROM orders) AS each WHERE each.order_id = orders.order_id""",
    "INSERT INTO order_payment SELECT 'key-' || order_id, order_id FROM orders",
    """INSERT INTO order_event (order_id, at, came_in, went_out, status, stock_known, payment_hash)
        SELECT order_id, now(), 'PaymentSuccessMessage', '{}', 'PENDING', true, hashtext(order_id::text) FROM orders""",
]
RARE = """UPDATE listing SET category = n::text, active = n % 2 = 0, search_text = '무선' || n, search_parts = ARRAY['무', '선', '무선', n::text]
    FROM (SELECT product_id, row_number() OVER () AS n FROM listing) AS numbered WHERE numbered.product_id = listing.product_id AND n <= 100"""
READABLE = [
    """UPDATE orders SET recipient =
        '{"address":"1","addressDetail":null,"zipcode":"1","phone":"1","name":"1","deliveryMemo":null}'""",
    """UPDATE saga SET facts = '{"lines":[]}'""",
]


async def read(db: Connection, page: Callable[[Connection], Awaitable[Any]]) -> int:
    """How many rows a page reads."""
    async with planned_anew(db):
        before = sum((await rows_read(db)).values())
        await page(db)
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
        await two.pool.execute(RARE)
        for statement in SPARSE:
            await one.pool.execute(statement, *([ROWS] if "$1" in statement else []))
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
        ("order", "orders", "order_id", lambda db, key: orders.page(db, key, LIMIT)),
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


FILTERS: dict[str, Any] = {
    "customer_id": CUSTOMER,
    "status": "PENDING",
    "reason": "OUT_OF_STOCK",
    "placed_before": datetime.fromtimestamp(1700000000 + 3_000, UTC),
    "placed_after": datetime.fromtimestamp(1700000000 + 50, UTC),
    "payment_key": "key-none",
    "product_id": UUID(int=5),
    "text": "rare",
}
WORDS = {"product_id", "text"}
SEARCHES = [
    set(each)
    for n in range(1, len(FILTERS) - 1)
    for each in combinations([name for name in FILTERS if name not in WORDS], n)
]
SEARCHES += [
    {word, *also} for word in sorted(WORDS) for also in ((), ("customer_id",), ("status",), ("placed_before",))
] + [WORDS]
MATCHES_MAX: dict[str, int] = {
    "customer_id": 100,
    "status": 100,
    "reason": 50,
    "payment_key": 1,
    "product_id": 60,
    "text": 60,
}
"""How many orders a filter leaves at most, of those that leave few."""


@pytest.mark.parametrize("asked", SEARCHES, ids=lambda asked: "+".join(sorted(asked)))
async def test_each_search_of_orders_reads_what_its_narrowest_filter_leaves(
    shops: dict[str, Bench], asked: set[str]
) -> None:
    wanted = OrderFilter(**{name: FILTERS[name] for name in asked})
    most = min((MATCHES_MAX[name] for name in asked if name in MATCHES_MAX), default=LIMIT)
    async with shops["order"].pool.acquire() as db:
        await db.execute(KEPT)
        assert await read(db, lambda db: orders.page(db, None, LIMIT, wanted)) <= READ_MAX + 3 * most


@pytest.mark.parametrize(
    "also", [{}, {"customer_id": CUSTOMER}, {"status": "PENDING"}, {"product_id": UUID(int=5)}], ids=str
)
@pytest.mark.parametrize("text", ["ar", "none", "u"])
async def test_a_search_by_parts_of_words_reads_a_bounded_number_of_orders(
    shops: dict[str, Bench], monkeypatch: pytest.MonkeyPatch, text: str, also: dict[str, Any]
) -> None:
    looked = 500
    monkeypatch.setattr(searchable, "LOOKED_MAX", looked)
    async with shops["order"].pool.acquire() as db:
        await db.execute(KEPT)
        for before in (None, await middle(db, "orders", "order_id")):
            wanted = OrderFilter(text=text, **also)
            most = READ_MAX + 3 * 100 + 2 * looked
            assert await read(db, lambda db: searchable.page(db, before, LIMIT, wanted)) <= most  # noqa: B023


@pytest.mark.parametrize("status", ["COMPLETED", "PENDING"])
async def test_a_search_of_orders_reads_no_more_in_the_middle(shops: dict[str, Bench], status: Any) -> None:
    async with shops["order"].pool.acquire() as db:
        await db.execute(KEPT)
        key = await middle(db, "orders", "order_id")
        assert await read(db, lambda db: orders.page(db, key, LIMIT, OrderFilter(status=status))) <= READ_MAX


@pytest.mark.parametrize(
    "wanted",
    [
        CatalogueFilter(),
        CatalogueFilter(active=True),
        CatalogueFilter(active=False),
        CatalogueFilter(category="7"),
        CatalogueFilter(category="7", active=True),
        CatalogueFilter(search("선")),
        CatalogueFilter(search("무선")),
        CatalogueFilter(search("무선 무선"), active=True),
        CatalogueFilter(search("무선7"), "7", True),
        CatalogueFilter(search("없음")),
        CatalogueFilter(search("x")),
    ],
    ids=str,
)
async def test_each_search_of_products_reads_what_it_finds(shops: dict[str, Bench], wanted: CatalogueFilter) -> None:
    async with shops["stock"].pool.acquire() as db:
        await db.execute(KEPT)
        assert await read(db, lambda db: products.page(db, None, LIMIT, wanted)) <= READ_MAX + 2 * 100


async def test_counts_by_status_and_the_oldest_order_that_waits_read_no_more_than_they_tell(
    shops: dict[str, Bench],
) -> None:
    async with shops["order"].pool.acquire() as db:
        await db.execute(KEPT)
        counts = await orders.counts(db, UUID(int=0), LIMIT)
        assert counts == {"PENDING": LIMIT, "COMPLETED": LIMIT, "FAILED": LIMIT, "CANCELLED": 0}
        assert await read(db, lambda db: orders.counts(db, UUID(int=0), LIMIT)) <= 4 * LIMIT
        reasons = await orders.reasons(db, UUID(int=0), LIMIT)
        there = "SELECT reason, least(count(*), $1) FROM saga WHERE reason IS NOT NULL GROUP BY reason"
        counted = {row["reason"]: row["least"] for row in await db.fetch(there, LIMIT)}
        assert {reason: count for reason, count in reasons.items() if count} == counted != {}
        assert reasons.keys() == ENDS.keys()
        assert await read(db, lambda db: orders.reasons(db, UUID(int=0), LIMIT)) <= len(ENDS) * LIMIT
        oldest = await orders.oldest_pending(db)
        assert oldest is not None and oldest[0] == await db.fetchval("SELECT min(order_id::text)::uuid FROM orders")
        assert await read(db, orders.oldest_pending) <= 3
