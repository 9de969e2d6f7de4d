"""HTTP writes: everybody is answered, by transactions of which no more are open than there may be."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, cast
from uuid import uuid4

import pytest

from ordersaga.messaging.gather import Gather, Write
from ordersaga.settings import Settings


class Database:
    """A pool of as many connections as are wanted; counts the transactions that are open."""

    def __init__(self) -> None:
        self.open = 0
        self.open_most = 0
        self.sizes: list[int] = []

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator["Database"]:
        yield self

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        self.open += 1
        self.open_most = max(self.open_most, self.open)
        yield
        self.open -= 1

    async def work(self, _: Any, requests: Sequence[int], __: datetime) -> Write[int]:
        self.sizes.append(len(requests))
        await asyncio.sleep(0)
        return Write([-request for request in requests])


class NoOutbox:
    def publish_soon(self, *_: object) -> None:
        pass


def gather(database: Database, **settings: int) -> Gather[int, int]:
    made = Settings.model_validate(settings)
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
