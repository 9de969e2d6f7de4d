"""One turn: handle fetched records, the ledger's step and the output records in one transaction, then publish.

Promise: each record changes the database exactly once, and its output is published at least once, whatever crashes in between. A turn
that fails, or whose commit has an unknown outcome, is not repaired: the partitions are taken again, which reads the truth from the
ledger.

Each thing that may go wrong has a file of its own: `isolation.py` (records that fail), `parking.py` (their retries), `locked_rows.py`,
`sizes.py` (too much for one statement), `bad_deployment.py`, `rejects.py` (records that cannot be decoded).
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog
from msgspec import Struct

from ordersaga.messaging import outbox_rows, parking, rejects
from ordersaga.messaging.assignment import Assignment
from ordersaga.messaging.backoff import is_retriable
from ordersaga.messaging.bad_deployment import BadDeployment, Suspects, Suspicion
from ordersaga.messaging.database import Connection, Pool
from ordersaga.messaging.handler import Batch, Handler, Incoming, Record, Rejected
from ordersaga.messaging.health import Alarms
from ordersaga.messaging.isolation import HandledBatch, isolate
from ordersaga.messaging.kafka import Partition
from ordersaga.messaging.ledger import Fenced, Move, fence
from ordersaga.messaging.locked_rows import LockedRows, set_locked_aside
from ordersaga.messaging.message_ids import MessageIds
from ordersaga.messaging.outbox import Outbox
from ordersaga.messaging.parking import Parking
from ordersaga.messaging.rejects import REJECTED, UNDECODABLE, GivenUp
from ordersaga.messaging.sizes import SetSize
from ordersaga.messaging.sqlstate import is_deployment, is_locked, is_too_large
from ordersaga.settings import Settings

log: Final = structlog.get_logger()


class Work(Struct, frozen=True):
    """The records of one turn: to handle, to queue behind parked ones, to give up. `moves`: the ledger's steps past them."""

    moves: Sequence[Move]
    incoming: Sequence[Incoming]
    waiting: Sequence[Incoming]
    undecodable: Sequence[Rejected]
    now: datetime

    @property
    def count(self) -> int:
        return len(self.incoming) + len(self.waiting) + len(self.undecodable)


class Turns:
    """Takes turns with a handler, one at a time. `size.now` says how many records the next turn may have."""

    def __init__(
        self,
        settings: Settings,
        group: str,
        handler: Handler,
        pool: Pool,
        assignment: Assignment,
        parking: Parking,
        outbox: Outbox,
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
        self._outbox: Final = outbox
        self._clock: Final = clock
        self._new_id: Final = new_id
        self._suspicion: Final = Suspicion(settings)
        self._suspects: Final = Suspects(settings.retry_backoff_ms_max, assignment, clock, alarms)
        self._locked_rows: Final = LockedRows()
        self.size: Final = SetSize(settings.batch_max)

    async def handle(self, records: Sequence[Record]) -> None:
        """Handle records in one turn; those of partitions under suspicion in turns of their own, after the others.

        Raises `Fenced`, and errors of Kafka and the database for which no record is to blame.
        """
        if not self._suspects:
            await self._turn(records)
            return
        for part in self._suspects.apart(records):
            await self._turn(part)

    async def _turn(self, records: Sequence[Record]) -> None:
        incoming, undecodable = rejects.decoded(records)
        work = Work(self._assignment.moves(records), *self._parking.split(incoming), undecodable, self._clock())
        try:
            await self._attempt(work)
            return
        except Fenced:
            log.warning("another process owns a partition now; the turn is rolled back", records=len(records))
            await self._assignment.lost(work.moves, work.now)
            raise
        except Exception as error:
            if is_retriable(error):
                raise
            failure = error
        # Outside of the except block: otherwise each later error is chained to those before it, and its log line has all their traces.
        if isinstance(failure, BadDeployment):
            await self._hold_back(records, failure)
        else:
            await self._halve(records, failure)

    async def _attempt(self, work: Work) -> None:
        """Handle all records at once. If that fails, or while locked rows are expected, isolate the failing ones."""
        expects_locked_rows = self._locked_rows.expected
        try:
            with self.size.trying(work.count):
                await (self._isolating(work) if expects_locked_rows else self._commit(work, isolating=False))
        except Exception as error:
            if is_locked(error) and expects_locked_rows:
                raise
            if is_locked(error):
                self._locked_rows.met()
            elif isinstance(error, Fenced) or (is_retriable(error) and not (is_too_large(error) and work.count == 1)):
                raise
            if is_deployment(error):
                raise BadDeployment(str(error)) from error
            await self._isolating(work)

    async def _commit(self, work: Work, isolating: bool) -> None:
        """The turn's transaction, then what follows from its commit."""
        async with self._pool.acquire() as db, db.transaction():
            block = await fence(db, work.moves)
            handled = await self._run_handler(db, work, isolating)
            self._suspicion.check(handled.failed, len(work.incoming))
            ids = MessageIds(self._group, self._assignment.topic_ids_of(work.moves), self._new_id)
            rows = outbox_rows.compose(handled.outgoing, block, ids, self._settings.type_ids)
            waiting = [*work.waiting, *handled.queued]
            await self._parking.put_aside(db, ((each, 0) for each in handled.locked), work.now)
            await self._parking.park(db, handled.failed, waiting, work.now)
            given_up = [GivenUp(each, UNDECODABLE) for each in work.undecodable]
            given_up += [GivenUp(each, REJECTED) for each in handled.rejected]
            if given_up:
                rows += await rejects.give_up(db, given_up, ids, block + len(rows), self._group, work.now)
            await outbox_rows.write(db, rows, outbox_rows.adopt_at(work.now, self._settings))
        self._assignment.advance(work.moves)
        self._parking.add_keys([*handled.failed, *handled.locked], waiting)
        self._suspicion.add(len(handled.failed), len(work.incoming))
        if self._suspects:
            self._suspects.clear(move.partition for move in work.moves)
        parking.log_parked([*handled.failed, *handled.locked])
        await self._outbox.publish(rows, work.now)

    async def _run_handler(self, db: Connection, work: Work, isolating: bool) -> HandledBatch:
        batch = Batch(work.incoming, work.now, self._new_id)
        if isolating and self._locked_rows.expected:
            return await set_locked_aside(db, self._handler.handle, batch)
        if isolating:
            return await isolate(db, self._handler.handle, batch, slow_is_at_fault=True)
        outgoing = await self._handler.handle(batch, db) if work.incoming else []
        return HandledBatch(outgoing, batch.rejected, [], [])

    # When a turn fails ------------------------------------------------------------------------------------------------

    async def _isolating(self, work: Work) -> None:
        try:
            await self._commit(work, isolating=True)
        except Exception as error:
            if is_locked(error):
                # More records need locked rows than one turn sets aside.
                self.size.too_large(work.count)
            raise

    async def _hold_back(self, records: Sequence[Record], error: BadDeployment) -> None:
        """Hold back the partitions whose records fail, and handle the records of all others.

        Where the failing partitions are not known, each partition has a turn of its own, which tells.
        """
        partitions = sorted({Partition(record.topic, record.partition) for record in records})
        failing = error.partitions or (set(partitions) if len(partitions) == 1 else set())
        if not failing:
            for partition in partitions:
                await self._turn([each for each in records if partition == (each.topic, each.partition)])
            return
        await self._suspects.hold_back(failing, error)
        others = [each for each in records if (each.topic, each.partition) not in failing]
        if others:
            await self._turn(others)

    async def _halve(self, records: Sequence[Record], error: Exception) -> None:
        """Find the record that fails a turn outside of the handler, such as one that cannot even be parked, by turns of half as many.

        Such a record is given up without its headers. If that fails, too, its partition is held back.
        """
        if len(records) > 1:
            middle = len(records) // 2
            await self._turn(records[:middle])
            rest = [each for each in records[middle:] if self._assignment.has(each)]
            if rest:
                await self._turn(rest)
            return
        [record] = records
        reason = f"the record can be neither handled nor stored as it is: {type(error).__name__}: {error}"
        log.error("a record fails its turn outside of the handler and is given up without its headers", exc_info=error)
        undecodable = [Rejected(rejects.bare(record), reason)]
        work = Work(self._assignment.moves(records), [], [], undecodable, self._clock())
        try:
            await self._commit(work, isolating=False)
        except Exception as again:
            if isinstance(again, Fenced) or is_retriable(again):
                raise
            await self._hold_back(records, BadDeployment(f"offset {record.offset} stops this partition: {again}"))

    def end(self) -> None:
        """Clear the alarms of the turns: this consumer takes no more."""
        self._suspects.end()
