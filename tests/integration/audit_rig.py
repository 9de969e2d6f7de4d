"""What tests of the audit share: four orders in four databases, as the services would have left them, to be broken row by row.

One order is completed, one returned, one failed, one pending.
"""

import asyncio
import importlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from string import Template
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import pytest
from confluent_kafka import Producer

from ordersaga.audit import Finding, verify
from ordersaga.contracts.codec import encode
from ordersaga.contracts.messages import OrderCompletedMessage
from ordersaga.contracts.topics import TOPICS
from ordersaga.devstack import DevStack
from ordersaga.messaging import spring_headers
from ordersaga.messaging.handler import Record
from ordersaga.messaging.ids import new_id
from ordersaga.messaging.kafka import Partition, Topics, create_missing_topics, watermarks
from ordersaga.messaging.migrating import migrate
from ordersaga.sandbox.app import SandboxSettings, serving
from ordersaga.settings import SERVICES, Settings

PRICE, QUANTITY, RECEIVED = 12_500, 2, 100
TOTAL = PRICE * QUANTITY
RECIPIENT = {
    "address": "1 Sejong-daero", "addressDetail": None, "zipcode": "04524", "phone": "010-0000-0000", "name": "Kim", "deliveryMemo": "the door",
}  # fmt: skip
EVENTS = {
    "PENDING": [("Placed", ["StockDecreaseRequestMessage", "OrderPayableMessage"]), ("StockResponseMessage", [])],
    "COMPLETED": [("DeliveryStartMessage", ["OrderCompletedMessage"])],
    "FAILED": [
        ("PaymentSuccessMessage", ["StockRollbackRequestedMessage", "OrderPayableMessage"]),
        ("StockRollbackCompletedMessage", []),
    ],
    "CANCELLED": [
        ("Return", ["StockRollbackRequestedMessage", "PaymentCancelRequestedMessage", "OrderPayableMessage"]),
        ("StockRollbackCompletedMessage", []),
        ("PaymentCancelledMessage", []),
    ],
}
"""The events that lead to a status, and what each sends."""
PAID = ("PaymentSuccessMessage", ["DeliveryRequestMessage"])
LETTER_OF = ("order-created", 0, 42)
LETTER_VALUE = b'{"poison": true, "phone": "010-0000-0000"}'
LONG_AGO = timedelta(minutes=5)

STOCK = "stock is conserved"
COMPLETE = "a completed order has its stock"
RECORDED = "an order that was ever completed has one completion record"
GIVEN_BACK = "a failed or cancelled order holds no stock and no money"
IN_TIME = "no pending order is older than its deadlines"
KNOWN = "no stock, payment or delivery without its order"
BOOKS = "the gateway's books and the payment table agree to the won"
PUBLISHED = "every committed record is published"
HANDLED = "every record in Kafka is handled"
LETTERS = "each dead letter is accounted for"
PARKED = "each parked record will be tried again"
TIMED = "an order that waits for something has a timer"
TOLD = "an order's facts and timeline say what its status says"
AGREED = "what Order believes of stock, payments and delivery"
PRICED = "Order knows the price of each of Stock's products"
SETTLED = "every open payment has an intent that will settle it"
INVARIANTS = (
    STOCK, COMPLETE, RECORDED, GIVEN_BACK, IN_TIME, KNOWN, BOOKS, PUBLISHED, HANDLED, LETTERS, PARKED, TIMED, TOLD, AGREED, PRICED, SETTLED,
)  # fmt: skip
CONSUMED = {(topic.consumer, topic.name) for topic in TOPICS if topic.consumer in SERVICES}

# Statements with the scene's ids in them, as `$completed`.
LETTER = """INSERT INTO dead_letter (id, status, topic, partition, record_offset, header_names, header_values, cause, reason, attempts, at)
            VALUES (gen_random_uuid(), '%s', 'order-created', 3, 42, '{}', '{}', 'ValueError', 'poison', 5, now())"""
OUTBOX = """INSERT INTO outbox (id, adopt_at, topic, message_id, traceparent)
            VALUES (1, now() - interval '%s', 'order-created', gen_random_uuid(), '-')"""
PARK = """INSERT INTO parked (topic, partition, record_offset, order_key, header_names, header_values, timestamp_ms, attempts, due_at, parked_at)
          VALUES ('order-created', 3, 42, gen_random_uuid(), '{}', '{}', 0, 1, %s, now())"""
PAYMENT = """INSERT INTO payment (payment_key, order_id, amount, status, captured, refunded, requested_at, approved_at)
             VALUES ('%s', '%s', 25000, '%s', 25000, 0, now() - interval '5 minutes', now() - interval '5 minutes')"""


Headers = list[tuple[str, str | bytes | None]]
"""As the client's `produce` takes them."""


class Scene:
    """Four sound orders and what the services hold for them. `topic` is one that Stock has read to its end."""

    def __init__(
        self, settings: Settings, db: dict[str, "asyncpg.Connection[asyncpg.Record]"], topic: str, letter: UUID
    ) -> None:
        """`letter`: the id of a dead letter of Stock's, whose record is on its dead letter topic."""
        self.settings = settings
        self.db = db
        self.topic = topic
        self.letter = letter
        self.product, self.completed, self.returned, self.failed, self.pending, self.stray = (
            new_id() for _ in range(6)
        )
        self.item = {"productId": str(self.product), "quantity": QUANTITY}
        self._producer = Producer(
            {"bootstrap.servers": settings.kafka_bootstrap_servers, "partitioner": "murmur2_random"}
        )

    async def broken(self, unchanged_for_s: float = 0.0) -> dict[str, list[str]]:
        """The invariants that do not hold, by the beginning of their names, and what they name."""
        return {short(each): each.broken for each in await self.findings(unchanged_for_s) if each.broken_count}

    async def unjudged(self, unchanged_for_s: float = 0.0) -> dict[str, list[str]]:
        return {short(each): each.unjudged for each in await self.findings(unchanged_for_s) if each.unjudged}

    async def findings(self, unchanged_for_s: float = 0.0) -> list[Finding]:
        return await verify(self.settings, unchanged_for_s)

    async def in_flight(self, unchanged_for_s: float) -> dict[str, list[str]]:
        return {short(each): each.in_flight for each in await self.findings(unchanged_for_s) if each.in_flight}

    def named(self, text: str) -> str:
        """With this scene's ids for `$product`, `$completed`, ... (`$stray`: an order that nobody knows)."""
        names = ("product", "completed", "returned", "failed", "pending", "stray", "topic", "letter")
        return Template(text).substitute({name: str(getattr(self, name)) for name in names})

    async def plant(self, database: str, statement: str) -> None:
        await self.db[database].execute(self.named(statement))

    async def ask(self, path: str, **body: Any) -> Any:
        """A call of the gateway."""
        secret = self.settings.gateway_secret_key.get_secret_value()
        async with (
            aiohttp.ClientSession(headers={"Authorization": aiohttp.encode_basic_auth(secret, "")}) as http,
            http.post(f"{self.settings.gateway_url}{path}", json=body) as answer,
        ):
            assert answer.status in (200, 201), await answer.text()
            return await answer.json()

    async def refund(self, payment_key: str, amount: int) -> None:
        await self.ask(f"/v1/payments/{payment_key}/cancel", cancelReason="returned", cancelAmount=amount)

    async def keep(self) -> None:
        """Copy all tables, for `repair`."""
        for name, db in self.db.items():
            for table in await self._tables(name):
                await db.execute(f"CREATE TEMP TABLE kept_{table} AS TABLE public.{table}")

    async def repair(self, database: str) -> None:
        """Make a database's tables again what they were at `keep`."""
        db = self.db[database]
        tables = await self._tables(database)
        await db.execute(f"TRUNCATE {', '.join(f'public.{table}' for table in tables)}")
        for table in tables:
            names = await db.fetch(
                "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND attgenerated = '' AND NOT attisdropped",
                f"public.{table}",
            )
            columns = ", ".join(f'"{row["attname"]}"' for row in names)
            await db.execute(
                f"INSERT INTO public.{table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM kept_{table}"
            )

    async def _tables(self, database: str) -> list[str]:
        """In the order of their names, so that `operator_job` comes before `operator_job_item`, which refers to it."""
        found = await self.db[database].fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE '%yoyo%' ORDER BY 1"
        )
        return [row["tablename"] for row in found]

    async def believe(self, order_id: UUID, **facts: Any) -> None:
        """What Order's saga believes of an order, beside what it believed before."""
        known = await self.db["order"].fetchval("SELECT facts FROM saga WHERE order_id = $1", order_id)
        await self.db["order"].execute(
            "UPDATE saga SET facts = $2 WHERE order_id = $1", order_id, json.dumps(json.loads(known) | facts)
        )

    async def complete(self, order_id: UUID, message_id: UUID, ago: timedelta = 2 * LONG_AGO, **said: Any) -> None:
        """A completion record in Kafka."""
        at_ms = int((datetime.now(UTC) - ago).timestamp() * 1000)
        words: dict[str, Any] = {"customer_id": order_id, "status": "ORD0002", "total_amount": TOTAL} | said
        message = OrderCompletedMessage(order_id=order_id, **words)
        headers: Headers = [("message-id", str(message_id).encode())]
        self._producer.produce(
            "order-completed-topic", encode(message), str(order_id), headers=headers, timestamp=at_ms
        )
        assert await asyncio.to_thread(self._producer.flush, 30) == 0

    async def write(self, topic: str, count: int) -> None:
        for _ in range(count):
            self._producer.produce(topic, b"{}")
        assert await asyncio.to_thread(self._producer.flush, 30) == 0

    async def give_up(self, letter: UUID, group: str, ago: timedelta = timedelta()) -> None:
        """A record on the dead letter topic, as a service writes it."""
        record = Record(*LETTER_OF, None, LETTER_VALUE, None, 0)
        headers: Headers = [
            ("message-id", str(letter).encode()),
            *spring_headers.write(record, group, "ValueError", "poison"),
        ]
        at_ms = int((datetime.now(UTC) - ago).timestamp() * 1000)
        topic, partition, _ = LETTER_OF
        self._producer.produce(
            f"{topic}-dlt",
            LETTER_VALUE,
            partition=partition,
            headers=headers,
            timestamp=at_ms,
        )
        assert await asyncio.to_thread(self._producer.flush, 30) == 0


def short(finding: Finding) -> str:
    return next(name for name in INVARIANTS if finding.invariant.startswith(name))


@pytest.fixture(scope="module")
async def scene_databases(stack: DevStack) -> AsyncIterator[Scene]:
    """The databases and topics that all scenes of this file are made in."""
    name = f"audit_{uuid4().hex[:8]}"
    databases = {service: f"{name}_{service}" for service in SERVICES}
    stack.create_databases(databases.values())
    urls = {f"{service}_database_url": stack.database_url(database) for service, database in databases.items()}
    kafka = {"kafka_bootstrap_servers": stack.bootstrap_servers, "topic_partitions": 3}
    groups = {f"{service}_group": f"{name}-{service}" for service in SERVICES}
    settings = Settings.model_validate(kafka | urls | groups)
    await create_missing_topics(settings)
    await Topics(settings).create([(name, {})], 1, 1)
    db: dict[str, asyncpg.Connection[asyncpg.Record]] = {}
    for service in SERVICES:
        await asyncio.to_thread(
            migrate, settings.database_url(service), importlib.import_module(f"ordersaga.{service}")
        )
        db[service] = await asyncpg.connect(settings.database_url(service))
    made = Scene(settings, db, name, uuid4())
    await made.write(name, 5)
    await made.give_up(made.letter, settings.stock_group)
    yield made
    for each in db.values():
        await each.close()


@pytest.fixture
async def scene(scene_databases: Scene) -> AsyncIterator[Scene]:
    async with furnished(scene_databases) as made:
        yield made


@asynccontextmanager
async def furnished(empty: Scene) -> AsyncIterator[Scene]:
    """A sound scene in emptied databases, with a sandbox of its own."""
    for db in empty.db.values():
        tables = await db.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE '%yoyo%'"
        )
        await db.execute("TRUNCATE " + ", ".join(row["tablename"] for row in tables))
    async with serving(SandboxSettings()) as gateway_url:
        settings = empty.settings.model_copy(update={"gateway_url": gateway_url})
        made = Scene(settings, empty.db, empty.topic, empty.letter)
        await _furnish(made)
        yield made


async def _furnish(scene: Scene) -> None:
    now = datetime.now(UTC)
    for order_id, statuses, reason, stock in [
        (scene.completed, ["PENDING", "COMPLETED"], None, "RESERVED"),
        (scene.returned, ["PENDING", "COMPLETED", "CANCELLED"], "RETURNED", "RELEASED"),
        (scene.failed, ["PENDING", "FAILED"], "PAYMENT_DECLINED", "RELEASED"),
        (scene.pending, ["PENDING"], None, "RESERVED"),
    ]:
        await place(scene, order_id, statuses, reason, {"lines": [scene.item | {"stock": stock}], "listedTotal": TOTAL})
        pay_before = await scene.db["order"].fetchval("SELECT pay_before FROM orders WHERE order_id = $1", order_id)
        code = {"FAILED": "ORD0004", "CANCELLED": "ORD0003"}.get(statuses[-1], "ORD0001")
        await scene.db["payment"].execute(
            "INSERT INTO payable (order_id, customer_id, total_amount, pay_before, status) VALUES ($1, $1, $2, $3, $4)",
            order_id, TOTAL, pay_before, code,
        )  # fmt: skip
    await scene.db["order"].execute(
        "INSERT INTO price (product_id, name, price, changed_at) VALUES ($1, 'keyboard', $2, $3)",
        scene.product, PRICE, now - LONG_AGO,
    )  # fmt: skip
    await scene.db["stock"].execute(
        "INSERT INTO product (product_id, name, price, received, reserved, released) VALUES ($1, 'keyboard', $2, $3, $4, $5)",
        scene.product, PRICE, RECEIVED, 4 * QUANTITY, 2 * QUANTITY,
    )  # fmt: skip
    movements: list[tuple[str, UUID | None, int]] = [("received", None, RECEIVED)]
    movements += [
        ("reserved", order_id, QUANTITY) for order_id in (scene.completed, scene.returned, scene.failed, scene.pending)
    ]
    movements += [("released", order_id, QUANTITY) for order_id in (scene.returned, scene.failed)]
    await scene.db["stock"].executemany(
        "INSERT INTO movement (product_id, kind, order_id, quantity, at) VALUES ($1, $2, $3, $4, now())",
        [(scene.product, *movement) for movement in movements],
    )
    for order_id, state in [
        (scene.completed, "RESERVED"),
        (scene.returned, "RELEASED"),
        (scene.failed, "RELEASED"),
        (scene.pending, "RESERVED"),
    ]:
        await scene.db["stock"].execute(
            "INSERT INTO reservation (order_id, state, items, at) VALUES ($1, $2, $3, now())",
            order_id, state, json.dumps([scene.item | {"state": state}]),
        )  # fmt: skip
    for order_id, refunded in [(scene.completed, 0), (scene.returned, TOTAL)]:
        key = await pay(scene, order_id, refunded)
        await scene.db["delivery"].execute(
            "INSERT INTO delivery (order_id, delivery_id, customer_id, status, tracking_number, address, address_detail, zipcode, phone, name, "
            "delivery_memo, at) VALUES ($1, $1, $1, 'STARTED', 'T', $2, $3, $4, $5, $6, $7, $8)",
            order_id, *RECIPIENT.values(), now,
        )  # fmt: skip
        payment = {"paymentKey": key, "amount": TOTAL, "state": "REFUNDED" if refunded else "PAID"}
        await scene.believe(order_id, payments=[payment], delivery="STARTED", deliveryId=str(order_id))
        await scene.complete(order_id, order_id)
    await scene.db["stock"].execute(
        "INSERT INTO dead_letter (id, topic, partition, record_offset, value, header_names, header_values, cause, reason, attempts, at) "
        "VALUES ($1, $2, $3, $4, $5, '{}', '{}', 'ValueError', 'poison', 5, now())",
        scene.letter, *LETTER_OF, LETTER_VALUE,
    )  # fmt: skip
    await scene.db["stock"].execute(
        "INSERT INTO ledger (topic, partition, topic_id, epoch, next_offset) VALUES ($1, 0, 'id', 1, 5)", scene.topic
    )
    await read_all(scene)


async def read_all(scene: Scene) -> None:
    """Each service has read its topics, which other tests write to as well, to their ends."""
    names = sorted(name for _, name in CONSUMED)
    topics = Topics(scene.settings)
    ids, counts = await topics.ids(names), await topics.partition_counts(names)
    bounds = await asyncio.to_thread(
        watermarks, scene.settings, [Partition(name, n) for name in names for n in range(counts[name])]
    )
    for service, name in CONSUMED:
        rows = [(name, n, ids[name], bounds[Partition(name, n)][1]) for n in range(counts[name])]
        await scene.db[service].execute("DELETE FROM ledger WHERE topic = $1", name)
        await scene.db[service].executemany(
            "INSERT INTO ledger (topic, partition, topic_id, epoch, next_offset) VALUES ($1, $2, $3, 1, $4)", rows
        )


async def place(
    scene: Scene,
    order_id: UUID,
    statuses: list[str],
    reason: str | None,
    facts: dict[str, Any],
    ago: timedelta = LONG_AGO,
) -> None:
    db = scene.db["order"]
    placed_at, pay_before = datetime.now(UTC) - ago, datetime.now(UTC) + timedelta(hours=1)
    await db.execute(
        "INSERT INTO orders (order_id, customer_id, order_name, total_amount, recipient, placed_at, pay_before) "
        "VALUES ($1, $1, 'keyboard', $2, $5, $3, $4)",
        order_id, TOTAL, placed_at, pay_before, json.dumps(RECIPIENT),
    )  # fmt: skip
    if statuses[-1] == "PENDING":
        facts = facts | {"lookAt": pay_before.isoformat()}
        await db.execute("INSERT INTO timer (key, due_at) VALUES ($1, $2)", order_id, pay_before)
    await db.execute(
        "INSERT INTO saga (order_id, status, reason, facts) VALUES ($1, $2, $3, $4)",
        order_id, statuses[-1], reason, json.dumps(facts),
    )  # fmt: skip
    events = [(status, *event) for status in statuses for event in EVENTS[status]]
    if "COMPLETED" in statuses:
        events.insert(2, ("PENDING", *PAID))
    await db.executemany(
        "INSERT INTO order_event (order_id, at, came_in, went_out, status, reason, stock_known) VALUES ($1, $2, $3, $4, $5, $6, true)",
        [
            (order_id, placed_at + timedelta(seconds=n), came_in, went_out, status, reason if status in ("FAILED", "CANCELLED") else None)
            for n, (status, came_in, went_out) in enumerate(events)
        ],
    )  # fmt: skip


async def pay(scene: Scene, order_id: UUID, refunded: int) -> str:
    """The same payment at the gateway and in the table."""
    key = (await scene.ask("/sandbox/payments", orderId=str(order_id), amount=TOTAL))["paymentKey"]
    await scene.ask("/v1/payments/confirm", paymentKey=key, orderId=str(order_id), amount=TOTAL)
    if refunded:
        await scene.refund(key, refunded)
    await scene.db["payment"].execute(
        "INSERT INTO payment (payment_key, order_id, customer_id, amount, status, captured, refunded, requested_at, approved_at) "
        "VALUES ($1, $2, $2, $3::int, $4, $3::int, $5, now() - interval '5 minutes', now() - interval '5 minutes')",
        key, order_id, TOTAL, "CANCELLED" if refunded else "APPROVED", refunded,
    )  # fmt: skip
    return str(key)
