"""A peer's shop: three databases with the tables of `schema/`, its topics, the orders in them, and whether all came out right."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import psycopg
from uuid_utils.compat import uuid7

from benchmarks.flow import COMPLETED, SERVICES
from benchmarks.peers.contender import Contender, make_topics
from benchmarks.records import LoadRecord
from benchmarks.shop import PIECES, PRICE, PRODUCTS, RECIPIENT
from ordersaga.contracts import codec
from ordersaga.contracts.messages import OrderedProduct, PaymentSuccessMessage, StockDecreaseRequestMessage
from ordersaga.contracts.topics import DEAD_LETTER_SUFFIX, GUIDE_TOPICS
from ordersaga.devstack.server import Server
from ordersaga.devstack.system import System
from ordersaga.messaging.kafka import Partition, watermarks

SCHEMA: Final = Path(__file__).with_name("schema")
ORDER_COLUMNS: Final = [
    "order_id",
    "customer_id",
    "order_name",
    "total_amount",
    "address",
    "address_detail",
    "zipcode",
    "phone",
    "name",
    "delivery_memo",
    "status",
    "delivery_status",
    "created_at",
    "updated_at",
]
Start = Callable[["Peer"], dict[str, Server]]


class Peer(Contender):
    """Somebody else's Order, Stock and Delivery. `start` makes their processes, which find databases and topics by these names.

    With `one_database`, the tables of all three are in one. With `kafka` False it has no topics.
    """

    def __init__(
        self, name: str, system: System, start: Start, *, one_database: bool = False, kafka: bool = True
    ) -> None:
        slug = name.replace("-", "_")
        self._database_of: Final = {
            service: f"{slug}_shop" if one_database else f"{slug}_{service}" for service in SERVICES
        }
        super().__init__(name, system.stack, f"{name}.", list(dict.fromkeys(self._database_of.values())))
        self._system: Final = system
        self._start: Final = start
        self._kafka: Final = kafka
        self._placed = 0
        self.shelf: Final = [uuid4() for _ in range(PRODUCTS)]

    def processes(self) -> dict[str, Server]:
        return self._start(self)

    def database(self, service: str) -> str:
        """The name of a service's database."""
        return self._database_of[service]

    async def prepare(self) -> None:
        """Make databases, tables, products and topics."""
        await asyncio.to_thread(self.stack.create_databases, self.databases)
        for name in self.databases:
            tables = [service for service in SERVICES if self.database(service) == name]
            with psycopg.connect(self.stack.database_url(name), autocommit=True) as db:
                for table in (*tables, "outbox"):
                    db.execute((SCHEMA / f"{table}.sql").read_bytes())
        stock = await self._connect("stock")
        rows = [(product, "keyboard", PRICE, PIECES) for product in self.shelf]
        await stock.copy_records_to_table("product", columns=("product_id", "name", "price", "available"), records=rows)
        await stock.close()
        if not self._kafka:
            return
        names = [self.topics + topic.name + suffix for topic in GUIDE_TOPICS for suffix in ("", DEAD_LETTER_SUFFIX)]
        await make_topics(self._system.settings, names)

    def ordered(self, orders: int) -> None:
        self._placed += orders

    async def place(self, orders: int) -> list[LoadRecord]:
        products = [(uuid7(), self.shelf[n % len(self.shelf)]) for n in range(orders)]
        db = await self._connect("order")
        async with db.transaction():
            rows = [_row(order_id) for order_id, _ in products]
            await db.copy_records_to_table("orders", columns=ORDER_COLUMNS, records=rows)
            items = [(order_id, product_id, 1, "REQUESTED") for order_id, product_id in products]
            await db.copy_records_to_table("order_item", records=items)
        await db.close()
        self.ordered(orders)
        return [record for order_id, product_id in products for record in self._records(order_id, product_id)]

    def _records(self, order_id: UUID, product_id: UUID) -> Sequence[LoadRecord]:
        key = str(order_id).encode()
        line = OrderedProduct(product_id=product_id, quantity=1)
        asked = StockDecreaseRequestMessage(order_id=order_id, products=(line,))
        paid = PaymentSuccessMessage(order_id=order_id, payment_key=f"key-{order_id}", amount=PRICE, status="SUCCESS")
        return (
            (f"{self.topics}order-created", key, codec.encode(asked)),
            (f"{self.topics}payment-success-topic", key, codec.encode(paid)),
        )

    async def check(self) -> list[str]:
        """Counts, of which each must be the number of orders placed; the outboxes must be empty."""
        found = {
            "orders completed": await self._count(
                "order", "orders", "status = 'COMPLETED' AND delivery_id IS NOT NULL"
            ),
            "items reserved": await self._count("order", "order_item", "stock_status = 'RESERVED'"),
            "reservations": await self._count("stock", "reservation", "status = 'SUCCESS'"),
            "pieces taken": await self._value("stock", f"SELECT sum({PIECES} - available) FROM product"),
            "deliveries": await self._count("delivery", "delivery", "status = 'STARTED'"),
        }
        if self._kafka:
            found["completion records"] = self._records_on(self.topics + COMPLETED)
        broken = [f"{self.name}: {n} {what} of {self._placed}" for what, n in found.items() if n != self._placed]
        for service in SERVICES:
            if left := await self._count(service, "outbox", "true"):
                broken.append(f"{self.name}: {left} records left in the outbox of {service}")
        return broken

    def _records_on(self, topic: str) -> int:
        settings = self._system.settings
        partitions = [Partition(topic, number) for number in range(settings.topic_partitions)]
        return sum(high for _, high in watermarks(settings, partitions).values())

    async def _count(self, service: str, table: str, condition: str) -> int:
        return await self._value(service, f"SELECT count(*) FROM {table} WHERE {condition}")

    async def _value(self, service: str, query: str) -> int:
        db = await self._connect(service)
        value = await db.fetchval(query)
        await db.close()
        return int(value)

    async def _connect(self, service: str) -> Any:
        return await asyncpg.connect(self.stack.database_url(self.database(service)))


def _row(order_id: UUID) -> tuple[Any, ...]:
    to, now = RECIPIENT, datetime.now(UTC)
    where = (to.address, to.address_detail, to.zipcode, to.phone, to.name, to.delivery_memo)
    return (order_id, uuid4(), "keyboard", PRICE, *where, "PENDING", "NOT_REQUESTED", now, now)
