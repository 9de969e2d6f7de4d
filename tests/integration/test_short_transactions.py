"""A transaction over few rows takes few round trips, and is as whole as any other."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from ordersaga.devstack import DevStack
from ordersaga.messaging.database import Connection, connect, insert, insert_new
from ordersaga.messaging.queries import queries_in
from ordersaga.messaging.short_transaction import NotAsRead, ShortTransaction, comparing, later, unlocked
from ordersaga.settings import Settings

TABLES = """
DROP TABLE IF EXISTS thing, line;
CREATE TABLE thing (id uuid PRIMARY KEY, pieces int NOT NULL CHECK (pieces >= 0));
CREATE TABLE line (id uuid NOT NULL, words text[] NOT NULL);
"""
sql = queries_in("""
-- name: versions
SELECT id, pieces, xmin::text AS version FROM thing WHERE id = ANY (:ids::uuid[]);

-- name: as_read
SELECT 1 FROM thing s JOIN unnest(:ids::uuid[], :versions::text[]) AS t (id, version) ON s.id = t.id AND s.xmin::text = t.version
ORDER BY s.id FOR UPDATE OF s;

-- name: take!
WITH wanted AS MATERIALIZED (SELECT id FROM thing WHERE id = ANY (:ids::uuid[]) FOR UPDATE)
INSERT INTO thing (id, pieces) SELECT id, 0 FROM wanted ON CONFLICT (id) DO UPDATE SET pieces = thing.pieces - :pieces;

-- name: end$
WITH word AS MATERIALIZED (SELECT 'done'::text AS said)
SELECT said FROM word WHERE 1 / (:n::int = :n::int)::int = 1;
""")


@pytest.fixture
async def pool(stack: DevStack) -> AsyncIterator[asyncpg.Pool]:
    stack.create_databases(["short"])
    made = await connect(stack.database_url("short"), Settings.model_validate({}))
    await made.execute(TABLES)
    yield made
    await made.close()


async def a_thing(pool: asyncpg.Pool, pieces: int = 5) -> UUID:
    id = uuid4()
    await pool.execute("INSERT INTO thing VALUES ($1, $2)", id, pieces)
    return id


async def take(transaction: ShortTransaction, id: UUID) -> None:
    """What a turn does: read without a lock, write at the end."""
    db = transaction.itself
    short = comparing(db)
    assert short is not None
    rows = await sql.versions(short.connection, ids=[id])
    await sql.as_read(short.compared(len(rows)), ids=[id], versions=[row["version"] for row in rows])
    await sql.take(later(db), ids=[id], pieces=1)
    await insert(later(db), "line", ("id", "words"), [(id, ["a", "나"]), (id, [])])


async def test_a_connection_is_released_without_a_task_and_an_expired_one_is_replaced(pool: asyncpg.Pool) -> None:
    began: list[str] = []

    def note(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        began.append(work.__qualname__)
        return asyncio.Task(work, loop=loop, **options)

    async def server_process(expires: bool = False) -> int:
        async with pool.acquire() as db:
            if expires:
                await pool.expire_connections()
            found: int = await db.fetchval("SELECT pg_backend_pid()")
        return found

    before = await server_process()
    asyncio.get_running_loop().set_task_factory(note)
    try:
        assert await server_process() == before
    finally:
        asyncio.get_running_loop().set_task_factory(None)
    assert began == []
    assert await server_process(expires=True) == before
    assert await server_process() != before


async def test_a_read_and_many_writes_are_two_statements(pool: asyncpg.Pool) -> None:
    id = await a_thing(pool)
    sent: list[str] = []
    async with pool.acquire() as connection:
        for _ in range(2):  # the first time asyncpg also asks what the types are
            sent.clear()
            with connection.query_logger(lambda query: sent.append(query.query)):
                async with ShortTransaction(connection, as_read=True) as transaction:
                    await take(transaction, id)
                    assert await sql.end(transaction.last, n=1) == "done"
            await asyncio.sleep(0)  # asyncpg tells its loggers a step later
    assert len(sent) == 2
    assert await pool.fetchval("SELECT pieces FROM thing WHERE id = $1", id) == 3
    assert [row["words"] for row in await pool.fetch("SELECT words FROM line WHERE id = $1", id)] == [
        ["a", "나"],
        [],
    ] * 2


async def test_nothing_is_written_if_a_row_has_changed_since_it_was_read(pool: asyncpg.Pool) -> None:
    id = await a_thing(pool)
    async with pool.acquire() as connection:
        with pytest.raises(NotAsRead):
            async with ShortTransaction(connection, as_read=True) as transaction:
                await take(transaction, id)
                await pool.execute("UPDATE thing SET pieces = 3 WHERE id = $1", id)
                await sql.end(transaction.last, n=1)
    assert await pool.fetchval("SELECT pieces FROM thing WHERE id = $1", id) == 3
    assert not await pool.fetch("SELECT FROM line WHERE id = $1", id)


async def test_a_new_row_that_is_there_already_is_another_process_s(pool: asyncpg.Pool) -> None:
    id = await a_thing(pool)
    for as_read, expected in ((True, NotAsRead), (False, asyncpg.SerializationError)):
        async with pool.acquire() as connection:
            with pytest.raises(expected):
                async with ShortTransaction(connection, as_read=as_read) as transaction:
                    await insert(later(transaction.itself), "line", ("id", "words"), [(id, ["a"])])
                    await insert_new(later(transaction.itself), "thing", ("id", "pieces"), [(id, 1)])
                    await sql.end(transaction.last, n=1)
    assert not await pool.fetch("SELECT FROM line WHERE id = $1", id)


async def test_a_statement_in_between_begins_the_transaction_and_sees_what_was_kept(pool: asyncpg.Pool) -> None:
    id = await a_thing(pool)

    async def work(transaction: ShortTransaction) -> None:
        db: Connection = transaction.itself
        assert comparing(db) is None
        assert await unlocked(db).fetchval("SELECT count(*) FROM line WHERE id = $1", id) == 0
        await insert(later(db), "line", ("id", "words"), [(id, ["a"])])
        assert await db.fetchval("SELECT count(*) FROM line WHERE id = $1", id) == 1
        await insert(later(db), "line", ("id", "words"), [(id, ["b"])] * 10)
        await sql.take(later(db), ids=[id], pieces=1)

    async with pool.acquire() as connection:
        with pytest.raises(ValueError, match="broken"):
            async with ShortTransaction(connection) as transaction:
                await work(transaction)
                raise ValueError("broken")
        assert not await pool.fetch("SELECT FROM line WHERE id = $1", id)
        async with ShortTransaction(connection) as transaction:
            await work(transaction)
    assert await pool.fetchval("SELECT count(*) FROM line WHERE id = $1", id) == 11
    assert await pool.fetchval("SELECT pieces FROM thing WHERE id = $1", id) == 4


async def test_a_statement_over_arrays_is_planned_once_for_each_connection(pool: asyncpg.Pool) -> None:
    """PostgreSQL by itself plans it for each array that it is given: a statement of one row takes twice as long."""
    async with pool.acquire() as db:
        for _ in range(20):
            await sql.versions(db, ids=[uuid4()])
        counted = await db.fetchrow(
            "SELECT sum(generic_plans), sum(custom_plans) FROM pg_prepared_statements WHERE statement LIKE '%FROM thing%ANY%' AND statement NOT LIKE '%pg_prepared%'"
        )
    assert tuple(counted or ()) == (20, 0)
