"""A look into a topic: the newest records, those of an order, and those from a place on, told how far it looked."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from ordersaga.devstack import DevStack
from ordersaga.messaging.kafka import KafkaUnavailable, Partition, Tail, TooManyLook, Topics
from ordersaga.messaging.kafka import tail as module
from ordersaga.settings import Settings

PARTITIONS = 3


@pytest.fixture
def settings(stack: DevStack) -> Settings:
    return Settings.model_validate({"kafka_bootstrap_servers": stack.bootstrap_servers})


@pytest.fixture
def tail(settings: Settings) -> Tail:
    return Tail(settings)


@pytest.fixture
async def topic(settings: Settings) -> AsyncIterator[str]:
    name = f"tail-{uuid4().hex[:8]}"
    await Topics(settings).create([(name, {})], PARTITIONS, 1)
    yield name


@pytest.fixture
def write(settings: Settings, topic: str) -> Callable[..., None]:
    """Write records; their time stamps rise by a second."""

    def work(count: int, key: str | None = None, begin: int = 0, transaction: str | None = None) -> None:
        config = {"bootstrap.servers": settings.kafka_bootstrap_servers}
        producer = Producer(config | ({"transactional.id": topic} if transaction else {}))
        if transaction:
            producer.init_transactions(30)
            producer.begin_transaction()
        for n in range(begin, begin + count):
            value = json.dumps({"orderId": key or str(uuid4()), "n": n}).encode()
            at_ms = 1_760_000_000_000 + n * 1_000
            producer.produce(topic, value, key, partition=n % PARTITIONS, timestamp=at_ms)
        producer.flush(30)
        if transaction == "aborted":
            producer.abort_transaction(30)
        elif transaction:
            producer.commit_transaction(30)

    return work


def numbers(look: module.Look) -> list[int]:
    return [json.loads(each.value or b"")["n"] for each in look.records]


async def test_the_newest_of_all_partitions_come_first(tail: Tail, topic: str, write: Callable[..., None]) -> None:
    write(300)
    look = await tail.newest(topic)
    assert numbers(look) == list(range(299, 279, -1))
    assert look.bounds == {Partition(topic, n): (0, 100) for n in range(PARTITIONS)}
    write(3, begin=300)
    await asyncio.sleep(module.FRESH_S + 0.1)
    assert numbers(await tail.newest(topic))[:3] == [302, 301, 300]


async def test_an_order_is_searched_back_and_told_how_far(
    tail: Tail, topic: str, write: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    order = str(uuid4())
    write(2, key=order)
    write(600, begin=2)
    write(1, key=order, begin=602)
    look = await tail.search(topic, order)
    assert (numbers(look), look.looked, look.since_ms) == ([602, 1, 0], 603, None)
    monkeypatch.setattr(module, "LOOK_BACK", 150)
    monkeypatch.setattr(module, "SEARCH_AT_ONCE", 150)
    await asyncio.sleep(module.FRESH_S + 0.1)
    look = await tail.search(topic, order)
    assert numbers(look) == [602] and 150 <= look.looked < 603
    first = 603 - look.looked
    assert look.since_ms is not None
    assert abs((look.since_ms - 1_760_000_000_000) / 1_000 - first) <= PARTITIONS


async def test_an_order_without_a_key_is_found_by_its_value(tail: Tail, topic: str, settings: Settings) -> None:
    order = str(uuid4())
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers})
    producer.produce(topic, json.dumps({"orderId": order, "n": 7}).encode())
    producer.flush(30)
    assert numbers(await tail.search(topic, order)) == [7]
    assert numbers(await tail.search(topic, str(uuid4()))) == []


async def test_offsets_without_a_record_end_a_look_soon(tail: Tail, topic: str, write: Callable[..., None]) -> None:
    """The last offsets are markers of transactions and aborted records, which a reader of committed records never gets."""
    write(6)
    write(6, begin=6, transaction="committed")
    write(6, begin=12, transaction="aborted")
    began = time.monotonic()
    look = await tail.newest(topic)
    assert numbers(look) == list(range(11, -1, -1))
    assert time.monotonic() - began < module.LIMIT_S
    assert look.since_ms is None


async def test_records_from_a_place_on_come_in_their_order(tail: Tail, topic: str, write: Callable[..., None]) -> None:
    write(90)
    place = Partition(topic, 1)
    assert [each.offset for each in (await tail.at(place, 5)).records] == list(range(5, 25))
    assert [each.offset for each in (await tail.at(place, 29)).records] == [29]
    assert (await tail.at(place, 10**17)).records == []
    assert (await tail.at(Partition(topic, 99), 0)).records == []


async def test_a_look_joins_no_group_and_commits_nothing(
    tail: Tail, topic: str, write: Callable[..., None], settings: Settings
) -> None:
    write(9)
    await tail.newest(topic)
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": "ordersaga-tail"})
    committed = consumer.committed([TopicPartition(topic, n) for n in range(PARTITIONS)], timeout=10)
    consumer.close()
    assert all(each.offset < 0 for each in committed)


async def test_an_empty_topic_and_none_at_all(tail: Tail, topic: str) -> None:
    look = await tail.newest(topic)
    assert (look.records, look.since_ms, len(look.bounds)) == ([], None, PARTITIONS)
    assert (await tail.newest(f"no-{topic}")).bounds == {}


async def test_many_who_look_at_one_topic_share_a_look_and_too_many_are_refused(
    tail: Tail, topic: str, write: Callable[..., None]
) -> None:
    write(9)
    looks = await asyncio.gather(*(tail.newest(topic) for _ in range(100)))
    assert all(each is looks[0] for each in looks)
    asked = [tail.search(topic, str(uuid4())) for _ in range(module.WAITING_MAX + 3)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(each, TooManyLook) for each in answers) == 3
    assert sum(isinstance(each, module.Look) for each in answers) == module.WAITING_MAX
    assert numbers(await tail.search(topic, str(uuid4()))) == []


async def test_kafka_away_is_told_soon() -> None:
    away = Tail(Settings.model_validate({"kafka_bootstrap_servers": "127.0.0.1:1"}))
    began = time.monotonic()
    with pytest.raises(KafkaUnavailable):
        await away.newest("order-created")
    assert time.monotonic() - began < 15


async def test_records_near_some_times_are_found_and_no_others(
    tail: Tail, topic: str, write: Callable[..., None]
) -> None:
    order, begin = str(uuid4()), 1_760_000_000_000
    write(30)
    write(2, key=order, begin=30)
    write(7_200)  # two hours of others, written later, at the same times and after
    write(1, key=order, begin=7_200)
    near = await tail.near(order, {topic: [begin + 31_000], "no-such-topic": [begin]})
    assert [json.loads(each.value or b"")["n"] for each in near.records] == [30, 31]
    assert near.is_whole
    assert near.no_topics == {"no-such-topic"}
    assert near.removed_ms == {}
    both = await tail.near(order, {topic: [begin + 31_000, begin + 7_200_000]})
    assert [json.loads(each.value or b"")["n"] for each in both.records] == [30, 31, 7_200]


async def test_a_busy_topic_is_looked_at_nearer(
    tail: Tail, topic: str, write: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    order, at = str(uuid4()), 1_760_000_000_000 + 300_000
    write(300)
    write(2, key=order, begin=300)
    write(298, begin=302)
    monkeypatch.setattr(module, "LOOK_BACK", 150)
    near = await tail.near(order, {topic: [at]})
    assert (len(near.records), near.width_ms, near.is_whole) == (2, 60_000, True)
    assert near.looked <= 150


async def test_a_record_that_kafka_has_removed_is_told(
    tail: Tail, topic: str, write: Callable[..., None], settings: Settings
) -> None:
    order, begin = str(uuid4()), 1_760_000_000_000
    write(3, key=order)
    write(6, begin=4_000)
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    for asked in admin.delete_records([TopicPartition(topic, n, 1) for n in range(PARTITIONS)]).values():
        asked.result(30)
    near = await tail.near(order, {topic: [begin]})
    assert near.records == []
    assert near.removed_ms[topic] > begin + 2_000
    assert (await tail.near(order, {topic: [begin + 10_000_000]})).removed_ms == {}, "nothing of this time is gone"
