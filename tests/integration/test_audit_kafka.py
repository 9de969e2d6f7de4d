"""The audit judges from what Kafka holds: each partition, read or not; markers, transactions and retention are no lost records."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]

from ordersaga.audit import completions, partitions
from ordersaga.contracts.messages import StockDecreaseRequestMessage
from ordersaga.contracts.topics import TOPICS, Topic
from ordersaga.messaging.kafka import Gap, Partition, Tap, Topics, gaps_of, watermarks
from tests.integration.audit_rig import HANDLED, RECORDED, Scene, place, short

AN_HOUR = timedelta(hours=1)


class Log:
    """A topic of one partition that Stock consumes."""

    def __init__(self, scene: Scene, topic: str) -> None:
        self.scene, self.topic, self.partition = scene, topic, Partition(topic, 0)
        self.config: dict[str, Any] = {"bootstrap.servers": scene.settings.kafka_bootstrap_servers}
        self.admin = AdminClient(self.config)

    async def write(self, count: int = 1, ago: timedelta = timedelta(), producer: Producer | None = None) -> None:
        writer = producer or Producer(self.config)
        at_ms = int((datetime.now(UTC) - ago).timestamp() * 1000)
        for _ in range(count):
            writer.produce(self.topic, b"{}", partition=0, timestamp=at_ms)
        assert await asyncio.to_thread(writer.flush, 30) == 0

    async def transaction(self, count: int, ago: timedelta = timedelta()) -> Producer:
        producer = Producer(self.config | {"transactional.id": uuid4().hex})
        await asyncio.to_thread(producer.init_transactions, 30)
        producer.begin_transaction()
        await self.write(count, ago, producer)
        return producer

    async def settled(self, high: int) -> Gap:
        """The log once the broker has written a transaction's marker, which comes after it has answered."""
        end = time.monotonic() + 20
        while True:
            gap = (await asyncio.to_thread(gaps_of, self.scene.settings, {self.partition: 0}))[self.partition]
            if gap.high >= high and not gap.is_open:
                return gap
            assert time.monotonic() < end, gap

    async def handled(self, next_offset: int) -> None:
        """Stock has come so far."""
        topic_id = (await Topics(self.scene.settings).ids([self.topic]))[self.topic]
        await self.scene.db["stock"].execute(
            "INSERT INTO ledger (topic, partition, topic_id, epoch, next_offset) VALUES ($1, 0, $2, 1, $3)"
            "ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset",
            self.topic, topic_id, next_offset,
        )  # fmt: skip

    async def broken(self, live: float = 0.0) -> list[str]:
        return (await self.scene.broken(live)).get(HANDLED, [])


@pytest.fixture
async def log(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Log]:
    topic = f"audited-{uuid4().hex[:8]}"
    await Topics(scene.settings).create([(topic, {})], 1, 1)
    consumed = Topic(topic, StockDecreaseRequestMessage, "order", ("stock",))
    monkeypatch.setattr(partitions, "TOPICS", (*TOPICS, consumed))
    made = Log(scene, topic)
    await asyncio.to_thread(watermarks, scene.settings, [made.partition])
    yield made


async def test_a_partition_that_was_never_read_is_behind_by_all_its_records(log: Log) -> None:
    assert await log.broken() == []
    await log.write(2, ago=AN_HOUR)
    (what,) = await log.broken(30)
    assert what.startswith(f"stock: {log.topic}/0 is 2 records behind, and was never read, the oldest from ")
    await log.handled(2)
    assert await log.broken() == []
    log.admin.create_partitions([NewPartitions(log.topic, 2)])[log.topic].result(30)
    (finding,) = [each for each in await log.scene.findings() if short(each) == HANDLED]
    assert finding.outcome == "holds"


async def test_a_partition_behind_is_in_flight_while_its_oldest_record_is_young_and_then_broken_with_its_age(
    log: Log,
) -> None:
    await log.write(1, ago=AN_HOUR)
    await log.handled(1)
    await log.write(3)
    assert await log.broken(30) == []
    assert f"stock: {log.topic}/0 is 3 records behind" in (await log.scene.in_flight(30))[HANDLED][0]
    await log.handled(0)
    (what,) = await log.broken(30)
    assert "is 4 records behind" in what and what.endswith("60 minutes ago")
    assert len(await log.broken(0)) == 1


async def test_a_record_from_the_future_does_not_stay_in_flight_for_ever(log: Log) -> None:
    await log.write(1, ago=-AN_HOUR)
    await log.handled(0)
    assert await log.broken(30) == []
    (why,) = (await log.scene.unjudged(30))[HANDLED]
    assert "its time stamp does not tell how long it has waited" in why


async def test_markers_and_aborted_records_are_no_lag_at_rest(log: Log) -> None:
    (await log.transaction(2)).commit_transaction(30)
    await log.settled(3)
    (await log.transaction(4)).abort_transaction(30)
    await log.settled(8)
    await log.handled(2)
    assert await log.broken() == []
    await log.handled(1)
    (what,) = await log.broken()
    assert "behind" in what


async def test_a_transaction_that_does_not_end_is_shown_with_its_age_and_breaks_when_it_is_old(log: Log) -> None:
    await log.handled(0)
    young = await log.transaction(1)
    (waiting,) = (await log.scene.in_flight(30))[HANDLED]
    assert f"stock: {log.topic}/0 waits: a transaction is open at offset 0" in waiting
    assert len(await log.broken(0)) == 1
    young.abort_transaction(30)
    await log.settled(2)
    old = await log.transaction(1, ago=AN_HOUR)
    await log.write(1)
    (what,) = await log.broken(30)
    assert what.startswith(f"stock: {log.topic}/0 stands still: a transaction is open at offset 2 and keeps 2 offsets")
    assert what.endswith("60 minutes ago")
    old.abort_transaction(30)


async def test_records_that_were_removed_before_they_were_handled_are_named(log: Log) -> None:
    await log.write(5)
    await log.handled(1)
    log.admin.delete_records([TopicPartition(log.topic, 0, 5)])[TopicPartition(log.topic, 0)].result(30)
    assert await log.broken() == [f"stock: {log.topic}/0 4 offsets were removed before they were handled"]


async def test_what_kafka_has_not_is_named_and_everything_else_still_judged(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log.write(1, ago=AN_HOUR)
    await log.handled(0)
    await log.scene.db["stock"].executemany(
        "INSERT INTO ledger (topic, partition, topic_id, epoch, next_offset) VALUES ($1, $2, 'id', 1, 7)",
        [(log.topic, 13), ("never-was", 0)],
    )
    missing = Topic("not-made", StockDecreaseRequestMessage, "order", ("stock",))
    monkeypatch.setattr(partitions, "TOPICS", (*TOPICS, missing))
    broken = await log.scene.broken()
    assert broken.keys() == {HANDLED}
    assert "stock: not-made is not in Kafka" in broken[HANDLED]
    assert any(f"{log.topic}/0 is 1 record behind" in what for what in broken[HANDLED])
    assert (await log.scene.unjudged())[HANDLED] == [
        "stock: never-was: the topic is not in Kafka, and the ledger stands in 1 partition of it",
        f"stock: {log.topic}/13: the ledger has a row for it, and the topic has 1 partition, 0 to 0",
    ]


async def test_a_tap_comes_to_the_end_of_a_log_that_ends_with_a_marker_or_an_open_transaction(log: Log) -> None:
    (await log.transaction(2)).commit_transaction(30)
    await log.settled(3)
    held_back = await log.transaction(1)
    tap = await asyncio.to_thread(Tap, log.scene.settings, [log.topic], True)
    records = []
    async with asyncio.timeout(20):
        while not await tap.at_end():
            records += await tap.fetch(100, 0.1)
    tap.close()
    assert [record.offset for record in records] == [0, 1]
    held_back.abort_transaction(30)


# Completion records -------------------------------------------------------------------------------------------------------


async def completed(scene: Scene) -> UUID:
    """An order that was completed minutes ago, of which Kafka has no record."""
    order_id = uuid4()
    await place(scene, order_id, ["PENDING", "COMPLETED"], None, {"lines": []})
    return order_id


def _in_partition(number: int) -> UUID:
    found = uuid4()
    while completions.partition_of(str(found).encode(), 3) != number:
        found = uuid4()
    return found


async def remove_records(scene: Scene) -> None:
    """As retention does: nothing is left."""
    admin = AdminClient({"bootstrap.servers": scene.settings.kafka_bootstrap_servers})
    topic = completions.COMPLETED_TOPIC
    counts = await Topics(scene.settings).partition_counts([topic])
    places = [Partition(topic, n) for n in range(counts[topic])]
    bounds = await asyncio.to_thread(watermarks, scene.settings, places)
    for future in admin.delete_records([TopicPartition(*p, bounds[p][1]) for p in places]).values():
        future.result(30)


async def recorded(scene: Scene) -> Any:
    return next(each for each in await scene.findings() if short(each) == RECORDED)


async def test_completion_records_that_kafka_has_removed_are_accounted_for_by_the_outbox(scene: Scene) -> None:
    await completed(scene)
    assert (await recorded(scene)).outcome == "broken"
    await remove_records(scene)
    found = await recorded(scene)
    assert found.outcome == "holds" and found.count == 3, found
    assert found.notes[0].startswith("the records of 3 of them are older than Kafka keeps")


async def test_what_was_completed_after_the_logs_start_must_have_exactly_one_record(scene: Scene) -> None:
    await remove_records(scene)
    partition = completions.partition_of(str(scene.completed).encode(), 3)
    first, after = _in_partition(partition), _in_partition(partition)
    await place(scene, first, ["PENDING", "COMPLETED"], None, {"lines": []})
    await scene.complete(first, first, timedelta(minutes=2))
    await place(scene, after, ["PENDING", "COMPLETED"], None, {"lines": []}, timedelta(minutes=1))
    assert (await recorded(scene)).broken == [f"{after}: 0 records"]


async def test_a_completion_that_its_timeline_did_not_send_is_broken_whatever_kafka_has_removed(scene: Scene) -> None:
    order_id = await completed(scene)
    await scene.db["order"].execute("UPDATE order_event SET went_out = '{}' WHERE order_id = $1", order_id)
    await remove_records(scene)
    (what,) = (await recorded(scene)).broken
    assert what == f"{order_id}: completed, and its timeline has no completion record going out"


async def test_a_completion_record_that_is_still_in_the_outbox_is_in_flight(scene: Scene) -> None:
    order_id = await completed(scene)
    await scene.db["order"].execute(
        "INSERT INTO outbox (id, adopt_at, topic, key, message_id, traceparent) VALUES (1, now(), $1, $2, gen_random_uuid(), '-')",
        completions.COMPLETED_TOPIC, str(order_id).encode(),
    )  # fmt: skip
    found = await recorded(scene)
    assert found.outcome == "holds" and found.in_flight == [f"{order_id}: 0 records so far"]


async def test_a_record_of_an_order_that_was_never_completed_is_named(scene: Scene) -> None:
    await scene.complete(scene.failed, uuid4())
    assert (await recorded(scene)).broken == [f"{scene.failed}: a completion record, and the order was never completed"]


async def test_a_record_behind_an_open_transaction_cannot_be_judged(scene: Scene) -> None:
    order_id = await completed(scene)
    log = Log(scene, completions.COMPLETED_TOPIC)
    producer = Producer(log.config | {"transactional.id": uuid4().hex})
    await asyncio.to_thread(producer.init_transactions, 30)
    producer.begin_transaction()
    begun_ms = int((datetime.now(UTC) - AN_HOUR).timestamp() * 1000)
    partition = completions.partition_of(str(order_id).encode(), 3)
    producer.produce(completions.COMPLETED_TOPIC, b"{}", partition=partition, timestamp=begun_ms)
    assert await asyncio.to_thread(producer.flush, 30) == 0
    found = await recorded(scene)
    producer.abort_transaction(30)
    assert found.outcome == "could not be judged"
    assert found.unjudged[0].startswith(f"{order_id}: 0 records, and a transaction that is open since ")


def test_a_key_lies_where_javas_partitioner_puts_it() -> None:
    # The figures of Kafka's own UtilsTest.testMurmur2, and the empty key.
    expected = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536, b"": 275646681}
    expected |= {
        b"a-little-bit-longer-string": -1486304829,
        b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    }
    for key, hashed in expected.items():
        assert completions.partition_of(key, 2**31) == hashed & 0x7FFFFFFF
