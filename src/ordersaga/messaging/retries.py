"""Trying parked records again, beside the turns: old trouble never stops new work.

A look takes some of the queues that are due, in one fenced transaction that is short in rows and in time, and the turns go on between
two looks. However many of these records fail again, nobody doubts a partition or a deployment over it. A look that fails as a whole
(a slow statement, a missing column) only puts the next looks off, with an alarm, and takes fewer records next time; one record that does so
alone is put off, so that the others have their turn.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from ordersaga.messaging import outbox_rows, rejects
from ordersaga.messaging.assignment import Assignment
from ordersaga.messaging.database import Connection, Pool
from ordersaga.messaging.handler import Batch, Handler, Record, Rejected
from ordersaga.messaging.health import Alarms, Trouble
from ordersaga.messaging.isolation import isolate
from ordersaga.messaging.kafka import Partition
from ordersaga.messaging.ledger import Fenced, fence
from ordersaga.messaging.message_ids import MessageIds
from ordersaga.messaging.outbox import Outbox
from ordersaga.messaging.outbox_rows import OutboxRow
from ordersaga.messaging.parking import Parked, Parking, place
from ordersaga.messaging.queries import queries
from ordersaga.messaging.rejects import REJECTED, UNDECODABLE, GivenUp
from ordersaga.messaging.sqlstate import is_connection_lost
from ordersaga.settings import Settings

log: Final = structlog.get_logger()
sql: Final = queries(__file__)

LOOK_EVERY_S: Final = 0.5
ROWS_MAX: Final = 200
LOOK_S_MAX: Final = 0.5
STATEMENT_MS_MAX: Final = 3_000
LOCK_MS_MAX: Final = 100
BACKOFF_S_MAX: Final = 30.0
SAY_AGAIN_S: Final = 30.0
ALARM: Final = "retries"


class Retries:
    """The retries of one process's partitions. `look` now and then; it raises nothing that a turn would have to mind."""

    def __init__(
        self,
        settings: Settings,
        group: str,
        handler: Handler,
        pool: Pool,
        assignment: Assignment,
        parking: Parking,
        out: Outbox,
        clock: Callable[[], datetime],
        new_id: Callable[[], UUID],
        alarms: Alarms,
    ) -> None:
        self._settings: Final = settings
        self._group: Final = group
        self._handler: Final = handler
        self._pool: Final = pool
        self._assignment: Final = assignment
        self._parking: Final = parking
        self._outbox: Final = out
        self._clock: Final = clock
        self._new_id: Final = new_id
        self._alarms: Final = alarms
        self._rows_max = ROWS_MAX
        self._learned_at_s = self._not_before_s = 0.0
        self._said_at_s = -SAY_AGAIN_S
        self._failures = 0

    async def learn(self) -> None:
        """Learn which keys are parked. Raises database errors."""
        async with self._pool.acquire() as db:
            await self._parking.load(db, self._assignment.positions)
        self._learned_at_s = _now_s()

    async def step(self) -> bool:
        """Try some of what is due; whether there may be more, so that the next look comes right after the next turn."""
        if _now_s() < self._not_before_s or not self._assignment.positions:
            return False
        due: Sequence[Parked] = ()
        now = self._clock()
        try:
            if _now_s() - self._learned_at_s >= LOOK_EVERY_S:
                await self.learn()
            if self._parking.holds_any:
                due = await self._due(now)
            if due:
                await self._retry(due, now)
        except Fenced:
            log.warning("another process owns a partition of parked records now")
        except Exception as error:
            if is_connection_lost(error):
                # Whether the retry was committed is not known, nor what a server that was started anew has kept: the ledger tells.
                self._assignment.doubt()
            await self._put_off(due, error)
            return False
        self._went_well()
        self._not_before_s = _now_s() + (0.0 if due else LOOK_EVERY_S)
        return bool(due)

    async def _due(self, now: datetime) -> list[Parked]:
        async with self._pool.acquire() as db:
            return await self._parking.due(db, self._assignment.positions, now, self._rows_max)

    async def _retry(self, due: Sequence[Parked], now: datetime) -> None:
        """A fenced turn over parked records: what succeeds leaves, what fails waits longer or becomes a dead letter."""
        moves = self._assignment.standing({Partition(each.record.topic, each.record.partition) for each in due})
        try:
            async with self._pool.acquire() as db, db.transaction():
                await sql.bound_statements(
                    db,
                    statement_ms=str(min(STATEMENT_MS_MAX, self._settings.statement_timeout_ms)),
                    lock_ms=str(min(LOCK_MS_MAX, self._settings.lock_timeout_ms)),
                )
                block = await fence(db, moves)
                ids = MessageIds(self._group, self._assignment.topic_ids_of(moves), self._new_id)
                rows = await self._retried(db, await self._parking.lock(db, due), block, ids, now)
                await outbox_rows.write(db, rows, outbox_rows.adopt_at(now, self._settings))
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

        incoming, undecodable = rejects.decoded([each.record for each in due])
        until_s = _now_s() + LOOK_S_MAX
        outcome = await isolate(
            db, self._handler.handle, Batch(incoming, now, self._new_id), lambda: _now_s() > until_s, len(incoming)
        )
        rows = outbox_rows.compose(outcome.outgoing, block, ids, self._settings.type_ids)
        given_up = [GivenUp(each, UNDECODABLE, tries(each.record)) for each in undecodable]
        given_up += [GivenUp(each, REJECTED, tries(each.record)) for each in outcome.rejected]
        stay = {place(each.record) for each in (*outcome.left, *outcome.held)}
        stay |= {place(each.incoming.record) for each in outcome.locked}
        locked = [(each, parked[place(each.incoming.record)].attempts) for each in outcome.locked]
        await self._parking.put_aside(db, locked, now)
        for failure in outcome.failed:
            record = failure.incoming.record
            if self._parking.gives_up(parked[place(record)]):
                given_up.append(GivenUp(Rejected(record, failure.reason), failure.cause, tries(record)))
            else:
                stay.add(place(record))
                await self._parking.park(db, [failure], [], now, tries(record))
        await self._parking.unpark(db, (each.record for each in due if place(each.record) not in stay), now)
        return rows + await rejects.give_up(db, given_up, ids, block + len(rows), self._group, now)

    async def _put_off(self, due: Sequence[Parked], error: Exception) -> None:
        """Wait before the next look, which takes fewer records; the one record that failed alone waits longer than the others."""
        alone = due[0] if len(due) == 1 else None
        self._rows_max = max(1, len(due) // 4)
        self._failures += 1
        wait_s = 0.0 if alone else min(BACKOFF_S_MAX, LOOK_EVERY_S * 2 ** min(self._failures, 16))
        self._not_before_s = _now_s() + max(LOOK_EVERY_S, wait_s)
        text = f"{type(error).__name__}: {error}"
        trouble = Trouble(f"parked records could not be tried again: {text}", "`ordersaga parked list` names them")
        if self._alarms.tell(ALARM, "", trouble) or _now_s() - self._said_at_s > SAY_AGAIN_S:
            self._said_at_s = _now_s()
            log.warning("parked records could not be tried again; turns go on", error=text, records=len(due))
        if alone is None:
            return
        try:
            async with self._pool.acquire() as db:
                due_at = self._clock() + timedelta(seconds=BACKOFF_S_MAX)
                await sql.postpone_parked(db, **alone.named, due_at=due_at)
        except Exception as error:
            log.debug("a parked record could not be put off", error=str(error))

    def _went_well(self) -> None:
        self._rows_max = min(ROWS_MAX, 2 * self._rows_max)
        if self._failures:
            self._failures = 0
            self._alarms.tell(ALARM, "", None)
            log.info("parked records are tried again")


def _now_s() -> float:
    return asyncio.get_running_loop().time()
