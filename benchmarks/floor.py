"""floor: what `flow` would cost with no logic at all, and our share of it: the same business rows, written set-based, and the same records.

As many processes as ours, with our fetch sizes and batch limit, and our tables in databases of their own. What any system must do is
done: each topic is written once and read once, keys and values as ours are, with acks=all and an idempotent producer; a batch's rows
are committed before its records go out; the address and the total are read from the order's row, since no message carries them; the
order's row changes once in each batch that speaks of it. What is ours is left out: outbox, ledger, history, locks, checks, record
headers, duplicates, waiting for acknowledgements, and whether stock and payment have both been heard (delivery is asked for on
stock's word, so each topic has as many records as in `flow`).
"""

import asyncio
import importlib
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
import uvloop
from confluent_kafka import Consumer, Producer
from pydantic import SecretStr
from uuid_utils.compat import uuid7

from benchmarks.flow import SERVICES, records_of
from benchmarks.peers.compare import BATCH_MAX, OURS, Entry, measure, servers
from benchmarks.peers.contender import GROUP_SESSION_MS, Contender, Ours, PeerProcess, make_topics
from benchmarks.records import LoadRecord
from benchmarks.report import Bench, Goal, Report, Size
from benchmarks.shop import PRICE, WORKERS, place, stock_up
from ordersaga.contracts import codec
from ordersaga.contracts import messages as m
from ordersaga.contracts.address import Address
from ordersaga.contracts.topics import BY_MESSAGE, GUIDE_TOPICS
from ordersaga.devstack.server import Server
from ordersaga.devstack.system import System
from ordersaga.messaging.database import BY_KEY_ALONE
from ordersaga.messaging.migrating import migrate
from ordersaga.order.model import Facts, Line, OrderPayment
from ordersaga.stock.model import Item

NAME: Final = "floor"
TOPICS: Final = f"{NAME}."
Work = Callable[[Any, Sequence[m.Message]], Any]

json: Final = msgspec.json.Encoder()
recipients: Final = msgspec.json.Decoder(Address)


async def run(size: Size) -> Report:
    """Ours and the floor in turn, in one run."""
    report = Report(
        settings={"orders": size.orders, "rounds": size.rounds, "batch_max": BATCH_MAX, "workers": WORKERS},
        goals=[Goal("share_of_floor", 0.5)],
    )
    with servers(size) as system:
        ours = Ours(OURS, system, await stock_up(system.settings), BATCH_MAX)
        await measure(
            report,
            [Entry(ours, about="all of it"), Entry(Floor(system), about="business rows and records alone")],
            size,
        )
    ours_median, floor_median = report.median(OURS), report.median(NAME)
    report.ratios["share_of_floor"] = ours_median["orders_per_s"] / floor_median["orders_per_s"]
    report.ratios["cpu_over_floor"] = ours_median["cpu_ms_per_order"] / floor_median["cpu_ms_per_order"]
    return report


class Floor(Contender):
    """The processes of this module, over our tables in databases of their own."""

    def __init__(self, system: System) -> None:
        super().__init__(NAME, system.stack, TOPICS, [f"{NAME}_{service}" for service in SERVICES])
        urls = {f"{service}_database_url": SecretStr(self._url(service)) for service in SERVICES}
        self._settings: Final = system.settings.model_copy(update=urls)
        self._shelf: Sequence[UUID] = ()
        self._placed = 0

    def _url(self, service: str) -> str:
        return self.stack.database_url(f"{NAME}_{service}")

    async def prepare(self) -> None:
        await asyncio.to_thread(self.stack.create_databases, self.databases)
        for service in SERVICES:
            await asyncio.to_thread(migrate, self._url(service), importlib.import_module(f"ordersaga.{service}"))
        self._shelf = await stock_up(self._settings)
        await make_topics(self._settings, [TOPICS + topic.name for topic in GUIDE_TOPICS])

    def processes(self) -> dict[str, Server]:
        def process(service: str, number: int) -> Server:
            command = [
                sys.executable,
                "-m",
                "benchmarks.floor",
                service,
                self.stack.bootstrap_servers,
                self._url(service),
            ]
            return PeerProcess(self.stack.folder, f"{NAME}-{service}-{number}", command, {})

        return {f"{service}_{n}": process(service, n) for service in SERVICES for n in range(1, WORKERS + 1)}

    async def place(self, orders: int) -> list[LoadRecord]:
        db = await asyncpg.connect(self._url("order"))
        placed = await place(db, self._shelf, orders)
        await db.close()
        self._placed += orders
        return [(TOPICS + topic, key, value) for topic, key, value in records_of(placed)]

    async def check(self) -> list[str]:
        found = {
            "orders completed": await self._value("order", "SELECT count(*) FROM saga WHERE status = 'COMPLETED'"),
            "reservations": await self._value("stock", "SELECT count(*) FROM reservation"),
            "pieces reserved": await self._value("stock", "SELECT sum(reserved) FROM product"),
            "deliveries": await self._value("delivery", "SELECT count(*) FROM delivery"),
        }
        return [f"{NAME}: {n} {what} of {self._placed}" for what, n in found.items() if n != self._placed]

    async def _value(self, service: str, query: str) -> int:
        db = await asyncpg.connect(self._url(service))
        value = await db.fetchval(query)
        await db.close()
        return int(value)


# The processes ------------------------------------------------------------------------------------------------------------


async def stock(db: Any, requests: Sequence[m.StockDecreaseRequestMessage]) -> list[m.Message]:
    """Count what is reserved in the products, keep the reservations, answer SUCCESS."""
    now = datetime.now(UTC)
    taken: dict[UUID, int] = {}
    for request in requests:
        for line in request.products:
            taken[line.product_id] = taken.get(line.product_id, 0) + line.quantity
    rows = [(each.order_id, "RESERVED", _items(each), now) for each in requests]
    async with db.transaction():
        await db.execute(
            "UPDATE product p SET reserved = p.reserved + t.taken FROM unnest($1::uuid[], $2::bigint[]) AS t (product_id, taken) "
            "WHERE p.product_id = t.product_id",
            sorted(taken),
            [taken[product_id] for product_id in sorted(taken)],
        )
        await db.copy_records_to_table("reservation", columns=("order_id", "state", "items", "at"), records=rows)
    return [
        m.StockResponseMessage(order_id=each.order_id, product_id=line.product_id, status="SUCCESS")
        for each in requests
        for line in each.products
    ]


def _items(request: m.StockDecreaseRequestMessage) -> str:
    return json.encode([Item(line.product_id, line.quantity, "RESERVED") for line in request.products]).decode()


async def order(db: Any, answers: Sequence[m.Message]) -> list[m.Message]:
    """Change each order's row once, to facts of the form and length that ours have then; ask for delivery, or complete."""
    now = datetime.now(UTC)
    facts: dict[UUID, tuple[str, str]] = {}
    for each in answers:
        status, text = _facts(each, now)
        known = facts.get(each.order_id, ("", ""))  # type: ignore[attr-defined]  # all three kinds have it
        facts[each.order_id] = (status or known[0], text)  # type: ignore[attr-defined]
    ordered = sorted(facts)
    forward = [each for each in answers if not isinstance(each, m.PaymentSuccessMessage)]
    ids = [each.order_id for each in forward]  # type: ignore[attr-defined]
    rows = await db.fetch(
        "SELECT order_id, customer_id, order_name, total_amount, recipient FROM orders WHERE order_id = ANY ($1::uuid[])",
        ids,
    )
    orders = {row["order_id"]: row for row in rows}
    await db.execute(
        "UPDATE saga s SET status = coalesce(nullif(t.status, ''), s.status), facts = t.facts FROM unnest($1::uuid[], $2::text[], $3::json[]) "
        "AS t (order_id, status, facts) WHERE s.order_id = t.order_id",
        ordered,
        [facts[order_id][0] for order_id in ordered],
        [facts[order_id][1] for order_id in ordered],
    )
    return [_forwarded(each, orders[order_id]) for each, order_id in zip(forward, ids, strict=True)]


def _facts(message: m.Message, now: datetime) -> tuple[str, str]:
    """The new status, or none, and the facts. The order's product is not in every message; its own id is as long."""
    if isinstance(message, m.StockResponseMessage):
        facts = Facts((Line(message.order_id, 1, "RESERVED"),), listed_total=PRICE, asked_at=now)
        return "", json.encode(facts).decode()
    if isinstance(message, m.PaymentSuccessMessage):
        paid = OrderPayment(message.payment_key or "", message.amount or 0, "PAID")
        line = Line(message.order_id, 1, "RESERVED")
        facts = Facts((line,), (paid,), "REQUESTED", listed_total=PRICE, asked_at=now)
        return "", json.encode(facts).decode()
    assert isinstance(message, m.DeliveryStartMessage)
    paid = OrderPayment(f"key-{message.order_id}", PRICE, "PAID")
    line = Line(message.order_id, 1, "RESERVED")
    facts = Facts((line,), (paid,), "STARTED", message.delivery_id, listed_total=PRICE, asked_at=now)
    return "COMPLETED", json.encode(facts).decode()


def _forwarded(message: m.Message, row: Any) -> m.Message:
    if isinstance(message, m.StockResponseMessage):
        to = recipients.decode(row["recipient"])
        return m.DeliveryRequestMessage(
            order_id=row["order_id"],
            customer_id=row["customer_id"],
            address=to.address,
            address_detail=to.address_detail,
            zipcode=to.zipcode,
            phone=to.phone,
            name=to.name,
            delivery_memo=to.delivery_memo,
        )
    return m.OrderCompletedMessage(
        order_id=row["order_id"],
        customer_id=row["customer_id"],
        status="ORD0002",
        total_amount=row["total_amount"],
        order_name=row["order_name"],
    )


DELIVERY_COLUMNS: Final = (
    "order_id",
    "delivery_id",
    "customer_id",
    "status",
    "tracking_number",
    "address",
    "address_detail",
    "zipcode",
    "phone",
    "name",
    "delivery_memo",
    "at",
)


async def delivery(db: Any, requests: Sequence[m.DeliveryRequestMessage]) -> list[m.Message]:
    """Keep the deliveries, answer STARTED."""
    now = datetime.now(UTC)
    made = [(each, uuid7()) for each in requests]
    rows = [
        (
            each.order_id,
            delivery_id,
            each.customer_id,
            "STARTED",
            f"OS{each.order_id.int % 10**12:012d}",
            each.address,
            each.address_detail,
            each.zipcode,
            each.phone,
            each.name,
            each.delivery_memo,
            now,
        )
        for each, delivery_id in made
    ]
    await db.copy_records_to_table("delivery", columns=DELIVERY_COLUMNS, records=rows)
    return [m.DeliveryStartMessage(order_id=each.order_id, delivery_id=id, status="STARTED") for each, id in made]


CONSUMED: Final[dict[str, tuple[Any, tuple[type[m.Message], ...]]]] = {
    "stock": (stock, (m.StockDecreaseRequestMessage,)),
    "order": (order, (m.StockResponseMessage, m.PaymentSuccessMessage, m.DeliveryStartMessage)),
    "delivery": (delivery, (m.DeliveryRequestMessage,)),
}


async def serve(service: str, bootstrap_servers: str, database_url: str) -> None:
    """Batch after batch: read, write the rows, write the records."""
    work, messages = CONSUMED[service]
    db: Any = await asyncpg.connect(database_url, server_settings={"jit": "off", **BY_KEY_ALONE})
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": TOPICS + service,
            "auto.offset.reset": "earliest",
            "auto.commit.interval.ms": 1000,
            "session.timeout.ms": GROUP_SESSION_MS,  # a process is frozen while others are measured
            "max.poll.interval.ms": 4 * GROUP_SESSION_MS,
            "fetch.wait.max.ms": 100,
            "fetch.queue.backoff.ms": 5,
            "queued.max.messages.kbytes": 65536,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": "zstd",
            "partitioner": "murmur2_random",
            "linger.ms": 0,
            "queue.buffering.max.messages": 2_000_000,
            "queue.buffering.max.kbytes": 1_048_576,
            "batch.num.messages": 10_000,
            "batch.size": 1_000_000,
        }
    )
    consumer.subscribe([TOPICS + BY_MESSAGE[each].name for each in messages])
    while True:
        first = consumer.poll(0.2)
        if first is None:
            continue
        fetched = [first, *consumer.consume(BATCH_MAX - 1, 0)]
        batch = [_decoded(each) for each in fetched if each.error() is None]
        for message in await work(db, batch) if batch else ():
            key = str(message.order_id).encode()
            producer.produce(TOPICS + BY_MESSAGE[type(message)].name, codec.encode(message), key)
        producer.poll(0)


def _decoded(record: Any) -> m.Message:
    return codec.decode(record.topic().removeprefix(TOPICS), record.value())


BENCH = Bench("floor", "our share of what the same rows and records cost with no logic at all", run)

if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:4]))
