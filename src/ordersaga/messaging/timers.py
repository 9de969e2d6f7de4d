"""Timers: rows with a business key and a due time. Any instance of the service claims the due ones and does their work.

A business key has at most one timer. Deleting the timer's row, its work and its output records are one transaction, so a timer that
fires in a process that dies fires again in another. When many are due, each transaction claims `KEYS_MAX` of them at most. A timer whose
work fails is isolated by halving and postponed.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, NamedTuple
from uuid import UUID

import structlog

from ordersaga.messaging import outbox_rows, spans
from ordersaga.messaging.database import Connection, begin
from ordersaga.messaging.handler import Outgoing
from ordersaga.messaging.ids import MessageIds
from ordersaga.messaging.isolation import narrow
from ordersaga.messaging.outbox_rows import OutboxRow
from ordersaga.messaging.queries import queries
from ordersaga.messaging.runtime import Runtime
from ordersaga.messaging.short_transaction import later
from ordersaga.messaging.sizes import SetSize
from ordersaga.messaging.sqlstate import is_deployment, is_locked, is_too_large, is_transient
from ordersaga.tracing import exporting

log: Final = structlog.get_logger()
sql: Final = queries(__file__)

FIRE_EVERY_S: Final = 1.0
KEYS_MAX: Final = 500
POSTPONE: Final = timedelta(seconds=60)
POSTPONE_LOCKED: Final = timedelta(seconds=5)
LOCK_WAIT_MS: Final = 1_000
PART_LOCK_WAIT_MS: Final = 100
"""`lock_timeout` while a set of timers is halved, short so that one locked row does not delay all other timers."""

Work = Callable[[Connection, Sequence[UUID], datetime], Awaitable[list[Outgoing]]]


async def put(db: Connection, due: dict[UUID, datetime | None]) -> None:
    """Set the timers of these keys; None removes a timer. The caller has locked the rows that the keys stand for.

    Skips a timer row that another transaction has locked: that timer is firing. Waiting for it could deadlock, since its transaction
    waits for the rows that the caller holds. Once it gets them it sees their new state, and sets the timer again if need be.
    """
    armed = {key: due_at for key, due_at in sorted(due.items()) if due_at is not None}
    if armed:
        await sql.arm_timers(later(db), keys=list(armed), due_ats=list(armed.values()))
    if len(armed) < len(due):
        await sql.disarm_timers(later(db), keys=[key for key in due if key not in armed])


class Timers:
    """Fires a service's due timers. `work(db, keys, now)` locks the rows that the keys stand for, and sets a timer again if need be.

    `named`: what log lines call a key.
    """

    def __init__(self, runtime: Runtime, work: Work, named: str = "key") -> None:
        self._named: Final = named
        self._runtime: Final = runtime
        self._work: Final = work
        # No record causes the output of a timer, so group and topic ids are not needed: each message gets a new `message-id`.
        self._ids: Final = MessageIds("", {}, runtime.new_id)
        self._size: Final = SetSize(KEYS_MAX)

    async def fire(self) -> None:
        """Fire all timers that are due now. Raises an error for which no single timer is to blame."""
        while await self._any_due() and await self._fire_some():
            pass

    async def _any_due(self) -> bool:
        """One round trip, where a transaction takes three: most looks find nothing."""
        async with self._runtime.pool.acquire() as db:
            due: bool = await sql.any_due(db, now=self._runtime.clock())
        return due

    async def _fire_some(self) -> bool:
        """Fire up to `KEYS_MAX` timers in one transaction. Returns whether any was due."""
        now = self._runtime.clock()
        keys: list[UUID] = []
        try:
            async with self._runtime.pool.acquire() as db, begin(db, LOCK_WAIT_MS):
                keys += [row["key"] for row in await sql.claim_timers(db, now=now, rows_max=self._size.now)]
                fired = await self._worked(db, keys, now)
        except Exception as error:
            if not keys:
                raise
            failure = error
        else:
            self._size.went_well(len(keys))
            self._sent(fired, now)
            return bool(keys)
        if is_too_large(failure):
            self._size.too_large(len(keys))
        await narrow(keys, partial(self._fire_part, now=now), _may_be_one, partial(self._failed, now=now), failure)
        return True

    async def _fire_part(self, keys: Sequence[UUID], now: datetime) -> None:
        """Fire these timers, but for those that another process has claimed meanwhile."""
        async with self._runtime.pool.acquire() as db, begin(db, PART_LOCK_WAIT_MS):
            claimed = [row["key"] for row in await sql.claim_timers_among(db, keys=keys, now=now)]
            fired = await self._worked(db, claimed, now)
        self._sent(fired, now)

    def _sent(self, fired: "Fired", now: datetime) -> None:
        self._runtime.outbox.publish_soon(fired.rows, now)
        if exporting() is not None:
            spans.of_output(fired.rows, [each.trace for each in fired.outgoing])

    async def _worked(self, db: Connection, keys: Sequence[UUID], now: datetime) -> "Fired":
        if not keys:
            return Fired([], [])
        outgoing = await self._work(db, keys, now)
        return Fired(outgoing, await outbox_rows.write_output(db, outgoing, now, self._ids, self._runtime.settings))

    async def _failed(self, keys: Sequence[UUID], error: Exception, now: datetime) -> None:
        """Postpone a timer that fails alone. Raises an error for which no single timer is to blame."""
        if not _may_be_one(error):
            raise error
        [key] = keys
        about = {self._named: str(key)}
        if is_locked(error):
            log.warning("a timer is postponed: its work needs a row that another transaction has locked", **about)
        else:
            log.error("a timer is postponed: its work fails", **about, exc_info=error)
        async with self._runtime.pool.acquire() as db:
            due_at = now + (POSTPONE_LOCKED if is_locked(error) else POSTPONE)
            await sql.postpone_timer(db, key=key, due_at=due_at)


class Fired(NamedTuple):
    """What the timers of one transaction have sent, and its rows."""

    outgoing: list[Outgoing]
    rows: list[OutboxRow]


def _may_be_one(error: Exception) -> bool:
    """Whether one timer of several may have caused the error."""
    return is_locked(error) or is_too_large(error) or not (is_transient(error) or is_deployment(error))
