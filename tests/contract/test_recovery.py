"""The runtime goes on after the trouble that it was made for: frozen processes, topics made again, publishing that begins anew."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from datetime import datetime
from unittest.mock import Mock
from uuid import uuid4

import psutil
import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient

from ordersaga.devstack import DevStack
from ordersaga.messaging import assignment, ledger, loops, outbox_rows, stalls
from ordersaga.messaging.acts import Operator
from ordersaga.messaging.handler import Outgoing, Record
from ordersaga.messaging.ids import MessageIds
from ordersaga.messaging.instance import LOCK_SPACE
from ordersaga.messaging.kafka import Partition, Publisher, Topics, create_missing_topics
from ordersaga.messaging.runtime import Runtime
from ordersaga.operations.desk import open_desk
from ordersaga.operations.partitions import Partitions
from tests.contract.rig import INPUT, Rig, alarm, gone, nothing_left, same_key, told, took_effect, until, well


async def leave_a_row(runtime: Runtime) -> None:
    """What an HTTP request leaves whose process died before it could publish."""
    async with runtime.pool.acquire() as db, db.transaction():
        ids = MessageIds("", {}, uuid4)
        rows = outbox_rows.compose([Outgoing(told(uuid4()))], await outbox_rows.first_id(db), ids, {})
        await outbox_rows.write(db, rows, outbox_rows.adopt_at(runtime.clock(), runtime.settings))


async def test_rows_without_a_partition_are_adopted_also_after_publishing_began_anew(
    service: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = asyncio.Event()

    def never_acknowledged(*_: object) -> "asyncio.Future[list[object]]":
        waiting.set()
        return asyncio.get_running_loop().create_future()

    async with service.instance() as runtime:
        with monkeypatch.context() as patch:
            patch.setattr(Publisher, "publish", never_acknowledged)
            await leave_a_row(runtime)
            await asyncio.wait_for(waiting.wait(), 10)
            runtime.outbox.failed = True
            await until(lambda: begun_anew(runtime))
        await leave_a_row(runtime)
        await until(lambda: only_the_first_is_left(service))


async def begun_anew(runtime: Runtime) -> bool:
    return not runtime.outbox.broken


async def only_the_first_is_left(service: Rig) -> bool:
    """It is adopted again only after half a minute; the second row shows whether anybody looks."""
    return await service.count("outbox") == 1


async def test_a_process_frozen_in_the_middle_of_a_transaction_holds_others_up_for_seconds_and_its_work_is_done_once(
    service: Rig,
) -> None:
    order_id, records = same_key(3)
    frozen = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.contract.freezing", env=os.environ | environment_of(service)
    )
    try:
        process = psutil.Process(frozen.pid)
        await until(lambda: is_positioned(service), limit_s=30)
        service.send(records[0])
        await until(lambda: is_stopped(process), limit_s=30)
        async with service.instance_unready():
            await until(lambda: took_effect(service, 1), limit_s=30)
            before = await epochs(service)
            process.resume()
            service.send(records[1])
            await until(lambda: took_effect(service, 2))
            # The awakened one takes a partition only when it is done with the batch that it had in hand.
            await until(lambda: taken_since(service, before), limit_s=30)
            service.send(records[2])
            await until(lambda: took_effect(service, 3))
            await until(lambda: nothing_left(service))
        assert await service.effects() == [record.delivery_id for record in records]
        assert await service.passed_on(order_id) == [record.delivery_id for record in records]
    finally:
        frozen.send_signal(signal.SIGKILL)
        await frozen.wait()


def environment_of(service: Rig) -> dict[str, str]:
    settings = service.settings
    return {
        "ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "ORDERSAGA_KAFKA_SESSION_TIMEOUT_MS": "6000",
        "ORDERSAGA_DELIVERY_DATABASE_URL": settings.database_url("delivery"),
        "ORDERSAGA_DELIVERY_GROUP": settings.delivery_group,
        "ORDERSAGA_START_AT": settings.start_at,
    }


async def is_positioned(service: Rig) -> bool:
    partitions = await Topics(service.settings).partition_counts([INPUT])
    return await service.count("ledger") == partitions[INPUT]


async def epochs(service: Rig) -> list[int]:
    return [row["epoch"] for row in await service.db.fetch("SELECT epoch FROM ledger ORDER BY topic, partition")]


async def taken_since(service: Rig, before: list[int]) -> bool:
    return await epochs(service) != before


async def is_stopped(process: psutil.Process) -> bool:
    return process.status() == psutil.STATUS_STOPPED


async def test_a_topic_deleted_and_made_again_stops_its_partitions_until_an_operator_speaks(
    service: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assignment, "STOPPED_WAIT_S", 0.5)
    async with service.instance() as runtime:
        first, later = told(uuid4()), told(uuid4())
        service.send(first)
        await until(lambda: took_effect(service, 1))
        await make_again(service)
        problems = await until(lambda: stopped(runtime), limit_s=30)
        assert all("deleted and made again" in problem and "topics accept" in problem for problem in problems)
        service.send(later)
        await is_looked_at_again(runtime)
        assert await service.effects() == [first.delivery_id]
        await accept_from_the_start(service)
        await until(lambda: took_effect(service, 2), limit_s=30)
    assert await service.effects() == [first.delivery_id, later.delivery_id]


async def is_looked_at_again(runtime: Runtime, times: int = 2) -> None:
    """Wait until stopped partitions were looked at so often, and a turn was over after that: what may be read has been read by then."""
    assert runtime.consuming is not None and runtime._assignment is not None
    looks, take, step = 0, runtime._assignment.take, runtime.consuming.step
    over = asyncio.Event()

    async def counted(now: datetime) -> bool:
        nonlocal looks
        looked = await take(now)
        looks += looked
        return looked

    async def stepped(records: Sequence[Record]) -> float:
        before = looks
        wait_s = await step(records)
        if before >= times:
            over.set()
        return wait_s

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime._assignment, "take", counted)
        patch.setattr(runtime.consuming, "step", stepped)
        await asyncio.wait_for(over.wait(), 30)


async def make_again(service: Rig) -> None:
    admin = AdminClient({"bootstrap.servers": service.settings.kafka_bootstrap_servers})
    for done in admin.delete_topics([INPUT]).values():
        await asyncio.to_thread(done.result, 30)
    await until(lambda: gone(admin, INPUT))
    await create_missing_topics(service.settings)


async def accept_from_the_start(service: Rig) -> None:
    """What `ordersaga topics accept` does."""
    topic_id = (await Topics(service.settings).ids([INPUT]))[INPUT]
    known = await ledger.positions_of_topic(service.db, INPUT)
    await ledger.accept(service.db, INPUT, topic_id, dict.fromkeys(known, 0))


async def test_a_position_outside_the_log_stops_that_partition_until_an_operator_speaks(service: Rig) -> None:
    order_id = uuid4()
    async with service.instance():
        service.send(told(order_id))
        await until(lambda: took_effect(service, 1))
    await service.db.execute("UPDATE ledger SET next_offset = next_offset + 1000000 WHERE partition = 0")
    async with service.instance_unready() as runtime:
        problems = await until(lambda: stopped(runtime))
        assert "topics accept" in problems[0]
        assert len(problems) == 1
        await service.db.execute("UPDATE ledger SET next_offset = next_offset - 1000000 WHERE partition = 0")
        await until(lambda: well(runtime))


async def stopped(runtime: Runtime) -> list[str]:
    return [f"{each.what}; {each.todo}" for each in await alarm(runtime, "partition stopped")]


async def test_a_consumer_whose_place_in_the_group_another_one_has_taken_begins_again(
    service: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The group fences a static member for good, also one that joined twice itself, as after a broker that was frozen."""
    group = service.settings.group("delivery")
    identity = {
        "group.id": group,
        "group.instance.id": f"{group}-0",
        "partition.assignment.strategy": "cooperative-sticky",
    }

    def take_the_place() -> None:
        intruder = Consumer({"bootstrap.servers": service.settings.kafka_bootstrap_servers, **identity})
        intruder.subscribe([INPUT])
        for _ in range(300):
            intruder.poll(0.1)
            if intruder.assignment():
                break
        assert intruder.assignment()
        intruder.close()

    async with service.instance() as runtime:
        monkeypatch.setattr(loops, "log", logged := Mock())

        async def begun_again() -> bool:
            return logged.warning.called

        await asyncio.to_thread(take_the_place)
        await until(begun_again)
        _, records = same_key(3)
        service.send(*records)
        await until(lambda: took_effect(service, 3), 40)
        await until(lambda: well(runtime), 40)
        logged.error.assert_not_called()


async def test_an_instance_keeps_its_number_through_a_restart_of_the_database(
    service: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next process to start would take its place in the group, and fence it."""
    monkeypatch.setattr(loops, "log", logged := Mock())

    killed: set[int] = set()

    async def held(*numbers: int) -> bool:
        rows = await service.db.fetch(
            "SELECT objid, pid FROM pg_locks JOIN pg_database d ON d.oid = database"
            " WHERE locktype = 'advisory' AND classid = $1 AND datname = current_database()",
            LOCK_SPACE,
        )
        return sorted(row["objid"] for row in rows if row["pid"] not in killed) == list(numbers)

    async with service.instance() as first:
        async with service.instance():
            await until(lambda: held(0, 1))
            for _ in range(2):  # once for the first connection, once for the one that came after it
                rows = await service.db.fetch(
                    "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'ordersaga instance' AND datname = current_database()"
                )
                killed |= {row["pid"] for row in rows}
                await until(lambda: held(0, 1))
            async with service.instance():
                await until(lambda: held(0, 1, 2))
        await until(lambda: held(0))
        await until(lambda: well(first))
    logged.warning.assert_not_called()
    logged.error.assert_not_called()


async def test_a_turn_that_does_not_end_is_told_by_well(service: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stalls, "LONG_S", 0.3)
    over = asyncio.Event()

    async def wait(*_: object) -> None:
        await over.wait()

    async with service.instance() as runtime:
        service.intervene = wait
        service.send(told(uuid4()))
        try:
            await until(lambda: alarm(runtime, "turn lasts"))
        finally:
            over.set()
        await until(lambda: well(runtime))


async def test_a_broker_that_was_frozen_for_longer_than_a_session_is_read_on(service: Rig, stack: DevStack) -> None:
    """When it goes on, the group may take each member for two, and fence them all; or one forgets to join it again, and is of no use."""
    broker = psutil.Process(stack.kafka.pid or 0)
    session_s = service.settings.kafka_session_timeout_ms / 1000
    async with service.instance() as one, service.instance() as another:
        for _ in range(2):
            broker.suspend()
            try:
                await asyncio.sleep(session_s + 2)
            finally:
                broker.resume()
            before = await service.count("effect")
            service.send(*[told(uuid4()) for _ in range(50)])
            await until(lambda: took_effect(service, before + 50), 20)  # noqa: B023  # awaited within the round
            await until(lambda: well(one), 20)
            await until(lambda: well(another), 20)
            await until(lambda: share_the_partitions(one, another), 20)


async def share_the_partitions(*runtimes: Runtime) -> bool:
    return all(runtime._assignment is not None and runtime._assignment.positions for runtime in runtimes)


async def test_accepting_a_topic_leaves_partitions_alone_that_are_not_in_kafka(service: Rig) -> None:
    async with service.instance():
        pass
    await service.db.execute(
        "INSERT INTO ledger SELECT topic, 99, topic_id, epoch, next_offset FROM ledger WHERE partition = 0"
    )
    await service.db.execute("UPDATE ledger SET next_offset = next_offset + 1000000 WHERE partition IN (0, 99)")
    async with open_desk(service.settings, "delivery", lambda: service.handler) as desk:
        partitions = Partitions(desk, Topics(service.settings))
        for number, expected in ((99, ([], [99])), (None, ([Partition(INPUT, 0)], [99]))):
            assert await partitions.accept(INPUT, number, "latest", Operator("kim", "lost")) == expected
    assert await service.db.fetchval("SELECT epoch FROM ledger WHERE partition = 99") == 1
