"""Old trouble never stops new work, and nothing that one record contains stops more than that record."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest

from ordersaga.contracts import codec
from ordersaga.contracts.messages import DeliveryStartMessage
from ordersaga.messaging import dead_letters, handler, ledger, turn
from ordersaga.messaging.database import Connection
from ordersaga.messaging.handler import Batch
from tests.contract import raw_records
from tests.contract.rig import INPUT, Rig, alarm, ids, nothing_left, raises_for, told, took_effect, until, well


async def park(service: Rig, messages: Sequence[DeliveryStartMessage]) -> None:
    """What an earlier process left: parked records whose time is long over."""
    rows = [(n, each.order_id, codec.encode(each)) for n, each in enumerate(messages)]
    await service.db.executemany(
        "INSERT INTO parked (topic, partition, record_offset, order_key, value, header_names, header_values, timestamp_ms,"
        " attempts, due_at, cause, reason, parked_at)"
        " SELECT $4, 0, -1 - $1::bigint, $2, $3, '{}', '{}', 0, 1, now() - interval '1 hour', 'ValueError', 'poison',"
        " now() - interval '2 hours'",
        [(*row, INPUT) for row in rows],
    )


@pytest.mark.parametrize("count", [25, 2_500])
async def test_overdue_parked_records_at_a_restart_hold_no_new_record_up(service: Rig, count: int) -> None:
    poison = [told(uuid4()) for _ in range(count)]
    service.intervene = raises_for(*poison)
    async with service.instance():
        pass
    await park(service, poison)
    new = [told(uuid4()) for _ in range(20)]
    service.send(*new)
    async with service.instance(park_backoff_ms=60_000) as runtime:
        await until(lambda: took_effect(service, 20), limit_s=30)
        assert count < 100 or not await tried_again(service, count), "the new ones waited for all old ones"
        await until(lambda: tried_again(service, count), limit_s=60)
        assert await service.count("parked") == count
        assert await well(runtime)
        [oldest] = await alarm(runtime, "parked")
        assert oldest.age_s >= 7_200
    assert sorted(await service.effects()) == ids(new)


async def tried_again(service: Rig, count: int) -> bool:
    return await service.db.fetchval("SELECT count(*) FROM parked WHERE attempts = 2") == count


@pytest.mark.parametrize("trouble", ["a missing column", "a statement that takes too long"])
async def test_a_retry_that_fails_as_a_whole_puts_only_the_retries_off(service: Rig, trouble: str) -> None:
    old, other = told(uuid4()), told(uuid4())

    async def fail(batch: Batch, db: Connection) -> None:
        if any(each.message == old for each in batch.incoming):
            await db.execute("SELECT no_such_column" if trouble == "a missing column" else "SELECT pg_sleep(60)")

    service.intervene = fail
    async with service.instance():
        pass
    await park(service, [old, other])
    async with service.instance() as runtime:
        await until(lambda: alarm(runtime, "retries"))
        new = [told(uuid4()) for _ in range(20)]
        service.send(*new)
        await until(lambda: all_of(service, new), limit_s=15)
        await until(lambda: all_of(service, [other]), limit_s=30)
        assert await service.count("parked") == 1
        assert not await alarm(runtime, "partition stopped") and not await alarm(runtime, "turn failed")


async def all_of(service: Rig, messages: Sequence[DeliveryStartMessage]) -> bool:
    return {each.delivery_id for each in messages} <= set(await service.effects())


@pytest.mark.parametrize("failure", ["raises", "missing column"])
async def test_a_bad_deployment_stops_only_the_partitions_whose_records_fail(service: Rig, failure: str) -> None:
    bad = [told(uuid4()) for _ in range(40)]
    mended = asyncio.Event()

    async def fail(batch: Batch, db: Connection) -> None:
        if not mended.is_set() and any(each.message in bad for each in batch.incoming):
            if failure == "missing column":
                await db.execute("SELECT no_such_column FROM effect")
            raise RuntimeError("this version is broken")

    service.intervene = fail
    async with service.instance(retry_backoff_ms_max=500) as runtime:
        for each in bad:
            service.produce(each, partition=0)
        good = [told(uuid4()) for _ in range(10)]
        for n, each in enumerate(good):
            service.produce(each, partition=1 + n % 2)
        service.flush()
        await until(lambda: all_of(service, good))
        await until(lambda: alarm(runtime, "bad deployment"))
        assert [each.where for each in await alarm(runtime, "bad deployment")] == [f"{INPUT}/0"]
        later = told(uuid4())
        service.produce(later, partition=1)
        service.flush()
        await until(lambda: all_of(service, [later]))
        assert await service.count("dead_letter") == 0
        mended.set()
        await until(lambda: all_of(service, bad))
        await until(lambda: well(runtime))
        assert not await alarm(runtime, "bad deployment")
    assert len(await service.effects()) == 51, "each took effect once"


ODD_NAMES = [b"\xff\xfe", b"", b"a\0b", b"\xed\xa0\x80", b"x" * 5_000]


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_no_name_of_a_header_stops_the_partition(service: Rig, name: bytes) -> None:
    """Some of these the client refuses to read; the record is a dead letter then, and says so."""
    order_id = uuid4()
    before, after = told(order_id), told(order_id)
    raw, value = told(uuid4()), codec.encode(told(uuid4()))
    async with service.instance() as runtime:
        service.produce(before, partition=0)
        service.flush()
        send_raw(service, codec.encode(raw), [(name, b"1"), (b"message-id", b"m")])
        send_raw(service, value[:-1], [(name, None)])
        service.produce(after, partition=0)
        service.flush()
        await until(lambda: all_of(service, [before, after]))
        await until(lambda: nothing_left(service))
        assert await well(runtime)
    letters = {row["value"]: row for row in await service.db.fetch("SELECT value, key, reason FROM dead_letter")}
    assert letters[value[:-1]]["key"] == b"key"
    if name in (b"\xff\xfe", b"\xed\xa0\x80"):
        assert "headers cannot be read" in letters[codec.encode(raw)]["reason"]
        published = await service.published(INPUT + "-dlt")
        assert {record.value() for record in published} == set(letters)
    else:
        assert await all_of(service, [raw])


def send_raw(service: Rig, value: bytes, headers: list[raw_records.Header], timestamp_ms: int | None = None) -> None:
    raw_records.send(service.settings.kafka_bootstrap_servers, INPUT, 0, b"key", value, headers, timestamp_ms)


@pytest.mark.parametrize("timestamp_ms", [-1, 0, 1])
async def test_no_time_of_a_record_stops_the_partition(service: Rig, timestamp_ms: int) -> None:
    good = told(uuid4())
    async with service.instance() as runtime:
        send_raw(service, codec.encode(good), [], timestamp_ms)
        send_raw(service, b"{", [], timestamp_ms)
        await until(lambda: all_of(service, [good]))
        await until(lambda: letters(service, 1))
        await until(lambda: nothing_left(service))
        assert await well(runtime)


async def letters(service: Rig, count: int) -> bool:
    return await service.count("dead_letter") == count


class Odd(Exception):
    """What nobody has thought of."""


async def test_whatever_decoding_one_record_raises_is_that_records_fault(
    service: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = told(uuid4()), told(uuid4())
    decode = codec.decode

    def odd(topic: str, value: bytes | None) -> Any:
        if value == codec.encode(bad):
            raise Odd("never seen before")
        return decode(topic, value)

    monkeypatch.setattr(handler, "decode", odd)
    async with service.instance() as runtime:
        service.send(bad, good)
        await until(lambda: all_of(service, [good]))
        await until(lambda: nothing_left(service))
        assert await well(runtime)
    assert "Odd: never seen before" in await service.db.fetchval("SELECT reason FROM dead_letter")


async def test_a_record_of_which_no_dead_letter_can_be_made_stops_at_most_its_own_partition(
    service: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One without its headers is tried first; if even that fails, the partition stops and says at which offset."""
    keep = dead_letters.add

    async def refuse(db: Connection, found: Sequence[dead_letters.DeadLetter], now: Any) -> None:
        for each in found:
            if each.record.value == b"never" or (each.record.value == b"not with headers" and each.record.headers):
                raise Odd("it cannot be stored")
        await keep(db, found, now)

    monkeypatch.setattr(dead_letters, "add", refuse)
    async with service.instance() as runtime:
        good = [told(uuid4()) for _ in range(30)]
        for n, each in enumerate(good):
            service.produce(each, partition=n % 3)
            if n == 10:
                service.produce(b"not with headers", partition=1)
            if n == 20:
                service.produce(b"never", partition=2)
        service.flush()
        await until(lambda: alarm(runtime, "bad deployment"))
        await until(lambda: took_effect(service, 27))
        [stopped] = await alarm(runtime, "bad deployment")
        assert stopped.where == f"{INPUT}/2" and "offset" in stopped.what
        assert await service.db.fetchval("SELECT value FROM dead_letter") == b"not with headers"
        later = told(uuid4())
        service.produce(later, partition=1)
        service.flush()
        await until(lambda: all_of(service, [later]))
        monkeypatch.setattr(dead_letters, "add", keep)
        await until(lambda: all_of(service, good))
        await until(lambda: well(runtime))
    effects = await service.effects()
    assert len(effects) == len(set(effects)) == 31


async def test_records_that_a_split_turn_did_not_come_to_are_read_again(
    service: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turn that a missing column split by partitions finds itself fenced off at the second; the third must not be skipped."""
    bad = [told(uuid4()) for _ in range(40)]
    good = [told(uuid4()) for _ in range(80)]
    first = told(uuid4())
    mended, all_sent = asyncio.Event(), asyncio.Event()
    fenced_at: list[int] = []

    async def fail(batch: Batch, db: Connection) -> None:
        if any(each.message == first for each in batch.incoming):
            await all_sent.wait()
        if not mended.is_set() and any(each.message in bad for each in batch.incoming):
            await db.execute("SELECT no_such_column")

    async def fence(db: Connection, ranges: Sequence[ledger.OffsetRange]) -> int:
        if not fenced_at and [each.partition.partition for each in ranges] == [1]:
            fenced_at.append(ranges[0].expected_offset)
            raise ledger.Fenced
        return await ledger.fence(db, ranges)

    monkeypatch.setattr(turn, "fence", fence)
    service.intervene = fail
    async with service.instance(retry_backoff_ms_max=500) as runtime:
        service.send(first)
        await until(lambda: tried(service))
        for n, each in enumerate(good):
            service.produce(each, partition=1 + n % 2)
            if n % 2:
                service.produce(bad[n // 2], partition=0)
        service.flush()
        await asyncio.sleep(1)  # so that the client has them all, and the next turn too
        all_sent.set()
        await until(lambda: alarm(runtime, "bad deployment"))
        mended.set()
        later = [told(uuid4()) for _ in range(3)]
        for n, each in enumerate(later):
            service.produce(each, partition=n)
        service.flush()
        await until(lambda: all_of(service, [*bad, *good, *later]), limit_s=20)
    assert fenced_at
    effects = await service.effects()
    assert len(effects) == len(set(effects)) == 124


async def tried(service: Rig) -> bool:
    return service.tries > 0
