"""Checks topics and logs: finds missing topics, partitions without a leader, and partitions that deliver no record.

A log may end with transaction markers and aborted records, which no consumer gets. The ledger then advances past them: otherwise it would lag
for ever, and later point at offsets that retention has removed. Everything else is an alarm with its age.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from msgspec import Struct

from ordersaga.messaging.backoff import is_retriable
from ordersaga.messaging.consumer_parts import ConsumerParts
from ordersaga.messaging.health import Trouble, topic_missing
from ordersaga.messaging.kafka import Gap, Partition, TopicState
from ordersaga.messaging.ledger import Fenced, OffsetRange, fence
from ordersaga.messaging.measures import LAG
from ordersaga.messaging.unreadable import Unreadable
from ordersaga.said import say

log: Final = structlog.get_logger()

CHECK_EVERY_S: Final = 5.0
OPEN_S: Final = 60.0
SILENT_CHECKS_MAX: Final = 6
UNASSIGNED_CHECKS_MAX: Final = 3
SHOWN_MAX: Final = 5

# Alarms
MISSING: Final = "topic missing"
LEADERLESS: Final = "no leader"
OPEN: Final = "open transaction"
SILENT: Final = "nothing comes"
ALARMS: Final = (MISSING, LEADERLESS, OPEN, SILENT)


class Checked(Struct, frozen=True):
    """The result of one check: the topics, the gaps of partitions that stand still, and the partitions that the group assigned to no member."""

    states: dict[str, TopicState]
    gaps: dict[Partition, Gap]
    unassigned: list[Partition]


class Watching:
    """`step` once a round. A check asks Kafka in a task of its own, so that turns go on meanwhile."""

    def __init__(self, parts: ConsumerParts, unreadable: Unreadable) -> None:
        self._group: Final = parts.group
        self._names: Final = [topic.name for topic in parts.handler.topics]
        self._topics: Final = parts.assignment.topics
        self._consumer: Final = parts.consumer
        self._assignment: Final = parts.assignment
        self._unreadable: Final = unreadable
        self._pool: Final = parts.pool
        self._clock: Final = parts.clock
        self._alarms: Final = parts.alarms
        self._positions: dict[Partition, int] = {}
        self._silent_checks: Final[dict[Partition, int]] = {}
        self._unassigned_checks = 0
        self.why_join_again: str | None = None
        self._check: asyncio.Task[Checked] | None = None
        self._checked_at_s = 0.0

    async def step(self) -> None:
        """Act on the result of the last check, and start the next check. An error of a check is logged and does not end the round."""
        try:
            await self._step()
        except Exception as error:
            log.log(
                10 if is_retriable(error) else 40,
                "topics and logs could not be checked",
                error=f"{type(error).__name__}: {error}",
            )

    async def _step(self) -> None:
        self._unreadable.step()
        if self._check is not None and self._check.done():
            check, self._check = self._check, None
            await self._act_on(check.result())
        now_s = asyncio.get_running_loop().time()
        if self._check is None and now_s - self._checked_at_s > CHECK_EVERY_S:
            self._checked_at_s = now_s
            self._check = asyncio.create_task(self._ask(await self._standing_still()))

    async def _standing_still(self) -> dict[Partition, int]:
        """The partitions whose position is the same as at the last check, although their log goes on behind it."""
        now = {partition: position.next_offset for partition, position in self._assignment.positions.items()}
        before, self._positions = self._positions, now
        ends = await self._consumer.known_ends(now) if now else {}
        behind = {partition: max(0, ends.get(partition, at) - at) for partition, at in now.items()}
        for topic in self._names:
            LAG.labels(topic).set(sum(lag for partition, lag in behind.items() if partition.topic == topic))
        return {partition: at for partition, at in now.items() if before.get(partition) == at and behind[partition]}

    async def _ask(self, standing: dict[Partition, int]) -> Checked:
        states = await self._topics.states(self._names)
        gaps = await self._consumer.gaps(standing) if standing else {}
        return Checked(states, gaps, await self._unassigned(states))

    async def _unassigned(self, states: dict[str, TopicState]) -> list[Partition]:
        """Asks Kafka only where other members should have partitions: a process that has all of them sends no request."""
        every = [Partition(name, number) for name, state in states.items() for number in range(state.partitions)]
        others = [partition for partition in every if not self._assignment.is_given(partition)]
        if not others or not self._assignment.settled:
            return []
        assigned = await self._topics.assigned(self._group)
        return [] if assigned is None else [partition for partition in others if partition not in assigned]

    async def _act_on(self, checked: Checked) -> None:
        self._assignment.compare_topics({name: state.topic_id for name, state in checked.states.items()})
        gone = topic_missing()
        self._raise(MISSING, {name: gone for name in self._names if name not in checked.states})
        leader = Trouble(
            say("alarm.leaderless", "the partition has no leader, so it can be neither read nor written"),
            say("todo.leaderless", "check that the brokers with its replicas are up"),
        )
        self._raise(
            LEADERLESS,
            {str(Partition(name, n)): leader for name, state in checked.states.items() for n in state.leaderless},
        )
        await self._skip_gaps(checked.gaps)
        self._find_open(checked.gaps)
        self._find_silent(checked.gaps)
        self._find_unassigned(checked.unassigned)

    def _raise(self, alarm: str, found: dict[str, Trouble]) -> None:
        for where in self._alarms.only(alarm, found):
            log.error(alarm, where=where, what=found[where].what)

    async def _skip_gaps(self, gaps: dict[Partition, Gap]) -> None:
        """Advance the ledger past offsets without a record. Not past offsets that retention has removed: they may have been records."""
        ranges = []
        for partition, gap in gaps.items():
            position = self._assignment.positions.get(partition)
            if (
                position is None
                or position.next_offset != gap.position
                or gap.why is not None
                or gap.low > gap.position
            ):
                continue
            if gap.empty_until > gap.position:
                ranges.append(OffsetRange(partition, position.epoch, gap.position, gap.empty_until))
        if not ranges:
            return
        try:
            async with self._pool.acquire() as db, db.transaction():
                await fence(db, ranges)
        except Fenced:
            await self._assignment.lost(ranges, self._clock())
            return
        except Exception:  # the commit's outcome is unknown
            self._assignment.doubt([each.partition for each in ranges])
            raise
        self._assignment.advance(ranges)

    def _find_open(self, gaps: dict[Partition, Gap]) -> None:
        now, found = self._clock(), {}
        since: dict[str, datetime] = {}
        for partition, gap in gaps.items():
            if not gap.is_open or gap.open_ms is None or gap.has_records:
                continue
            where = str(partition)
            since[where] = datetime.fromtimestamp(gap.open_ms / 1000, UTC) if 0 <= gap.open_ms < 1e14 else now
            if now - since[where] > timedelta(seconds=OPEN_S):
                what = say(
                    "alarm.open_transaction",
                    "a transaction that began at offset {offset} is still open; no record behind it can be read",
                    offset=gap.stable,
                )
                todo = say(
                    "todo.open_transaction",
                    "find its producer, or end the transaction: `kafka-transactions.sh find-hanging`",
                )
                found[where] = Trouble(what, todo)
        self._raise(OPEN, found)
        for where, trouble in found.items():
            self._alarms.tell(OPEN, where, trouble, since[where])

    def _find_silent(self, gaps: dict[Partition, Gap]) -> None:
        """After `SILENT_CHECKS_MAX` checks that found records of which none was delivered: raise the alarm and take the partition again."""
        for partition in [each for each in self._silent_checks if each not in gaps]:
            del self._silent_checks[partition]
        found = {}
        for partition, gap in gaps.items():
            if self._unreadable.has(partition) or not (gap.has_records or gap.why):
                continue
            self._silent_checks[partition] = self._silent_checks.get(partition, 0) + 1
            if self._silent_checks[partition] >= SILENT_CHECKS_MAX:
                what = gap.why or say(
                    "alarm.silent",
                    "the log has records from offset {first} on, and none of them is delivered",
                    first=gap.first or 0,
                )
                todo = say(
                    "todo.silent", "check the broker that leads the partition; meanwhile the partition is taken again"
                )
                found[str(partition)] = Trouble(what, todo)
                self._assignment.doubt([partition])
        self._raise(SILENT, found)

    def _find_unassigned(self, partitions: Sequence[Partition]) -> None:
        """After `UNASSIGNED_CHECKS_MAX` checks that found partitions without a member: say so in `why_join_again`.

        A static member that comes back after a kill gets the assignment from before the kill, and Kafka does not rebalance. Partitions that
        were added while the member was away, or whose topic was just made again, would have no reader until the next rebalance.
        """
        self._unassigned_checks = self._unassigned_checks + 1 if partitions else 0
        if self._unassigned_checks >= UNASSIGNED_CHECKS_MAX:
            some = ", ".join(map(str, sorted(partitions)[:SHOWN_MAX]))
            self.why_join_again = (
                f"the group {self._group} has assigned {len(partitions)} partitions to no member ({some})"
            )

    def end(self) -> None:
        """Cancel the check, and clear the alarms."""
        if self._check is not None:
            self._check.cancel()
        self._unreadable.end()
        LAG.clear()
        for alarm in ALARMS:
            self._alarms.only(alarm, {})
