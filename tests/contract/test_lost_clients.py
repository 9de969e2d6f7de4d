"""A client of Kafka that is lost, silent or never ends is replaced or left behind, and what it had in hand takes effect once."""

import asyncio
import threading
import time
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import KafkaError, KafkaException

from ordersaga.messaging import runtime as runtime_module
from ordersaga.messaging.kafka import KafkaUnavailable, Topics, lifeline, publisher
from ordersaga.messaging.kafka import consumer as consumer_module
from ordersaga.messaging.runtime import Runtime
from ordersaga.messaging.stalls import AWAY
from tests.contract.rig import INPUT, Rig, alarm, nothing_left, same_key, told, took_effect, until, well


class Instead:
    """A client of librdkafka, with some of it replaced."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


class Silent(Instead):
    """A producer that takes records, and never says what became of them."""

    def produce(self, *_: Any, **__: Any) -> None:
        pass


class CutOff(Silent):
    """A client that has forgotten all brokers."""

    def poll(self, _: float) -> None:
        return None

    def consume(self, *_: Any) -> list[Any]:
        return []

    def list_topics(self, **_: Any) -> Any:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT, "in a test"))


async def test_a_consumer_that_says_as_a_record_that_it_cannot_go_on_begins_again(service: Rig) -> None:
    """That is how librdkafka tells it when it is the group that fenced it; from then on such a consumer is silent."""

    class Dead(Instead):
        def poll(self, _: float) -> Any:
            if said.is_set():
                return None
            loop.call_soon_threadsafe(said.set)
            return self

        def consume(self, *_: Any) -> list[Any]:
            return []

        def error(self) -> KafkaError:
            return KafkaError(KafkaError._FATAL, "in a test")

        def topic(self) -> str:
            return ""

        def partition(self) -> int:
            return 0

    loop, said = asyncio.get_running_loop(), asyncio.Event()
    async with service.instance() as runtime:
        put_in_its_place(runtime, Dead)
        await asyncio.wait_for(said.wait(), 5)
        await assert_goes_on(service, runtime)


async def test_a_consumer_that_is_left_outside_of_its_group_joins_it_anew(
    service: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a broker was frozen for just a session, consumers were seen to poll for minutes and to be members of nothing."""
    monkeypatch.setattr(consumer_module, "WITHOUT_PARTITIONS_SESSIONS_MAX", 0.2)
    async with service.instance() as runtime:
        consumer: Any = runtime.consuming and runtime.consuming._consumer
        await consumer._call(consumer._consumer.unsubscribe)
        await assert_goes_on(service, runtime)


async def test_a_consumer_that_has_lost_kafka_while_others_have_not_is_replaced(
    service: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that its controller believes dead names no broker for a moment, and librdkafka may look for none from then on."""
    monkeypatch.setattr(lifeline, "SILENT_S", 0.2)
    async with service.instance() as runtime:
        await put_in_its_place(runtime, CutOff).leave([])  # after the fetch that is under way
        await assert_goes_on(service, runtime)


async def test_kafka_away_stays_an_alarm_with_its_age_while_the_consumer_is_replaced(
    service: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A consumer that Kafka does not answer takes long to close, and its successor has heard nothing for a moment only."""
    away_s, closing, close = 3600.0, asyncio.Event(), asyncio.Event()
    async with service.instance() as runtime:
        consumer: Any = runtime.consuming and runtime.consuming._consumer
        end = consumer.close

        async def lost(*_: Any) -> Any:
            raise KafkaUnavailable("in a test")

        async def slow() -> None:
            closing.set()
            await close.wait()
            await end()

        monkeypatch.setattr(consumer_module.PartitionConsumer, "silent_s", away_s)
        await until(lambda: alarm(runtime, AWAY))
        monkeypatch.setattr(consumer, "close", slow)
        monkeypatch.setattr(consumer, "fetch", lost)
        await asyncio.wait_for(closing.wait(), 10)
        [away] = await alarm(runtime, AWAY)
        assert away.age_s >= away_s
        monkeypatch.setattr(consumer_module.PartitionConsumer, "silent_s", 0.0)
        close.set()
        await assert_goes_on(service, runtime)


async def test_a_turn_that_waits_for_the_database_is_not_taken_for_kafka_away(
    service: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def wait(*_: Any) -> None:
        begun.set()
        await go_on.wait()

    async with service.instance() as runtime:
        stalls: Any = runtime.consuming and runtime.consuming.stalls
        service.intervene = wait
        service.send(told(uuid4()))
        await asyncio.wait_for(begun.wait(), 10)
        stalls._began_at_s -= 20.0
        monkeypatch.setattr(consumer_module.PartitionConsumer, "silent_s", 25.0)
        stalls.check()
        assert not await alarm(runtime, AWAY)
        monkeypatch.setattr(consumer_module.PartitionConsumer, "silent_s", 45.0)
        stalls.check()
        assert await alarm(runtime, AWAY)
        service.intervene = None
        go_on.set()


async def test_a_consumer_that_hears_nothing_but_is_answered_stays(
    service: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Asked(Instead):
        def list_topics(self, **how: Any) -> Any:
            found = self._client.list_topics(**how)
            loop.call_soon_threadsafe(asked.set)
            return found

    monkeypatch.setattr(lifeline, "SILENT_S", 0)
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    async with service.instance() as runtime:
        consumer = put_in_its_place(runtime, Asked)
        await asyncio.wait_for(asked.wait(), 10)
        service.send(told(uuid4()))
        await until(lambda: took_effect(service, 1))
        assert runtime.consuming and runtime.consuming._consumer is consumer


async def test_a_consumer_that_never_ends_does_not_keep_the_process(service: Rig) -> None:
    """librdkafka's close was once seen to wait for ever for a broker that was gone."""

    class Endless(Instead):
        def close(self) -> None:
            ended.wait(60)
            self._client.close()

    ended = threading.Event()
    async with service.instance() as runtime:
        put_in_its_place(runtime, Endless)
        began = time.monotonic()
    assert time.monotonic() - began < 15
    ended.set()


def put_in_its_place(runtime: Runtime, other: type[Instead]) -> Any:
    """Let an instance go on with another client of librdkafka than it has; returns the consumer that uses it."""
    consumer: Any = runtime.consuming and runtime.consuming._consumer
    consumer._consumer = other(consumer._consumer)
    return consumer


async def test_a_producer_that_has_lost_kafka_while_others_have_not_is_replaced(
    service: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifeline, "SILENT_S", 0.2)
    await assert_replaced(service, CutOff)


async def test_a_producer_that_cannot_go_on_is_replaced_and_what_it_had_is_published(service: Rig) -> None:
    """librdkafka tells it by an exception of whatever is called next, not by its error callback."""

    class Dead(Silent):
        def poll(self, _: float) -> int:
            raise KafkaException(KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "in a test", fatal=True))

    await assert_replaced(service, Dead)


async def test_a_producer_that_says_nothing_more_is_replaced_and_what_it_had_is_published(
    service: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that had records under way when its broker was frozen was once seen to wait for ever."""
    monkeypatch.setattr(publisher, "SILENT_SESSIONS_MAX", 0.2)
    await assert_replaced(service, Silent)


async def assert_goes_on(service: Rig, runtime: Runtime) -> None:
    service.send(told(uuid4()))
    await until(lambda: took_effect(service, 1), 30)
    await until(lambda: well(runtime))


async def assert_replaced(service: Rig, other: type[Instead]) -> None:
    order_id, (record,) = same_key(1)
    async with service.instance() as runtime:
        publish_by(runtime, other)
        service.send(record)
        await until(lambda: took_effect(service, 1))
        await until(lambda: nothing_left(service))
    assert await service.passed_on(order_id) == [record.delivery_id]


async def test_a_turn_that_waits_for_kafka_in_vain_does_not_keep_the_process(
    service: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_module, "CONSUMING_ENDS_WITHIN_S", 0.5)
    order_id, records = same_key(3)
    async with service.instance(turns_publishing_max=1) as runtime:
        publish_by(runtime, Silent)
        for count, record in enumerate(records, start=1):
            service.send(record)
            if count < 3:  # the second turn waits for room to publish, after its commit; the third never begins
                await until(lambda: took_effect(service, count))  # noqa: B023  # awaited within the round
        began = time.monotonic()
    assert time.monotonic() - began < 15
    async with service.instance():
        await until(lambda: took_effect(service, 3))
        await until(lambda: nothing_left(service))
    assert await service.passed_on(order_id) == [record.delivery_id for record in records]


def publish_by(runtime: Runtime, other: type[Instead]) -> None:
    """Let an instance publish with another producer than it has."""
    publisher: Any = runtime.outbox._publisher
    publisher._producer = other(publisher._producer)


async def test_an_admin_client_that_had_no_answer_is_not_asked_again(service: Rig) -> None:
    class Deaf(Instead):
        def describe_topics(self, *_: Any, **__: Any) -> Any:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "in a test"))

    topics: Any = Topics(service.settings)
    topics._client = Deaf(topics._admin)
    with pytest.raises(KafkaUnavailable):
        await topics.ids([INPUT])
    assert INPUT in await topics.ids([INPUT])
