"""A process with nothing to do does next to nothing, and is awake at once when there is something."""

import asyncio
import contextlib
import time
from pathlib import Path
from uuid import uuid4

import pytest
from msgspec import structs

from ordersaga.messaging import consuming
from ordersaga.messaging.kafka import PartitionConsumer
from ordersaga.messaging.kafka.consumer import quiet_ms_of
from ordersaga.messaging.runtime import Runtime
from tests.contract.rig import INPUT, LIMIT_S, Rig, has_partitions, told, took_effect, until

WATCHED_S = 10.0
BROKER = 1
STATEMENTS_PER_S_MAX = 2.5
"""The runtime without the loops of a service: one look a second, and what is looked at every few seconds."""
CLIENTS_MAX = 3
"""A consumer, a producer, and one that asks for topics."""


async def statements(service: Rig) -> int:
    found: int = await service.db.fetchval(
        "SELECT sum(calls)::int FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid "
        "WHERE d.datname = current_database() AND s.query NOT LIKE '%pg_stat_statements%'"
    )
    return found


def kafka_clients() -> int:
    """How many of librdkafka's clients this process has, each of which has one thread of this name."""
    found = 0
    for each in Path("/proc/self/task").glob("*/comm"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended meanwhile
            found += each.read_text().startswith("rdk:main")
    return found


async def test_an_idle_process_asks_the_database_little(service: Rig) -> None:
    await service.db.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    async with service.instance(outbox_adopt_after_ms=5_000):
        await asyncio.sleep(2.0)
        before = await statements(service)
        await asyncio.sleep(WATCHED_S)
        assert (await statements(service) - before) / WATCHED_S <= STATEMENTS_PER_S_MAX


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads have names here on Linux only")
async def test_a_process_has_few_clients_of_kafka(service: Rig) -> None:
    before = kafka_clients()

    async def few_more() -> bool:
        return kafka_clients() - before <= CLIENTS_MAX

    async with service.instance():
        service.send(told(uuid4()))
        await until(lambda: took_effect(service, 1))
        await asyncio.sleep(6.0)  # topics and logs are checked every five seconds
        # One that has been replaced, by this service or by the test before, ends when Kafka lets it: later on a busy machine.
        await until(few_more)


async def test_a_long_wait_for_records_ends_when_there_is_something_else_to_do(service: Rig) -> None:
    consumer = PartitionConsumer(service.settings, [INPUT], uuid4().hex, None)
    hurried = asyncio.Event()
    try:
        began = time.monotonic()
        assigned = (await consumer.fetch(1, WATCHED_S)).assigned
        assert assigned
        waiting = asyncio.create_task(consumer.fetch(1, WATCHED_S, hurried.is_set))
        await asyncio.sleep(0.5)
        assert not waiting.done()
        hurried.set()
        await waiting
        assert time.monotonic() - began < WATCHED_S
    finally:
        await consumer.close()


async def test_records_that_can_wait_share_a_turn_with_the_next_one_that_cannot(
    service: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consuming, "COMPANY_S", 4 * LIMIT_S)
    waiting, other, last = uuid4(), uuid4(), uuid4()
    handler = structs.replace(service.handler, can_wait=lambda record: record.key != str(last).encode())
    async with Runtime(service.settings, "delivery", handler) as runtime:
        await until(lambda: has_partitions(runtime))
        service.send(told(waiting))
        await asyncio.sleep(0.5)
        assert not service.batches
        service.send(told(last))
        await until(lambda: took_effect(service, 2))
        assert len(service.batches) == 1
        service.send(told(other))
        service.send(told(other))  # of two records with one key, one may be what the other waits for
        await until(lambda: took_effect(service, 4))


async def test_records_for_which_nobody_waits_share_turns_and_the_first_waits_for_none(service: Rig) -> None:
    handler = structs.replace(service.handler, apart_s=5.0)
    async with Runtime(service.settings, "delivery", handler) as runtime:
        await until(lambda: has_partitions(runtime))
        began = time.monotonic()
        service.send(told(uuid4()))
        await until(lambda: took_effect(service, 1))
        assert time.monotonic() - began < handler.apart_s
        for _ in range(8):
            service.send(told(uuid4()))
            await asyncio.sleep(0.02)
        await until(lambda: took_effect(service, 9))
    assert len(service.batches) <= 4


async def test_leaders_are_asked_without_waiting_behind_the_fetches_of_partitions_that_are_read(service: Rig) -> None:
    """A fetch waits a second for records, and a broker answers the requests of a connection one after the other."""
    session_ms = 8_000
    patient = service.settings.model_copy(update={"kafka_session_timeout_ms": session_ms})
    consumer = PartitionConsumer(patient, [INPUT], uuid4().hex, None)
    questions = 5
    try:
        assigned = (await consumer.fetch(1, WATCHED_S)).assigned
        ends = {each: end for each, (_, end) in (await consumer.log_bounds(assigned)).items()}
        assert set(ends) == set(assigned)
        assert len(ends) > 1
        await consumer.read_from(ends)
        await consumer.fetch(1, 1.5)
        began = time.monotonic()
        for _ in range(questions):
            consumer._leaders._silent_until_s[BROKER] = 0.0  # as if it had been silent for a while
            assert set(await consumer.log_bounds(assigned)) == set(assigned)
            assert await consumer.start_offsets(assigned, "latest", []) == ends
        assert time.monotonic() - began < questions * quiet_ms_of(session_ms) / 1000
    finally:
        await consumer.close()
