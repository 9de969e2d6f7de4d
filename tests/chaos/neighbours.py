"""The blows of a chaos run to the services' neighbours: a frozen or read-only database, a deleted dead letter topic, records that fail at
a restart, a partner's Kafka transactions, an identity provider that accepts connections and never answers.

Each blow leaves the system as it found it: the dead letters and parked records that it causes are discarded at its end.
"""

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import psutil
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from ordersaga.contracts import codec
from ordersaga.contracts import messages as m
from ordersaga.contracts.topics import BY_MESSAGE, TOPICS, Topic
from ordersaga.devstack.system import System
from ordersaga.messaging.acts import Operator
from ordersaga.messaging.ids import new_id
from ordersaga.messaging.kafka import create_missing_topics
from ordersaga.messaging.letters import LetterFilter
from ordersaga.messaging.outbox import Outbox
from ordersaga.messaging.queues import Queues
from ordersaga.messaging.redrive import Redrive
from ordersaga.settings import SERVICES, ServiceName, Settings
from tests.chaos.struck import AGAIN_LIMIT_S, BROKER_LIMIT_S, FROZEN_S, Struck, pid_of, send_signals

READ_ONLY_S: Final = (2.0, 8.0)
OPEN_TRANSACTION_S: Final = (1.0, 4.0)
GARBAGE_RECORDS: Final = 5
PARKED_RECORDS: Final = 25
FAILING_ZIPCODE: Final = "00000"
TOKENS_AT_ONCE: Final = 150
TOKEN_LIMIT_S: Final = 20.0
SEEN_WITHIN_S: Final = 60.0
ADMIN_S: Final = 30.0
TRANSACTIONAL_S: Final = 60.0
"""Longer than a broker is frozen: a transactional producer may begin while Kafka does not answer."""
OPERATOR: Final = Operator("chaos", "made for a blow of the chaos run")
FAILING: Final = f"""
CREATE OR REPLACE FUNCTION fail_for_chaos() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.zipcode = '{FAILING_ZIPCODE}' THEN RAISE EXCEPTION 'this record fails every time'; END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER fail_for_chaos BEFORE INSERT ON delivery FOR EACH ROW EXECUTE FUNCTION fail_for_chaos();
"""


@contextlib.asynccontextmanager
async def freeze_postgres(system: System, chance: random.Random) -> AsyncIterator[Struck]:
    """Freeze the database server: its connections stay open and silent."""
    server = psutil.Process(pid_of(system.stack.postgres))
    frozen_s = chance.uniform(*FROZEN_S)
    victims = [server, *server.children()]
    send_signals(victims, "SIGSTOP")
    try:
        await asyncio.sleep(frozen_s)
    finally:
        send_signals(victims, "SIGCONT")
    yield Struck(f"PostgreSQL frozen for {frozen_s:.1f} s", time.time(), BROKER_LIMIT_S)


@contextlib.asynccontextmanager
async def read_only_postgres(system: System, chance: random.Random) -> AsyncIterator[Struck]:
    """Make all databases read-only, as a primary that has become a standby."""
    read_only_s = chance.uniform(*READ_ONLY_S)
    db = await asyncpg.connect(system.settings.database_url("order"))
    try:
        await db.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await db.execute("SELECT pg_reload_conf()")
        try:
            await asyncio.sleep(read_only_s)
        finally:
            await db.execute("ALTER SYSTEM RESET default_transaction_read_only")
            await db.execute("SELECT pg_reload_conf()")
    finally:
        db.terminate()
    yield Struck(f"PostgreSQL read-only for {read_only_s:.1f} s", time.time(), BROKER_LIMIT_S)


@contextlib.asynccontextmanager
async def refuse_dead_letters(system: System, chance: random.Random) -> AsyncIterator[Struck]:
    """Delete a dead letter topic, then write malformed records, which become dead letters."""
    topic = chance.choice([each for each in TOPICS if each.consumer in SERVICES])
    settings = system.settings
    await asyncio.to_thread(_delete, settings, topic.dead_letters)
    since_s = time.time()
    await asyncio.to_thread(_write, settings, topic, [b'{"orderId": '] * GARBAGE_RECORDS)
    try:
        yield Struck(
            f"{topic.dead_letters} deleted, {GARBAGE_RECORDS} malformed records on {topic.name}",
            since_s,
            BROKER_LIMIT_S,
        )
    finally:
        await create_missing_topics(settings)
        await _discard_letters(settings, _consumer(topic), GARBAGE_RECORDS)


@contextlib.asynccontextmanager
async def restart_with_parked(system: System, chance: random.Random) -> AsyncIterator[Struck]:
    """Kill Delivery with many parked records, and start it again when their retries are due; all of them fail again."""
    settings = system.settings
    topic = BY_MESSAGE[m.DeliveryRequestMessage]
    requests = [
        m.DeliveryRequestMessage(order_id=uuid4(), customer_id=uuid4(), address="nowhere", zipcode=FAILING_ZIPCODE)
        for _ in range(PARKED_RECORDS)
    ]
    async with _database(settings, "delivery") as db:
        await db.execute(FAILING)
    # One by one: so many failures in one turn would look like a bad deployment, which stops the partition.
    for request in requests:
        await asyncio.to_thread(_write, settings, topic, [codec.encode(request)], request.order_id)
        await asyncio.sleep(0.05)
    await _until(settings, "delivery", "SELECT count(*) FROM parked WHERE attempts > 0", PARKED_RECORDS)
    await asyncio.to_thread(system.process_of("delivery").kill)
    async with _database(settings, "delivery") as db:
        await db.execute("UPDATE parked SET due_at = now() - interval '1 minute'")
    since_s = time.time()
    await asyncio.to_thread(system.start, "delivery")
    try:
        yield Struck(f"delivery restarted with {PARKED_RECORDS} parked records that fail", since_s, AGAIN_LIMIT_S)
    finally:
        await _discard_parked(settings, "delivery")
        await _discard_letters(settings, "delivery", 0)
        async with _database(settings, "delivery") as db:
            await db.execute("DROP TRIGGER fail_for_chaos ON delivery")


@contextlib.asynccontextmanager
async def write_in_transactions(system: System, chance: random.Random) -> AsyncIterator[Struck]:
    """Write three Kafka transactions as a partner: one is aborted, one commits a repeated record, one stays open for a while."""
    settings = system.settings
    open_s = chance.uniform(*OPEN_TRANSACTION_S)
    async with _database(settings, "delivery") as db:
        done = await db.fetchrow("SELECT order_id, delivery_id FROM delivery WHERE status = 'STARTED' LIMIT 1")
    producer = await asyncio.to_thread(_transactional, settings)
    try:
        await asyncio.to_thread(_nonsense, producer)
        await asyncio.to_thread(producer.abort_transaction)
        if done is not None:
            repeat = m.DeliveryStartMessage(
                order_id=done["order_id"], delivery_id=done["delivery_id"], status="STARTED"
            )
            producer.begin_transaction()
            producer.produce(BY_MESSAGE[m.DeliveryStartMessage].name, codec.encode(repeat), str(repeat.order_id))
            await asyncio.to_thread(producer.commit_transaction)
        await asyncio.to_thread(_nonsense, producer)
        await asyncio.sleep(open_s)
    finally:
        await asyncio.to_thread(producer.abort_transaction)
    yield Struck(f"a partner's transactions: aborted, committed, open for {open_s:.1f} s", time.time(), BROKER_LIMIT_S)


@contextlib.asynccontextmanager
async def ask_hanging_provider(system: System, chance: random.Random) -> AsyncIterator[Struck]:
    """Send tokens whose key only the hanging identity provider has."""
    name = chance.choice(("order", "payment"))
    url = (
        f"{system.urls[name]}/api/v1/orders/{uuid4()}" if name == "order" else f"{system.urls[name]}/api/v1/payments/x"
    )
    since_s = time.time()
    timeout = aiohttp.ClientTimeout(total=TOKEN_LIMIT_S)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as http:
        asking = asyncio.gather(*(_ask_with_token(http, url) for _ in range(TOKENS_AT_ONCE)))
        try:
            yield Struck(f"{TOKENS_AT_ONCE} strangers' tokens at {name} at once", since_s, AGAIN_LIMIT_S)
        finally:
            wrong = {status for status in await asking if status != 503}
    if wrong:
        raise AssertionError(f"with its identity provider hanging, {name} answered a token with {wrong}, not with 503")


@contextlib.contextmanager
def hanging_provider() -> Iterator[dict[str, str]]:
    """Yields settings of an identity provider that never answers: the kernel accepts its connections, and no process reads them."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        yield {"ORDERSAGA_JWT_JWKS_URL": f"http://127.0.0.1:{listener.getsockname()[1]}/jwks.json"}


async def _ask_with_token(http: aiohttp.ClientSession, url: str) -> int:
    # A well-formed token with an invalid signature: the service asks for its key before it reads any claim.
    token = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImNoYW9zIn0.eyJzdWIiOiJjaGFvcyJ9.c2lnbmF0dXJl"
    async with http.get(url, headers={"Authorization": f"Bearer {token}"}) as response:
        return response.status


def _consumer(topic: Topic) -> ServiceName:
    assert topic.consumer is not None and topic.consumer != "client"
    return topic.consumer


def _delete(settings: Settings, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    admin.delete_topics([topic])[topic].result(ADMIN_S)


def _write(settings: Settings, topic: Topic, values: Sequence[bytes], key: UUID | None = None) -> None:
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers, "partitioner": "murmur2_random"})
    for value in values:
        producer.produce(topic.name, value, str(key or uuid4()))
    assert producer.flush(10) == 0


def _transactional(settings: Settings) -> Any:
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers, "transactional.id": f"chaos-{uuid4()}"})
    producer.init_transactions(TRANSACTIONAL_S)
    return producer


def _nonsense(producer: Any) -> None:
    """Begin a transaction with a record in each input topic that no consumer may see."""
    producer.begin_transaction()
    for topic in TOPICS:
        if topic.consumer in SERVICES:
            producer.produce(topic.name, b"never to be seen", str(uuid4()))
    assert producer.flush(10) == 0


@contextlib.asynccontextmanager
async def _database(settings: Settings, service: ServiceName) -> AsyncIterator[asyncpg.Connection]:
    db = await asyncpg.connect(settings.database_url(service))
    try:
        yield db
    finally:
        db.terminate()


async def _until(settings: Settings, service: ServiceName, count: str, wanted: int) -> None:
    end_s = time.time() + SEEN_WITHIN_S
    async with _database(settings, service) as db:
        while await db.fetchval(count) < wanted:
            if time.time() > end_s:
                raise AssertionError(f"{service}: not {wanted} within {SEEN_WITHIN_S:.0f} s: {count}")
            await asyncio.sleep(0.1)


def _now() -> datetime:
    return datetime.now(UTC)


async def _discard_parked(settings: Settings, service: ServiceName) -> None:
    async with asyncpg.create_pool(settings.database_url(service), min_size=1, max_size=2) as pool:
        queues = Queues(settings, service, pool, _now, new_id)
        for queue in await queues.find():
            await queues.discard(queue.first, OPERATOR)


async def _discard_letters(settings: Settings, service: ServiceName, at_least: int) -> None:
    """Wait for so many open dead letters of a service, then discard all of them."""
    await _until(settings, service, "SELECT count(*) FROM dead_letter WHERE status = 'OPEN'", at_least)
    async with asyncpg.create_pool(settings.database_url(service), min_size=1, max_size=2) as pool:
        out = Outbox(settings, pool)
        redrive = Redrive(settings, service, pool, out, _now, new_id)
        for letter in await redrive.find(LetterFilter()):
            await redrive.discard(letter.id, OPERATOR)
        await out.close()
