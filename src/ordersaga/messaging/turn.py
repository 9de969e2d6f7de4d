"""One turn of a consumer, and the loop of turns.

Promise: each record changes the database exactly once and its outputs are published at least once, whatever crashes in between: the
ledger's step, the changes and the output records are one transaction, and publishing comes after it. A turn that fails, or whose
commit is in doubt, is not repaired: its partitions are taken again, which reads the truth from the ledger.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from msgspec import Struct

from ordersaga.messaging import outbox, rejects
from ordersaga.messaging.assignment import Assignment, Fenced, Move, fence
from ordersaga.messaging.database import Connection, Pool
from ordersaga.messaging.errors import CannotStart
from ordersaga.messaging.handler import Batch, Handler, Incoming, Record, Rejected
from ordersaga.messaging.health import Alarms, Trouble
from ordersaga.messaging.kafka import KafkaUnavailable, Partition, PartitionConsumer
from ordersaga.messaging.loops import Beat
from ordersaga.messaging.missed import Missed
from ordersaga.messaging.outbox import MessageIds, Outbox
from ordersaga.messaging.parking import Failure, Outcome, Parking, Suspicion, isolate
from ordersaga.messaging.rejects import REJECTED, UNDECODABLE, GivenUp
from ordersaga.messaging.retries import Retries
from ordersaga.messaging.sizes import SetSize
from ordersaga.messaging.sqlstate import is_deployment, is_locked, is_too_large, is_transient
from ordersaga.messaging.watching import Watching
from ordersaga.settings import Settings

log: Final = structlog.get_logger()

IDLE_WAIT_S: Final = 0.2
COMMIT_EVERY_S: Final = 1.0
BACKOFF_MS_MIN: Final = 50
SAY_AGAIN_S: Final = 30.0
LONG_S: Final = 15.0
WARY_S: Final = 30.0
"""So long after a turn waited for a row in vain, turns look out for held rows. Not longer than that at a time: rows that are much in demand
among our own processes look held too."""
LOCK_WAIT_MS: Final = 1_000
LOCKED_MAX: Final = 20
"""Records of one turn that are set aside because somebody holds their rows. Each costs some lock waits, so more mean a smaller turn."""
AWAY_S: Final = 10.0

# Alarms
AWAY: Final = "Kafka away"
FAILED: Final = "turn failed"
LONG: Final = "turn lasts"
SUSPECTED: Final = "bad deployment"


class BadDeployment(Exception):
    """Too many records fail, or in a way no record can be blamed for: nothing is parked, their partitions wait for somebody to mend it.

    `partitions` are those of the records that failed; empty: not known.
    """

    def __init__(self, why: str, partitions: Collection[Partition] = ()) -> None:
        super().__init__(why)
        self.partitions: Final = set(partitions)


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
        self._retries: Final = Retries(
            settings, group, handler, pool, assignment, self._parking, out, clock, new_id, alarms
        )
        self._missed: Final = Missed(pool, assignment, out, clock)
        names = [topic.name for topic in handler.topics]
        self._watching: Final = Watching(names, assignment.topics, consumer, assignment, pool, clock, alarms)
        self._suspicion: Final = Suspicion(settings)
        self._size: Final = SetSize(settings.batch_max)
        self._wary_until_s = 0.0
        self._suspects: Final[dict[Partition, int]] = {}
        self._stopping = False
        self._failures = 0
        self._failed_at = 0.0
        self._told_at = 0.0
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
            self._watching.end()
            # That Kafka is away stays said, with its age, until it answers: the next consumer knows only how long it has waited itself.
            for alarm in (FAILED, LONG):
                self._alarms.tell(alarm, "", None)
            self._cleared(list(self._suspects))
            self._ended = True

    async def _loop(self) -> None:
        wait_s = IDLE_WAIT_S
        while not self._stopping:
            fetched = await self._consumer.fetch(self._size.now, wait_s)
            if fetched.fatal is not None:
                raise KafkaUnavailable(fetched.fatal.str())
            self._assignment.change(fetched.joined, fetched.assigned, fetched.revoked)
            self._began_at = _monotonic_s()
            wait_s = await self.step(fetched.records)
            self._began_at = None
            if (
                fetched.failures
            ):  # after the records that were read before the error, so that the ledger stands at what cannot be read
                await self._watching.failed(fetched.failures)
                if self._may_say_again():
                    log.warning("a partition cannot be read and is looked at again", failure=fetched.failures[0])
            self._say_started()
            self._beat(well=self._assignment.settled and not self._failures)

    async def step(self, records: Sequence[Record]) -> float:
        """Handle what was fetched and return how long the next fetch may wait for its first record."""
        mine: Sequence[Record] = ()
        try:
            if self._outbox.broken:
                self._assignment.doubt()
                await self._outbox.restart()
            # Before partitions are taken: what was fetched of one that is taken again is not what comes next there.
            mine = self._assignment.keep(records)
            if await self._assignment.take(self._clock()):
                await self._retries.learn()
            if mine:
                await self._handle(mine)
            more = await self._retries.look()
            await self._missed.look()
            await self._watching.step()
            await self._tell_lag_tools()
        except Fenced:
            # What of these records was to come in a later turn is read again: the consumer is past it, the ledger is not.
            self._assignment.doubt(self._assignment.unhandled(mine))
            return IDLE_WAIT_S
        except CannotStart:
            raise
        except Exception as error:
            return await self._back_off(error)
        self._recovered(handled=bool(mine))
        return 0.0 if more else IDLE_WAIT_S

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
        # Nothing is asked of Kafka during a turn, which may wait for the database: only the silence before it counts.
        silent_s = max(0.0, self._consumer.silent_s - lasted_s)
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
        todo = "nothing: it is tried again" if passing else "the log has where it failed; it is tried again"
        self._alarms.tell(FAILED, "", Trouble(f"the last turn failed: {trouble}", todo))
        if self._failures == 1 or self._may_say_again():
            log.log(
                30 if passing else 50,
                "a turn failed and is tried again",
                error=trouble,
                exc_info=None if passing else error,
            )
        await self._consumer.leave(self._assignment.doubt())
        return self._backoff_s(self._failures)

    def _backoff_s(self, tries: int) -> float:
        ceiling_ms = min(self._settings.retry_backoff_ms_max, BACKOFF_MS_MIN * 2 ** min(tries, 16))
        return random.uniform(ceiling_ms / 2, ceiling_ms) / 1000

    def _may_say_again(self) -> bool:
        """Whether so much time has passed that a trouble which goes on is worth another line in the log."""
        passed = _monotonic_s() - self._said_at > SAY_AGAIN_S
        if passed:
            self._said_at = _monotonic_s()
        return passed

    # One turn -------------------------------------------------------------------------------------------------------

    async def _handle(self, records: Sequence[Record]) -> None:
        """Handle records in one turn; those of partitions under suspicion in turns of their own, after the others."""
        if not self._suspects:
            await self._turn(records)
            return
        parts: dict[Partition | None, list[Record]] = {None: []}
        for record in records:
            partition = Partition(record.topic, record.partition)
            parts.setdefault(partition if partition in self._suspects else None, []).append(record)
        for part in parts.values():
            if part:
                await self._turn(part)

    async def _turn(self, records: Sequence[Record]) -> None:
        """Handle records as one; if one of them makes that fail, again with care.

        What looks like a bad deployment stops the partitions whose records fail, and no other. An error that is no record's fault and no
        neighbour's is narrowed down by halves, so that whatever a record contains stops at most its own partition.
        """
        incoming, undecodable = rejects.decoded(records)
        work = Work(self._assignment.moves(records), *self._parking.split(incoming), undecodable, self._clock())
        try:
            await self._attempt(work)
        except Fenced:
            log.warning("another process owns a partition now; the batch is dropped", records=len(records))
            await self._assignment.lost(work.moves, work.now)
            raise
        except BadDeployment as error:
            await self._hold_back(records, error)
        except Exception as error:
            if is_transient(error) or isinstance(error, KafkaUnavailable):
                raise
            await self._narrow(records, error)

    async def _attempt(self, work: Work) -> None:
        """All at once; with care if one of them makes that fail, or, for a while after somebody held a row, from the start."""
        count = len(work.incoming) + len(work.waiting) + len(work.undecodable)
        was_wary = self._is_wary
        try:
            with self._size.trying(count):
                await (self._carefully(work, count) if was_wary else self._commit(work, careful=False))
        except Exception as error:
            if is_locked(error) and was_wary:
                raise
            if is_locked(error):
                self._wary_until_s = _monotonic_s() + WARY_S
            elif isinstance(error, Fenced | KafkaUnavailable) or (
                is_transient(error) and not (is_too_large(error) and count == 1)
            ):
                raise
            if is_deployment(error):
                raise BadDeployment(str(error)) from error
            await self._carefully(work, count)

    async def _carefully(self, work: Work, count: int) -> None:
        try:
            await self._commit(work, careful=True)
        except Exception as error:
            if is_locked(error):
                self._size.too_large(count)  # so many wait for rows that finding them takes too long
            raise

    async def _hold_back(self, records: Sequence[Record], error: "BadDeployment") -> None:
        """Stop the partitions of the records that fail, and handle the others."""
        partitions = sorted({Partition(record.topic, record.partition) for record in records})
        guilty = error.partitions or (set(partitions) if len(partitions) == 1 else set())
        if not guilty:
            for partition in partitions:
                await self._turn([each for each in records if partition == (each.topic, each.partition)])
            return
        await self._suspect(guilty, error)
        others = [each for each in records if (each.topic, each.partition) not in guilty]
        if others:
            await self._turn(others)

    async def _suspect(self, partitions: Collection[Partition], error: "BadDeployment") -> None:
        todo = "roll back, migrate, or mend it; nothing was parked, and it is tried again now and then"
        trouble = Trouble(str(error), todo)
        for partition in sorted(partitions):
            if self._alarms.tell(SUSPECTED, str(partition), trouble):
                log.critical(
                    "the partitions are stopped and tried again now and then", where=str(partition), error=str(error)
                )
            self._suspects[partition] = self._suspects.get(partition, 0) + 1
        tries = max(self._suspects[partition] for partition in partitions)
        until = self._clock() + timedelta(seconds=self._backoff_s(tries))
        await self._assignment.hold_back(dict.fromkeys(partitions, trouble), until)

    def _cleared(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            if self._suspects.pop(partition, None) is not None:
                self._alarms.tell(SUSPECTED, str(partition), None)
                log.info("a partition goes on again", where=str(partition))

    async def _narrow(self, records: Sequence[Record], error: Exception) -> None:
        """Find the record that makes a turn fail outside of the handler, and give it up without whatever of it we cannot store."""
        if len(records) > 1:
            middle = len(records) // 2
            await self._turn(records[:middle])
            rest = [each for each in records[middle:] if self._assignment.has(each)]
            if rest:
                await self._turn(rest)
            return
        [record] = records
        reason = f"it can be neither handled nor kept as it is: {type(error).__name__}: {error}"
        log.error("a record makes its turn fail and is given up without its headers", exc_info=error)
        undecodable = [Rejected(rejects.bare(record), reason)]
        try:
            await self._commit(Work(self._assignment.moves(records), [], [], undecodable, self._clock()), careful=False)
        except Exception as again:
            if isinstance(again, Fenced | KafkaUnavailable) or is_transient(again):
                raise
            await self._hold_back(records, BadDeployment(f"offset {record.offset} stops this partition: {again}"))

    async def _commit(self, work: Work, careful: bool) -> None:
        """One transaction: fence, handle, park what failed, write the outbox. Then publish."""
        async with self._pool.acquire() as db, db.transaction():
            block = await fence(db, work.moves)
            outcome = await self._outcome(db, work, careful)
            self._check(outcome, len(work.incoming))
            ids = MessageIds(self._group, self._assignment.topic_ids_of(work.moves), self._new_id)
            rows = outbox.compose(outcome.outgoing, block, ids, self._settings.type_ids)
            waiting = [*work.waiting, *outcome.held]
            await self._parking.put_aside(db, ((each, 0) for each in outcome.locked), work.now)
            await self._parking.park(db, outcome.failed, waiting, work.now)
            given_up = [GivenUp(each, UNDECODABLE) for each in work.undecodable]
            given_up += [GivenUp(each, REJECTED) for each in outcome.rejected]
            if given_up:
                rows += await rejects.give_up(db, given_up, ids, block + len(rows), self._group, work.now)
            await outbox.write(db, rows, outbox.adopt_at(work.now, self._settings))
        self._assignment.advance(work.moves)
        self._parking.note([*outcome.failed, *outcome.locked], waiting)
        self._suspicion.note(len(outcome.failed), len(work.incoming))
        if self._suspects:
            self._cleared(move.partition for move in work.moves)
        _say_parked([*outcome.failed, *outcome.locked])
        await self._outbox.publish(rows, work.now)

    async def _outcome(self, db: Connection, work: Work, careful: bool) -> Outcome:
        batch = Batch(work.incoming, work.now, self._new_id)
        if careful and self._is_wary:
            await db.execute(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}")
            outcome = await isolate(db, self._handler.handle, batch, locked_max=LOCKED_MAX, slow_is_at_fault=True)
            await db.execute("SET LOCAL lock_timeout TO DEFAULT")
            return outcome
        if careful:
            return await isolate(db, self._handler.handle, batch, slow_is_at_fault=True)
        outgoing = await self._handler.handle(batch, db) if work.incoming else []
        return Outcome(outgoing, batch.rejected, [], [])

    @property
    def _is_wary(self) -> bool:
        """Whether a row that records need was held by somebody a moment ago."""
        return _monotonic_s() < self._wary_until_s

    def _check(self, outcome: Outcome, handled: int) -> None:
        if outcome.failed and self._suspicion.confirmed_by(len(outcome.failed), handled):
            first = outcome.failed[0]
            raise BadDeployment(
                f"{len(outcome.failed)} of {handled} records failed, as most before them; this looks like a bad deployment, so nothing "
                f"is parked. The first: {first.cause}: {first.reason}",
                {Partition(each.incoming.record.topic, each.incoming.record.partition) for each in outcome.failed},
            )

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


def _say_parked(failed: Sequence[Failure]) -> None:
    for each in failed:
        at = {
            "topic": each.incoming.record.topic,
            "partition": each.incoming.record.partition,
            "offset": each.incoming.record.offset,
        }
        log.warning("a record is parked", **at, key=str(each.incoming.key), cause=each.cause, reason=each.reason)
