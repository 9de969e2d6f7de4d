"""Database servers that die: a URL that names all of them leads to the standby that was promoted, and no commit is missing there."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from ordersaga.messaging.servers import Servers
from tests.chaos.standby import Replicated


@pytest.fixture(scope="module")
def running() -> Iterator[Replicated]:
    with Replicated(standbys=2) as servers:
        servers.primary.say("CREATE TABLE number (n int)")
        yield servers


@pytest.fixture
async def servers(running: Replicated) -> AsyncIterator[Replicated]:
    """All servers, with both standbys in step and no row."""
    running.primary.say("TRUNCATE number")
    yield running
    await asyncio.to_thread(running.rebuild)


async def numbers(url: str) -> list[int]:
    db = await Servers(url).connect()
    try:
        return [row["n"] for row in await db.fetch("SELECT n FROM number ORDER BY n")]
    finally:
        await db.close()


async def commit(url: str, *numbers: int) -> None:
    db = await Servers(url).connect()
    try:
        for n in numbers:
            await db.execute("INSERT INTO number VALUES ($1)", n)
    finally:
        await db.close()


async def test_a_promoted_standby_has_every_commit_and_is_found_by_the_same_url(servers: Replicated) -> None:
    url = servers.database_url("postgres")
    await commit(url, *range(5))
    await asyncio.to_thread(servers.primary.kill)
    with pytest.raises((OSError, asyncpg.TargetServerAttributeNotMatched)):
        await Servers(url).connect()  # the standbys are there, and take no writes yet
    await asyncio.to_thread(servers.promote, servers.standbys)
    assert await numbers(url) == list(range(5))


async def test_with_two_standbys_one_may_die_and_then_the_primary(servers: Replicated) -> None:
    url = servers.database_url("postgres")
    dead, left = servers.standbys
    await commit(url, *range(3))
    await asyncio.to_thread(dead.kill)
    await asyncio.wait_for(commit(url, *range(3, 6)), 60)
    await asyncio.to_thread(servers.primary.kill)
    await asyncio.to_thread(servers.promote, [left])
    assert await numbers(url) == list(range(6))


async def test_a_commit_waits_for_a_standby(servers: Replicated) -> None:
    url = servers.database_url("postgres")
    for each in servers.standbys:
        await asyncio.to_thread(each.kill)
    waiting = asyncio.create_task(commit(url, 100))
    while not servers.primary.asked("SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep'"):
        assert not waiting.done()
        await asyncio.sleep(0.05)
    assert await numbers(url) == []  # nor does anybody see it
    await asyncio.to_thread(servers.standbys[0].start)
    await asyncio.wait_for(waiting, 60)
    assert await numbers(url) == [100]
