"""What a consumer must look at beside the records it gets: topics that are gone or have no leader, partitions of which nothing comes.

Nothing comes from a log whose end is markers of transactions and aborted records: the ledger then moves on to behind them, so that it
neither lags at rest nor points at what retention has removed. A batch that the client cannot read stops its own partition, with the
command that goes on behind it. All else is an alarm with its age.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from msgspec import Struct

from ordersaga.messaging.assignment import Assignment
from ordersaga.messaging.backoff import is_retriable
from ordersaga.messaging.database import Pool
from ordersaga.messaging.health import Alarms, Trouble
from ordersaga.messaging.kafka import Gap, Partition, PartitionConsumer, Topics, TopicState
from ordersaga.messaging.ledger import Fenced, Move, fence
from ordersaga.messaging.unreadable import Unreadable

log: Final = structlog.get_logger()

LOOK_EVERY_S: Final = 5.0
OPEN_S: Final = 60.0
NOTHING_COMES_LOOKS: Final = 6

# Alarms
MISSING: Final = "topic missing"
LEADERLESS: Final = "no leader"
OPEN: Final = "open transaction"
SILENT: Final = "nothing comes"
NAMES: Final = (MISSING, LEADERLESS, OPEN, SILENT)


class Seen(Struct, frozen=True):
    """One look at Kafka: the topics, and what lies before partitions of which nothing came."""

    states: dict[str, TopicState]
    gaps: dict[Partition, Gap]


class Watching:
    """Runs within the loop of turns: `failed` with what a fetch says, `step` after each turn; looks themselves run beside it."""

    def __init__(
        self,
        names: Sequence[str],
        topics: Topics,
        consumer: PartitionConsumer,
        assignment: Assignment,
        unreadable: Unreadable,
        pool: Pool,
        clock: Callable[[], datetime],
        alarms: Alarms,
    ) -> None:
        self._names: Final = list(names)
        self._topics: Final = topics
        self._consumer: Final = consumer
        self._assignment: Final = assignment
        self._unreadable: Final = unreadable
        self._pool: Final = pool
        self._clock: Final = clock
        self._alarms: Final = alarms
        self._stood: dict[Partition, int] = {}
        self._silent_looks: Final[dict[Partition, int]] = {}
        self._look: asyncio.Task[Seen] | None = None
        self._looked_at_s = 0.0

    # Looks ----------------------------------------------------------------------------------------------------------

    async def step(self) -> None:
        """Take up what a look has seen, and begin the next one. A look that fails is no turn's trouble."""
        try:
            await self._step()
        except Exception as error:
            log.log(
                10 if is_retriable(error) else 40,
                "logs could not be looked at",
                error=f"{type(error).__name__}: {error}",
            )

    async def _step(self) -> None:
        self._unreadable.step()
        if self._look is not None and self._look.done():
            look, self._look = self._look, None
            await self._take_up(look.result())
        now_s = asyncio.get_running_loop().time()
        if self._look is None and now_s - self._looked_at_s > LOOK_EVERY_S:
            self._looked_at_s = now_s
            self._look = asyncio.create_task(self._see(await self._standing()))

    async def _standing(self) -> dict[Partition, int]:
        """The partitions that have not moved since the last look, though their logs go on."""
        now = {partition: position.next_offset for partition, position in self._assignment.positions.items()}
        stood, self._stood = self._stood, now
        still = {partition: at for partition, at in now.items() if stood.get(partition) == at}
        ends = await self._consumer.known_ends(still) if still else {}
        return {partition: at for partition, at in still.items() if ends.get(partition, at) > at}

    async def _see(self, standing: dict[Partition, int]) -> Seen:
        return Seen(await self._topics.states(self._names), await self._consumer.gaps(standing) if standing else {})

    async def _take_up(self, seen: Seen) -> None:
        self._assignment.compare_topics({name: state.topic_id for name, state in seen.states.items()})
        gone = Trouble("the topic does not exist", "create it with `ordersaga topics create`")
        self._raise(MISSING, {name: gone for name in self._names if name not in seen.states})
        leader = Trouble("no broker leads this partition, so nobody can read or write it", "look at Kafka's brokers")
        self._raise(
            LEADERLESS,
            {str(Partition(name, n)): leader for name, state in seen.states.items() for n in state.leaderless},
        )
        await self._move_on(seen.gaps)
        self._tell_open(seen.gaps)
        self._tell_silent(seen.gaps)

    def _raise(self, alarm: str, found: dict[str, Trouble]) -> None:
        for where in self._alarms.only(alarm, found):
            log.error(alarm, where=where, what=found[where].what)

    async def _move_on(self, gaps: dict[Partition, Gap]) -> None:
        """Move the ledger past what is no record. Not past what retention has removed: that may have been records."""
        moves = []
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
                moves.append(Move(partition, position.epoch, gap.position, gap.empty_until))
        if not moves:
            return
        try:
            async with self._pool.acquire() as db, db.transaction():
                await fence(db, moves)
        except Fenced:
            await self._assignment.lost(moves, self._clock())
            return
        except Exception:  # whether it was committed is not known
            self._assignment.doubt([move.partition for move in moves])
            raise
        self._assignment.advance(moves)

    def _tell_open(self, gaps: dict[Partition, Gap]) -> None:
        now, found = self._clock(), {}
        since: dict[str, datetime] = {}
        for partition, gap in gaps.items():
            if not gap.is_open or gap.open_ms is None or gap.has_records:
                continue
            where = str(partition)
            since[where] = datetime.fromtimestamp(gap.open_ms / 1000, UTC) if 0 <= gap.open_ms < 1e14 else now
            if now - since[where] > timedelta(seconds=OPEN_S):
                what = f"a transaction that began at offset {gap.stable} is still open; nothing behind it can be read"
                found[where] = Trouble(what, "find its producer, or end it: `kafka-transactions.sh find-hanging`")
        self._raise(OPEN, found)
        for where, trouble in found.items():
            self._alarms.tell(OPEN, where, trouble, since[where])

    def _tell_silent(self, gaps: dict[Partition, Gap]) -> None:
        """Records lie before us, look after look, and none comes: say so, and read the partition anew."""
        for partition in [each for each in self._silent_looks if each not in gaps]:
            del self._silent_looks[partition]
        found = {}
        for partition, gap in gaps.items():
            if self._unreadable.has(partition) or not (gap.has_records or gap.why):
                continue
            self._silent_looks[partition] = self._silent_looks.get(partition, 0) + 1
            if self._silent_looks[partition] >= NOTHING_COMES_LOOKS:
                what = gap.why or f"records lie from offset {gap.first} on, and none of them comes"
                found[str(partition)] = Trouble(what, "look at the broker that leads it; it is read anew")
                self._assignment.doubt([partition])
        self._raise(SILENT, found)

    def end(self) -> None:
        """Stop looking, and take all alarms back."""
        if self._look is not None:
            self._look.cancel()
        self._unreadable.end()
        for alarm in NAMES:
            self._alarms.only(alarm, {})
