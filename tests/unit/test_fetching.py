"""How many records one fetch takes, with a client library that has them when it is told to."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from ordersaga.messaging.kafka import PartitionConsumer
from ordersaga.messaging.kafka.consumer import GATHER_S, GATHERED_FROM
from ordersaga.settings import Settings

BATCH_MAX = 2_000


class Record:
    """As the library's message."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def error(self) -> None: ...

    def topic(self) -> str:
        return "in"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def key(self) -> None: ...

    value = headers = key

    def timestamp(self) -> tuple[int, int]:
        return 0, 0


class Client:
    """As the library's consumer. `there`: how many records it has at once; `coming`: how many more, for whoever waits.

    `waited` has the time of each call that would have waited.
    """

    def __init__(self, _: dict[str, Any]) -> None:
        self.there = 0
        self.coming = 0
        self.waited: list[float] = []
        self._next = 0

    def subscribe(self, *_: Any, **__: Any) -> None: ...

    unsubscribe = close = subscribe

    def poll(self, _: float) -> Record | None:
        return next(iter(self._taken(1)), None)

    def consume(self, count: int, wait_s: float) -> Sequence[Record]:
        if wait_s:
            self.waited.append(wait_s)
            self.there, self.coming = self.there + self.coming, 0
        return self._taken(count)

    def _taken(self, count: int) -> list[Record]:
        taken = [Record(self._next + n) for n in range(min(count, self.there))]
        self._next += len(taken)
        self.there -= len(taken)
        return taken


@pytest.fixture
async def consumer() -> AsyncIterator[PartitionConsumer]:
    made = PartitionConsumer(Settings.model_validate({}), ["in"], "group", None, Client)
    yield made
    await made.close()


async def offsets(consumer: PartitionConsumer, there: int, coming: int) -> list[int]:
    """What one fetch brings where so many records are there, and so many come while it waits."""
    client: Client = consumer._consumer
    client.there, client.coming = there, coming
    return [record.offset for record in (await consumer.fetch(BATCH_MAX, 0.0)).records]


async def test_of_many_records_a_fetch_waits_for_those_that_come_behind_them(consumer: PartitionConsumer) -> None:
    assert await offsets(consumer, GATHERED_FROM, 500) == list(range(GATHERED_FROM + 500))
    assert consumer._consumer.waited == [GATHER_S]


async def test_it_takes_no_more_than_a_turn_may_have(consumer: PartitionConsumer) -> None:
    assert await offsets(consumer, GATHERED_FROM, 3 * BATCH_MAX) == list(range(BATCH_MAX))


@pytest.mark.parametrize("there", [1, GATHERED_FROM - 1, BATCH_MAX])
async def test_few_records_and_a_full_turn_wait_for_no_others(consumer: PartitionConsumer, there: int) -> None:
    assert await offsets(consumer, there, 500) == list(range(there))
    assert consumer._consumer.waited == []
