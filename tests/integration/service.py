"""What tests of one service share: its own database, its handler without Kafka, the service as it runs, and the wire beside it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from types import ModuleType
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition
from litestar import Litestar
from pydantic import SecretStr
from uuid_utils.compat import uuid7

from ordersaga.contracts import codec
from ordersaga.contracts.messages import Message
from ordersaga.contracts.topics import BY_MESSAGE, key_of
from ordersaga.devstack import DevStack
from ordersaga.messaging.database import Connection, Pool, connect
from ordersaga.messaging.handler import Batch, Handler, Incoming, Outgoing, Record, Rejected
from ordersaga.messaging.kafka import create_missing_topics
from ordersaga.messaging.kafka.client import record_of
from ordersaga.messaging.migrating import migrate
from ordersaga.settings import ServiceName, Settings

OPERATOR = {"User-Id": str(UUID(int=99)), "User-Roles": "MASTER"}
ANSWER_WAIT_S = 30.0


def customer(user_id: UUID) -> dict[str, str]:
    """The headers that a gateway in front passes on for a customer."""
    return {"User-Id": str(user_id), "User-Roles": "CUSTOMER"}


class Bench:
    """One service with a database and a group of its own on the session's stack."""

    def __init__(self, service: ServiceName, settings: Settings, pool: Pool, handler: Handler) -> None:
        self.service = service
        self.settings = settings
        self.pool = pool
        self.handler = handler

    async def somebody_waits_for_a_lock(self) -> None:
        """Wait until a transaction of this service stands behind another one."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        async with asyncio.timeout(ANSWER_WAIT_S):
            while True:
                if await self.pool.fetchval(query):
                    return
                await asyncio.sleep(0.01)

    async def turn(self, *messages: Message) -> list[Message]:
        """What the service answers to a batch, in one transaction of its own."""
        async with self.pool.acquire() as db, db.transaction():
            return (await self.handle(db, messages))[0]

    async def handle(self, db: Connection, messages: Sequence[Message]) -> tuple[list[Message], list[Rejected]]:
        """The same in the caller's transaction, and what was rejected."""
        records = [Record(BY_MESSAGE[type(m)].name, 0, n, None, None, None, 0) for n, m in enumerate(messages)]
        incoming = [Incoming(message, record) for message, record in zip(messages, records, strict=True)]
        batch = Batch(incoming, datetime.now(UTC), uuid7)
        outgoing: list[Outgoing] = await self.handler.handle(batch, db)
        return [each.message for each in outgoing], batch.rejected


@contextlib.asynccontextmanager
async def bench(
    stack: DevStack, service: ServiceName, package: ModuleType, handler: Callable[[Settings], Handler]
) -> AsyncIterator[Bench]:
    """A migrated database with a name of its own, and settings that lead to it."""
    name = f"test_{service}_{uuid4().hex[:8]}"
    stack.create_databases([name])
    settings = Settings.model_validate(
        {
            "kafka_bootstrap_servers": stack.bootstrap_servers,
            f"{service}_database_url": SecretStr(stack.database_url(name)),
            f"{service}_group": name,
            "development": True,
            "trust_gateway_headers": True,
            "topic_partitions": 3,
        }
    )
    await asyncio.to_thread(migrate, settings.database_url(service), package)
    pool = await connect(settings.database_url(service), settings)
    try:
        yield Bench(service, settings, pool, handler(settings))
    finally:
        await pool.close()


async def cleared(one: Bench, query: str, an_id: UUID) -> None:
    """Wait until the service has cleared the personal data of what has this id."""
    async with asyncio.timeout(ANSWER_WAIT_S):
        while await one.pool.fetchval(query, an_id) is None:  # noqa: ASYNC110  # the service tells nobody
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def running(settings: Settings, create_app: Callable[[Settings], Litestar]) -> AsyncIterator[httpx.AsyncClient]:
    """The service as it runs, turns and all, and an HTTP client of it."""
    await create_missing_topics(settings)
    app = create_app(settings)
    started, stop = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.lifespan():
            started.set()
            await stop.wait()

    # In a task of its own: pytest ends a fixture in another task than it began it in, which a lifespan does not bear.
    life = asyncio.create_task(live())
    await asyncio.wait([life, asyncio.create_task(started.wait())], return_when=asyncio.FIRST_COMPLETED)
    try:
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]  # the same protocol under other names
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            yield client
    finally:
        stop.set()
        await life


class Wire:
    """Writes records to topics as another team's service would, and reads what comes back."""

    def __init__(self, settings: Settings) -> None:
        self._config = {"bootstrap.servers": settings.kafka_bootstrap_servers}

    async def send(self, *messages: Message) -> None:
        """Publish messages, keyed as Java does."""
        for each in messages:
            await self.send_raw(BY_MESSAGE[type(each)].name, str(key_of(each)).encode(), codec.encode(each))

    async def send_raw(
        self, topic: str, key: bytes | None, value: bytes | None, headers: dict[str, bytes] | None = None
    ) -> None:
        """Publish any bytes."""
        producer = Producer(self._config)
        producer.produce(topic, value, key, headers=list((headers or {}).items()))
        await asyncio.to_thread(producer.flush, ANSWER_WAIT_S)

    async def receive(self, topic: str, key: UUID, count: int) -> list[dict[str, Any]]:
        """The first `count` values on a topic with this key, from its beginning; fewer when the wait is over."""
        found = await self.receive_records(topic, key, count)
        return [msgspec.json.decode(record.value or b"null") for record in found]

    async def receive_records(self, topic: str, key: UUID, count: int) -> list[Record]:
        """The same as whole records."""
        return await asyncio.to_thread(self._receive, topic, str(key).encode(), count)

    def _receive(self, topic: str, key: bytes, count: int) -> list[Record]:
        consumer = Consumer(self._config | {"group.id": uuid4().hex, "enable.auto.commit": False})
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        found: list[Record] = []
        end = time.monotonic() + ANSWER_WAIT_S
        while len(found) < count and time.monotonic() < end:
            record = consumer.poll(0.2)
            if record is not None and record.error() is None and record.key() == key:
                found.append(record_of(record))
        consumer.close()
        return found
