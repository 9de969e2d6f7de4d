"""Counts of calls over HTTP: right with several processes of a service, after a restart, and while a process does not tell any more."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
import pytest_asyncio

from ordersaga import delivery
from ordersaga.delivery import app
from ordersaga.devstack import DevStack
from ordersaga.messaging.calls import GONE_AFTER, TELLS_FOR, CallCount, Calls, counts
from ordersaga.messaging.database import Pool
from tests.integration.service import bench

NOW = datetime(2026, 5, 5, 12, tzinfo=UTC)


@pytest_asyncio.fixture(loop_scope="session")
async def pool(stack: DevStack) -> AsyncIterator[Pool]:
    async with bench(stack, "delivery", delivery, app.handler) as one:
        yield one.pool


async def shown(pool: Pool, at: datetime = NOW) -> list[CallCount]:
    async with pool.acquire() as db:
        return await counts(db, at)


async def test_the_counts_of_all_processes_are_added_up(pool: Pool) -> None:
    one, other = Calls(lambda: NOW), Calls(lambda: NOW)
    assert await shown(pool) == []
    with one.call("ask"), other.call("ask"):
        other.count("answer")
        await asyncio.gather(one.add(pool), other.add(pool))
        assert await shown(pool) == [CallCount("answer", 1, 0), CallCount("ask", 2, 2)]
    with one.call("ask"):
        pass
    await asyncio.gather(one.add(pool), other.add(pool))
    assert await shown(pool) == [CallCount("answer", 1, 0), CallCount("ask", 3, 0)]


async def test_nothing_is_written_while_nothing_is_called(pool: Pool) -> None:
    one = Calls(lambda: NOW)
    one.count("ask")
    await one.add(pool)
    before = await pool.fetchval("SELECT xmin FROM call_count")
    await one.add(pool)
    assert await pool.fetchval("SELECT xmin FROM call_count") == before


async def test_a_process_that_has_ended_holds_no_call_and_its_counts_stay(pool: Pool) -> None:
    killed = Calls(lambda: NOW)
    with killed.call("ask"):
        await killed.add(pool)
    assert await shown(pool, NOW + TELLS_FOR) == [CallCount("ask", 1, 0)]
    later = Calls(lambda: NOW + GONE_AFTER + timedelta(seconds=1))
    later.count("ask")
    await later.add(pool)
    assert [each.total for each in await shown(pool)] == [2]
    assert await pool.fetchval("SELECT count(*) FROM call_count") == 2, "the counts of the first one are folded"
    killed.count("ask")  # it was only frozen
    await killed.add(pool)
    assert [each.total for each in await shown(pool)] == [3]


async def test_what_could_not_be_added_is_added_later(pool: Pool) -> None:
    one = Calls(lambda: NOW)
    one.count("ask")
    await pool.execute("ALTER TABLE call_count RENAME TO elsewhere")
    with pytest.raises(asyncpg.UndefinedTableError):
        await one.add(pool)
    await pool.execute("ALTER TABLE elsewhere RENAME TO call_count")
    one.count("ask")
    await one.add(pool)
    assert await shown(pool) == [CallCount("ask", 2, 0)]
