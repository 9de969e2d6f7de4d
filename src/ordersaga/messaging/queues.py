"""Queues of parked records, for operators: list them, retry the first record of one at once, or discard it.

A queue is a failed record and the later records of its topic, partition and key. Only the first record of a queue can be acted on.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from msgspec import Struct

from ordersaga.messaging import acts, ledger, parking
from ordersaga.messaging.acts import STALE, NotPossible, Operator
from ordersaga.messaging.database import Connection, Pool, planned_anew
from ordersaga.messaging.handler import Coordinates, Record
from ordersaga.messaging.queries import queries
from ordersaga.messaging.texts import readable
from ordersaga.said import say
from ordersaga.settings import ServiceName, Settings

sql: Final = queries(__file__)


def parse_coordinates(text: str) -> Coordinates:
    """The coordinates written as topic/partition/offset. Raises `NotPossible`."""
    parts = text.rsplit("/", 2)
    if len(parts) != 3 or not parts[0] or not (parts[1].isdigit() and parts[2].isdigit()):
        raise NotPossible(f"{text} names no record; write topic/partition/offset, as `parked list` shows it", "INVALID")
    return Coordinates(parts[0], int(parts[1]), int(parts[2]))


class Queue(Struct, frozen=True):
    """A queue, by its first record. `attempts_before`: attempts before an operator last replayed it. `records`: the queue's length.

    `said`: the sayings of the reason.
    """

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
    said: str | None = None

    @property
    def first(self) -> Coordinates:
        """The coordinates of the first record."""
        return Coordinates(self.topic, self.partition, self.offset)

    @property
    def version(self) -> str:
        """Changes with each attempt and each act on the first record."""
        return _version(self.attempts, self.due_at)


class ParkedRecord(Struct, frozen=True):
    """A parked record. `ahead`: how many records of its queue come before it; `behind`: how many come after it."""

    record: Record
    order_key: UUID
    attempts: int
    attempts_before: int
    due_at: datetime | None
    cause: str | None
    reason: str | None
    parked_at: datetime
    ahead: int
    behind: int
    said: str | None = None

    @property
    def version(self) -> str:
        """Changes with each attempt and each act on the record."""
        return _version(self.attempts, self.due_at)


class QueueFilter(Struct, frozen=True, kw_only=True):
    """A filter of queues: all conditions that are given must hold. `after`: topic, partition and key of the queue that ends the page before."""

    order_key: UUID | None = None
    topic: str | None = None
    cause: str | None = None
    after: tuple[str, int, UUID] | None = None


EVERY_QUEUE: Final = QueueFilter()


def _version(attempts: int, due_at: datetime | None) -> str:
    return f"{attempts}-{due_at:%Y%m%dT%H%M%S.%f}" if due_at else f"{attempts}-waits"


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

    async def find(self, wanted: QueueFilter = EVERY_QUEUE, rows_max: int | None = None) -> list[Queue]:
        """The queues that match, ordered by topic, partition and key."""
        topic, partition, key = wanted.after or (None, None, None)
        async with self._pool.acquire() as db, planned_anew(db):
            rows = await sql.parked_queues(
                db,
                order_key=wanted.order_key,
                topic=wanted.topic,
                cause=wanted.cause,
                after_topic=topic,
                after_partition=partition,
                after_key=key,
                rows_max=rows_max,
            )
        return [Queue(*row.values()) for row in rows]

    async def show(self, coordinates: Coordinates) -> ParkedRecord:
        """One parked record with its bytes. Raises `NotPossible`."""
        async with self._pool.acquire() as db:
            rows = await sql.parked_record(db, **_named(coordinates))
        if not rows:
            raise self._not_parked(coordinates)
        (row,) = rows
        headers = tuple(zip(row["header_names"], row["header_values"], strict=True))
        record = Record(*coordinates, row["key"], row["value"], headers or None, row["timestamp_ms"])
        return ParkedRecord(record, *_after_bytes(row))

    async def retry(self, first: Coordinates, operator: Operator, version: str | None = None) -> datetime:
        """Make a queue's first record due now. It keeps its number of attempts. Returns the due time. Raises `NotPossible`.

        `version`: that of the record when the operator saw it; None: any.
        """
        async with self._pool.acquire() as db, db.transaction():
            now = self._clock()
            locked = await self._lock_first(db, first, version)
            await sql.make_due(db, **_named(first), now=now)
            before = {"due_at": locked.due_at and locked.due_at.isoformat(), "attempts": locked.attempts}
            after = {"due_at": now.isoformat()}
            await acts.add(db, operator, "parked retry", first, before, after, now, locked.order_key)
            return now

    async def discard(self, first: Coordinates, operator: Operator, version: str | None = None) -> int:
        """Discard a queue's first record, and make the next one due now. Returns how many records the queue has left.

        The discarded record becomes a dead letter with the status DISCARDED. Raises `NotPossible`.
        """
        async with self._pool.acquire() as db, db.transaction():
            now = self._clock()
            locked = await self._lock_first(db, first, version)
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
            await acts.add(db, operator, "parked discard", first, before, after, now, locked.order_key)
            return locked.waiting

    def _not_parked(self, coordinates: Coordinates) -> NotPossible:
        return NotPossible(
            f"{self.service} has no parked record {coordinates}; `ordersaga parked list` shows the parked records",
            "UNKNOWN",
        )

    async def _lock_first(self, db: Connection, first: Coordinates, version: str | None) -> "_First":
        # The lock on the ledger's row keeps the partition's owner from a transaction over this queue until ours ends.
        await ledger.lock_position(db, first.topic, first.partition)
        rows = await sql.parked_queue(db, **_named(first))
        if not rows:
            raise self._not_parked(first)
        head_row = rows[0]
        if head_row["record_offset"] != first.offset:
            head = Coordinates(first.topic, first.partition, head_row["record_offset"])
            raise NotPossible(
                say(
                    "refused.behind",
                    "{record} waits behind {first}; retry or discard {first} first",
                    record=str(first),
                    first=str(head),
                )
            )
        if version not in (None, _version(head_row["attempts"], head_row["due_at"])):
            raise NotPossible(f"{first} was tried or changed since it was shown; look at it again", title=STALE)
        return _First(
            head_row["order_key"],
            head_row["attempts"],
            head_row["due_at"],
            head_row["cause"],
            head_row["reason"],
            readable(head_row["value"]),
            len(rows) - 1,
        )


class _First(NamedTuple):
    order_key: UUID
    attempts: int
    due_at: datetime | None
    cause: str | None
    reason: str | None
    value: str | None
    waiting: int


def _after_bytes(row: Any) -> tuple[Any, ...]:
    """The columns of `parked_record` that follow the record's own."""
    return tuple(row.values())[5:]


def _named(first: Coordinates) -> dict[str, str | int]:
    return {"topic": first.topic, "partition": first.partition, "record_offset": first.offset}
