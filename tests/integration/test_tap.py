"""Records of partitions that are added to a topic while somebody reads it."""

import asyncio
from typing import Any, cast
from uuid import uuid4

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic  # type: ignore[attr-defined]

from ordersaga.devstack import DevStack
from ordersaga.messaging.handler import Record
from ordersaga.messaging.kafka import Tap
from ordersaga.settings import Settings
from ordersaga.web.shop import live as module
from ordersaga.web.shop.live import Live

LIMIT_S = 30.0


class Topic:
    """A topic of one partition, which grows."""

    def __init__(self, stack: DevStack) -> None:
        self.settings = Settings(kafka_bootstrap_servers=stack.bootstrap_servers)
        self.name = f"tap-{uuid4().hex[:8]}"
        server: dict[str, str | int | float | bool] = {"bootstrap.servers": stack.bootstrap_servers}
        self._server, self._admin = server, AdminClient(server)
        self._admin.create_topics([NewTopic(self.name, 1, 1)])[self.name].result(LIMIT_S)

    def grow(self, partitions: int) -> None:
        self._admin.create_partitions([NewPartitions(self.name, partitions)])[self.name].result(LIMIT_S)

    def write(self, partition: int, value: bytes) -> None:
        producer = Producer(self._server)  # one that was there before the partition does not know it yet
        producer.produce(self.name, value, partition=partition)
        assert producer.flush(LIMIT_S) == 0


@pytest.fixture
def topic(stack: DevStack) -> Topic:
    return Topic(stack)


async def test_an_added_partition_is_read_from_its_first_record_on_and_the_others_go_on(topic: Topic) -> None:
    topic.write(0, b"before")
    tap = await Tap.open(topic.settings, [topic.name])
    try:
        topic.write(0, b"1")
        topic.grow(3)
        topic.write(2, b"2")  # before the reader knows of the partition
        found: list[Record] = []
        async with asyncio.timeout(LIMIT_S):
            while len(found) < 2:
                await tap.read_added()
                found += await tap.fetch(10, 0.2)
        await tap.read_added()
        topic.write(2, b"3")
        topic.write(0, b"4")
        async with asyncio.timeout(LIMIT_S):
            while len(found) < 4:
                found += await tap.fetch(10, 0.2)
        assert sorted(each.value or b"" for each in found) == [b"1", b"2", b"3", b"4"]
    finally:
        await tap.end()


async def test_an_open_page_hears_of_records_in_an_added_partition(
    topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOPICS", (topic.name,))
    monkeypatch.setattr(module, "LOOK_FOR_PARTITIONS_S", 0.5)
    live = Live(topic.settings, cast(Any, None))
    heard: list[bytes | None] = []
    monkeypatch.setattr(live, "hear", lambda record: heard.append(record.value))
    listening = asyncio.create_task(live.listen(cast(Any, lambda: None)))
    try:
        async with asyncio.timeout(LIMIT_S):
            while not live.listening:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            topic.grow(2)
            topic.write(1, b"news")
            while not heard:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert heard == [b"news"]
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
