"""What becomes of a record that cannot be decoded or handled: a dead letter, or parked with its key's queue, and never the others' trouble."""

import asyncio
import struct
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest

from ordersaga.contracts.codec import encode
from ordersaga.messaging import outbox_rows
from ordersaga.messaging.database import Connection
from ordersaga.messaging.handler import Batch
from ordersaga.messaging.runtime import Runtime
from tests.contract.rig import (
    INPUT,
    Rig,
    alarm,
    ids,
    nothing_left,
    raises_for,
    same_key,
    told,
    took_effect,
    until,
    well,
)


async def test_an_undecodable_record_becomes_a_dead_letter_with_its_bytes_and_springs_headers(service: Rig) -> None:
    async with service.instance():
        service.send(b'{"orderId": ', None, b"\xff", key="k")
        good = told(uuid4())
        service.send(good)
        await until(lambda: took_effect(service, 1))
        await until(lambda: nothing_left(service))
    letters = await service.published(INPUT + "-dlt")
    assert sorted(letter.value() or b"" for letter in letters) == [b"", b'{"orderId": ', b"\xff"]
    for letter in letters:
        headers = dict(letter.headers())
        assert headers["origin"] == b"test"
        assert headers["kafka_dlt-original-topic"] == INPUT.encode()
        assert headers["kafka_dlt-original-consumer-group"] == service.settings.delivery_group.encode()
        assert struct.unpack(">i", headers["kafka_dlt-original-partition"]) == (letter.partition(),)
        assert len(headers["kafka_dlt-original-offset"]) == 8
        assert headers["kafka_dlt-exception-message"]
    assert await service.count("dead_letter") == 3


async def test_a_record_that_the_handler_rejects_becomes_a_dead_letter_and_the_others_go_on(service: Rig) -> None:
    bad = told(uuid4())

    async def reject(batch: Batch, _: Connection) -> None:
        for each in batch.incoming:
            if each.message == bad:
                batch.reject(each, "nobody knows it")

    service.intervene = reject
    async with service.instance():
        service.send(bad, told(uuid4()))
        await until(lambda: took_effect(service, 2))
        await until(lambda: nothing_left(service))
    reason = await service.db.fetchval("SELECT reason FROM dead_letter")
    assert reason == "nobody knows it"


async def test_one_bad_record_among_500_costs_a_logarithmic_number_of_tries_and_the_others_take_effect_in_that_turn(
    service: Rig,
) -> None:
    records = [told(uuid4()) for _ in range(500)]
    service.intervene = raises_for(records[321])
    async with service.instance(park_backoff_ms=60_000) as runtime:
        service.send(*records)
        await until(lambda: took_effect(service, 499))
        assert await service.count("parked") == 1
        assert await well(runtime)
    turns_at_most = 1 + len([size for size in service.batches if size == max(service.batches)])
    assert service.tries <= turns_at_most + 2 * 9 + 12


async def test_a_turn_with_more_output_than_ids_is_divided_and_a_record_with_too_much_alone_is_a_dead_letter(
    service: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the rows of a turn would get the ids of the next one."""
    await service.db.execute("ALTER SEQUENCE outbox_block INCREMENT BY 10")
    monkeypatch.setattr(outbox_rows, "BLOCK_IDS", 10)
    records = [told(uuid4()) for _ in range(6)]
    many = {each.delivery_id: 4 for each in records[:5]} | {records[5].delivery_id: 11}
    written: list[tuple[int, int]] = []
    write = outbox_rows.write

    async def listed(db: Connection, rows: Sequence[outbox_rows.OutboxRow], *rest: Any) -> None:
        await write(db, rows, *rest)
        written.append((rows[0].id, len(rows)))

    monkeypatch.setattr(outbox_rows, "write", listed)
    service.copies = lambda cause: many[cause.message.delivery_id]
    all_are_there = asyncio.Event()

    async def wait(*_: object) -> None:
        await all_are_there.wait()

    service.intervene = wait
    async with service.instance() as runtime:
        service.send(records[0], key="k")
        await until(lambda: asyncio.sleep(0.01, service.tries))
        service.send(*records[1:], key="k")
        all_are_there.set()
        await until(lambda: took_effect(service, 5))
        await until(lambda: nothing_left(service))
        assert await well(runtime)
    assert max(service.batches) > 2, "the records came one by one, which shows nothing"
    assert sum(count for _, count in written) == 5 * 4 + 1
    assert all(count <= 10 for _, count in written) and len({first for first, _ in written}) == len(written)
    reason = await service.db.fetchval("SELECT reason FROM dead_letter")
    assert reason.endswith("TooManyRows: 11 output records in one transaction, which has ids for 10")


async def test_later_records_of_a_parked_key_wait_in_order_while_all_others_go_on(service: Rig) -> None:
    order_id, records = same_key(4)
    cure = asyncio.Event()
    service.intervene = raises_for(records[1], cure=cure)
    others = [told(uuid4()) for _ in range(20)]
    async with service.instance(park_backoff_ms=200, park_attempts_max=50):
        service.send(*records[:2])
        await until(lambda: took_effect(service, 1))
        service.send(*records[2:], *others)
        await until(lambda: took_effect(service, 21))
        assert await service.effects(order_id) == [records[0].delivery_id]
        assert await service.count("parked") == 3
        cure.set()
        await until(lambda: took_effect(service, 24))
        await until(lambda: nothing_left(service))
    expected = [record.delivery_id for record in records]
    assert await service.effects(order_id) == expected
    assert await service.passed_on(order_id) == expected
    assert await service.count("parked") == 0


async def test_later_records_wait_behind_a_parked_one_also_in_another_process(service: Rig) -> None:
    order_id, records = same_key(2)
    cure = asyncio.Event()
    service.intervene = raises_for(records[0], cure=cure)
    settings = {"park_backoff_ms": 3_000, "park_attempts_max": 50}
    async with service.instance(**settings):
        service.send(records[0])
        await until(lambda: parked(service, 1))
    async with service.instance(**settings):
        service.send(records[1])
        await until(lambda: parked(service, 2))
        cure.set()
        await until(lambda: took_effect(service, 2))
    assert await service.effects(order_id) == [record.delivery_id for record in records]


async def parked(service: Rig, count: int) -> bool:
    return await service.count("parked") == count


async def test_after_its_last_try_a_record_becomes_a_dead_letter_and_its_queue_goes_on_in_order(service: Rig) -> None:
    order_id, records = same_key(3)
    service.intervene = raises_for(records[0])
    async with service.instance():
        service.send(*records)
        await until(lambda: took_effect(service, 2))
        await until(lambda: nothing_left(service))
    assert await service.effects(order_id) == [record.delivery_id for record in records[1:]]
    row = await service.db.fetchrow("SELECT cause, reason, attempts, value FROM dead_letter")
    assert row is not None
    assert (row["cause"], row["reason"], row["attempts"]) == (
        "ValueError",
        "poison",
        service.settings.park_attempts_max,
    )
    assert row["value"] == encode(records[0])
    assert await service.count("parked") == 0


@pytest.mark.parametrize("failure", ["always raises", "missing column"])
async def test_a_bad_deployment_stops_with_an_alarm_and_does_not_fill_the_dead_letters(
    service: Rig, failure: str
) -> None:
    mended = asyncio.Event()

    async def fail(_: Batch, db: Connection) -> None:
        if not mended.is_set():
            if failure == "missing column":
                await db.execute("SELECT no_such_column FROM effect")
            raise RuntimeError("this version is broken")

    service.intervene = fail
    records = [told(uuid4()) for _ in range(100)]
    async with service.instance(retry_backoff_ms_max=200, park_backoff_ms=500) as runtime:
        service.send(*records)
        await until(lambda: has_problem(runtime))
        if failure == "missing column":
            assert await service.count("parked") == 0
        assert await service.count("parked") < service.settings.stop_failures_min
        assert await service.count("dead_letter") == 0
        assert await service.published(INPUT + "-dlt") == []
        mended.set()
        await until(lambda: took_effect(service, 100))
    assert sorted(await service.effects()) == ids(records)


async def has_problem(runtime: Runtime) -> bool:
    return bool(await alarm(runtime, "bad deployment"))
