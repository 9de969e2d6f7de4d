"""Queues of parked records, for operators: list them, retry the first record of one at once, or discard it.

A queue is a failed record and the later records of its topic, partition and key. Only the first record of a queue can be acted on.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from msgspec import Struct

from ordersaga.messaging import acts, ledger, parking
from ordersaga.messaging.acts import NotPossible, Operator
from ordersaga.messaging.database import Connection, Pool
from ordersaga.messaging.handler import Coordinates
from ordersaga.messaging.queries import queries
from ordersaga.messaging.texts import readable
from ordersaga.settings import ServiceName, Settings

sql: Final = queries(__file__)


def parse_coordinates(text: str) -> Coordinates:
    """The coordinates written as topic/partition/offset. Raises `NotPossible`."""
    parts = text.rsplit("/", 2)
    if len(parts) != 3 or not parts[0] or not (parts[1].isdigit() and parts[2].isdigit()):
        raise NotPossible(f"{text} names no record; write topic/partition/offset, as `parked list` shows it")
    return Coordinates(parts[0], int(parts[1]), int(parts[2]))


class Queue(Struct, frozen=True):
    """A queue, by its first record. `attempts_before`: attempts before an operator last replayed it. `records`: the queue's length."""

    topic: str
    partition: int
    offset: int
    order_key: UUID
    attempts: int
    attempts_before: int
    due_at: datetime | None
    cause: str | None
    reason: str | None
    parked_at: datetime
    records: int

    @property
    def first(self) -> Coordinates:
        """The coordinates of the first record."""
        return Coordinates(self.topic, self.partition, self.offset)


class Queues:
    """The acts on one service's parked records, in its database. Each act writes an audit row in the same transaction."""

    def __init__(
        self,
        settings: Settings,
        service: ServiceName,
        pool: Pool,
        clock: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        self.settings: Final = settings
        self.service: Final = service
        self._pool: Final = pool
        self._clock: Final = clock
        self._new_id: Final = new_id

    async def find(
        self, order_key: UUID | None = None, topic: str | None = None, cause: str | None = None
    ) -> list[Queue]:
        """The queues that match all given conditions, ordered by topic, partition and key."""
        async with self._pool.acquire() as db:
            found = [Queue(*row.values()) for row in await sql.parked_queues(db, order_key=order_key, topic=topic)]
        return [queue for queue in found if cause is None or (queue.cause or "").lower() == cause.lower()]

    async def retry(self, first: Coordinates, operator: Operator) -> None:
        """Make a queue's first record due now. It keeps its number of attempts. Raises `NotPossible`."""
        async with self._pool.acquire() as db, db.transaction():
            now = self._clock()
            locked = await self._lock_first(db, first)
            await sql.make_due(db, **_named(first), now=now)
            before = {"due_at": locked.due_at and locked.due_at.isoformat(), "attempts": locked.attempts}
            await acts.add(db, operator, "parked retry", first, before, {"due_at": now.isoformat()}, now)

    async def discard(self, first: Coordinates, operator: Operator) -> int:
        """Discard a queue's first record, and make the next one due now. Returns how many records the queue has left.

        The discarded record becomes a dead letter with the status DISCARDED. Raises `NotPossible`.
        """
        async with self._pool.acquire() as db, db.transaction():
            now = self._clock()
            locked = await self._lock_first(db, first)
            letter_id: UUID | None = await sql.discard_replayed(db, **_named(first), attempts=locked.attempts, now=now)
            if letter_id is None:
                letter_id = self._new_id()
                await sql.add_discarded(db, **_named(first), id=letter_id, now=now)
            await parking.sql.unpark(
                db, topics=[first.topic], partitions=[first.partition], offsets=[first.offset], now=now
            )
            before = {
                "attempts": locked.attempts,
                "cause": locked.cause,
                "reason": locked.reason,
                "value": locked.value,
            }
            after = {"status": "DISCARDED", "letter": str(letter_id)}
            await acts.add(db, operator, "parked discard", first, before, after, now)
            return locked.waiting

    async def _lock_first(self, db: Connection, first: Coordinates) -> "_First":
        # The lock on the ledger's row keeps the partition's owner from a transaction over this queue until ours ends.
        await ledger.lock_position(db, first.topic, first.partition)
        rows = await sql.parked_queue(db, **_named(first))
        if not rows:
            raise NotPossible(
                f"{self.service} has no parked record {first}; `ordersaga parked list` shows the parked records"
            )
        head_row = rows[0]
        if head_row["record_offset"] != first.offset:
            head = Coordinates(first.topic, first.partition, head_row["record_offset"])
            raise NotPossible(f"{first} waits behind {head}; retry or discard {head} first")
        return _First(
            head_row["attempts"],
            head_row["due_at"],
            head_row["cause"],
            head_row["reason"],
            readable(head_row["value"]),
            len(rows) - 1,
        )


class _First(NamedTuple):
    attempts: int
    due_at: datetime | None
    cause: str | None
    reason: str | None
    value: str | None
    waiting: int


def _named(first: Coordinates) -> dict[str, str | int]:
    return {"topic": first.topic, "partition": first.partition, "record_offset": first.offset}
