"""What lies in a log and is no record, what cannot be read of it, and topics that are gone: seen with their age, and nobody else's trouble."""

import asyncio
import contextlib
import struct
from collections.abc import Iterator
from uuid import uuid4

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from ordersaga.contracts import codec
from ordersaga.devstack import DevStack
from ordersaga.messaging import ledger, watching
from ordersaga.messaging.kafka import Partition, Topics, create_missing_topics, watermarks
from ordersaga.messaging.runtime import Runtime
from tests.contract import raw_records
from tests.contract.rig import INPUT, Rig, alarm, told, took_effect, until, well


@contextlib.contextmanager
def damaged(stack: DevStack, marker: bytes, how: str) -> Iterator[int]:
    """The batch with these bytes, as a disk or a stranger's client may leave it; yields its last offset. Mended afterwards."""
    [path] = [
        each
        for each in (stack.folder.path / "kafka" / "log" / f"{INPUT}-0").glob("*.log")
        if marker in each.read_bytes()
    ]
    whole = path.read_bytes()
    begin, at = 0, whole.index(marker)
    while begin + 12 + struct.unpack_from(">qi", whole, begin)[1] <= at:
        begin += 12 + struct.unpack_from(">qi", whole, begin)[1]
    first, size = struct.unpack_from(">qi", whole, begin)
    batch = bytearray(whole[begin : begin + 12 + size])
    good = bytes(batch)
    if how == "a wrong checksum":
        batch[at - begin] ^= 1
    else:
        batch[21:23] = struct.pack(">h", 6)
        batch[17:21] = struct.pack(">I", raw_records.crc32c(bytes(batch[21:])))

    def write(what: bytes) -> None:
        with path.open("r+b") as file:
            file.seek(begin)
            file.write(what)

    write(bytes(batch))
    try:
        yield first + struct.unpack_from(">i", good, 23)[0]
    finally:
        write(good)


@pytest.mark.parametrize("how", ["a wrong checksum", "an unknown compression"])
async def test_a_batch_that_cannot_be_read_stops_its_partition_alone_and_says_how_to_go_on(
    service: Rig, stack: DevStack, how: str
) -> None:
    before, just_before, lost, after, other = [told(uuid4()) for _ in range(5)]
    async with service.instance():
        service.produce(before, partition=0)
        service.flush()
        await until(lambda: took_effect(service, 1))
    service.produce(just_before, partition=0)
    service.flush()
    producer = Producer({"bootstrap.servers": service.settings.kafka_bootstrap_servers, "linger.ms": 200})
    for _ in range(3):
        producer.produce(INPUT, codec.encode(lost), partition=0)
    producer.flush()
    service.produce(after, partition=0)
    service.produce(other, partition=1)
    service.flush()
    with damaged(stack, str(lost.delivery_id).encode(), how) as last_offset:
        async with service.instance() as runtime:
            await until(lambda: took_effect(service, 3))

            async def says_how() -> bool:
                found = await alarm(runtime, "partition unreadable")
                return bool(found) and f"--at {last_offset + 1}`" in found[0].todo

            await until(says_how)
            [one] = await alarm(runtime, "partition unreadable")
            assert set(await service.effects()) == {each.delivery_id for each in (before, just_before, other)}
            assert one.where == f"{INPUT}/0" and f"offset {last_offset - 2}" in one.what
            assert f"ordersaga topics accept {INPUT} --partition 0" in one.todo
            topic_id = (await Topics(service.settings).ids([INPUT]))[INPUT]
            await ledger.accept(service.db, INPUT, topic_id, {0: last_offset + 1})
            await until(lambda: took_effect(service, 4), limit_s=30)
            await until(lambda: well(runtime))
    assert set(await service.effects()) == {each.delivery_id for each in (before, just_before, other, after)}


def transactional(service: Rig) -> Producer:
    producer = Producer(
        {"bootstrap.servers": service.settings.kafka_bootstrap_servers, "transactional.id": uuid4().hex}
    )
    producer.init_transactions(30)
    return producer


async def at_the_end(service: Rig) -> bool:
    rows = await service.db.fetch("SELECT partition, next_offset FROM ledger WHERE topic = $1", INPUT)
    ends = await asyncio.to_thread(watermarks, service.settings, [Partition(INPUT, row["partition"]) for row in rows])
    return {row["partition"]: row["next_offset"] for row in rows} == {p.partition: end for p, (_, end) in ends.items()}


async def test_markers_and_aborted_records_are_no_lag_at_rest_and_no_loss_once_they_are_removed(
    service: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "CHECK_EVERY_S", 0.5)
    async with service.instance() as runtime:
        producer = await asyncio.to_thread(transactional, service)
        for commits in (True, False):
            producer.begin_transaction()
            for number in range(3):
                producer.produce(INPUT, codec.encode(told(uuid4())), partition=number)
            await asyncio.to_thread(producer.commit_transaction if commits else producer.abort_transaction, 30)
        await until(lambda: took_effect(service, 3))
        await until(lambda: at_the_end(service))
        assert await service.count("effect") == 3
        assert await well(runtime)
    rows = await service.db.fetch("SELECT partition, next_offset FROM ledger")
    admin = AdminClient({"bootstrap.servers": service.settings.kafka_bootstrap_servers})
    removed = [TopicPartition(INPUT, row["partition"], row["next_offset"]) for row in rows]
    for done in admin.delete_records(removed).values():
        await asyncio.to_thread(done.result, 30)
    async with service.instance() as runtime:
        assert not await alarm(runtime, "partition stopped")
        service.send(told(uuid4()))
        await until(lambda: took_effect(service, 4))
        assert await well(runtime)


async def test_a_transaction_that_does_not_end_is_an_alarm_with_its_age(
    service: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "CHECK_EVERY_S", 0.5)
    monkeypatch.setattr(watching, "OPEN_S", 2.0)
    async with service.instance() as runtime:
        producer = await asyncio.to_thread(transactional, service)
        producer.begin_transaction()
        producer.produce(INPUT, codec.encode(told(uuid4())), partition=0)
        await asyncio.to_thread(producer.flush, 30)
        behind = told(uuid4())
        service.produce(behind, partition=0)
        service.flush()
        [found] = await until(lambda: alarm(runtime, "open transaction"), limit_s=30)
        assert found.where == f"{INPUT}/0" and found.age_s >= 2
        await asyncio.to_thread(producer.abort_transaction, 30)
        await until(lambda: took_effect(service, 1))
        await until(lambda: well(runtime))
        assert await service.effects() == [behind.delivery_id]


async def test_a_topic_deleted_under_a_running_service_is_an_alarm_until_it_is_there_again(
    service: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "CHECK_EVERY_S", 0.5)
    async with service.instance() as runtime:
        admin = AdminClient({"bootstrap.servers": service.settings.kafka_bootstrap_servers})
        for done in admin.delete_topics([INPUT]).values():
            await asyncio.to_thread(done.result, 30)
        try:
            await asyncio.wait_for(until(lambda: missing(runtime), limit_s=30), 40)
        finally:
            await create_missing_topics(service.settings)

        async def is_back() -> bool:
            return not await missing(runtime)

        await until(is_back, limit_s=30)


async def missing(runtime: Runtime) -> bool:
    found = await alarm(runtime, "topic missing")
    return [each.where for each in found] == [INPUT]
