"""One turn: handle fetched records, the ledger's step and the output records in one transaction, then publish.

Promise: each record changes the database exactly once, and its output is published at least once, whatever crashes in between. A turn
that fails, or whose commit has an unknown outcome, is not repaired: the partitions are taken again, which reads the truth from the
ledger.

Each thing that may go wrong has a file of its own: `isolation.py` (records that fail, or need a locked row), `parking.py` (their retries),
`sizes.py` (too much for one statement), `bad_deployment.py`, `dead_letters.py` (records that are given up).
"""

import contextlib
import time
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from operator import attrgetter
from typing import Final
from uuid import UUID

import structlog
from msgspec import Struct
from msgspec.structs import replace

from ordersaga.messaging import log_fields, measures, outbox_rows, parking, spans
from ordersaga.messaging.backoff import is_retriable
from ordersaga.messaging.bad_deployment import BadDeployment, Suspects, Suspicion
from ordersaga.messaging.consumer_parts import ConsumerParts
from ordersaga.messaging.database import Connection
from ordersaga.messaging.dead_letters import REJECTED, UNDECODABLE, GivenUp
from ordersaga.messaging.handler import Batch, Incoming, Record, Rejected, decoded
from ordersaga.messaging.ids import MessageIds
from ordersaga.messaging.isolation import FailedRecord, HandledBatch, LockedRows, isolate, narrow, set_locked_aside
from ordersaga.messaging.kafka import Partition
from ordersaga.messaging.ledger import Fenced, OffsetRange, fence, fence_at_end
from ordersaga.messaging.outbox_rows import OutboxRow
from ordersaga.messaging.short_transaction import NotAsRead, ShortTransaction
from ordersaga.messaging.sizes import SetSize
from ordersaga.messaging.spans import Outcome
from ordersaga.messaging.sqlstate import is_deployment, is_locked, is_too_large
from ordersaga.tracing import exporting

log: Final = structlog.get_logger()

SHORT_MAX: Final = 3
"""So many records have a short turn."""


class Work(Struct, frozen=True):
    """The records of one turn. `ranges`: the offsets that the ledger advances over.

    The handler gets `incoming`; `waiting` are queued behind parked records of their keys; `undecodable` are given up.
    """

    ranges: Sequence[OffsetRange]
    incoming: Sequence[Incoming]
    waiting: Sequence[Incoming]
    undecodable: Sequence[Rejected]
    now: datetime
    began_s: float

    @property
    def count(self) -> int:
        return len(self.incoming) + len(self.waiting) + len(self.undecodable)

    @property
    def is_short(self) -> bool:
        """Whether there are so few records, and nothing else to write, that the number of statements is what they cost."""
        return 0 < len(self.incoming) == self.count <= SHORT_MAX


class Turns:
    """Takes turns with a handler, one at a time. `size.now` says how many records the next turn may have."""

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
        self._suspicion: Final = Suspicion(parts.settings)
        self._suspects: Final = Suspects(
            parts.settings.retry_backoff_ms_max, parts.assignment, parts.clock, parts.alarms
        )
        self._locked_rows: Final = LockedRows()
        self.size: Final = SetSize(parts.settings.batch_max)

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
        """One turn; several smaller ones if this one fails outside of the handler, as for a record that cannot even be parked."""
        await narrow(records, self._handle_all, _may_be_one, self._failed)

    async def _handle_all(self, records: Sequence[Record]) -> None:
        if self._suspects:  # the partition of a part may have been held back since the part was fetched
            records = [each for each in records if self._assignment.has(each)]
            if not records:
                return
        incoming, undecodable = decoded(records)
        work = Work(
            self._assignment.ranges_of(records),
            *self._parking.split(incoming),
            undecodable,
            self._clock(),
            time.monotonic(),
        )
        try:
            await self._attempt(work)
        except Fenced:
            log.warning("another process owns a partition now; the turn is rolled back", records=len(records))
            await self._assignment.lost(work.ranges, work.now)
            raise

    async def _attempt(self, work: Work) -> None:
        """Handle all records at once. If that fails, or while locked rows are expected, isolate the failing ones."""
        expects_locked_rows = self._locked_rows.expected
        try:
            with self.size.trying(work.count):
                await (self._commit_isolating(work) if expects_locked_rows else self._commit(work, isolating=False))
        except Exception as error:
            if is_locked(error) and expects_locked_rows:
                raise
            if is_locked(error):
                self._locked_rows.met()
            elif isinstance(error, Fenced) or (is_retriable(error) and not (is_too_large(error) and work.count == 1)):
                raise
            if is_deployment(error):
                raise BadDeployment(str(error)) from error
            await self._commit_isolating(work)

    async def _commit(self, work: Work, isolating: bool) -> None:
        """The turn's transaction, then what follows from its commit."""
        if self._handler.short and work.is_short and not isolating:
            with contextlib.suppress(NotAsRead):
                await self._commit_short(work)
                return
        async with self._pool.acquire() as db, db.transaction():
            block = await fence(db, work.ranges)
            handled = await self._run_handler(db, work, isolating)
            self._suspicion.check(handled.failed, len(work.incoming))
            waiting = [*work.waiting, *handled.queued]
            await self._parking.put_aside(db, ((each, 0) for each in handled.locked), work.now)
            await self._parking.park(db, handled.failed, waiting, work.now)
            given_up = [GivenUp(each, UNDECODABLE) for each in work.undecodable]
            given_up += [GivenUp(each, REJECTED) for each in handled.rejected]
            ids = self._ids_of(work)
            rows = await outbox_rows.write_output(db, handled.outgoing, work.now, ids, self._settings, given_up, block)
        self._parking.add_keys([*handled.failed, *handled.locked], waiting)
        parking.log_parked([*handled.failed, *handled.locked])
        await self._committed(work, len(handled.failed), rows)
        self._tell(work, rows, given_up, handled.failed, [*waiting, *(each.incoming for each in handled.locked)])

    async def _commit_short(self, work: Work) -> None:
        """The same for a few records of which none is put aside: what they write, their output and the fence are the last statement.

        Raises `NotAsRead` if the partitions are not ours any more, or if a row was changed since it was read.
        """
        async with self._pool.acquire() as connection, ShortTransaction(connection, as_read=True) as db:
            batch = Batch(work.incoming, work.now, self._new_id)
            outgoing = await self._handler.handle(batch, db.itself)
            self._suspicion.check([], len(work.incoming))
            given_up = [GivenUp(each, REJECTED) for each in batch.rejected]
            end = partial(fence_at_end, ranges=work.ranges)
            rows = await outbox_rows.write_last(
                db, outgoing, work.now, self._ids_of(work), self._settings, end, given_up
            )
        await self._committed(work, 0, rows)
        self._tell(work, rows, given_up)

    def _tell(
        self,
        work: Work,
        rows: Sequence[OutboxRow],
        given_up: Sequence[GivenUp],
        failed: Sequence[FailedRecord] = (),
        waiting: Sequence[Incoming] = (),
    ) -> None:
        """Add a turn to the metrics, and export its spans."""
        outcomes = {each.record.coordinates: Outcome(spans.WAITING) for each in waiting}
        outcomes |= {each.incoming.record.coordinates: Outcome(spans.PARKED, each.reason) for each in failed}
        outcomes |= {
            each.rejected.record.coordinates: Outcome(spans.DEAD_LETTER, each.rejected.reason) for each in given_up
        }
        handled = [*work.incoming, *work.waiting]
        measures.TURN_SECONDS.observe(time.monotonic() - work.began_s)
        measures.TURN_RECORDS.observe(work.count)
        measures.count([*(each.record for each in handled), *(each.record for each in work.undecodable)], outcomes)
        if exporting() is not None:
            records: list[tuple[Record, UUID | None]] = [(each.record, each.key) for each in handled]
            records += [(each.record, None) for each in work.undecodable]
            spans.of_turn(self._group, work.now, records, rows, outcomes)

    def _ids_of(self, work: Work) -> MessageIds:
        return MessageIds(self._group, self._assignment.topic_ids_of(work.ranges), self._new_id)

    async def _committed(self, work: Work, failed: int, rows: Sequence[OutboxRow]) -> None:
        """What follows from the commit of a turn."""
        self._assignment.advance(work.ranges)
        self._suspicion.add(failed, len(work.incoming))
        if self._suspects:
            self._suspects.clear(each.partition for each in work.ranges)
        await self._outbox.publish(rows, work.now)

    async def _run_handler(self, db: Connection, work: Work, isolating: bool) -> HandledBatch:
        # The parts of an isolated batch lock rows one after the other, as other turns do in the order of their keys.
        incoming = sorted(work.incoming, key=attrgetter("key")) if isolating else work.incoming
        batch = Batch(incoming, work.now, self._new_id)
        if isolating and self._locked_rows.expected:
            return await set_locked_aside(db, self._handler.handle, batch)
        if isolating:
            return await isolate(db, self._handler.handle, batch, slow_is_at_fault=True)
        outgoing = await self._handler.handle(batch, db) if work.incoming else []
        return HandledBatch(outgoing, batch.rejected, [], [])

    # When a turn fails ------------------------------------------------------------------------------------------------

    async def _commit_isolating(self, work: Work) -> None:
        try:
            await self._commit(work, isolating=True)
        except Exception as error:
            if is_locked(error):
                # More records need locked rows than one turn sets aside (`LOCKED_MAX`): the next turn has fewer records.
                self.size.too_large(work.count)
            raise

    async def _failed(self, records: Sequence[Record], error: Exception) -> None:
        """Called for records that fail and are not divided further."""
        if isinstance(error, BadDeployment):
            await self._hold_back(records, error)
        elif _may_be_one(error):
            [record] = records
            await self._give_up_bare(record, error)
        else:
            raise error

    async def _hold_back(self, records: Sequence[Record], error: BadDeployment) -> None:
        """Hold back the partitions whose records fail, and handle the records of all others.

        Where the failing partitions are not known, each partition has a turn of its own, which shows whether it is one of them.
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

    async def _give_up_bare(self, record: Record, error: Exception) -> None:
        """Give up a record that fails its turn outside of the handler, without its headers. If that fails, too, hold its partition back."""
        reason = f"the record can be neither handled nor stored as it is: {type(error).__name__}: {error}"
        log.error(
            "a record fails its turn outside of the handler and is given up without its headers",
            **log_fields.of_record(record, None),
            exc_info=error,
        )
        undecodable = [Rejected(replace(record, headers=None), reason)]
        work = Work(self._assignment.ranges_of([record]), [], [], undecodable, self._clock(), time.monotonic())
        try:
            await self._commit(work, isolating=False)
        except Exception as again:
            if isinstance(again, Fenced) or is_retriable(again):
                raise
            await self._hold_back([record], BadDeployment(f"offset {record.offset} stops this partition: {again}"))

    def end(self) -> None:
        """Clear the alarms of the turns: this consumer takes no more."""
        self._suspects.end()


def _may_be_one(error: Exception) -> bool:
    """Whether one record may have caused the error, so that a turn without it succeeds."""
    return not (isinstance(error, Fenced | BadDeployment) or is_retriable(error))
