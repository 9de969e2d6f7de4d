"""What becomes of output records that Kafka will never take: moved aside with their reason, alone, and everything else goes on."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from ordersaga.messaging import outbox_rows, unpublished
from ordersaga.messaging import runtime as runtime_module
from ordersaga.messaging.runtime import Runtime
from tests.contract.rig import INPUT, Rig, gone, nothing_left, told, took_effect, until

LETTERS = INPUT + "-dlt"


class LetterTopic:
    """The dead letter topic of the rig's input, to be taken away and made again."""

    def __init__(self, service: Rig) -> None:
        self._admin = AdminClient({"bootstrap.servers": service.settings.kafka_bootstrap_servers})

    async def delete(self) -> None:
        for done in self._admin.delete_topics([LETTERS]).values():
            await asyncio.to_thread(done.result, 30)
        await until(lambda: gone(self._admin, LETTERS))

    async def make(self, partitions: int, **config: str) -> None:
        for done in self._admin.create_topics([NewTopic(LETTERS, partitions, 1, config=config)]).values():
            await asyncio.to_thread(done.result, 30)


@pytest.fixture
async def letters(service: Rig) -> AsyncIterator[LetterTopic]:
    topic = LetterTopic(service)
    await topic.delete()
    yield topic
    await topic.delete()
    await topic.make(3)


async def test_a_malformed_record_goes_on_where_the_dead_letter_topic_is_narrower_and_so_does_everything_else(
    service: Rig, letters: LetterTopic
) -> None:
    await letters.make(1)
    async with service.instance():
        service.produce_to(INPUT, b"{", partition=2)
        service.send(told(uuid4()))
        await until(lambda: took_effect(service, 1))
        await until(lambda: nothing_left(service))
    (letter,) = await service.published(LETTERS)
    assert (letter.partition(), letter.value()) == (0, b"{")


async def test_without_a_dead_letter_topic_the_letter_is_kept_with_an_alarm_and_is_published_when_the_topic_is_there(
    service: Rig, letters: LetterTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpublished, "TRY_EVERY_S", 0.5)
    monkeypatch.setattr(runtime_module, "TRY_EVERY_S", 0.5)
    async with service.instance():
        service.produce_to(INPUT, b"{", partition=2)
        for _ in range(5):
            service.send(*[told(uuid4()) for _ in range(10)])
        await until(lambda: took_effect(service, 50))
        await until(lambda: nothing_left(service))
        row = await service.db.fetchrow("SELECT topic, status, unpublished FROM dead_letter")
        assert row is not None
        assert (row["topic"], row["status"]) == (INPUT, "OPEN")
        assert LETTERS in row["unpublished"]
    async with service.instance() as runtime:  # it is no trouble after a restart either
        service.send(told(uuid4()))
        await until(lambda: took_effect(service, 51))
        await until(lambda: alarm_about(runtime, LETTERS))
        await letters.make(3)
        await until(lambda: published(service), limit_s=30)
        await until(lambda: nothing_left(service))
    (letter,) = await service.published(LETTERS)
    assert dict(letter.headers())["kafka_dlt-original-topic"] == INPUT.encode()
    assert letter.headers()[0] == ("message-id", str(await service.db.fetchval("SELECT id FROM dead_letter")).encode())


async def published(service: Rig) -> bool:
    return await service.db.fetchval("SELECT count(*) FROM dead_letter WHERE unpublished IS NULL") == 1


async def alarm_about(runtime: Runtime, topic: str) -> bool:
    found = [alarm for alarm in runtime.alarms.now() if alarm.where == topic]
    return any("topics create" in alarm.todo + alarm.what for alarm in found)


async def test_a_record_for_a_missing_topic_is_moved_aside_with_an_alarm_that_names_it_and_the_others_go_out(
    service: Rig,
) -> None:
    missing, order = f"missing-{uuid4().hex[:8]}", told(uuid4())
    async with service.instance() as runtime:
        async with runtime.pool.acquire() as db, db.transaction():
            row = outbox_rows.OutboxRow(
                await outbox_rows.first_id(db), None, missing, None, b"k", b"{}", uuid4(), None, "-"
            )
            await outbox_rows.write(db, [row], runtime.clock())
        service.send(order)
        await until(lambda: took_effect(service, 1))
        await until(lambda: nothing_left(service))
        await until(lambda: alarm_about(runtime, missing))
    letter = await service.db.fetchrow("SELECT topic, cause, reason FROM dead_letter")
    assert letter is not None
    assert (letter["topic"], letter["cause"]) == (missing, "RefusedByBroker")
    assert await service.passed_on(order.order_id) == [order.delivery_id]
