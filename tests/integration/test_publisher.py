"""What a real Kafka refuses, and what the publisher makes of it: the refused record alone is named, and all others arrive, in order."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from ordersaga.devstack import DevStack
from ordersaga.messaging.kafka import Publication, Publisher, Tap
from ordersaga.messaging.kafka.publisher import TOPIC_PATIENCE_S
from ordersaga.settings import Settings

KEY = b"k"


@pytest.fixture
def settings(stack: DevStack) -> Settings:
    return Settings.model_validate({"kafka_bootstrap_servers": stack.bootstrap_servers})


@pytest.fixture
async def publisher(settings: Settings) -> AsyncIterator[Publisher]:
    made = Publisher(settings)
    yield made
    await made.close(0)


def make_topic(settings: Settings, config: dict[str, str] | None = None, partitions: int = 1) -> str:
    """A topic of the test's own."""
    name = f"publisher-{uuid4().hex[:8]}"
    create(settings, name, partitions, config or {})
    return name


def create(settings: Settings, name: str, partitions: int, config: dict[str, str]) -> None:
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    (made,) = admin.create_topics([NewTopic(name, partitions, 1, config=config)]).values()
    made.result(20)


def record(id: int, topic: str, value: bytes = b"v", **changed: Any) -> Publication:
    whole: dict[str, Any] = {"id": id, "topic": topic, "partition": None, "key": KEY, "value": value, "headers": []}
    return Publication(**whole | changed)


async def arrived(settings: Settings, topic: str) -> Sequence[tuple[int, bytes | None]]:
    """Each record's partition and value, in the order of the log of each partition."""
    tap = await asyncio.to_thread(Tap, settings, [topic], True)
    found = []
    while not await tap.at_end():
        found += [(each.partition, each.value) for each in await tap.fetch(1_000, 0.2)]
    tap.close()
    return found


async def test_of_a_batch_that_is_too_large_for_its_topic_each_record_is_tried_alone(
    settings: Settings, publisher: Publisher
) -> None:
    topic = make_topic(settings, {"max.message.bytes": "2000"})
    await publisher.publish([record(0, topic)])
    values = [os.urandom(141) for _ in range(100)]
    too_large = record(50, topic, os.urandom(3_000))
    records = [record(id, topic, value) for id, value in enumerate(values)]
    refused = await asyncio.wait_for(publisher.publish([*records[:50], too_large, *records[50:]]), 20)
    assert [refusal.id for refusal in refused] == [50]
    assert "max.message.bytes" in refused[0].reason
    assert sorted(value or b"" for _, value in await arrived(settings, topic)) == sorted([b"v", *values])


async def test_one_record_without_a_key_costs_the_others_of_its_batch_nothing_on_a_compacted_topic(
    settings: Settings, publisher: Publisher
) -> None:
    topic = make_topic(settings, {"cleanup.policy": "compact"})
    records = [record(id, topic, str(id).encode(), key=None if id == 4 else KEY) for id in range(10)]
    refused = await asyncio.wait_for(publisher.publish(records), 20)
    assert [refusal.id for refusal in refused] == [4]
    assert [value for _, value in await arrived(settings, topic)] == [str(id).encode() for id in range(10) if id != 4]


@pytest.mark.parametrize("topic", ["no name for a topic", "n" * 300, ""])
async def test_a_topic_that_cannot_be_costs_only_its_own_record(
    settings: Settings, publisher: Publisher, topic: str
) -> None:
    good = make_topic(settings)
    refused = await asyncio.wait_for(publisher.publish([record(1, good), record(2, topic), record(3, good)]), 20)
    assert [refusal.id for refusal in refused] == [2]
    assert len(await arrived(settings, good)) == 2
    assert not publisher.failed.is_set()


async def test_a_record_that_the_client_library_does_not_take_is_that_records_fault(
    settings: Settings, publisher: Publisher
) -> None:
    good = make_topic(settings)
    bad = record(2, good, headers=[("a", 1)])
    refused = await asyncio.wait_for(publisher.publish([record(1, good), bad, record(3, good)]), 20)
    assert [refusal.id for refusal in refused] == [2]
    assert len(await arrived(settings, good)) == 2


async def test_a_record_for_a_partition_that_does_not_exist_goes_where_its_key_chooses(
    settings: Settings, publisher: Publisher
) -> None:
    topic = make_topic(settings, partitions=2)
    chosen = await asyncio.wait_for(publisher.publish([record(1, topic, b"by key")]), 20)
    moved = await asyncio.wait_for(publisher.publish([record(2, topic, b"moved", partition=13)]), 20)
    assert (chosen, moved) == ([], [])
    by_key, other = await arrived(settings, topic)
    assert (by_key[1], other[1]) == (b"by key", b"moved")
    assert by_key[0] == other[0]


async def test_a_missing_topic_is_waited_for_once_and_then_holds_nobody_up_until_it_is_there(
    settings: Settings, publisher: Publisher
) -> None:
    good, missing = make_topic(settings), f"publisher-{uuid4().hex[:8]}"
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    held = publisher.publish([record(1, missing)])
    assert await publisher.publish([record(2, good)]) == []
    assert not held.done()
    (refusal,) = await asyncio.wait_for(held, TOPIC_PATIENCE_S + 5)
    assert loop.time() - began_s >= TOPIC_PATIENCE_S
    assert missing in refusal.reason
    assert "topics create" in refusal.reason
    began_s = loop.time()
    for id in range(100):
        assert len(await publisher.publish([record(id, missing), record(100 + id, good)])) == 1
    assert loop.time() - began_s < 20 * TOPIC_PATIENCE_S, "each of them would have waited for that long"
    create(settings, missing, 1, {})
    while await publisher.publish([record(1_000, missing)]):
        await asyncio.sleep(0.2)
        assert loop.time() - began_s < 30
    assert len(await arrived(settings, missing)) == 1
    assert not publisher.failed.is_set()


async def test_what_is_published_while_its_topic_is_just_being_made_again_waits_and_arrives_in_order(
    settings: Settings, publisher: Publisher
) -> None:
    missing = f"publisher-{uuid4().hex[:8]}"
    answers = [publisher.publish([record(id, missing, str(id).encode())]) for id in range(5)]
    await asyncio.sleep(1.0)
    answers.append(publisher.publish([record(5, missing, b"5")]))
    create(settings, missing, 1, {})
    assert await asyncio.wait_for(asyncio.gather(*answers), 20) == [[]] * 6
    assert [value for _, value in await arrived(settings, missing)] == [b"0", b"1", b"2", b"3", b"4", b"5"]
