"""Finds outbox rows of turns that no process is publishing, and takes their partitions again, which publishes the rows.

A commit that succeeded although the client got an error leaves such rows. So does a crash of PostgreSQL that loses the delete of a
published row (deletes of the outbox commit asynchronously).
"""

import asyncio
from datetime import timedelta
from typing import Final

import structlog

from ordersaga.messaging.consumer_parts import ConsumerParts
from ordersaga.messaging.kafka import Partition
from ordersaga.messaging.queries import queries

log: Final = structlog.get_logger()
sql: Final = queries(__file__)

CHECK_EVERY_S: Final = 5.0
MISSED_AFTER_S: Final = 10.0
"""Counted from `adopt_at`, when a row of an HTTP request would be adopted."""


class Missed:
    """Checks the outbox every `CHECK_EVERY_S`, between two turns."""

    def __init__(self, parts: ConsumerParts) -> None:
        self._pool: Final = parts.pool
        self._assignment: Final = parts.assignment
        self._outbox: Final = parts.outbox
        self._clock: Final = parts.clock
        self._checked_at_s = 0.0

    async def step(self) -> None:
        """Doubt our partitions whose turns have left such rows. Raises database errors."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._checked_at_s < CHECK_EVERY_S or not self._assignment.positions:
            return
        self._checked_at_s = now_s
        if self._outbox.in_flight_s > MISSED_AFTER_S:
            return  # Kafka is slow: the rows may be in flight
        before = self._clock() - timedelta(seconds=MISSED_AFTER_S)
        async with self._pool.acquire() as db:
            rows = await sql.missed_sources(db, before=before)
        found = [Partition(row["source_topic"], row["source_partition"]) for row in rows]
        for each in self._assignment.doubt(found):
            log.warning("output of turns was left unpublished; the partition is taken again", where=str(each))
