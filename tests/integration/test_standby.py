"""A primary database that dies: a URL that names both servers leads to the standby as soon as it takes writes, and no commit is missing there."""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from ordersaga.messaging.servers import Servers
from tests.chaos.standby import Pair


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with Pair() as running:
        yield running


async def numbers(servers: Servers) -> list[int]:
    db = await servers.connect()
    try:
        return [row["n"] for row in await db.fetch("SELECT n FROM number ORDER BY n")]
    finally:
        await db.close()


async def commit(servers: Servers, number: int) -> None:
    db = await servers.connect()
    try:
        await db.execute("INSERT INTO number VALUES ($1)", number)
    finally:
        await db.close()


async def test_a_promoted_standby_has_every_commit_and_is_found_by_the_same_url(pair: Pair) -> None:
    servers = Servers(pair.database_url("postgres"))
    pair.primary.say("CREATE TABLE number (n int)")
    for n in range(5):
        await commit(servers, n)
    await asyncio.to_thread(pair.primary.kill)
    with pytest.raises((OSError, asyncpg.TargetServerAttributeNotMatched)):
        await servers.connect()  # the standby is there, and takes no writes yet
    await asyncio.to_thread(pair.promote)
    assert await numbers(servers) == list(range(5))
    await asyncio.to_thread(pair.rebuild)


async def test_a_commit_waits_for_the_standby(pair: Pair) -> None:
    servers = Servers(pair.database_url("postgres"))
    pair.primary.say("CREATE TABLE IF NOT EXISTS number (n int)")
    await asyncio.to_thread(pair.standby.kill)
    waiting = asyncio.create_task(commit(servers, 100))
    while not pair.primary.asked("SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep'"):
        assert not waiting.done()
        await asyncio.sleep(0.05)
    assert 100 not in await numbers(servers)  # nor does anybody see it
    await asyncio.to_thread(pair.standby.start)
    await asyncio.wait_for(waiting, 60)
    assert 100 in await numbers(servers)
