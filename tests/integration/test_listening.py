"""Waiting for another process's commit, on a real PostgreSQL."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg
import pytest

from ordersaga.devstack import DevStack
from ordersaga.messaging import listening
from ordersaga.messaging.listening import Listener

NOTHING_FOR_S = 0.5


class Process:
    """A process that listens on a channel. `reads`: how often it was told to read."""

    def __init__(self, url: str, own: str | None) -> None:
        self.reads = 0
        self.listens = asyncio.Event()
        self.listener = Listener(url, "news", self._read, own)

    async def _read(self) -> None:
        self.reads += 1

    async def run(self) -> None:
        def beat(well: bool = True) -> None:
            self.listens.set()

        await self.listener.run(beat)


@pytest.fixture
async def url(stack: DevStack, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(listening, "READ_EVERY_S", 60.0)
    stack.create_databases(["test_listening"])
    return stack.database_url("test_listening")


@contextlib.asynccontextmanager
async def listens(url: str, own: str | None = None) -> AsyncIterator[Process]:
    process = Process(url, own)
    task = asyncio.create_task(process.run())
    process.listener.wake()
    await asyncio.wait_for(process.listens.wait(), 10)
    process.reads = 0
    try:
        yield process
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_commit_wakes_every_other_process_at_once_and_a_rollback_wakes_none(url: str) -> None:
    db = await asyncpg.connect(url)
    async with listens(url, "one") as one, listens(url, "two") as two, listens(url) as three:
        transaction = db.transaction()
        await transaction.start()
        await db.execute("SELECT pg_notify('news', 'one')")
        await asyncio.sleep(NOTHING_FOR_S)
        assert (one.reads, two.reads, three.reads) == (0, 0, 0), "nothing is committed yet"
        await transaction.commit()
        await asyncio.sleep(NOTHING_FOR_S)
        assert (one.reads, two.reads, three.reads) == (0, 1, 1)
        transaction = db.transaction()
        await transaction.start()
        await db.execute("SELECT pg_notify('news', 'two')")
        await transaction.rollback()
        await asyncio.sleep(NOTHING_FOR_S)
        assert (one.reads, two.reads, three.reads) == (0, 1, 1)
    await db.close()


async def test_without_a_notification_it_reads_now_and_then(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "READ_EVERY_S", 0.05)
    async with listens(url) as process:
        await asyncio.sleep(NOTHING_FOR_S)
        assert process.reads > 2


async def test_the_loss_of_the_listening_connection_is_an_error(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "READ_EVERY_S", 0.05)
    process = Process(url, None)
    task = asyncio.create_task(process.run())
    await asyncio.wait_for(process.listens.wait(), 10)
    db = await asyncpg.connect(url)
    await db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ordersaga news'")
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(task, 10)
    await db.close()


async def test_a_process_in_which_nobody_waits_is_not_woken_and_misses_nothing_afterwards(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "STILL_LISTENS_S", 0.1)
    waits = False
    reads = 0
    read, beaten = asyncio.Event(), asyncio.Event()

    async def count() -> None:
        nonlocal reads
        reads += 1
        read.set()

    def beat(well: bool = True) -> None:
        beaten.set()

    db = await asyncpg.connect(url)
    listener = Listener(url, "news", count, wanted=lambda: waits)
    task = asyncio.create_task(listener.run(beat))
    try:
        listener.wake()
        await asyncio.wait_for(beaten.wait(), 10)
        reads = 0
        await db.execute("NOTIFY news")
        await asyncio.sleep(NOTHING_FOR_S)
        assert reads == 0
        waits = True
        read.clear()
        listener.wake()
        await asyncio.wait_for(read.wait(), 10)
        reads = 0
        read.clear()
        await db.execute("NOTIFY news")
        await asyncio.wait_for(read.wait(), 10)
        assert reads == 1
        waits = False
        await asyncio.sleep(0.2)
        read.clear()
        listener.wake()
        await asyncio.wait_for(read.wait(), 10)
        reads = 0
        await db.execute("NOTIFY news")
        await asyncio.sleep(NOTHING_FOR_S)
        assert reads == 0
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await db.close()
