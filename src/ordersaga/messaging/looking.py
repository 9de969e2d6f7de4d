"""What others have left for a consumer in the database: pauses by operators, and records that are parked without its doing.

One statement every two seconds asks whether there is any of it, since nearly always there is none.
"""

import asyncio
from typing import Final, NamedTuple

import asyncpg

from ordersaga.messaging.database import Pool
from ordersaga.messaging.kafka import Partition
from ordersaga.messaging.pauses import Pause, paused
from ordersaga.messaging.queries import queries
from ordersaga.messaging.sqlstate import is_connection_lost

sql: Final = queries(__file__)

LOOK_EVERY_S: Final = 2.0


class Found(NamedTuple):
    """The paused partitions of the service, and whether it has parked records."""

    paused: dict[Partition, Pause]
    any_parked: bool


class Look:
    """Looks every `LOOK_EVERY_S`, between the turns."""

    def __init__(self, pool: Pool) -> None:
        self._pool: Final = pool
        self._looked_at_s = 0.0

    async def step(self) -> Found | None:
        """What there is; None: the last look was a moment ago. Raises database errors."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._looked_at_s < LOOK_EVERY_S:
            return None
        async with self._pool.acquire() as db:
            try:
                (there,) = await sql.left_by_others(db)
            except asyncpg.PostgresError as error:
                if is_connection_lost(error):
                    raise
                # Each is read by itself then, so that one that fails spoils no other.
                there = {"any_paused": True, "any_parked": True}
            found = Found(await paused(db) if there["any_paused"] else {}, there["any_parked"])
        self._looked_at_s = now_s
        return found
