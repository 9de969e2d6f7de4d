"""A service as small as can be, on the real runtime, Kafka and PostgreSQL: what it was told, it writes down and passes on.

It takes `DeliveryStartMessage`, writes a row of `effect` for each, and sends an `OrderCompletedMessage` that names it, so that a test
sees both what took effect and what was published.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from ordersaga.contracts import codec
from ordersaga.contracts.messages import DeliveryStartMessage, Message, OrderCompletedMessage
from ordersaga.contracts.topics import BY_MESSAGE
from ordersaga.devstack import DevStack
from ordersaga.messaging.database import Connection
from ordersaga.messaging.handler import Batch, Handler, Outgoing, consumes
from ordersaga.messaging.health import Alarm
from ordersaga.messaging.kafka import create_missing_topics
from ordersaga.messaging.migrating import migrate
from ordersaga.messaging.runtime import Runtime
from ordersaga.settings import Settings

INPUT = BY_MESSAGE[DeliveryStartMessage].name
OUTPUT = BY_MESSAGE[OrderCompletedMessage].name
LIMIT_S = 15.0
SET_ASIDE = {"parked", "dead letters", "refused records", "unpublished dead letters"}

Intervene = Callable[[Batch, Connection], Awaitable[None]]


def told(order_id: UUID, delivery_id: UUID | None = None) -> DeliveryStartMessage:
    return DeliveryStartMessage(order_id=order_id, delivery_id=delivery_id or uuid4(), status="STARTED")


class Rig:
    """One database, one consumer group, any number of instances. `intervene` runs before the handler does its work."""

    def __init__(self, settings: Settings, db: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.settings = settings
        self.db = db
        self.tries = 0
        self.batches: list[int] = []
        self.intervene: Intervene | None = None
        self.copies: Callable[[Any], int] = lambda _: 1
        """How many records the handler sends for one."""
        self._began = time.time_ns() // 1_000_000
        self._producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers})

    @property
    def handler(self) -> Handler:
        async def handle(batch: Batch, db: Connection) -> list[Outgoing]:
            self.tries += 1
            self.batches.append(len(batch.incoming))
            if self.intervene:
                await self.intervene(batch, db)
            sent = await save(batch, db)
            return [each for each in sent for _ in range(self.copies(each.cause))]

        return consumes(DeliveryStartMessage)(handle)

    @contextlib.asynccontextmanager
    async def instance(self, **changed: Any) -> AsyncIterator[Runtime]:
        """A running instance that has taken its partitions."""
        async with self.instance_unready(**changed) as runtime:
            await until(lambda: has_partitions(runtime))
            yield runtime

    def instance_unready(self, **changed: Any) -> Runtime:
        """An instance, whether or not it can take its partitions."""
        return Runtime(self.settings.model_copy(update=changed), "delivery", self.handler)

    def send(self, *messages: Message | bytes | None, key: UUID | str | None = None) -> None:
        """Write records to the input topic and wait for the acknowledgements."""
        for each in messages:
            self.produce(each, key)
        self.flush()

    def produce(
        self,
        message: Message | bytes | None,
        key: UUID | str | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (("origin", b"test"),),
        partition: int = -1,
    ) -> None:
        """Write a record to the input topic; `flush` waits for the acknowledgements."""
        value = codec.encode(message) if isinstance(message, Message) else message
        record_key = str(key or getattr(message, "order_id", uuid4()))
        self._producer.produce(INPUT, value, record_key, partition, headers=list(headers))

    def flush(self) -> None:
        assert self._producer.flush(LIMIT_S) == 0

    def produce_to(self, topic: str, value: bytes, partition: int = -1) -> None:
        """Write a record to another topic, or to a partition of the caller's choice."""
        self._producer.produce(topic, value, partition=partition)
        self.flush()

    def produce_packed(self, value: bytes) -> None:
        """Write a value that is within the broker's limit only because it is compressed."""
        limits = {"message.max.bytes": 20_000_000, "compression.type": "zstd"}
        producer = Producer({"bootstrap.servers": self.settings.kafka_bootstrap_servers} | limits)
        producer.produce(INPUT, value)
        assert producer.flush(LIMIT_S) == 0

    async def effects(self, *order_ids: UUID) -> list[UUID]:
        """The delivery ids that took effect, in the order in which they did; of all orders or of these."""
        rows = await self.db.fetch("SELECT order_id, delivery_id FROM effect ORDER BY n")
        return [row["delivery_id"] for row in rows if not order_ids or row["order_id"] in order_ids]

    async def count(self, table: str) -> int:
        return await self.db.fetchval(f"SELECT count(*) FROM {table}")

    async def published(self, topic: str = OUTPUT) -> list[Any]:
        """Every record on a topic since this rig was made, in the order of the log of each partition."""
        return await asyncio.to_thread(self._published, topic)

    def _published(self, topic: str) -> list[Any]:
        consumer = Consumer({"bootstrap.servers": self.settings.kafka_bootstrap_servers, "group.id": uuid4().hex})
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        places = consumer.offsets_for_times([TopicPartition(topic, p, self._began) for p in partitions], timeout=10)
        ends = {p.partition: consumer.get_watermark_offsets(p, timeout=10)[1] for p in places}
        places = [p for p in places if 0 <= p.offset < ends[p.partition]]
        found: list[Any] = []
        left = {p.partition for p in places}
        consumer.assign(places)
        while left:
            record = consumer.poll(1.0)
            if record is not None and record.error() is None:
                found.append(record)
                if (record.offset() or 0) + 1 >= ends[record.partition() or 0]:
                    left.discard(record.partition() or 0)
        consumer.close()
        return found

    async def passed_on(self, *order_ids: UUID) -> list[UUID]:
        """The delivery ids that were published, repeats included."""
        messages = [codec.decode(OUTPUT, record.value()) for record in await self.published()]
        return [m.customer_id for m in messages if isinstance(m, OrderCompletedMessage) and m.order_id in order_ids]


async def save(batch: Batch, db: Connection) -> list[Outgoing]:
    """Write down what came, and pass it on."""
    rows = [(each.message.order_id, each.message.delivery_id) for each in batch.incoming]  # type: ignore[attr-defined]
    await db.executemany("INSERT INTO effect (order_id, delivery_id) VALUES ($1, $2)", rows)
    return [Outgoing(passed_on(each.message), each) for each in batch.incoming]


def raises_for(*bad: object, cure: asyncio.Event | None = None) -> Intervene:
    """What fails for a batch with one of these messages in it, until it is cured."""

    async def intervene(batch: Batch, _: Connection) -> None:
        if not (cure and cure.is_set()) and any(each.message in bad for each in batch.incoming):
            raise ValueError("poison")

    return intervene


def ids(records: Sequence[DeliveryStartMessage]) -> list[UUID]:
    """Their delivery ids, sorted."""
    return sorted(each.delivery_id for each in records if each.delivery_id is not None)


def passed_on(message: Any) -> OrderCompletedMessage:
    return OrderCompletedMessage(
        order_id=message.order_id, customer_id=message.delivery_id, status="ORD0002", total_amount=1
    )


async def has_partitions(runtime: Runtime) -> bool:
    health = await runtime.health()
    return health.started and not health.problems


async def until(condition: Callable[[], Awaitable[Any]], limit_s: float = LIMIT_S) -> Any:
    """Wait for a condition and return what it gave; a test that waits in vain fails here."""
    end = time.monotonic() + limit_s
    while True:
        found = await condition()
        if found:
            return found
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def rig(stack: DevStack, **changed: Any) -> AsyncIterator[Rig]:
    """A rig with a database and a group of its own, that reads what is sent from now on."""
    name = f"contract_{uuid4().hex[:8]}"
    stack.create_databases([name])
    settings = Settings.model_validate(
        {
            "kafka_bootstrap_servers": stack.bootstrap_servers,
            "delivery_database_url": stack.database_url(name),
            "delivery_group": name,
            "start_at": "latest",
            "topic_partitions": 3,
            "park_backoff_ms": 50,
            "outbox_adopt_after_ms": 500,
            **changed,
        }
    )
    await create_missing_topics(settings)
    no_service: Any = SimpleNamespace(__path__=["/nowhere"])
    await asyncio.to_thread(migrate, settings.database_url("delivery"), no_service)
    db = await asyncpg.connect(settings.database_url("delivery"))
    await db.execute("CREATE TABLE effect (n bigserial PRIMARY KEY, order_id uuid NOT NULL, delivery_id uuid NOT NULL)")
    try:
        yield Rig(settings, db)
    finally:
        await db.close()


def same_key(count: int) -> tuple[UUID, Sequence[DeliveryStartMessage]]:
    """Records of one order, to be handled in this order."""
    order_id = uuid4()
    return order_id, [told(order_id) for _ in range(count)]


async def took_effect(service: Rig, count: int) -> bool:
    return len(await service.effects()) >= count


async def gone(admin: AdminClient, topic: str) -> bool:
    """Whether Kafka knows no such topic any more: one that is being deleted cannot be made anew yet."""
    return topic not in (await asyncio.to_thread(admin.list_topics, timeout=10)).topics


async def nothing_left(service: Rig) -> bool:
    return await service.count("outbox") == 0


async def well(runtime: Runtime) -> bool:
    """Whether it has all its partitions and nothing is wrong, but for records that are set aside."""
    health = await runtime.health()
    return health.started and not health.problems and {each.alarm for each in health.alarms} <= SET_ASIDE


async def alarm(runtime: Runtime, name: str) -> list[Alarm]:
    """The alarms of this name."""
    return [each for each in (await runtime.health()).alarms if each.alarm == name]
