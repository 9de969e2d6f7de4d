"""Partitions for operators: where each stands and who reads it; pause, resume, and accept another position.

The owner of a partition reports a few times a minute whether it reads the partition, so every process of the service can answer for all.
"""

import asyncio
import os
import socket
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from msgspec import Struct

from ordersaga.messaging import acts, ledger, pauses
from ordersaga.messaging.acts import STALE, NotPossible, Operator
from ordersaga.messaging.database import Connection
from ordersaga.messaging.health import Trouble
from ordersaga.messaging.kafka import KafkaUnavailable, Partition, Topics, watermarks
from ordersaga.messaging.queries import queries
from ordersaga.messaging.refusal import FieldError
from ordersaga.messaging.runtime import Runtime
from ordersaga.messaging.texts import storable, stored_sayings
from ordersaga.operations.desk import Desk

sql: Final = queries(__file__)

REPORT_EVERY_S: Final = 2.0
REPORT_AGAIN: Final = timedelta(seconds=6)
"""A partition of which there is nothing new is reported again so seldom."""
REPORT_HOLDS: Final = timedelta(seconds=15)
"""A report that is older tells nothing: its process has ended, or has lost the partition."""
ENDS_WITHIN_S: Final = 1.0
RUNNING: Final = "running"

State = Literal["READING", "STOPPED", "PAUSED", "NOT_ASSIGNED"]


class PartitionState(Struct, frozen=True):
    """A partition of the service. `end`: the offset of the next record in Kafka; None: Kafka does not answer, or has no such partition.

    STOPPED: for the reason in `problem`. NOT_ASSIGNED: no live process has reported the partition lately.
    """

    partition: Partition
    topic_id: str
    position: int
    end: int | None
    state: State
    owner: str | None
    problem: str | None
    todo: str | None
    reported_at: datetime | None
    paused_by: str | None
    pause_reason: str | None
    paused_at: datetime | None
    problem_said: str | None = None
    todo_said: str | None = None

    @property
    def lag(self) -> int | None:
        """How many offsets of the log are not handled yet."""
        return None if self.end is None else max(0, self.end - self.position)

    @property
    def version(self) -> str:
        """Changes when the partition is paused or resumed."""
        return f"paused-{self.paused_at:%Y%m%dT%H%M%S.%f}" if self.paused_at else RUNNING


class Reports:
    """The reports of one process on its partitions."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime: Final = runtime
        self._owner: Final = f"{socket.gethostname()} {os.getpid()}"
        self._told: dict[Partition, tuple[Trouble | None, datetime]] = {}
        """Why each of our partitions was stopped in its last report, and when that was."""

    async def write(self) -> None:
        """Report each partition of this process, read or stopped and why, of which there is news, or whose last report is old."""
        assignment = self._runtime.assignment
        if assignment is None:
            return
        stopped = dict(assignment.stopped)
        now = self._runtime.clock()
        state = {each: stopped.get(each) for each in assignment.positions.keys() | stopped.keys()}
        self._told = {each: told for each, told in self._told.items() if each in state}
        ours = sorted(each for each, trouble in state.items() if self._is_news(each, trouble, now))
        if not ours:
            return
        async with self._runtime.pool.acquire() as db:
            await sql.report_partitions(
                db,
                owner=self._owner,
                now=now,
                topics=[each.topic for each in ours],
                partitions=[each.partition for each in ours],
                states=["STOPPED" if each in stopped else "READING" for each in ours],
                problems=[storable(stopped[each].what) if each in stopped else None for each in ours],
                todos=[storable(stopped[each].todo) if each in stopped else None for each in ours],
                problems_said=[stored_sayings(stopped[each].what) if each in stopped else None for each in ours],
                todos_said=[stored_sayings(stopped[each].todo) if each in stopped else None for each in ours],
            )
        self._told |= {each: (state[each], now) for each in ours}

    def _is_news(self, partition: Partition, trouble: Trouble | None, now: datetime) -> bool:
        told = self._told.get(partition)
        return told is None or told[0] != trouble or now - told[1] >= REPORT_AGAIN


class Partitions:
    """Reads and acts on the partitions of one service. `topics` asks Kafka for the ends of the logs."""

    def __init__(self, desk: Desk, topics: Topics) -> None:
        self._desk: Final = desk
        self._topics: Final = topics
        self._counts: dict[str, int] = {}

    async def find(
        self, topic: str | None = None, after: Partition | None = None, rows_max: int | None = None
    ) -> list[PartitionState]:
        """The partitions that the service has ever read, ordered by topic and number."""
        async with self._desk.pool.acquire() as db:
            rows = await _rows(db, topic, None, after, rows_max)
        ends = await self._ends([Partition(row["topic"], row["partition"]) for row in rows])
        return [self._state(row, ends) for row in rows]

    async def ends_of(self, names: Sequence[str]) -> dict[Partition, int]:
        """The ends of the logs of topics that the service may not read; none if Kafka does not answer soon."""
        if not self._counts and names:
            try:
                async with asyncio.timeout(ENDS_WITHIN_S):
                    self._counts = await self._topics.partition_counts(names)
            except (KafkaUnavailable, TimeoutError):
                return {}
        there = [Partition(name, each) for name, count in self._counts.items() for each in range(count)]
        return await self._ends(there) if there else {}

    # Acting ---------------------------------------------------------------------------------------------------------

    async def pause(self, partition: Partition, operator: Operator, version: str | None = None) -> PartitionState:
        """Have the partition read no further, by its owner and by every later one. Raises `NotPossible`."""
        return await self._change(partition, operator, version, pausing=True)

    async def resume(self, partition: Partition, operator: Operator, version: str | None = None) -> PartitionState:
        """Have a paused partition read again. Raises `NotPossible`."""
        return await self._change(partition, operator, version, pausing=False)

    async def pause_topic(self, topic: str, operator: Operator) -> list[PartitionState]:
        """Have every partition of a topic read no further. Those that are paused keep their reasons. Returns the others. Raises `NotPossible`."""
        return await self._change_topic(topic, operator, pausing=True)

    async def resume_topic(self, topic: str, operator: Operator) -> list[PartitionState]:
        """Have every paused partition of a topic read again, whoever has paused it. Returns these. Raises `NotPossible`."""
        return await self._change_topic(topic, operator, pausing=False)

    async def _change_topic(self, topic: str, operator: Operator, pausing: bool) -> list[PartitionState]:
        desk = self._desk
        async with desk.pool.acquire() as db, db.transaction():
            now = desk.clock()
            numbers = sorted(await ledger.positions_of_topic(db, topic))
            if not numbers:
                raise NotPossible(f"{desk.service} has never read {topic}", "UNKNOWN")
            all_of = [await self._locked(db, Partition(topic, each)) for each in numbers]
            changed = [each.partition for each in all_of if pausing == (each.paused_at is None)]
            if not changed:
                raise NotPossible(
                    f"every partition of {topic} is {'paused already' if pausing else 'read: none is paused'}"
                )
            for each in changed:
                await (pauses.pause(db, each, operator, now) if pausing else pauses.resume(db, each))
            paused = len(numbers) - len(changed) if pausing else len(changed)
            states = ({"paused": paused}, {"paused": len(numbers) if pausing else 0})
            await acts.add(db, operator, "pause topic" if pausing else "resume topic", topic, *states, now)
            return [await self._locked(db, each) for each in changed]

    async def _change(
        self, partition: Partition, operator: Operator, version: str | None, pausing: bool
    ) -> PartitionState:
        desk = self._desk
        async with desk.pool.acquire() as db, db.transaction():
            now = desk.clock()
            before = await self._locked(db, partition)
            if version not in (None, before.version):
                raise NotPossible(f"{partition} is {before.version} now; look at it again", title=STALE)
            if pausing == (before.paused_at is not None):
                by = f" by {before.paused_by}: {before.pause_reason}" if before.paused_at else ""
                raise NotPossible(f"{partition} is {'paused already' if pausing else 'not paused'}{by}")
            if pausing:
                await pauses.pause(db, partition, operator, now)
            else:
                await pauses.resume(db, partition)
            states = ({"state": before.state}, {"state": "PAUSED" if pausing else RUNNING})
            await acts.add(db, operator, "pause" if pausing else "resume", partition, *states, now)
            return await self._locked(db, partition)

    async def accept(
        self, topic: str, number: int | None, at: str, operator: Operator, position: int | None = None
    ) -> tuple[list[Partition], list[int]]:
        """Let stopped partitions of a topic go on at another position: `earliest`, `latest` or an offset of the log.

        With `number` this partition alone, stopped or not. `position`: where the ledger stood when the operator saw it. Returns the
        partitions that go on, and the numbers of the ledger that Kafka does not have. Raises `NotPossible` and `KafkaUnavailable`.
        """
        desk = self._desk
        topic_id = (await self._topics.ids([topic])).get(topic)
        if topic_id is None:
            raise NotPossible(f"there is no topic {topic}; create it with `ordersaga topics create`", "UNKNOWN")
        there = range((await self._topics.partition_counts([topic]))[topic])
        asked = [Partition(topic, each) for each in there]
        bounds = await asyncio.to_thread(watermarks, desk.settings, asked)
        async with desk.pool.acquire() as db, db.transaction():
            starts, absent, before = {}, [], {}
            known = await ledger.positions_of_topic(db, topic)
            for each in sorted(known) if number is None else [number] if number in known else []:
                if each not in there:
                    absent.append(each)
                    continue
                offset = await ledger.lock_position(db, topic, each) or 0
                if position not in (None, offset):
                    raise NotPossible(f"{topic}/{each} stands at {offset} now; look at it again", title=STALE)
                low, high = bounds[Partition(topic, each)]
                if number is not None or known[each][0] != topic_id or not low <= offset <= high:
                    starts[each], before[each] = _offset(at, low, high), offset
            if starts:
                await ledger.accept(db, topic, topic_id, starts)
            for each, start in starts.items():
                change = ({"position": before[each]}, {"position": start})
                await acts.add(db, operator, "accept", Partition(topic, each), *change, desk.clock())
        return [Partition(topic, each) for each in starts], absent

    async def forget(self, topic: str, numbers: Sequence[int], operator: Operator) -> list[int]:
        """Forget the positions of partitions that Kafka does not have any more. Returns those without parked records, which are forgotten."""
        forgotten = []
        for number in numbers:
            async with self._desk.pool.acquire() as db, db.transaction():
                offset = await ledger.lock_position(db, topic, number)
                if offset is not None and not await ledger.forget(db, topic, number):
                    partition, before = Partition(topic, number), {"position": offset}
                    await acts.add(db, operator, "forget", partition, before, {}, self._desk.clock())
                    forgotten.append(number)
        return forgotten

    async def _locked(self, db: Connection, partition: Partition) -> PartitionState:
        """The partition without its end, its ledger row locked: two operators act one after the other. Raises `NotPossible`."""
        if await ledger.lock_position(db, partition.topic, partition.partition) is None:
            raise NotPossible(f"{self._desk.service} has never read {partition}", "UNKNOWN")
        (row,) = await _rows(db, partition.topic, partition.partition, None, None)
        return self._state(row, {})

    async def _ends(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """The ends of the logs; none if Kafka does not answer soon: an operator who looks then sees the rest at once."""
        try:
            async with asyncio.timeout(ENDS_WITHIN_S):
                return await self._topics.ends(partitions)
        except (KafkaUnavailable, TimeoutError):
            return {}

    def _state(self, row: Any, ends: dict[Partition, int]) -> PartitionState:
        partition = Partition(row["topic"], row["partition"])
        known = row["reported_at"] is not None and self._desk.clock() - row["reported_at"] < REPORT_HOLDS
        state: State = row["state"] if known else "NOT_ASSIGNED"
        is_paused = row["paused_at"] is not None
        return PartitionState(
            partition,
            row["topic_id"],
            row["next_offset"],
            ends.get(partition),
            "PAUSED" if is_paused else state,
            row["owner"] if known else None,
            row["problem"] if known else None,
            row["todo"] if known else None,
            row["reported_at"],
            row["paused_by"],
            row["pause_reason"],
            row["paused_at"],
            row["problem_said"] if known else None,
            row["todo_said"] if known else None,
        )


def _offset(at: str, low: int, high: int) -> int:
    if at in ("earliest", "latest"):
        return low if at == "earliest" else high
    if not (at.isascii() and at.isdigit()) or not low <= int(at) <= high:
        wrong = f"write earliest, latest or an offset from {low} to {high}"
        raise NotPossible(f"at: {wrong}", "INVALID", errors=[FieldError("at", wrong, "out_of_range")])
    return int(at)


async def _rows(
    db: Connection, topic: str | None, number: int | None, after: Partition | None, rows_max: int | None
) -> Any:
    return await sql.partitions(
        db,
        topic=topic,
        partition=number,
        after_topic=after and after.topic,
        after_partition=after and after.partition,
        rows_max=rows_max,
    )
