"""Locked rows: a row that another transaction holds, such as an operator's, delays only the records that need this row."""

import asyncio
from typing import Final

from ordersaga.messaging.database import Connection
from ordersaga.messaging.handler import Batch, Handle
from ordersaga.messaging.isolation import HandledBatch, isolate

WARY_S: Final = 30.0
"""How long turns expect locked rows after one met one. Not longer: rows in demand among our own processes look locked, too."""
LOCK_WAIT_MS: Final = 1_000
LOCKED_MAX: Final = 20
"""Records of one turn that are set aside because of locked rows. Each costs some lock waits, so more of them mean a smaller turn."""


class LockedRows:
    """Whether a turn should expect locked rows."""

    def __init__(self) -> None:
        self._expected_until_s = 0.0

    def met(self) -> None:
        """A turn has waited in vain for a locked row."""
        self._expected_until_s = _now_s() + WARY_S

    @property
    def expected(self) -> bool:
        return _now_s() < self._expected_until_s


async def set_locked_aside(db: Connection, handle: Handle, batch: Batch) -> HandledBatch:
    """Isolate a batch with a short lock timeout: records that need a locked row come out as `locked`."""
    await db.execute(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}")
    handled = await isolate(db, handle, batch, locked_max=LOCKED_MAX, slow_is_at_fault=True)
    await db.execute("SET LOCAL lock_timeout TO DEFAULT")
    return handled


def _now_s() -> float:
    return asyncio.get_running_loop().time()
