"""Publishes dead letters again whose records Kafka has refused, since the dead letter topic was missing or its size limit too low.

Until then such a letter is only in the table `dead_letter`. It can be replayed, edited and discarded like any other.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from msgspec.structs import replace

from ordersaga.contracts.topics import DEAD_LETTER_SUFFIX
from ordersaga.messaging import dead_letters, outbox_rows
from ordersaga.messaging.database import Pool
from ordersaga.messaging.dead_letters import DeadLetter
from ordersaga.messaging.handler import Record
from ordersaga.messaging.ids import descent
from ordersaga.messaging.kafka import Topics
from ordersaga.messaging.outbox import Outbox
from ordersaga.messaging.outbox_rows import OutboxRow
from ordersaga.messaging.queries import queries
from ordersaga.settings import Settings

sql: Final = queries(__file__)

TRY_EVERY_S: Final = 10.0
WAIT_S_MAX: Final = 600.0
ROWS_MAX: Final = 500


class Unpublished:
    """Publishes unpublished letters again. A topic that refuses them again is tried after a growing wait."""

    def __init__(
        self, settings: Settings, group: str, pool: Pool, outbox: Outbox, topics: Topics, clock: Callable[[], datetime]
    ) -> None:
        self._settings: Final = settings
        self._group: Final = group
        self._pool: Final = pool
        self._outbox: Final = outbox
        self._topics: Final = topics
        self._clock: Final = clock
        self._waits: Final[dict[str, tuple[float, float]]] = {}
        """By topic: the wait after the last try in seconds, and its end on the loop's clock."""

    async def publish(self) -> int:
        """Publish unpublished letters whose dead letter topic exists; returns how many."""
        async with self._pool.acquire() as db:
            waiting = [row["topic"] for row in await dead_letters.unpublished_by_topic(db)]
        for topic in self._waits.keys() - set(waiting):
            del self._waits[topic]
        now_s = asyncio.get_running_loop().time()
        due = [topic for topic in waiting if self._waits.get(topic, (0.0, 0.0))[1] <= now_s]
        if not due:
            return 0
        there = await self._topics.ids([topic + DEAD_LETTER_SUFFIX for topic in due])
        topics = [topic for topic in due if topic + DEAD_LETTER_SUFFIX in there]
        for topic in topics:
            wait_s = min(WAIT_S_MAX, 2 * self._waits.get(topic, (TRY_EVERY_S, 0.0))[0])
            self._waits[topic] = (wait_s, now_s + wait_s)
        return await self._publish(topics) if topics else 0

    async def _publish(self, topics: Sequence[str]) -> int:
        now = self._clock()
        async with self._pool.acquire() as db, db.transaction():
            letters = await sql.claim_unpublished(db, topics=topics, rows_max=ROWS_MAX)
            block = await outbox_rows.first_id(db)
            rows = [self._row(letter, block + n) for n, letter in enumerate(letters)]
            await outbox_rows.write(db, rows, outbox_rows.adopt_at(now, self._settings))
        self._outbox.publish_soon(rows, now)
        return len(rows)

    def _row(self, row: Any, id: int) -> OutboxRow:
        headers = tuple(zip(row["header_names"], row["header_values"], strict=True))
        record = Record(
            row["topic"],
            row["partition"],
            row["record_offset"],
            row["key"],
            row["value"],
            headers or None,
            row["timestamp_ms"] or 0,
        )
        causation_id, traceparent = descent(record, row["id"])
        letter = DeadLetter(row["id"], causation_id, traceparent, record, row["cause"], row["reason"], row["attempts"])
        return replace(outbox_rows.letter_row(letter, id, self._group), source=None)
