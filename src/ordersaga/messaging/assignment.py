"""The partitions of this process: those the group gave, those taken and read, those stopped, and how far each has come.

Taking a partition has three steps, in this order: raise its epoch in the ledger, which waits for the former owner's open transaction and
fences the owner off; publish what its turns left in the outbox; read from the ledger's offset. After a failed commit, or one whose
outcome is unknown, the same steps repair everything, so there is no other repair.
"""

import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from ordersaga.contracts.topics import BY_NAME
from ordersaga.messaging import ledger, pauses
from ordersaga.messaging.database import DATABASE_ERRORS, Connection, Pool
from ordersaga.messaging.handler import Record
from ordersaga.messaging.health import Alarms, Trouble, no_leader, topic_missing
from ordersaga.messaging.kafka import Partition, PartitionConsumer, Topics
from ordersaga.messaging.ledger import OffsetRange, Position
from ordersaga.messaging.outbox import Outbox
from ordersaga.messaging.pauses import Pause
from ordersaga.said import say

log: Final = structlog.get_logger()

FENCED_WAIT_S: Final = 4.0
STOPPED_WAIT_S: Final = 5.0
UNHEARD_WAIT_S: Final = 0.5
STOPPED: Final = "partition stopped"
PAUSED: Final = "partition paused"
NO_WAIT: Final = datetime.min.replace(tzinfo=UTC)


class Assignment:
    """The partitions of this process. `positions`: those that are read; `stopped`: those that are not, with the reason and what to do."""

    def __init__(
        self, consumer: PartitionConsumer, topics: Topics, outbox: Outbox, pool: Pool, start_at: str, alarms: Alarms
    ) -> None:
        self._consumer: Final = consumer
        self.topics: Final = topics
        self._outbox: Final = outbox
        self._pool: Final = pool
        self._start_at: Final = start_at
        self.positions: Final[dict[Partition, Position]] = {}
        self._to_take: Final[dict[Partition, datetime]] = {}
        self._joined = False
        self.stopped: Final[dict[Partition, Trouble]] = {}
        self._paused: Final[set[Partition]] = set()
        self._alarms: Final = alarms
        for alarm in (STOPPED, PAUSED):
            alarms.only(alarm, {})

    def change(self, joined: bool, assigned: Iterable[Partition], revoked: Iterable[Partition]) -> None:
        """Apply the group's decisions. A revoked partition is forgotten at once.

        A turn of it that is past its fence still commits, and the new owner waits for that commit. Later turns are fenced.
        """
        self._joined = joined
        for partition in revoked:
            self.positions.pop(partition, None)
            self._goes_on(partition)
            self._to_take.pop(partition, None)
        self._to_take.update(dict.fromkeys(assigned, NO_WAIT))

    def _goes_on(self, partition: Partition) -> None:
        self._paused.discard(partition)
        if self.stopped.pop(partition, None) is not None:
            for alarm in (STOPPED, PAUSED):
                self._alarms.tell(alarm, str(partition), None)

    def doubt(self, partitions: Iterable[Partition] | None = None) -> list[Partition]:
        """Mark these partitions, or all, to be taken again: the outcome of a transaction or the position is uncertain. Returns those
        marked."""
        doubted = [each for each in (self.positions if partitions is None else partitions) if each in self.positions]
        for partition in doubted:
            del self.positions[partition]
        self._to_take.update(dict.fromkeys(doubted, NO_WAIT))
        return doubted

    async def take(self, now: datetime) -> bool:
        """Take the partitions that the group has given and that are not read yet. Returns whether there were any.

        Raises database and Kafka errors; the next call tries again. Stopped partitions are tried again after `STOPPED_WAIT_S`, since
        an operator may have solved their problem, and those without a leader after `UNHEARD_WAIT_S`; the others do not wait for them.
        """
        wanted = sorted(partition for partition, not_before in self._to_take.items() if not_before <= now)
        if not wanted:
            return False
        await self._consumer.leave(wanted)
        topic_ids = await self.topics.ids(sorted({partition.topic for partition in wanted}))
        self.compare_topics({partition.topic: topic_ids.get(partition.topic) for partition in wanted})
        async with self._pool.acquire() as db:
            taken = await self._raise_epochs(db, wanted, topic_ids)
            paused = {each: pause for each, pause in (await pauses.paused(db)).items() if each in taken}
        problems, unheard = await self._problems(
            {each: at for each, at in taken.items() if each not in paused}, topic_ids
        )
        unread = paused.keys() | problems.keys() | unheard
        readable = {partition: position for partition, position in taken.items() if partition not in unread}
        await self._outbox.publish_left(readable, now)
        await self._consumer.read_from({partition: position.next_offset for partition, position in readable.items()})
        for partition, position in readable.items():
            self.positions[partition] = position
            self._goes_on(partition)
            self._to_take.pop(partition, None)
        self._stop(problems, now)
        self._stop(dict.fromkeys(unheard, no_leader()), now, lasting=False)
        self._pause(paused, now)
        return True

    def follow(self, paused: Mapping[Partition, Pause]) -> None:
        """Take the partitions again that an operator has paused or resumed since they were taken."""
        self.doubt([each for each in paused if each in self.positions])
        self._to_take.update(dict.fromkeys(self._paused - paused.keys(), NO_WAIT))

    async def hold_back(self, held: Mapping[Partition, Trouble], until: datetime) -> None:
        """Read nothing of these partitions until a time, with this reason. They stay ours in the group."""
        ours = [partition for partition in held if self.positions.pop(partition, None) is not None]
        await self._consumer.leave(ours)
        for partition in ours:
            self.stopped[partition] = held[partition]
            self._to_take[partition] = until

    def compare_topics(self, topic_ids: dict[str, str | None]) -> None:
        """Doubt the partitions of topics that were deleted and made again while we read them."""
        self.doubt(
            [each for each, at in self.positions.items() if topic_ids.get(each.topic, at.topic_id) != at.topic_id]
        )

    def _stop(self, problems: dict[Partition, Trouble], now: datetime, lasting: bool = True) -> None:
        for partition, problem in problems.items():
            if partition in self._paused:
                self._goes_on(partition)
            self._alarms.tell(STOPPED, str(partition), problem)
            if self.stopped.get(partition) != problem:
                log.log(
                    logging.CRITICAL if lasting else logging.WARNING,
                    "a partition is stopped",
                    topic=partition.topic,
                    partition=partition.partition,
                    problem=problem.what,
                    todo=problem.todo,
                )
            self.stopped[partition] = problem
            self._to_take[partition] = now + timedelta(seconds=STOPPED_WAIT_S if lasting else UNHEARD_WAIT_S)

    def _pause(self, paused: Mapping[Partition, Pause], now: datetime) -> None:
        for partition, pause in paused.items():
            if partition not in self._paused:
                log.warning("a partition is paused", where=str(partition), who=pause.who, why=pause.why)
            self._alarms.tell(STOPPED, str(partition), None)
            self._alarms.tell(PAUSED, str(partition), pause.trouble, pause.at)
            self._paused.add(partition)
            self.stopped[partition] = pause.trouble
            self._to_take[partition] = now + timedelta(seconds=STOPPED_WAIT_S)

    async def _raise_epochs(
        self, db: Connection, wanted: Sequence[Partition], topic_ids: dict[str, str]
    ) -> dict[Partition, Position]:
        taken = await ledger.take(db, wanted)
        new = [partition for partition in wanted if partition not in taken and partition.topic in topic_ids]
        if new:
            began = datetime.now(UTC)
            starts = await self._starts(db, new)
            events = {partition: starts[partition] for partition in new if not _is_table(partition)}
            handled_until = await self._consumer.handled_until(events, self._start_at, began)
            async with db.transaction():
                await ledger.begin(db, {partition: starts[partition] for partition in new}, topic_ids)
                await ledger.note_predecessor(db, self._start_at, handled_until)
            taken |= await ledger.take(db, new)
        return taken

    async def _starts(self, db: Connection, new: Sequence[Partition]) -> dict[Partition, int]:
        """First offsets of partitions without a ledger row: the earliest for a topic with `table`, `start_at` for any other topic."""
        tables = [each for each in new if _is_table(each)]
        events = [each for each in new if each not in tables]
        starts = await self._consumer.start_offsets(tables, "earliest", ()) if tables else {}
        if events:
            begun = await ledger.topics_begun(db, sorted({partition.topic for partition in events}))
            starts |= await self._consumer.start_offsets(events, self._start_at, begun)
        return starts

    async def _problems(
        self, taken: dict[Partition, Position], topic_ids: dict[str, str]
    ) -> tuple[dict[Partition, Trouble], set[Partition]]:
        """The partitions whose position belongs to a deleted topic, or is outside of the log: reading on would skip or repeat records.
        And those whose log Kafka does not tell."""
        problems = {}
        for partition, position in taken.items():
            topic_id = topic_ids.get(partition.topic)
            if topic_id is None:
                problems[partition] = topic_missing()
            elif topic_id != position.topic_id:
                problems[partition] = Trouble(
                    say(
                        "alarm.topic_again",
                        "the topic was deleted and made again (id {before} before, {now} now), so offset {offset} may be another record",
                        before=position.topic_id,
                        now=topic_id,
                        offset=position.next_offset,
                    ),
                    say(
                        "todo.topic_again",
                        "to handle the new topic from its start, run `{command}`",
                        command=f"ordersaga topics accept {partition.topic}",
                    ),
                )
        asked = [partition for partition in taken if partition not in problems]
        bounds = await self._consumer.log_bounds(asked)
        for partition, (low, high) in bounds.items():
            at = taken[partition].next_offset
            if not low <= at <= high:
                problems[partition] = Trouble(
                    say(
                        "alarm.outside_log",
                        "the ledger stands at offset {at}, but the log has only {low} to {high}: records were removed before they were "
                        "handled, or the log was truncated",
                        at=at,
                        low=low,
                        high=high,
                    ),
                    say(
                        "todo.outside_log",
                        "find out which records are missing; then, to continue at offset {low}: `{command}`",
                        low=low,
                        command=f"ordersaga topics accept {partition.topic} --partition {partition.partition}",
                    ),
                )
        return problems, set(asked) - bounds.keys()

    def keep(self, records: Sequence[Record]) -> list[Record]:
        """Drop the records of partitions that are not ours, and records that are handled already."""
        positions = self.positions
        kept = []
        for record in records:
            position = positions.get((record.topic, record.partition))  # type: ignore[call-overload]
            if position is not None and record.offset >= position.next_offset:
                kept.append(record)
        return kept

    def unhandled(self, records: Sequence[Record]) -> set[Partition]:
        """The partitions of those records that are not handled yet."""
        return {Partition(each.topic, each.partition) for each in self.keep(records)}

    def is_given(self, partition: Partition) -> bool:
        """Whether the group has given us the partition, read or not."""
        return partition in self.positions or partition in self._to_take

    def has(self, record: Record) -> bool:
        """Whether the record's partition is read."""
        return (record.topic, record.partition) in self.positions

    def ranges_of(self, records: Sequence[Record]) -> list[OffsetRange]:
        """The offset ranges that end behind these records."""
        last = {(record.topic, record.partition): record.offset for record in records}
        ranges = []
        for topic, number in sorted(last):
            partition = Partition(topic, number)
            position = self.positions[partition]
            ranges.append(OffsetRange(partition, position.epoch, position.next_offset, last[partition] + 1))
        return ranges

    def standing(self, partitions: Iterable[Partition]) -> list[OffsetRange]:
        """Empty ranges. They fence a transaction about records that the ledger has passed, such as parked records."""
        ours = [(partition, self.positions[partition]) for partition in sorted(partitions)]
        return [OffsetRange(partition, at.epoch, at.next_offset, at.next_offset) for partition, at in ours]

    def topic_ids_of(self, ranges: Sequence[OffsetRange]) -> dict[str, str]:
        """Kafka's ids of the topics of these ranges."""
        return {each.partition.topic: self.positions[each.partition].topic_id for each in ranges}

    def advance(self, ranges: Sequence[OffsetRange]) -> None:
        """Set the positions to the ledger's new offsets. Call after the commit."""
        for each in ranges:
            position = self.positions.get(each.partition)
            if position is not None and position.epoch == each.epoch:
                position.next_offset = each.next_offset

    async def lost(self, ranges: Sequence[OffsetRange], now: datetime) -> None:
        """Stop reading partitions that another process has taken: these, and those of the others that have another epoch by now.

        If the group does not revoke them within `FENCED_WAIT_S` they are taken again. A process that was frozen needs that long to hear
        of the revocation, and must not take partitions back from their new owner meanwhile. Found one after the other, each at its first record,
        they would wait for that time one after the other.
        """
        await self._wait_for_group([each.partition for each in ranges], now)
        with contextlib.suppress(*DATABASE_ERRORS):  # each is found at its own first record then
            async with self._pool.acquire() as db:
                others = await ledger.taken_by_others(db, self.positions)
            await self._wait_for_group(others, now)

    async def _wait_for_group(self, partitions: Sequence[Partition], now: datetime) -> None:
        await self._consumer.leave(partitions)
        for partition in partitions:
            if self.positions.pop(partition, None) is not None:
                self._to_take[partition] = now + timedelta(seconds=FENCED_WAIT_S)

    @property
    def settled(self) -> bool:
        """Whether the process has joined its group, and each partition that it was given is read or stopped."""
        return self._joined and not self._to_take.keys() - self.stopped.keys()


def _is_table(partition: Partition) -> bool:
    """Whether the partition's topic is read from its first record, whatever `start_at` says."""
    return partition.topic in BY_NAME and BY_NAME[partition.topic].table
