"""Timers: rows with a business key and a due time. Any instance of the service takes the due ones and does their work.

A business key has at most one timer. Deleting the timer's row, its work and its output records are one transaction, so a timer that
fires in a process that dies fires again in another. When many are due, each transaction takes `KEYS_MAX` of them at most.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from ordersaga.messaging import outbox_rows
from ordersaga.messaging.database import Connection, begin
from ordersaga.messaging.handler import Outgoing
from ordersaga.messaging.queries import queries
from ordersaga.messaging.runtime import Runtime
from ordersaga.messaging.sizes import SetSize
from ordersaga.messaging.sqlstate import is_deployment, is_locked, is_too_large, is_transient

log: Final = structlog.get_logger()
sql: Final = queries(__file__)

FIRE_EVERY_S: Final = 0.5
KEYS_MAX: Final = 500
POSTPONE: Final = timedelta(seconds=60)
POSTPONE_LOCKED: Final = timedelta(seconds=5)
LOCK_WAIT_MS: Final = 1_000
LOCK_WAIT_ALONE_MS: Final = 100
"""`lock_timeout` for timers that are taken one by one, short so that one locked row does not delay all other timers."""

Work = Callable[[Connection, Sequence[UUID], datetime], Awaitable[list[Outgoing]]]


async def put(db: Connection, due: dict[UUID, datetime | None]) -> None:
    """Set the timers of these keys; None removes a timer. The caller has locked the rows that the keys stand for.

    Skips a timer row that another transaction has locked: that timer is firing. Waiting for it could deadlock, since its transaction
    waits for the rows that the caller holds. Once it gets them it sees their new state, and sets the timer again if need be.
    """
    armed = {key: due_at for key, due_at in sorted(due.items()) if due_at is not None}
    if armed:
        await sql.arm_timers(db, keys=list(armed), due_ats=list(armed.values()))
    if len(armed) < len(due):
        await sql.disarm_timers(db, keys=[key for key in due if key not in armed])


class Timers:
    """Fires a service's due timers. `work(db, keys, now)` locks the rows that the keys stand for, and sets a timer again if need be."""

    def __init__(self, runtime: Runtime, work: Work) -> None:
        self._runtime: Final = runtime
        self._work: Final = work
        self._size: Final = SetSize(KEYS_MAX)

    async def fire(self) -> None:
        """Fire all timers that are due now."""
        keys_max: int | None = self._size.now
        while keys_max is not None:
            keys_max = await self._fire(keys_max)

    async def _fire(self, keys_max: int) -> int | None:
        """Fire up to `keys_max` timers. Returns how many to take next; None: no timer is due any more.

        After a failure the timers are taken one by one, and the one that fails alone is postponed.
        """
        now = self._runtime.clock()
        keys: Sequence[UUID] = ()
        try:
            async with (
                self._runtime.pool.acquire() as db,
                begin(db, LOCK_WAIT_MS if keys_max > 1 else LOCK_WAIT_ALONE_MS),
            ):
                keys = [row["key"] for row in await sql.take_timers(db, now=now, rows_max=keys_max)]
                if not keys:
                    return None
                outgoing = await self._work(db, keys, now)
                rows = await outbox_rows.add(db, outgoing, now, self._runtime.new_id, self._runtime.settings)
        except Exception as error:
            return await self._failed(keys, error, now)
        self._size.went_well(len(keys))
        self._runtime.outbox.publish_soon(rows, now)
        return self._size.now if keys_max > 1 else keys_max

    async def _failed(self, keys: Sequence[UUID], error: Exception, now: datetime) -> int:
        """How many timers to take next, after the work for these failed. Raises an error for which no single timer is to blame."""
        blames_one = is_locked(error) or is_too_large(error) or not (is_transient(error) or is_deployment(error))
        if not keys or not blames_one:
            raise error
        if len(keys) > 1:
            if is_too_large(error):
                self._size.too_large(len(keys))
                return self._size.now
            return 1
        if is_locked(error):
            log.warning(
                "a timer is postponed: its work needs a row that another transaction has locked", key=str(keys[0])
            )
        else:
            log.error("a timer is postponed: its work fails", key=str(keys[0]), exc_info=error)
        async with self._runtime.pool.acquire() as db:
            due_at = now + (POSTPONE_LOCKED if is_locked(error) else POSTPONE)
            await sql.postpone_timer(db, key=keys[0], due_at=due_at)
        return self._size.now
