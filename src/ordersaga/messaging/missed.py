"""Output of turns that is in the outbox and that nobody is publishing: its partitions are taken again, which publishes it.

A row comes back when PostgreSQL loses the last moments before a crash, in which it was deleted (nobody waits for the disk then); or it is
left by a commit that went well and looked failed.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from ordersaga.messaging.assignment import Assignment
from ordersaga.messaging.database import Pool
from ordersaga.messaging.kafka import Partition
from ordersaga.messaging.outbox import Outbox
from ordersaga.messaging.queries import queries

log: Final = structlog.get_logger()
sql: Final = queries(__file__)

LOOK_EVERY_S: Final = 5.0
MISSED_AFTER_S: Final = 10.0
"""After it could have been adopted, were it no turn's."""


class Missed:
    """Looks now and then, between two turns of one process."""

    def __init__(self, pool: Pool, assignment: Assignment, out: Outbox, clock: Callable[[], datetime]) -> None:
        self._pool: Final = pool
        self._assignment: Final = assignment
        self._outbox: Final = out
        self._clock: Final = clock
        self._looked_at_s = 0.0

    async def step(self) -> None:
        """Doubt the partitions of ours whose turns have left such rows. Raises database errors."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._looked_at_s < LOOK_EVERY_S or not self._assignment.positions:
            return
        self._looked_at_s = now_s
        if self._outbox.in_flight_s > MISSED_AFTER_S:
            return  # Kafka is slow to take what is under way, and these rows may be among it.
        before = self._clock() - timedelta(seconds=MISSED_AFTER_S)
        async with self._pool.acquire() as db:
            rows = await sql.missed_sources(db, before=before)
        found = [Partition(row["source_topic"], row["source_partition"]) for row in rows]
        for each in self._assignment.doubt(found):
            log.warning("a turn's output is still to be published; its partition is taken again", where=str(each))
