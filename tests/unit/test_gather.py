"""HTTP writes: everybody is answered, by transactions of which no more are open than there may be."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, cast
from uuid import uuid4

import asyncpg
import pytest

from ordersaga.messaging.gather import Gather, NotBegun, OutcomeUnknown, Write
from ordersaga.settings import Settings


class Database:
    """A pool of as many connections as are wanted; counts the transactions that are open."""

    def __init__(self) -> None:
        self.open = 0
        self.open_most = 0
        self.sizes: list[int] = []
        self.size_max: int | None = None
        self.answers = asyncio.Event()
        self.answers.set()

    @contextlib.asynccontextmanager
    async def acquire(self, **_: Any) -> AsyncIterator["Database"]:
        yield self

    @contextlib.asynccontextmanager
    async def transaction(self, **_: Any) -> AsyncIterator[None]:
        self.open += 1
        self.open_most = max(self.open_most, self.open)
        try:
            yield
        finally:
            self.open -= 1

    async def work(self, _: Any, requests: Sequence[int], __: datetime) -> Write[int]:
        self.sizes.append(len(requests))
        if self.size_max is not None and len(requests) > self.size_max:
            raise asyncpg.QueryCanceledError("canceling statement due to statement timeout")
        await self.answers.wait()
        await asyncio.sleep(0)
        return Write([-request for request in requests])


class NoOutbox:
    def publish_soon(self, *_: object) -> None:
        pass


def gather(database: Database, **settings: int) -> Gather[int, int]:
    made = Settings().model_copy(update=settings)  # also limits that would be too short for a real database
    pool, out = cast(Any, database), cast(Any, NoOutbox())
    return Gather(database.work, made, pool, out, lambda: datetime.now(UTC), uuid4)


@pytest.mark.parametrize("transactions_max", [1, 3])
async def test_everybody_is_answered_whenever_they_come(transactions_max: int) -> None:
    database = Database()
    place = gather(database, gather_transactions_max=transactions_max)

    async def client(number: int) -> None:
        for n in range(30):
            for _ in range((number * n) % 5):
                await asyncio.sleep(0)
            assert await place(number * 1_000 + n) == -(number * 1_000 + n)

    async with asyncio.timeout(10):
        await asyncio.gather(*map(client, range(40)))
    assert sum(database.sizes) == 40 * 30
    assert database.open_most == transactions_max


async def test_requests_that_come_together_share_a_transaction_up_to_its_limit() -> None:
    database = Database()
    place = gather(database, gather_max=8)
    await asyncio.gather(*map(place, range(20)))
    assert database.sizes == [8, 8, 4]


async def test_a_client_that_goes_away_takes_nobody_with_it() -> None:
    database = Database()
    place = gather(database)
    requests = [asyncio.create_task(place(n)) for n in range(3)]
    await asyncio.sleep(0)
    requests[1].cancel()
    answers = await asyncio.gather(*requests, return_exceptions=True)
    assert answers[::2] == [0, -2]
    assert isinstance(answers[1], asyncio.CancelledError)
    assert await place(7) == -7


async def test_beyond_capacity_a_request_is_refused_at_once() -> None:
    database = Database()
    database.answers.clear()
    place = gather(database, gather_max=2, gather_waiting_max=3)
    requests = [asyncio.create_task(place(n)) for n in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # those two are under way
    requests += [asyncio.create_task(place(n)) for n in range(2, 5)]
    await asyncio.sleep(0)
    with pytest.raises(NotBegun):
        await place(5)
    database.answers.set()
    assert await asyncio.gather(*requests) == [0, -1, -2, -3, -4]


async def test_nobody_waits_longer_than_a_request_may() -> None:
    database = Database()
    database.answers.clear()
    place = gather(database, gather_max=1, request_timeout_ms=100)
    async with asyncio.timeout(1):
        begun, waiting = await asyncio.gather(place(1), place(2), return_exceptions=True)
    assert type(begun) is OutcomeUnknown
    assert isinstance(waiting, NotBegun)
    database.answers.set()
    assert await place(3) == -3
    assert database.sizes == [1, 1]  # whoever was told that nothing was changed is not begun any more


async def test_a_set_that_is_too_large_shrinks_and_grows_again() -> None:
    database = Database()
    place = gather(database, gather_max=64)
    database.size_max = 5
    assert await asyncio.gather(*map(place, range(64))) == [-n for n in range(64)]
    await asyncio.gather(*map(place, range(64)))
    assert database.sizes.count(64) == 1
    database.size_max = None
    for _ in range(20):
        await asyncio.gather(*map(place, range(64)))
    assert database.sizes[-1] == 64
