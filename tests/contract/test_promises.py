"""The runtime's promises, one test each, on real Kafka and PostgreSQL. Each fails when the code that keeps it is taken out."""

import asyncio
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from ordersaga.devstack import DevStack
from ordersaga.messaging import outbox_rows, turn
from ordersaga.messaging.database import Connection
from ordersaga.messaging.handler import Batch, Outgoing
from ordersaga.messaging.ids import MessageIds, output_id
from ordersaga.messaging.kafka import Partition, Publisher
from ordersaga.messaging.ledger import Fenced, OffsetRange, fence
from ordersaga.messaging.outbox import Outbox
from ordersaga.messaging.runtime import Runtime
from tests.contract.rig import (
    OUTPUT,
    Rig,
    alarm,
    has_partitions,
    ids,
    nothing_left,
    rig,
    same_key,
    told,
    took_effect,
    until,
    well,
)


class Crash(BaseException):
    """The process is gone: no `except Exception` sees it."""


async def test_each_record_takes_effect_once_and_is_passed_on_once(service: Rig) -> None:
    order_id, records = same_key(50)
    async with service.instance():
        service.send(*records)
        await until(lambda: took_effect(service, 50))
        await until(lambda: nothing_left(service))
    expected = [record.delivery_id for record in records]
    assert await service.effects() == expected
    assert await service.passed_on(order_id) == expected


async def test_a_turn_takes_what_is_there_and_never_waits_to_fill(service: Rig) -> None:
    async with service.instance():
        service.send(told(uuid4()))
        await until(lambda: took_effect(service, 1))
        assert service.batches == [1]
        service.send(*[told(uuid4()) for _ in range(500)])
        await until(lambda: took_effect(service, 501))
    assert max(service.batches) > 50


async def test_what_a_dead_process_committed_and_did_not_publish_is_published_by_the_next_with_the_same_ids(
    service: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id, records = same_key(5)
    expected = [record.delivery_id for record in records]

    async def not_reached(*_: object) -> None:
        """Nothing is published, in however many turns the records come."""

    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "publish", not_reached)
        async with service.instance() as runtime:
            service.send(*records)
            await until(lambda: took_effect(service, 5))
            await crash(runtime)
    assert await service.count("outbox") == 5
    ids = [row["message_id"] for row in await service.db.fetch("SELECT message_id FROM outbox ORDER BY id")]
    later = told(order_id)
    async with service.instance():
        service.send(later)
        await until(lambda: took_effect(service, 6))
        await until(lambda: nothing_left(service))
    assert await service.effects() == [*expected, later.delivery_id]
    assert await service.passed_on(order_id) == [*expected, later.delivery_id]
    published = [dict(record.headers())["message-id"].decode() for record in await service.published()]
    assert published[:5] == list(map(str, ids))


async def crash(runtime: Runtime) -> None:
    """End an instance as `kill -9` does: nothing is finished, told or given back."""
    runtime._loops.kill()
    runtime.pool.terminate()


async def test_message_ids_come_from_the_record_so_that_a_repeat_says_the_same() -> None:
    first = output_id("group", "topic-id", 3, 42, 0)
    assert first == output_id("group", "topic-id", 3, 42, 0)
    assert first.version == 5
    others = {
        output_id(*place) for place in [("g", "t", 3, 42, 0), ("group", "t", 3, 42, 0), ("group", "topic-id", 3, 42, 1)]
    }
    assert first not in others
    assert len(others) == 3


async def test_a_zombie_cannot_commit(service: Rig) -> None:
    async with service.instance() as runtime:
        assert runtime.consuming is not None
        partition, position = next(iter(runtime._assignment.positions.items()))  # type: ignore[union-attr]
        await service.db.execute("UPDATE ledger SET epoch = epoch + 1 WHERE topic = $1 AND partition = $2", *partition)
        async with runtime.pool.acquire() as db:
            with pytest.raises(Fenced):
                async with db.transaction():
                    await fence(
                        db, [OffsetRange(partition, position.epoch, position.next_offset, position.next_offset + 1)]
                    )


async def test_a_process_that_was_fenced_off_drops_its_batch_and_the_record_still_takes_effect_once(
    service: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    effects_when_fenced: list[list[UUID]] = []

    async def told_of(db: Connection, ranges: Sequence[OffsetRange]) -> int:
        try:
            return await fence(db, ranges)
        except Fenced:
            effects_when_fenced.append([row["delivery_id"] for row in await looking.fetch("SELECT * FROM effect")])
            raise

    looking = await asyncpg.connect(
        service.settings.database_url("delivery")
    )  # the test itself uses `service.db` meanwhile
    async with service.instance():
        await service.db.execute("UPDATE ledger SET epoch = epoch + 1")
        monkeypatch.setattr(turn, "fence", told_of)
        service.send(told(uuid4()))
        await until(lambda: took_effect(service, 1))
    await looking.close()
    assert effects_when_fenced and not any(effects_when_fenced)
    assert len(await service.effects()) == 1


async def test_a_process_that_is_fenced_off_one_partition_leaves_all_that_others_have_taken(service: Rig) -> None:
    """Found one after the other, each at its first record, they would wait for the group one after the other."""
    async with service.instance() as runtime:
        await until(lambda: has_partitions(runtime))
        assignment: Any = runtime.assignment
        assert len(assignment.positions) > 1
        await service.db.execute("UPDATE ledger SET epoch = epoch + 1")
        left: list[set[Partition]] = []
        lost = assignment.lost

        async def told_of(*arguments: Any) -> None:
            await lost(*arguments)
            left.append(set(assignment.positions))

        assignment.lost = told_of
        service.send(told(uuid4()))
        await until(lambda: took_effect(service, 1))
    assert left == [set()]


async def test_taking_a_partition_waits_for_the_open_transaction_of_its_old_owner(service: Rig) -> None:
    async with service.instance():
        service.send(told(uuid4()))
        await until(lambda: took_effect(service, 1))
    held = await asyncpg.connect(service.settings.database_url("delivery"))
    transaction = held.transaction()
    await transaction.start()
    await held.execute("UPDATE ledger SET next_offset = next_offset")
    taking = asyncio.create_task(_take_once(service))
    await until(lambda: waits_for_a_lock(service))
    assert not taking.done()
    await transaction.rollback()
    await asyncio.wait_for(taking, 20)
    await held.close()


async def waits_for_a_lock(service: Rig) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return bool(await service.db.fetchval(query))


async def _take_once(service: Rig) -> None:
    async with service.instance():
        pass


async def test_rows_without_a_partition_are_published_by_any_instance(service: Rig) -> None:
    order_id = uuid4()
    message = told(order_id)
    async with service.instance() as runtime:
        async with runtime.pool.acquire() as db, db.transaction():
            ids = MessageIds("", {}, uuid4)
            rows = outbox_rows.compose([Outgoing(message)], await outbox_rows.first_id(db), ids, {})
            await outbox_rows.write(db, rows, outbox_rows.adopt_at(runtime.clock(), service.settings))
        await until(lambda: nothing_left(service))
        await until(lambda: took_effect(service, 1))
    assert await service.effects(order_id) == [message.delivery_id]


async def test_trouble_with_the_database_is_never_the_records_fault(service: Rig) -> None:
    cut = 3

    async def lose_the_connection(_: Batch, db: Connection) -> None:
        nonlocal cut
        if cut:
            cut -= 1
            await service.db.execute("SELECT pg_terminate_backend($1)", await db.fetchval("SELECT pg_backend_pid()"))

    service.intervene = lose_the_connection
    records = [told(uuid4()) for _ in range(10)]
    async with service.instance():
        service.send(*records)
        await until(lambda: took_effect(service, 10))
        await until(lambda: nothing_left(service))
    assert sorted(await service.effects()) == ids(records)
    assert await service.count("parked") == 0
    assert await service.count("dead_letter") == 0


async def test_a_commit_whose_outcome_is_unknown_takes_effect_once(
    service: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id, records = same_key(3)
    advance = "ordersaga.messaging.assignment.Assignment.advance"
    broken = False

    def lose_the_answer(*arguments: Any) -> None:
        nonlocal broken
        if not broken:
            broken = True
            raise ConnectionResetError("the answer to COMMIT was lost")
        original(*arguments)

    from ordersaga.messaging.assignment import Assignment

    original = Assignment.advance
    monkeypatch.setattr(advance, lose_the_answer)
    async with service.instance():
        service.send(*records)
        await until(lambda: took_effect(service, 3))
        await until(lambda: nothing_left(service))
    expected = [record.delivery_id for record in records]
    assert await service.effects(order_id) == expected
    assert await service.passed_on(order_id) == expected


async def test_a_record_that_the_broker_refuses_for_good_is_kept_and_the_others_go_out(service: Rig) -> None:
    order_id, records = same_key(2)
    async with service.instance() as runtime:
        async with runtime.pool.acquire() as db, db.transaction():
            first = await outbox_rows.first_id(db)
            big = outbox_rows.OutboxRow(first, None, OUTPUT, None, b"k", os.urandom(1_500_000), uuid4(), None, "-")
            await outbox_rows.write(db, [big], runtime.clock())
        service.send(*records)
        await until(lambda: took_effect(service, 2))
        await until(lambda: nothing_left(service))
    assert await service.passed_on(order_id) == [record.delivery_id for record in records]
    assert await service.db.fetchval("SELECT cause FROM dead_letter") == "RefusedByBroker"


async def test_an_instance_that_stops_in_order_frees_its_partitions_at_once(service: Rig) -> None:
    async with service.instance():
        async with service.instance():
            pass
        records = [told(uuid4()) for _ in range(30)]
        service.send(*records)
        await until(lambda: took_effect(service, 30), limit_s=5)


async def test_adding_and_removing_instances_under_load_loses_and_doubles_nothing(service: Rig) -> None:
    records = [told(uuid4()) for _ in range(600)]

    async def load() -> None:
        for n in range(0, 600, 20):
            await asyncio.to_thread(service.send, *records[n : n + 20])
            await asyncio.sleep(0.1)

    async with service.instance():
        loading = asyncio.create_task(load())
        for _ in range(3):
            async with service.instance():
                await asyncio.sleep(0.5)
        await loading
        await until(lambda: took_effect(service, 600))
        await until(lambda: nothing_left(service))
    assert sorted(await service.effects()) == ids(records)


async def all_of(service: Rig, order_id: UUID, count: int) -> list[UUID]:
    found = await service.effects(order_id)
    return found if len(found) >= count else []


async def test_the_first_position_is_where_the_setting_says(stack: DevStack) -> None:
    async with rig(stack) as first:
        order_id, records = same_key(3)
        first.send(*records)
        async with rig(stack, start_at="earliest") as second, second.instance():
            expected = [record.delivery_id for record in records]
            assert await until(lambda: all_of(second, order_id, 3)) == expected
        async with rig(stack, start_at="latest") as third, third.instance():
            third.send(told(uuid4()))
            await until(lambda: took_effect(third, 1))
            assert len(await third.effects()) == 1


async def test_what_was_decided_longer_ago_than_promised_is_removed_however_long_ago_it_came(service: Rig) -> None:
    await service.db.execute(
        "INSERT INTO idempotency_key SELECT 's', n::text, '', gen_random_uuid(), now() - n * interval '1 hour' "
        "FROM generate_series(1, 48) n"
    )
    await service.db.executemany(
        "INSERT INTO dead_letter (id, topic, header_names, header_values, cause, reason, attempts, at, status, decided_at) "
        "VALUES (gen_random_uuid(), 't', '{}', '{}', $1, 'r', 1, now() - interval '400 days', $2, now() - $3 * interval '1 day')",
        [
            ("open", "OPEN", None),
            ("old", "RESOLVED", 200),
            ("old", "DISCARDED", 200),
            ("old", "SUPERSEDED", 200),
            ("old", "PUBLISHED", 200),
            ("young", "RESOLVED", 10),
        ],
    )
    await service.db.execute(
        "UPDATE dead_letter SET status = 'REPLAYED', replayed_as = gen_random_uuid() WHERE cause = 'young'"
    )
    async with service.instance():
        await until(lambda: pruned(service))
    rows = await service.db.fetch(
        "SELECT status, now() - decided_at < interval '1 day' AS today FROM dead_letter ORDER BY 1"
    )
    assert [tuple(row.values()) for row in rows] == [("OPEN", None), ("RESOLVED", True)]
    assert await service.db.fetchval("SELECT max(key::int) FROM idempotency_key") == 23


async def pruned(service: Rig) -> bool:
    return await service.count("dead_letter") == 2


async def test_adoption_does_not_make_a_row_younger_and_a_lagging_outbox_raises_an_alarm_that_names_the_topic(
    service: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never_acknowledged(*_: object) -> "asyncio.Future[list[object]]":
        return asyncio.get_running_loop().create_future()

    async def adopted() -> bool:
        return bool(await service.db.fetchval("SELECT bool_and(leased_until > now()) FROM outbox"))

    async with service.instance(outbox_lag_alarm_s=60) as runtime:
        monkeypatch.setattr(Publisher, "publish", never_acknowledged)
        written_at = runtime.clock() - timedelta(hours=1)
        async with runtime.pool.acquire() as db, db.transaction():
            row = outbox_rows.OutboxRow(
                await outbox_rows.first_id(db), None, OUTPUT, None, b"k", b"{}", uuid4(), None, "-"
            )
            await outbox_rows.write(db, [row], outbox_rows.adopt_at(written_at, runtime.settings))
        await until(adopted)
        assert await service.db.fetchval("SELECT adopt_at FROM outbox") == outbox_rows.adopt_at(
            written_at, runtime.settings
        )
        await service.db.execute("UPDATE outbox SET leased_until = now() + interval '1 hour'")
        (raised,) = await until(lambda: alarm(runtime, "outbox"))
        assert f"1 committed record for {OUTPUT} has waited 36" in raised.what
        await service.db.execute("DELETE FROM outbox")
        await until(lambda: well(runtime))
