"""A partition that cannot be read is taken again, then held back with an alarm that names what goes on behind the damaged batch."""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from ordersaga.messaging.health import Alarms, Trouble
from ordersaga.messaging.kafka import FetchFailure, Partition
from ordersaga.messaging.ledger import Position
from ordersaga.messaging.unreadable import UNREADABLE, Unreadable

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BAD, GOOD = Partition("t", 0), Partition("t", 1)
DAMAGED = FetchFailure(BAD, "a wrong checksum", is_batch=True)


class Stand:
    """An assignment of two partitions and a consumer that finds offset 9 readable again."""

    def __init__(self) -> None:
        self.positions = {BAD: Position("id", 1, 5), GOOD: Position("id", 1, 5)}
        self.doubted: list[Partition] = []
        self.held_back: list[Partition] = []
        self.searches = 0
        self.found: int | None = 9
        self.alarms = Alarms(lambda: NOW)
        stand: Any = self
        self.unreadable = Unreadable(stand, stand, lambda: NOW, self.alarms)

    def doubt(self, partitions: Iterable[Partition]) -> list[Partition]:
        self.doubted += partitions
        return self.doubted

    async def leave(self, partitions: Iterable[Partition]) -> None:
        pass

    async def hold_back(self, held: Mapping[Partition, Trouble], until: datetime) -> None:
        self.held_back += held

    def is_given(self, partition: Partition) -> bool:
        return partition in self.positions

    async def readable_from(self, partition: Partition, offset: int) -> int | None:
        assert (partition, offset) == (BAD, 5)
        self.searches += 1
        return self.found

    def alarm(self) -> str:
        [alarm] = self.alarms.now()
        assert (alarm.alarm, alarm.where) == (UNREADABLE, "t/0")
        return f"{alarm.what}; {alarm.todo}"


async def test_the_first_failure_takes_the_partition_again_without_an_alarm() -> None:
    stand = Stand()
    await stand.unreadable.failed([DAMAGED])
    assert stand.doubted == [BAD] and not stand.held_back and not stand.alarms.now()
    assert stand.unreadable.has(BAD) and not stand.unreadable.has(GOOD)


async def test_the_next_failure_at_the_same_offset_holds_it_back_until_the_command_that_goes_on_is_known() -> None:
    stand = Stand()
    for _ in range(2):
        await stand.unreadable.failed([DAMAGED])
    assert stand.held_back == [BAD]
    assert "offset 5: a wrong checksum" in stand.alarm() and "--at N`" in stand.alarm()
    await asyncio.sleep(0)
    stand.unreadable.step()
    assert "ordersaga topics accept t --partition 0 --at 9`" in stand.alarm()
    await stand.unreadable.failed([DAMAGED])
    assert stand.searches == 1


async def test_a_search_that_found_nothing_is_begun_again() -> None:
    stand = Stand()
    stand.found = None
    for _ in range(4):
        await stand.unreadable.failed([DAMAGED])
        await asyncio.sleep(0)
    assert stand.searches == 3


async def test_what_is_no_damaged_batch_is_not_searched() -> None:
    stand = Stand()
    for _ in range(2):
        await stand.unreadable.failed([FetchFailure(BAD, "not allowed")])
    assert "not allowed" in stand.alarm() and not stand.searches


async def test_the_alarm_ends_when_the_partition_is_read_further_or_revoked() -> None:
    for end in ("read", "revoked"):
        stand = Stand()
        for _ in range(2):
            await stand.unreadable.failed([DAMAGED])
        if end == "read":
            stand.positions[BAD].next_offset = 9
        else:
            del stand.positions[BAD]
        stand.unreadable.step()
        assert not stand.alarms.now() and not stand.unreadable.has(BAD)
