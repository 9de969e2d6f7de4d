"""What is too much for one statement is done with less at once; what waits for somebody's row holds up nothing else."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from ordersaga.devstack import DevStack
from ordersaga.messaging.database import Connection, connect
from ordersaga.messaging.handler import Batch, Outgoing
from ordersaga.messaging.pruning import Pruning
from ordersaga.messaging.timers import Timers
from tests.contract.rig import OUTPUT, Rig, rig, told, took_effect, until

QUICK = {"lock_timeout_ms": 500, "statement_timeout_ms": 1_000}
ROWS = 300
SLOW_ROW_S = 0.01
"""So many of these rows need longer than a statement may take."""


async def make_slow(service: Rig, table: str, event: str) -> None:
    """Have each row of a table that a statement changes take its time."""
    await service.db.execute(
        f"CREATE FUNCTION slow_{table}() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN PERFORM pg_sleep({SLOW_ROW_S}); RETURN coalesce(NEW, OLD); END $$;"
        f"CREATE TRIGGER slow BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION slow_{table}()"
    )


async def test_adoption_takes_fewer_rows_when_they_are_too_many_for_one_statement(stack: DevStack) -> None:
    async with rig(stack, **QUICK) as service:
        await make_slow(service, "outbox", "UPDATE")
        await service.db.execute(
            "INSERT INTO outbox (id, adopt_at, topic, key, value, message_id, traceparent)"
            " SELECT n, now() - interval '1 hour', $1, 'k', '{}', gen_random_uuid(), '' FROM generate_series(1, $2) n",
            OUTPUT,
            ROWS,
        )

        async def all_published() -> bool:
            return await service.count("outbox") == 0

        async with service.instance_unready():
            await until(all_published, 30)


async def test_pruning_removes_fewer_rows_when_they_are_too_many_for_one_statement(stack: DevStack) -> None:
    async with rig(stack, **QUICK) as service:
        await make_slow(service, "operator_act", "DELETE")
        await service.db.execute(
            'INSERT INTO operator_act (at, who, what, target, why, "before", "after")'
            " SELECT now() - interval '10 years', 'w', 'w', 't', 'w', '{}', '{}' FROM generate_series(1, $1)",
            ROWS,
        )
        pool = await connect(service.settings.database_url("delivery"), service.settings)

        def clock() -> datetime:
            return datetime.now(UTC)

        await Pruning(service.settings, pool, clock).prune()
        await pool.close()
        assert await service.count("operator_act") == 0


async def test_timers_fire_though_somebody_holds_the_row_of_one(stack: DevStack) -> None:
    keys = [uuid4() for _ in range(30)]
    fired: list[UUID] = []

    async def work(db: Connection, due: Sequence[UUID], _: datetime) -> list[Outgoing]:
        rows = await db.fetch("SELECT key FROM thing WHERE key = ANY ($1) ORDER BY key FOR UPDATE", list(due))
        fired.extend(row["key"] for row in rows)
        return []

    async with rig(stack) as service, service.instance_unready() as runtime:
        await service.db.execute("CREATE TABLE thing (key uuid PRIMARY KEY)")
        await service.db.executemany("INSERT INTO thing VALUES ($1)", [(key,) for key in keys])
        await service.db.executemany("INSERT INTO timer VALUES ($1, now())", [(key,) for key in keys])
        timers = Timers(runtime, work)
        async with service.db.transaction():
            await service.db.execute("SELECT FROM thing WHERE key = $1 FOR UPDATE", keys[7])
            began = datetime.now(UTC)
            await timers.fire()
            assert datetime.now(UTC) - began < timedelta(seconds=4)
            assert set(fired) == set(keys) - {keys[7]}
        assert await service.count("timer") == 1
        await service.db.execute("UPDATE timer SET due_at = now() - interval '1 second'")
        await timers.fire()
        assert fired[-1] == keys[7]
        assert len(fired) == len(keys)


async def lock_things(batch: Batch, db: Connection) -> None:
    """What a handler does first: lock what it may save."""
    keys = [each.key for each in batch.incoming]
    await db.fetch("SELECT key FROM thing WHERE key = ANY ($1) ORDER BY key FOR UPDATE", keys)


async def test_a_row_that_somebody_holds_stops_only_the_records_that_need_it(stack: DevStack) -> None:
    records = [told(uuid4()) for _ in range(60)]
    held = records[::15]
    async with rig(stack, lock_timeout_ms=500) as service:
        service.intervene = lock_things
        await service.db.execute("CREATE TABLE thing (key uuid PRIMARY KEY)")
        await service.db.executemany("INSERT INTO thing VALUES ($1)", [(each.order_id,) for each in records])
        async with service.instance():
            async with service.db.transaction():
                await service.db.execute(
                    "SELECT FROM thing WHERE key = ANY ($1) FOR UPDATE", [each.order_id for each in held]
                )
                later = told(held[0].order_id)
                service.send(*records, later)
                await until(lambda: took_effect(service, len(records) - len(held)), 10)
                service.send(*(more := [told(uuid4()) for _ in range(20)]))
                await until(lambda: took_effect(service, len(records) - len(held) + len(more)), 5)
                waiting = await service.db.fetch("SELECT cause, attempts FROM parked WHERE due_at IS NOT NULL")
                assert {(row["cause"], row["attempts"]) for row in waiting} == {("LockNotAvailableError", 0)}
            await until(lambda: took_effect(service, len(records) + len(more) + 1), 20)
            assert await service.effects(held[0].order_id) == [held[0].delivery_id, later.delivery_id]
            assert len(await service.effects()) == len(records) + len(more) + 1
            assert await service.count("dead_letter") == 0


async def test_more_held_rows_than_a_turn_sets_aside_mean_smaller_turns(stack: DevStack) -> None:
    records = [told(uuid4()) for _ in range(72)]
    held = records[::3]
    async with rig(stack, lock_timeout_ms=300) as service:
        service.intervene = lock_things
        await service.db.execute("CREATE TABLE thing (key uuid PRIMARY KEY)")
        await service.db.executemany("INSERT INTO thing VALUES ($1)", [(each.order_id,) for each in records])
        async with service.instance(), service.db.transaction():
            await service.db.execute(
                "SELECT FROM thing WHERE key = ANY ($1) FOR UPDATE", [each.order_id for each in held]
            )
            service.send(*records)
            await until(lambda: took_effect(service, len(records) - len(held)), 40)


async def test_a_batch_that_takes_too_long_is_handled_in_smaller_ones(stack: DevStack) -> None:
    async def slow(batch: Batch, db: Connection) -> None:
        await db.execute(f"SELECT pg_sleep({SLOW_ROW_S * len(batch.incoming)})")

    async with rig(stack, **QUICK) as service:
        service.intervene = slow
        async with service.instance():
            service.send(*(told(uuid4()) for _ in range(ROWS)))
            await until(lambda: took_effect(service, ROWS), 40)
            assert await service.count("parked") == 0


async def test_a_record_that_alone_takes_too_long_is_parked_and_the_others_are_handled(stack: DevStack) -> None:
    records = [told(uuid4()) for _ in range(40)]
    endless = records[11]

    async def slow(batch: Batch, db: Connection) -> None:
        if any(each.key == endless.order_id for each in batch.incoming):
            await db.execute("SELECT pg_sleep(5)")

    async with rig(stack, **QUICK, park_backoff_ms=60_000) as service, service.instance():
        service.intervene = slow
        service.send(*records)
        await until(lambda: took_effect(service, len(records) - 1), 40)
        assert await service.db.fetchval("SELECT order_key FROM parked") == endless.order_id
