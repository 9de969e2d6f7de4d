"""Handles partitions that cannot be read: a batch that the client cannot decode, or no right to read. All other partitions go on.

The alarm for a damaged batch names the command that continues after the batch. `Unreadable` searches for the first offset that can be read
again.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog
from msgspec import Struct

from ordersaga.messaging.assignment import Assignment
from ordersaga.messaging.health import Alarms, Trouble
from ordersaga.messaging.kafka import FetchFailure, Partition, PartitionConsumer
from ordersaga.said import say

log: Final = structlog.get_logger()

HELD_BACK_S: Final = 5.0
UNREADABLE: Final = "partition unreadable"


class Unread(Struct):
    """The offset at which a partition cannot be read, and the search for the next one that can be."""

    offset: int
    failure: FetchFailure
    held_back: bool = False
    search: asyncio.Task[int | None] | None = None

    @property
    def readable_from(self) -> int | None:
        """The first readable offset. None: the search is running, has failed or found none; the next failure to read starts another."""
        search = self.search
        if search is None or not search.done() or search.cancelled() or search.exception() is not None:
            return None
        return search.result()


class Unreadable:
    """Call `failed` with the failures of a fetch, and `step` once a round."""

    def __init__(
        self,
        consumer: PartitionConsumer,
        assignment: Assignment,
        clock: Callable[[], datetime],
        alarms: Alarms,
    ) -> None:
        self._consumer: Final = consumer
        self._assignment: Final = assignment
        self._clock: Final = clock
        self._alarms: Final = alarms
        self._unread: Final[dict[Partition, Unread]] = {}

    def has(self, partition: Partition) -> bool:
        return partition in self._unread

    async def failed(self, failures: Sequence[FetchFailure]) -> None:
        """Take each partition again after its first failure at an offset; after the next one hold it back and raise the alarm."""
        for failure in failures:
            partition = failure.partition
            position = self._assignment.positions.get(partition)
            if position is None:
                continue
            at = self._unread.get(partition)
            if at is None or at.offset != position.next_offset:
                self._unread[partition] = Unread(position.next_offset, failure)
                await self._consumer.leave(self._assignment.doubt([partition]))
                continue
            if failure.is_batch or not at.failure.is_batch:
                at.failure = failure
            if at.failure.is_batch and (at.search is None or (at.search.done() and not at.readable_from)):
                at.search = asyncio.create_task(self._consumer.readable_from(partition, at.offset))
            trouble = _trouble(partition, at)
            if not at.held_back:
                at.held_back = True
                log.critical("a partition cannot be read", where=str(partition), offset=at.offset, why=at.failure.why)
            self._alarms.tell(UNREADABLE, str(partition), trouble)
            await self._assignment.hold_back({partition: trouble}, self._clock() + timedelta(seconds=HELD_BACK_S))

    def step(self) -> None:
        """Update the alarms: clear those of partitions that were read further or revoked, and name the offset that a search has found."""
        for partition, at in list(self._unread.items()):
            position = self._assignment.positions.get(partition)
            is_past = position is not None and position.next_offset != at.offset
            if is_past or not self._assignment.is_given(partition):
                del self._unread[partition]
                if at.search is not None:
                    at.search.cancel()
                self._alarms.tell(UNREADABLE, str(partition), None)
            elif at.held_back:
                self._alarms.tell(UNREADABLE, str(partition), _trouble(partition, at))

    def end(self) -> None:
        """Cancel the searches and clear the alarms."""
        for at in self._unread.values():
            if at.search is not None:
                at.search.cancel()
        self._alarms.only(UNREADABLE, {})


def _trouble(partition: Partition, at: Unread) -> Trouble:
    what = say(
        "alarm.unreadable",
        "the partition cannot be read at offset {offset}: {reason}",
        offset=at.offset,
        reason=at.failure.why,
    )
    if not at.failure.is_batch:
        todo = say(
            "todo.unreadable",
            "check the topic and this service's right to read it; the partition is tried again every few seconds",
        )
        return Trouble(what, todo)
    behind = at.readable_from
    on = f"ordersaga topics accept {partition.topic} --partition {partition.partition} --at"
    if behind is None:
        todo = say(
            "todo.unreadable_batch",
            "find the first offset after that batch, N; to continue there: `{command}`",
            command=f"{on} N",
        )
        return Trouble(what, todo)
    todo = say(
        "todo.unreadable_until",
        "find out which records had the offsets {first} to {last}; to continue after them: `{command}`",
        first=at.offset,
        last=behind - 1,
        command=f"{on} {behind}",
    )
    return Trouble(what, todo)
