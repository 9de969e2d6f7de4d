"""One turn of a consumer, and the loop of turns.

Promise: each record changes the database exactly once and its outputs are published at least once, whatever crashes in between: the
ledger's step, the changes and the output records are one transaction, and publishing comes after it. A turn that fails, or whose
commit is in doubt, is not repaired: its partitions are taken again, which reads the truth from the ledger.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from msgspec import Struct

from ordersaga.contracts.codec import Undecodable, decode
from ordersaga.messaging import dead_letters, outbox
from ordersaga.messaging.assignment import Assignment, Fenced, Move, fence
from ordersaga.messaging.database import Connection, Pool, is_deployment, is_transient
from ordersaga.messaging.dead_letters import DeadLetter
from ordersaga.messaging.handler import Batch, Handler, Incoming, Record, Rejected
from ordersaga.messaging.health import Alarms, Trouble
from ordersaga.messaging.kafka import KafkaUnavailable, Partition, PartitionConsumer
from ordersaga.messaging.loops import Beat
from ordersaga.messaging.outbox import MessageIds, Outbox, OutboxRow
from ordersaga.messaging.parking import Failure, Outcome, Parked, Parking, Suspicion, isolate, place
from ordersaga.settings import Settings

log: Final = structlog.get_logger()

IDLE_WAIT_S: Final = 0.2
COMMIT_EVERY_S: Final = 1.0
LOOK_AT_PARKED_EVERY_S: Final = 0.5
LOOK_AT_TOPICS_EVERY_S: Final = 5.0
BACKOFF_MS_MIN: Final = 50
SAY_AGAIN_S: Final = 30.0
LONG_S: Final = 15.0
AWAY_S: Final = 10.0

# Alarms
AWAY: Final = "Kafka away"
FAILED: Final = "turn failed"
LONG: Final = "turn lasts"

UNDECODABLE: Final = "Undecodable"
REJECTED: Final = "Rejected"


class BadDeployment(Exception):
    """Too many records fail, or in a way no record can be blamed for: nothing is parked, the partitions wait for somebody to mend it."""


class Work(Struct, frozen=True):
    """What one turn has before it: records to handle, records that queue behind parked ones, records that are no messages."""

    moves: Sequence[Move]
    incoming: Sequence[Incoming]
    waiting: Sequence[Incoming]
    undecodable: Sequence[Rejected]
    now: datetime


class Turns:
    """Runs a handler over its topics' records until `stop`."""

    def __init__(
        self,
        settings: Settings,
        group: str,
        handler: Handler,
        pool: Pool,
        consumer: PartitionConsumer,
        assignment: Assignment,
        out: Outbox,
        clock: Callable[[], datetime],
        new_id: Callable[[], UUID],
        alarms: Alarms,
        beat: Beat,
    ) -> None:
        self._settings: Final = settings
        self._alarms: Final = alarms
        self._beat: Final = beat
        self._group: Final = group
        self._handler: Final = handler
        self._pool: Final = pool
        self._consumer: Final = consumer
        self._assignment: Final = assignment
        self._outbox: Final = out
        self._clock: Final = clock
        self._new_id: Final = new_id
        self._parking: Final = Parking(settings)
        self._suspicion: Final = Suspicion(settings)
        self._stopping = False
        self._failures = 0
        self._failed_at = 0.0
        self._told_at = 0.0
        self._looked_at = 0.0
        self._looked_at_topics_at = 0.0
        self._topics_look: asyncio.Task[dict[str, str | None]] | None = None
        self._said_at = -SAY_AGAIN_S
        self._began_at: float | None = None
        self._ended = False
        self._started = False

    def stop(self) -> None:
        """End after the turn under way."""
        self._stopping = True

    async def run(self) -> None:
        """Take what is there, handle it, and so on. Raises only what no retry can mend."""
        try:
            await self._loop()
        finally:
            if self._topics_look is not None:
                self._topics_look.cancel()
            for alarm in (AWAY, FAILED, LONG):
                self._alarms.tell(alarm, "", None)
            self._ended = True

    async def _loop(self) -> None:
        wait_s = IDLE_WAIT_S
        while not self._stopping:
            fetched = await self._consumer.fetch(self._settings.batch_max, wait_s)
            if fetched.fatal is not None:
                raise KafkaUnavailable(fetched.fatal.str())
            if fetched.failures:
                self._assignment.doubt(partition for partition, _ in fetched.failures)
                if self._may_say_again():
                    log.warning("a partition cannot be read and is looked at again", failure=fetched.failures[0])
            self._assignment.change(fetched.joined, fetched.assigned, fetched.revoked)
            self._began_at = _monotonic_s()
            wait_s = await self.step(fetched.records)
            self._began_at = None
            self._say_started()
            self._beat(well=self._assignment.settled and not self._failures)

    async def step(self, records: Sequence[Record]) -> float:
        """Handle what was fetched and return how long the next fetch may wait for its first record."""
        try:
            if self._outbox.broken:
                self._assignment.doubt()
                await self._outbox.restart()
            if await self._assignment.take(self._clock()):
                await self._learn_parked()
            mine = self._assignment.keep(records)
            if mine:
                await self._turn(mine)
            await self._look_at_parked()
            self._look_at_topics()
            await self._tell_lag_tools()
        except Fenced:
            return IDLE_WAIT_S
        except Exception as error:
            return await self._back_off(error)
        self._recovered(handled=bool(mine))
        return IDLE_WAIT_S

    def _say_started(self) -> None:
        if self._started or not self._assignment.settled:
            return
        self._started = True
        log.info(
            "started: records are taken",
            group=self._group,
            topics=len(self._handler.topics),
            partitions=len(self._assignment.positions),
            stopped=len(self._assignment.stopped),
        )

    async def look(self) -> None:
        """Raise, or end, the alarms that a turn cannot raise itself: that it does not end, or that nothing at all comes from Kafka."""
        if self._ended:
            return
        now, lasted_s = self._clock(), 0.0 if self._began_at is None else _monotonic_s() - self._began_at
        what = f"the turn under way has lasted for {lasted_s:.0f} s"
        long = Trouble(what, "look at what its database connection waits for (pg_stat_activity)")
        if self._alarms.tell(LONG, "", long if lasted_s > LONG_S else None, now - timedelta(seconds=lasted_s)):
            log.warning(what)
        silent_s = self._consumer.silent_s
        away = Trouble("Kafka does not answer", f"look at Kafka at {self._settings.kafka_bootstrap_servers}")
        self._alarms.tell(AWAY, "", away if silent_s > AWAY_S else None, now - timedelta(seconds=silent_s))

    def _recovered(self, handled: bool) -> None:
        """Forget a trouble: when records were handled again, or when none of what failed has come back for so long that it is not ours."""
        quiet_s = _monotonic_s() - self._failed_at
        if self._failures and (handled or quiet_s > 2 * self._settings.retry_backoff_ms_max / 1000):
            log.info("going on again", failures=self._failures)
            self._failures = 0
            self._alarms.tell(FAILED, "", None)

    async def _back_off(self, error: Exception) -> float:
        """Read nothing for a growing while, in which the process stays in its group by polling, then take everything again."""
        passing = isinstance(error, KafkaUnavailable) or is_transient(error)
        self._failures += 1
        self._failed_at = _monotonic_s()
        trouble = f"{type(error).__name__}: {error}"
        todo = "nothing: it is tried again" if passing else "roll back, migrate, or mend it; nothing was parked"
        self._alarms.tell(FAILED, "", Trouble(f"the last turn failed: {trouble}", todo))
        if self._failures == 1 or self._may_say_again():
            said = (
                "a turn failed and is tried again"
                if passing
                else "the partitions are stopped and tried again now and then"
            )
            log.log(30 if passing else 50, said, error=trouble, exc_info=None if passing else error)
        await self._consumer.leave(self._assignment.doubt())
        ceiling_ms = min(self._settings.retry_backoff_ms_max, BACKOFF_MS_MIN * 2 ** min(self._failures, 16))
        return random.uniform(ceiling_ms / 2, ceiling_ms) / 1000

    def _may_say_again(self) -> bool:
        """Whether so much time has passed that a trouble which goes on is worth another line in the log."""
        passed = _monotonic_s() - self._said_at > SAY_AGAIN_S
        if passed:
            self._said_at = _monotonic_s()
        return passed

    # One turn -------------------------------------------------------------------------------------------------------

    async def _turn(self, records: Sequence[Record]) -> None:
        """Handle records as one; if one of them makes that fail, again with care."""
        incoming, undecodable = _decoded(records)
        work = Work(self._assignment.moves(records), *self._parking.split(incoming), undecodable, self._clock())
        try:
            await self._commit(work, careful=False)
        except Fenced:
            log.warning("another process owns a partition now; the batch is dropped", records=len(records))
            await self._assignment.lost(work.moves, work.now)
            raise
        except Exception as error:
            if is_transient(error) or isinstance(error, KafkaUnavailable):
                raise
            if is_deployment(error):
                raise BadDeployment(str(error)) from error
            await self._commit(work, careful=True)

    async def _commit(self, work: Work, careful: bool) -> None:
        """One transaction: fence, handle, park what failed, write the outbox. Then publish."""
        async with self._pool.acquire() as db, db.transaction():
            block = await fence(db, work.moves)
            outcome = await self._outcome(db, work, careful)
            self._check(outcome, len(work.incoming))
            ids = self._message_ids(work.moves)
            rows = outbox.compose(outcome.outgoing, block, ids, self._settings.type_ids)
            waiting = [*work.waiting, *outcome.held]
            await self._parking.park(db, outcome.failed, waiting, work.now)
            letters = [_letter(each, UNDECODABLE, ids) for each in work.undecodable]
            letters += [_letter(each, REJECTED, ids) for each in outcome.rejected]
            rows += await self._dead(db, letters, block + len(rows), work.now)
            await outbox.write(db, rows, outbox.adopt_at(work.now, self._settings))
        self._assignment.advance(work.moves)
        self._parking.note(outcome.failed, waiting)
        self._suspicion.note(len(outcome.failed), len(work.incoming))
        _say_parked(outcome.failed)
        await self._outbox.publish(rows, work.now)

    async def _outcome(self, db: Connection, work: Work, careful: bool) -> Outcome:
        batch = Batch(work.incoming, work.now, self._new_id)
        if careful:
            return await isolate(db, self._handler.handle, batch)
        outgoing = await self._handler.handle(batch, db) if work.incoming else []
        return Outcome(outgoing, batch.rejected, [], [])

    def _check(self, outcome: Outcome, handled: int) -> None:
        if outcome.failed and self._suspicion.confirmed_by(len(outcome.failed), handled):
            first = outcome.failed[0]
            raise BadDeployment(
                f"{len(outcome.failed)} of {handled} records failed, as most before them; this looks like a bad deployment, so nothing "
                f"is parked. The first: {first.cause}: {first.reason}"
            )

    def _message_ids(self, moves: Sequence[Move]) -> MessageIds:
        topic_ids = {move.partition.topic: self._assignment.positions[move.partition].topic_id for move in moves}
        return MessageIds(self._group, topic_ids, self._new_id)

    async def _dead(self, db: Connection, letters: list[DeadLetter], block: int, now: datetime) -> list[OutboxRow]:
        await dead_letters.keep(db, letters, now)
        return [outbox.letter_row(each, block + n, self._group) for n, each in enumerate(letters)]

    # Parked records -------------------------------------------------------------------------------------------------

    async def _learn_parked(self) -> None:
        async with self._pool.acquire() as db:
            await self._parking.load(db, self._assignment.positions)

    async def _look_at_parked(self) -> None:
        """Try again what is due. A queue's next record is due at once, so a mended queue drains without waits."""
        if _monotonic_s() - self._looked_at < LOOK_AT_PARKED_EVERY_S or not self._assignment.positions:
            return
        await self._learn_parked()
        while self._parking.holds_any:
            now = self._clock()
            async with self._pool.acquire() as db:
                due = await self._parking.due(db, self._assignment.positions, now)
            if not due:
                break
            await self._retry(due, now)
            await self._learn_parked()
        self._looked_at = _monotonic_s()

    async def _retry(self, due: Sequence[Parked], now: datetime) -> None:
        """A fenced turn over parked records: what succeeds leaves, what fails waits longer or becomes a dead letter."""
        moves = self._assignment.standing({Partition(each.record.topic, each.record.partition) for each in due})
        try:
            async with self._pool.acquire() as db, db.transaction():
                block = await fence(db, moves)
                rows = await self._retried(db, await self._parking.lock(db, due), block, self._message_ids(moves), now)
                await outbox.write(db, rows, outbox.adopt_at(now, self._settings))
        except Fenced:
            await self._assignment.lost(moves, now)
            raise
        await self._outbox.publish(rows, now)

    async def _retried(
        self, db: Connection, due: Sequence[Parked], block: int, ids: MessageIds, now: datetime
    ) -> list[OutboxRow]:
        parked = {place(each.record): each for each in due}

        def tries(record: Record) -> int:
            return parked[place(record)].attempts + 1

        incoming, undecodable = _decoded([each.record for each in due])
        outcome = await isolate(db, self._handler.handle, Batch(incoming, now, self._new_id))
        self._check(outcome, len(incoming))
        rows = outbox.compose(outcome.outgoing, block, ids, self._settings.type_ids)
        letters = [_letter(each, UNDECODABLE, ids, tries(each.record)) for each in undecodable]
        letters += [_letter(each, REJECTED, ids, tries(each.record)) for each in outcome.rejected]
        stay = set()
        for failure in outcome.failed:
            record = failure.incoming.record
            if self._parking.gives_up(parked[place(record)]):
                letters.append(_letter(Rejected(record, failure.reason), failure.cause, ids, tries(record)))
            else:
                stay.add(place(record))
                await self._parking.park(db, [failure], [], now, tries(record))
        await self._parking.unpark(db, (each.record for each in due if place(each.record) not in stay), now)
        return rows + await self._dead(db, letters, block + len(rows), now)

    def _look_at_topics(self) -> None:
        """A topic made again under our eyes must not be read on as if it were the old one. Turns go on while Kafka is asked."""
        if self._topics_look is not None and self._topics_look.done():
            look, self._topics_look = self._topics_look, None
            self._assignment.compare_topics(look.result())
        due = _monotonic_s() - self._looked_at_topics_at > LOOK_AT_TOPICS_EVERY_S
        if self._topics_look is None and due and self._assignment.positions:
            self._looked_at_topics_at = _monotonic_s()
            self._topics_look = asyncio.create_task(self._assignment.topic_ids())

    # Lag tools ------------------------------------------------------------------------------------------------------

    async def _tell_lag_tools(self) -> None:
        if _monotonic_s() - self._told_at > COMMIT_EVERY_S:
            await self.tell_position()

    async def tell_position(self) -> None:
        """Tell Kafka how far we are, for lag tools."""
        self._told_at = _monotonic_s()
        if self._assignment.positions:
            await self._consumer.commit({each: at.next_offset for each, at in self._assignment.positions.items()})


def _monotonic_s() -> float:
    """The event loop's clock, so that a simulation with a loop of its own decides how time passes."""
    return asyncio.get_running_loop().time()


def _decoded(records: Sequence[Record]) -> tuple[list[Incoming], list[Rejected]]:
    incoming, undecodable = [], []
    for record in records:
        try:
            incoming.append(Incoming(decode(record.topic, record.value), record))
        except Undecodable as error:
            undecodable.append(Rejected(record, str(error)))
    return incoming, undecodable


def _letter(rejected: Rejected, cause: str, ids: MessageIds, attempts: int = 1) -> DeadLetter:
    record, reason = rejected.record, rejected.reason
    at = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    log.warning("a record is a dead letter", **at, cause=cause, reason=reason, attempts=attempts)
    message_id, causation_id, traceparent = ids.of_record(record, -attempts)
    return DeadLetter(message_id, causation_id, traceparent, record, cause, reason, attempts)


def _say_parked(failed: Sequence[Failure]) -> None:
    for each in failed:
        at = {
            "topic": each.incoming.record.topic,
            "partition": each.incoming.record.partition,
            "offset": each.incoming.record.offset,
        }
        log.warning("a record is parked", **at, key=str(each.incoming.key), cause=each.cause, reason=each.reason)
