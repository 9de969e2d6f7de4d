"""Parking: a record whose handling fails is set aside with its error and tried again later, and key order still holds.

Later records of the same topic, partition and key queue behind it; all others go on. The partition's owner tries the first of each
queue again in a fenced turn, with a growing wait; after `park_attempts_max` it becomes a dead letter and the queue goes on.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from msgspec import Struct

from ordersaga.masking import masked
from ordersaga.messaging.database import Connection, queries, storable
from ordersaga.messaging.handler import Batch, Handle, Incoming, Outgoing, Record, Rejected
from ordersaga.messaging.kafka import Partition
from ordersaga.messaging.sqlstate import is_deployment, is_locked, is_too_large, is_transient
from ordersaga.settings import Settings

sql: Final = queries(__file__)

REASON_CHARS_MAX: Final = 2_000
LOCK_WAIT_MS: Final = 100
LOCKED_WAIT: Final = timedelta(seconds=3)
WINDOW_RECORDS: Final = 100

Place = tuple[str, int, UUID]


class Failure(Struct, frozen=True):
    """A record whose handling failed, and how: the error's class and its text."""

    incoming: Incoming
    cause: str
    reason: str


class Outcome(Struct):
    """What came of a batch: what is to be sent, what was rejected, what failed, what must wait behind it, what there was no time for, and
    what needs a row that somebody holds.
    """

    outgoing: list[Outgoing]
    rejected: list[Rejected]
    failed: list[Failure]
    held: list[Incoming]
    left: list[Incoming] = []
    locked: list[Failure] = []


class Parked(Struct, frozen=True):
    """A record of the parking, how often it was tried, and how often of that before it was last replayed."""

    record: Record
    attempts: int
    attempts_before: int

    @property
    def named(self) -> dict[str, str | int]:
        """Its place, by the names that queries give it."""
        return {"topic": self.record.topic, "partition": self.record.partition, "record_offset": self.record.offset}


def place(record: Record) -> tuple[str, int, int]:
    """Where a record is in Kafka."""
    return record.topic, record.partition, record.offset


def place_of(incoming: Incoming) -> Place:
    """The queue that a record belongs to."""
    return incoming.record.topic, incoming.record.partition, incoming.key


def _never() -> bool:
    return False


async def isolate(
    db: Connection,
    handle: Handle,
    batch: Batch,
    is_over: Callable[[], bool] = _never,
    locked_max: int = 0,
    slow_is_at_fault: bool = False,
) -> Outcome:
    """Handle a batch of which something fails: halve it until the failing records stand alone. Needs an open transaction.

    One bad record among n costs about 2 log2(n) tries. Raises what is not a record's fault: database and network trouble, and what
    looks like a bad deployment. Once `is_over`, and something has come of it, the rest is left. Up to `locked_max` records are set apart
    because another transaction holds a row that they need. Where `slow_is_at_fault`, a record that takes
    too long in a batch of its own has failed.
    """
    outcome = Outcome([], [], [], [])
    blocked: set[Place] = set()
    handled = 0

    async def attempt(incoming: Sequence[Incoming]) -> None:
        held = [each for each in incoming if place_of(each) in blocked]
        outcome.held.extend(held)
        some = [each for each in incoming if place_of(each) not in blocked] if held else incoming
        if not some:
            return
        nonlocal handled
        if handled and is_over():
            outcome.left.extend(some)
            return
        part = Batch(some, batch.now, batch.new_id)
        try:
            async with db.transaction():
                outgoing = await handle(part, db)
        except Exception as error:
            locked = is_locked(error) and len(outcome.locked) < locked_max
            too_much_alone = slow_is_at_fault and is_too_large(error) and len(batch.incoming) == 1
            if not (locked or too_much_alone) and (is_transient(error) or is_deployment(error)):
                raise
            if locked and not outcome.locked:
                # From here on somebody is known to hold a row.
                await db.execute(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}")
            if len(some) == 1:
                blocked.add(place_of(some[0]))
                kind = outcome.locked if locked else outcome.failed
                kind.append(Failure(some[0], type(error).__name__, str(error)))
                handled += 1
                return
            middle = len(some) // 2
            await attempt(some[:middle])
            await attempt(some[middle:])
            return
        handled += len(some)
        outcome.outgoing.extend(outgoing)
        outcome.rejected.extend(part.rejected)

    await attempt(batch.incoming)
    return outcome


class Parking:
    """The parked records of this process's partitions. Which keys are parked is known here, so a turn pays nothing while none is."""

    def __init__(self, settings: Settings) -> None:
        self._settings: Final = settings
        self._keys: dict[Partition, set[UUID]] = {}

    async def load(self, db: Connection, partitions: Iterable[Partition]) -> None:
        """Learn which keys of our partitions are parked: when they are taken, and now and then, since an operator may have replayed some."""
        wanted = list(partitions)
        rows = await sql.parked_keys(db, topics=[p.topic for p in wanted], partitions=[p.partition for p in wanted])
        self._keys = {}
        for row in rows:
            self._keys.setdefault(Partition(row["topic"], row["partition"]), set()).add(row["order_key"])

    @property
    def holds_any(self) -> bool:
        return bool(self._keys)

    def split(self, incoming: list[Incoming]) -> tuple[list[Incoming], list[Incoming]]:
        """Records to handle now, and those that must queue behind a parked one of their key."""
        if not self._keys:
            return incoming, []
        now: list[Incoming] = []
        wait: list[Incoming] = []
        for each in incoming:
            keys = self._keys.get(Partition(each.record.topic, each.record.partition))
            (wait if keys and each.key in keys else now).append(each)
        return now, wait

    async def put_aside(self, db: Connection, locked: Iterable[tuple[Failure, int]], now: datetime) -> None:
        """Set records aside that need a row which somebody holds, with the tries that they had before: this was none."""
        rows = [
            _row(each.incoming, now, tries, now + LOCKED_WAIT * random.uniform(1, 2), each) for each, tries in locked
        ]
        if rows:
            await sql.park(db, rows)

    async def park(
        self, db: Connection, failed: Sequence[Failure], waiting: Sequence[Incoming], now: datetime, attempts: int = 1
    ) -> None:
        """Set records aside, in the transaction that moves the ledger past them."""
        rows = [_row(each.incoming, now, attempts, now + self._wait(attempts), each) for each in failed]
        rows += [_row(each, now, 0, None, None) for each in waiting]
        if rows:
            await sql.park(db, rows)

    def note(self, failed: Iterable[Failure], waiting: Iterable[Incoming]) -> None:
        """Remember, after the commit, whose later records must wait."""
        for each in [*(failure.incoming for failure in failed), *waiting]:
            self._keys.setdefault(Partition(each.record.topic, each.record.partition), set()).add(each.key)

    def _wait(self, attempts: int) -> timedelta:
        """Twice as long each time, with jitter so that what failed together does not come back together."""
        ceiling_ms = self._settings.park_backoff_ms * 2 ** min(attempts - 1, 16)
        return timedelta(milliseconds=random.uniform(0.8, 1.2) * ceiling_ms)

    def gives_up(self, parked: Parked) -> bool:
        """Whether a record that has failed once more becomes a dead letter."""
        return parked.attempts + 1 - parked.attempts_before >= self._settings.park_attempts_max

    @staticmethod
    async def due(db: Connection, partitions: Iterable[Partition], now: datetime, rows_max: int) -> list[Parked]:
        """The first record of each queue whose time has come."""
        wanted = list(partitions)
        rows = await sql.due_parked(
            db,
            topics=[p.topic for p in wanted],
            partitions=[p.partition for p in wanted],
            now=now,
            rows_max=rows_max,
        )
        return [Parked(_record(row), row["attempts"], row["attempts_before"]) for row in rows]

    @staticmethod
    async def lock(db: Connection, parked: Sequence[Parked]) -> list[Parked]:
        """Those that are still there: an operator may have discarded one meanwhile."""
        rows = await sql.lock_parked(db, **_places(each.record for each in parked))
        there = {(row["topic"], row["partition"], row["record_offset"]) for row in rows}
        return [each for each in parked if place(each.record) in there]

    @staticmethod
    async def unpark(db: Connection, records: Iterable[Record], now: datetime) -> None:
        """Take records out and let the next of each queue come."""
        places = _places(records)
        if places["topics"]:
            await sql.unpark(db, **places, now=now)


class Suspicion:
    """Tells a bad deployment from bad records: most of the last records failed, and more than a few. Only records that come for the first
    time count: what was parked before says nothing of today's deployment.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings: Final = settings
        self._recent: list[bool] = []

    def confirmed_by(self, failed: int, handled: int) -> bool:
        """Whether these outcomes, after those before them, look like a bad deployment."""
        recent = [*self._recent, *[True] * failed, *[False] * (handled - failed)][-max(WINDOW_RECORDS, handled) :]
        failures = sum(recent)
        return failures >= self._settings.stop_failures_min and failures > self._settings.stop_share * len(recent)

    def note(self, failed: int, handled: int) -> None:
        """Remember outcomes that were committed."""
        self._recent = [*self._recent, *[True] * failed, *[False] * min(handled - failed, WINDOW_RECORDS)][
            -WINDOW_RECORDS:
        ]


def _row(
    incoming: Incoming, now: datetime, attempts: int, due_at: datetime | None, failure: Failure | None
) -> dict[str, Any]:
    record = incoming.record
    return {
        "topic": record.topic,
        "partition": record.partition,
        "record_offset": record.offset,
        "order_key": incoming.key,
        "key": record.key,
        "value": record.value,
        "header_names": [storable(name) for name, _ in record.headers or ()],
        "header_values": [value for _, value in record.headers or ()],
        "timestamp_ms": record.timestamp_ms,
        "attempts": attempts,
        "due_at": due_at,
        "cause": failure and failure.cause,
        "reason": failure and storable(masked(failure.reason), REASON_CHARS_MAX),
        "parked_at": now,
    }


def _places(records: Iterable[Record]) -> dict[str, list[Any]]:
    listed = list(records)
    return {
        "topics": [record.topic for record in listed],
        "partitions": [record.partition for record in listed],
        "offsets": [record.offset for record in listed],
    }


def _record(row: Any) -> Record:
    headers = tuple(zip(row["header_names"], row["header_values"], strict=True))
    return Record(
        row["topic"],
        row["partition"],
        row["record_offset"],
        row["key"],
        row["value"],
        headers or None,
        row["timestamp_ms"],
    )
