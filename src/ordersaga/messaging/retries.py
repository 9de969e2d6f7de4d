"""Retries of parked records, between the turns. Parked records never stop new ones.

A round retries the first record of some due queues in one fenced transaction, bounded in rows and time; then the next turn begins.
Records that fail again say nothing about the deployment. A round that fails as a whole, by a slow statement or a missing column, raises an
alarm, delays the next round, and makes it smaller. A record that fails a round of its own is postponed, so that the others are tried.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog

from ordersaga.messaging import measures, outbox_rows, spans
from ordersaga.messaging.consumer_parts import ConsumerParts
from ordersaga.messaging.database import Connection
from ordersaga.messaging.dead_letters import REJECTED, UNDECODABLE, GivenUp
from ordersaga.messaging.handler import Batch, Record, Rejected, decoded
from ordersaga.messaging.health import Trouble
from ordersaga.messaging.ids import MessageIds
from ordersaga.messaging.isolation import HandledBatch, isolate
from ordersaga.messaging.kafka import Partition
from ordersaga.messaging.ledger import Fenced, fence
from ordersaga.messaging.log_limit import LogLimit
from ordersaga.messaging.outbox_rows import OutboxRow
from ordersaga.messaging.parking import Parked
from ordersaga.messaging.queries import queries
from ordersaga.messaging.spans import Outcome
from ordersaga.messaging.sqlstate import is_connection_lost
from ordersaga.said import say
from ordersaga.tracing import exporting

log: Final = structlog.get_logger()
sql: Final = queries(__file__)

RETRY_EVERY_S: Final = 0.5
ROWS_MAX: Final = 200
ROUND_S_MAX: Final = 0.5
STATEMENT_MS_MAX: Final = 3_000
LOCK_MS_MAX: Final = 100
BACKOFF_S_MAX: Final = 30.0
ALARM: Final = "retries"


class Retries:
    """Retries the parked records of this process's partitions. `step` raises no error that ends a round of the consuming loop."""

    def __init__(self, parts: ConsumerParts) -> None:
        self._settings: Final = parts.settings
        self._group: Final = parts.group
        self._handler: Final = parts.handler
        self._pool: Final = parts.pool
        self._assignment: Final = parts.assignment
        self._parking: Final = parts.parking
        self._outbox: Final = parts.outbox
        self._clock: Final = parts.clock
        self._new_id: Final = parts.new_id
        self._alarms: Final = parts.alarms
        self._rows_max = ROWS_MAX
        self._learned_at_s = self._not_before_s = 0.0
        self._log_limit: Final = LogLimit()
        self._failures = 0
        self.any_parked = False
        """Whether the service has parked records, as of the last look."""

    async def learn(self) -> None:
        """Read from the database which keys are parked. Raises database errors."""
        async with self._pool.acquire() as db:
            await self._parking.load(db, self._assignment.positions)
        self._learned_at_s = _now_s()

    async def step(self) -> bool:
        """Retry some due records. Returns whether more may be due, so that the next turn need not wait for records."""
        if _now_s() < self._not_before_s or not self._assignment.positions:
            return False
        due: Sequence[Parked] = ()
        now = self._clock()
        try:
            if (self.any_parked or self._parking.holds_any) and _now_s() - self._learned_at_s >= RETRY_EVERY_S:
                await self.learn()
            if self._parking.holds_any:
                due = await self._due(now)
            if due:
                await self._retry(due, now)
        except Fenced:
            log.warning("another process owns a partition now; the retry of its parked records is rolled back")
        except Exception as error:
            if is_connection_lost(error):
                # The commit's outcome is unknown, and a restarted server may have lost commits: take the partitions again.
                self._assignment.doubt()
            await self._postpone(due, error)
            return False
        self._succeeded()
        self._not_before_s = _now_s() + (0.0 if due else RETRY_EVERY_S)
        return bool(due)

    async def _due(self, now: datetime) -> list[Parked]:
        async with self._pool.acquire() as db:
            return await self._parking.due(db, self._assignment.positions, now, self._rows_max)

    async def _retry(self, due: Sequence[Parked], now: datetime) -> None:
        """One fenced transaction: records that succeed are unparked, those that fail wait longer or become dead letters."""
        ranges = self._assignment.standing({Partition(each.record.topic, each.record.partition) for each in due})
        try:
            async with self._pool.acquire() as db, db.transaction():
                await sql.bound_statements(
                    db,
                    statement_ms=str(min(STATEMENT_MS_MAX, self._settings.statement_timeout_ms)),
                    lock_ms=str(min(LOCK_MS_MAX, self._settings.lock_timeout_ms)),
                )
                block = await fence(db, ranges)
                tried, given_up = await self._retried(db, await self._parking.lock(db, due), now)
                ids = MessageIds(self._group, self._assignment.topic_ids_of(ranges), self._new_id)
                rows = await outbox_rows.write_output(db, tried.outgoing, now, ids, self._settings, given_up, block)
        except Fenced:
            await self._assignment.lost(ranges, now)
            raise
        await self._outbox.publish(rows, now)
        self._tell(due, tried, given_up, rows, now)

    def _tell(
        self,
        due: Sequence[Parked],
        tried: HandledBatch,
        given_up: Sequence[GivenUp],
        rows: Sequence[OutboxRow],
        now: datetime,
    ) -> None:
        """Add each try of a record to the metrics, and export its span."""
        untried = {each.record.coordinates for each in (*tried.untried, *tried.queued)}
        attempts = {each.record.coordinates: each.attempts + 1 for each in due}
        outcomes = {each: Outcome(spans.HANDLED, attempt=attempt) for each, attempt in attempts.items()}
        for failed in (*tried.failed, *tried.locked):
            at = failed.incoming.record.coordinates
            outcomes[at] = Outcome(spans.PARKED, failed.reason, attempts[at])
        for each in given_up:
            at = each.rejected.record.coordinates
            outcomes[at] = Outcome(spans.DEAD_LETTER, each.rejected.reason, each.attempts)
        records = [(each.record, None) for each in due if each.record.coordinates not in untried]
        measures.count((record for record, _ in records), outcomes)
        if exporting() is not None:
            spans.of_turn(self._group, now, records, rows, outcomes)

    async def _retried(
        self, db: Connection, due: Sequence[Parked], now: datetime
    ) -> tuple[HandledBatch, list[GivenUp]]:
        """Handle the records and change their parked rows. Returns what the handler did, and the records that are given up."""
        parked = {each.record.coordinates: each for each in due}

        def tries(record: Record) -> int:
            return parked[record.coordinates].attempts + 1

        incoming, undecodable = decoded([each.record for each in due])
        until_s = _now_s() + ROUND_S_MAX
        handled = await isolate(
            db, self._handler.handle, Batch(incoming, now, self._new_id), lambda: _now_s() > until_s, len(incoming)
        )
        given_up = [GivenUp(each, UNDECODABLE, tries(each.record)) for each in undecodable]
        given_up += [GivenUp(each, REJECTED, tries(each.record)) for each in handled.rejected]
        stay = {each.record.coordinates for each in (*handled.untried, *handled.queued)}
        stay |= {each.incoming.record.coordinates for each in handled.locked}
        locked = [(each, parked[each.incoming.record.coordinates].attempts) for each in handled.locked]
        await self._parking.put_aside(db, locked, now)
        for failure in handled.failed:
            record = failure.incoming.record
            if self._parking.gives_up(parked[record.coordinates]):
                given_up.append(GivenUp(Rejected(record, failure.reason), failure.cause, tries(record)))
            else:
                stay.add(record.coordinates)
                await self._parking.park(db, [failure], [], now, tries(record))
        await self._parking.unpark(db, (each.record for each in due if each.record.coordinates not in stay), now)
        return handled, given_up

    async def _postpone(self, due: Sequence[Parked], error: Exception) -> None:
        """Make the next round smaller, and delay it. After a round of one record, postpone this record instead."""
        alone = due[0] if len(due) == 1 else None
        self._rows_max = max(1, len(due) // 4)
        self._failures += 1
        wait_s = 0.0 if alone else min(BACKOFF_S_MAX, RETRY_EVERY_S * 2 ** min(self._failures, 16))
        self._not_before_s = _now_s() + max(RETRY_EVERY_S, wait_s)
        text = f"{type(error).__name__}: {error}"
        trouble = Trouble(
            say("alarm.retries", "retries of parked records fail: {error}", error=text),
            say("todo.retries", "`ordersaga parked list` names the records"),
        )
        is_new = self._alarms.tell(ALARM, "", trouble)
        if self._log_limit.allows() or is_new:
            log.warning("retries of parked records fail; turns go on", error=text, records=len(due))
        if alone is None:
            return
        try:
            async with self._pool.acquire() as db:
                due_at = self._clock() + timedelta(seconds=BACKOFF_S_MAX)
                await sql.postpone_parked(db, **alone.named, due_at=due_at)
        except Exception as error:
            log.debug("a parked record could not be postponed", error=str(error))

    def _succeeded(self) -> None:
        self._rows_max = min(ROWS_MAX, 2 * self._rows_max)
        if self._failures:
            self._failures = 0
            self._alarms.tell(ALARM, "", None)
            log.info("retries of parked records succeed again")


def _now_s() -> float:
    return asyncio.get_running_loop().time()
