"""Orders of the past, as many as wanted, straight into the tables of Order, Stock and Delivery: what a shop has after some good months.

Rows, ids (UUIDv7, in time order) and JSON are what the services write for a completed order. Customers are `CUSTOMERS`, in turn.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from uuid import UUID

import asyncpg
import msgspec

from benchmarks.shop import PRICE, RECIPIENT
from ordersaga.order import store
from ordersaga.order.model import Facts, Line, OrderPayment
from ordersaga.settings import ServiceName, Settings

BATCH = 200_000
CUSTOMERS = 100_000
AGE_MS = 200 * 24 * 3_600_000
"""Younger than what the services prune."""
ORDERS_PER_MS = 5

TABLES: dict[ServiceName, list[str]] = {
    "order": ["orders", "saga", "order_event"],
    "stock": ["reservation", "movement"],
    "delivery": ["delivery"],
}
# $1 and $2: the first and last number; $3: the time of the first in milliseconds; $4: the products.
PAST = f"""
WITH past AS (
    SELECT n, ($4::uuid[])[n % cardinality($4::uuid[]) + 1] AS product, to_timestamp(($3::bigint + n / {ORDERS_PER_MS}) / 1000.0) AS at,
           (lpad(to_hex($3::bigint + n / {ORDERS_PER_MS}), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0')
            || '8' || substr(md5(n::text), 1, 15))::uuid AS id,
           md5('customer' || n % {CUSTOMERS})::uuid AS customer, md5('delivery' || n)::uuid AS delivery
    FROM generate_series($1::bigint, $2::bigint) AS n
)"""
PRODUCT, KEY, DELIVERY = UUID(int=1), "the-key", UUID(int=2)


def _insertions() -> dict[ServiceName, list[str]]:
    """The statements, by database; constants of ours are written into them."""
    facts = Facts(
        (Line(PRODUCT, 1, "RESERVED"),),
        (OrderPayment(KEY, PRICE, "PAID"),),
        delivery="STARTED",
        delivery_id=DELIVERY,
        listed_total=PRICE,
    )
    recipient, known = msgspec.json.encode(RECIPIENT).decode(), msgspec.json.encode(facts).decode()
    known = f"replace(replace(replace('{known}', '{PRODUCT}', product::text), '{KEY}', 'key-' || id), '{DELIVERY}', delivery::text)"
    events = """(VALUES ('Placed', '{StockDecreaseRequestMessage,OrderPayableMessage}', 'PENDING', false),
        ('StockResponseMessage', '{}', 'PENDING', true), ('PaymentSuccessMessage', '{DeliveryRequestMessage}', 'PENDING', true),
        ('DeliveryStartMessage', '{OrderCompletedMessage}', 'COMPLETED', true)) AS e (came_in, went_out, status, stock_known)"""
    to = RECIPIENT
    address = "".join(
        f", '{text}'" for text in (to.address, to.address_detail, to.zipcode, to.phone, to.name, to.delivery_memo)
    )
    return {
        "order": [
            f"INSERT INTO orders {PAST} SELECT id, customer, 'keyboard', {PRICE}, '{recipient}', at, at + interval '30 min' FROM past",
            f"INSERT INTO saga {PAST} SELECT id, 'COMPLETED', NULL, NULL, {known}::json FROM past",
            "INSERT INTO order_event (order_id, at, came_in, went_out, status, stock_known) "
            f"{PAST} SELECT id, at, e.came_in, e.went_out::text[], e.status, e.stock_known FROM past, {events}",
        ],
        "stock": [
            f"INSERT INTO reservation {PAST} SELECT id, 'RESERVED', json_build_array(json_build_object("
            "'productId', product, 'quantity', 1, 'state', 'RESERVED')), at FROM past",
            "INSERT INTO movement (product_id, order_id, kind, quantity, at) "
            f"{PAST} SELECT product, id, 'reserved', 1, at FROM past",
        ],
        "delivery": [
            f"INSERT INTO delivery {PAST} SELECT id, delivery, customer, 'STARTED', upper(substr(md5(n::text), 1, 12)), NULL"
            f"{address}, at FROM past"
        ],
    }


class History:
    """Orders of the past in the databases of one system."""

    def __init__(self, settings: Settings, shelf: Sequence[UUID]) -> None:
        self._settings = settings
        self._shelf = list(shelf)
        self._first_ms = int(time.time() * 1000) - AGE_MS
        self._count = 0

    async def add(self, count: int, say: Callable[[str], None]) -> None:
        """Add so many; afterwards the tables are vacuumed and analysed as autovacuum would have done over the time."""
        insertions = _insertions()
        end = self._count + count
        while self._count < end:
            last = min(self._count + BATCH, end)
            await asyncio.gather(*(self._run(name, each, self._count, last - 1) for name, each in insertions.items()))
            self._count = last
            say(f"{last:,} orders of the past are stored")
        for name, tables in TABLES.items():
            db = await asyncpg.connect(self._settings.database_url(name))
            await db.execute("VACUUM ANALYZE " + ", ".join(tables))
            await db.execute("CHECKPOINT")
            await db.close()

        await self._check()

    async def _check(self) -> None:
        """The last one must be an order as our own store reads it. Raises if it is not, so that nothing is measured on odd rows."""
        db = await asyncpg.connect(self._settings.database_url("order"))
        order_id = await db.fetchval(
            "SELECT order_id FROM saga WHERE order_id < $1 ORDER BY 1 DESC LIMIT 1", self._bound
        )
        order = (await store.find(db, [order_id]))[order_id]
        await db.close()
        if not (
            order.status == "COMPLETED"
            and order.is_paid
            and order.is_reserved
            and order.facts.lines[0].product_id in self._shelf
        ):
            raise ValueError(f"the history is not what the services write: {order}")

    @property
    def _bound(self) -> UUID:
        """Ids of the past are below."""
        return UUID(int=(self._first_ms + self._count // ORDERS_PER_MS + 1) << 80)

    async def _run(self, name: ServiceName, insertions: Sequence[str], first: int, last: int) -> None:
        db = await asyncpg.connect(self._settings.database_url(name))
        for insertion in insertions:
            await db.execute(insertion, first, last, self._first_ms, self._shelf)
        await db.close()

    async def remove(self) -> None:
        """Take them away again, so that the audit judges those that went through the services: by copying what stays, which is less."""
        for name, tables in TABLES.items():
            db = await asyncpg.connect(self._settings.database_url(name))
            for table in tables:
                async with db.transaction():
                    await db.execute(
                        f"CREATE TEMP TABLE stays ON COMMIT DROP AS SELECT * FROM {table} WHERE order_id IS NULL OR order_id >= '{self._bound}'"
                    )
                    await db.execute(f"TRUNCATE {table}")
                    await db.execute(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM stays")
            await db.close()

    async def sizes_mib(self) -> tuple[float, dict[str, float]]:
        """All tables together without their indexes, and each index."""
        tables_mib = 0.0
        indexes_mib: dict[str, float] = {}
        for name, tables in TABLES.items():
            db = await asyncpg.connect(self._settings.database_url(name))
            rows = await db.fetch(
                "SELECT i.indexrelid::regclass::text AS index, pg_relation_size(i.indexrelid) AS bytes "
                "FROM pg_index i WHERE i.indrelid = ANY ($1::text[]::regclass[])",
                tables,
            )
            size = await db.fetchval("SELECT sum(pg_table_size(t)) FROM unnest($1::text[]::regclass[]) AS t", tables)
            await db.close()
            indexes_mib |= {row["index"]: row["bytes"] / 2**20 for row in rows}
            tables_mib += float(size) / 2**20
        return tables_mib, indexes_mib
