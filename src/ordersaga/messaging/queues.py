"""The queues of the parking, for operators: how each stands, trying its first record at once, giving that record up.

A queue is what waits of one topic, partition and order behind a record whose handling failed. Only its first record can be acted upon.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from msgspec import Struct

from ordersaga.messaging import acts, ledger, parking
from ordersaga.messaging.acts import NotPossible, Operator
from ordersaga.messaging.database import Connection, Pool
from ordersaga.messaging.queries import queries
from ordersaga.messaging.texts import readable
from ordersaga.settings import ServiceName, Settings

sql: Final = queries(__file__)


class Place(NamedTuple):
    """Where a record is in Kafka."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """From topic/partition/offset. Raises `NotPossible`."""
        parts = text.rsplit("/", 2)
        if len(parts) != 3 or not parts[0] or not (parts[1].isdigit() and parts[2].isdigit()):
            raise NotPossible(
                f"{text} is no place of a record; it is written topic/partition/offset, as `parked list` shows it"
            )
        return cls(parts[0], int(parts[1]), int(parts[2]))


class Queue(Struct, frozen=True):
    """A queue and its first record, whose tries before it was last replayed are `attempts_before`."""

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
    def place(self) -> Place:
        """Where its first record is in Kafka."""
        return Place(self.topic, self.partition, self.offset)


class Queues:
    """The acts upon one service's parked records, in its own database."""

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
        """The queues that fit, by topic, partition and order."""
        async with self._pool.acquire() as db:
            found = [Queue(*row.values()) for row in await sql.parked_queues(db, order_key=order_key, topic=topic)]
        return [queue for queue in found if cause is None or (queue.cause or "").lower() == cause.lower()]

    async def retry(self, place: Place, operator: Operator) -> None:
        """Make a queue's first record due now; its number of tries goes on."""
        async with self._pool.acquire() as db, db.transaction():
            now = self._clock()
            first = await self._lock_first(db, place)
            await sql.make_due(db, **_named(place), now=now)
            before = {"due_at": first.due_at and first.due_at.isoformat(), "attempts": first.attempts}
            await acts.add(db, operator, "parked retry", place, before, {"due_at": now.isoformat()}, now)

    async def discard(self, place: Place, operator: Operator) -> int:
        """Give a queue's first record up and let the next come at once; returns how many still wait.

        The record stays as a dead letter that is DISCARDED.
        """
        async with self._pool.acquire() as db, db.transaction():
            now = self._clock()
            first = await self._lock_first(db, place)
            letter_id: UUID | None = await sql.discard_replayed(db, **_named(place), attempts=first.attempts, now=now)
            if letter_id is None:
                letter_id = self._new_id()
                await sql.add_discarded(db, **_named(place), id=letter_id, now=now)
            await parking.sql.unpark(
                db, topics=[place.topic], partitions=[place.partition], offsets=[place.offset], now=now
            )
            before = {"attempts": first.attempts, "cause": first.cause, "reason": first.reason, "value": first.value}
            after = {"status": "DISCARDED", "letter": str(letter_id)}
            await acts.add(db, operator, "parked discard", place, before, after, now)
            return first.waiting

    async def _lock_first(self, db: Connection, place: Place) -> "_First":
        # The lock on the position keeps the partition's owner from a turn over this queue until we are done.
        await ledger.lock_position(db, place.topic, place.partition)
        rows = await sql.parked_queue(db, **_named(place))
        if not rows:
            raise NotPossible(
                f"{self.service} has no parked record {place}; `ordersaga parked list` shows what there is"
            )
        first = rows[0]
        if first["record_offset"] != place.offset:
            head = Place(place.topic, place.partition, first["record_offset"])
            raise NotPossible(f"{place} waits behind {head}; act upon that one first")
        return _First(
            first["attempts"], first["due_at"], first["cause"], first["reason"], readable(first["value"]), len(rows) - 1
        )


class _First(NamedTuple):
    attempts: int
    due_at: datetime | None
    cause: str | None
    reason: str | None
    value: str | None
    waiting: int


def _named(place: Place) -> dict[str, str | int]:
    return {"topic": place.topic, "partition": place.partition, "record_offset": place.offset}
