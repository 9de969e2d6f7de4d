"""PostgreSQL dies in the middle of statements, transactions and commits: no error of that is ever a record's fault."""

import asyncio

import asyncpg
import uvloop

from ordersaga.devstack.folder import StackFolder
from ordersaga.devstack.postgres import PostgresServer
from ordersaga.messaging.database import DATABASE_ERRORS
from ordersaga.messaging.sqlstate import is_transient

CONNECTIONS = 16
DEATHS = 5


async def errors_of_a_death(postgres: PostgresServer) -> list[Exception]:
    """What those see who work in transactions while the server is killed."""
    seen: list[Exception] = []
    at_work: set[asyncio.Task[None] | None] = set()
    all_at_work = asyncio.Event()

    async def work(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        while not seen:
            try:
                async with pool.acquire() as db, db.transaction():
                    await db.fetchval("SELECT 1")
                    at_work.add(asyncio.current_task())
                    if len(at_work) == CONNECTIONS:
                        all_at_work.set()
                    await db.execute("SELECT pg_sleep(0.001)")
            except Exception as error:
                seen.append(error)

    pool = await asyncpg.create_pool(postgres.database_url("postgres"), min_size=0, max_size=CONNECTIONS)
    workers = [asyncio.create_task(work(pool)) for _ in range(CONNECTIONS)]
    await asyncio.wait_for(all_at_work.wait(), 20)
    postgres.kill()
    await asyncio.gather(*workers)
    pool.terminate()
    return seen


def test_whatever_a_dying_database_makes_of_a_connection_is_no_records_fault() -> None:
    folder = StackFolder(None)
    postgres = PostgresServer(folder)
    seen = []
    try:
        for _ in range(DEATHS):
            postgres.start()
            seen += uvloop.run(errors_of_a_death(postgres))
    finally:
        postgres.kill()
        folder.close()
    assert len(seen) >= DEATHS
    assert [error for error in seen if not (is_transient(error) and isinstance(error, DATABASE_ERRORS))] == []


def test_what_asyncpg_says_of_an_exchange_that_was_cut_is_no_records_fault() -> None:
    """Seen now and then where a server was killed; whether the test above meets it is chance."""
    assert is_transient(asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress"))
