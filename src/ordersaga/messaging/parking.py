"""Parking: a record whose handling failed is set aside with its error and tried again later. Records of one key keep their order.

Later records of the same topic, partition and key queue behind the failed one; all other records go on. The owner of the partition
retries the first record of each queue in a fenced transaction, after a growing wait. A record that has failed `park_attempts_max` times
becomes a dead letter, and the next of its queue is tried.
"""

import random
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from msgspec import Struct

from ordersaga.masking import masked
from ordersaga.messaging import log_fields
from ordersaga.messaging.database import Connection
from ordersaga.messaging.handler import Incoming, Record
from ordersaga.messaging.isolation import FailedRecord
from ordersaga.messaging.kafka import Partition
from ordersaga.messaging.queries import queries
from ordersaga.messaging.texts import storable, stored_sayings
from ordersaga.settings import Settings

log: Final = structlog.get_logger()
sql: Final = queries(__file__)

REASON_CHARS_MAX: Final = 2_000
LOCKED_WAIT: Final = timedelta(seconds=3)


class Parked(Struct, frozen=True):
    """A parked record. `attempts_before`: its attempts before an operator last replayed it, which do not count against it."""

    record: Record
    attempts: int
    attempts_before: int

    @property
    def named(self) -> dict[str, str | int]:
        """The record's coordinates, as the queries' parameters."""
        return {"topic": self.record.topic, "partition": self.record.partition, "record_offset": self.record.offset}


class Parking:
    """The parked records of this process's partitions. Keeps their keys in memory, so that a turn needs no query for them."""

    def __init__(self, settings: Settings) -> None:
        self._settings: Final = settings
        self._keys: dict[Partition, set[UUID]] = {}

    async def load(self, db: Connection, partitions: Iterable[Partition]) -> None:
        """Read the parked keys of these partitions: after they are taken, and now and then, since an operator may have replayed some."""
        wanted = list(partitions)
        rows = await sql.parked_keys(db, topics=[p.topic for p in wanted], partitions=[p.partition for p in wanted])
        self._keys = {}
        for row in rows:
            self._keys.setdefault(Partition(row["topic"], row["partition"]), set()).add(row["order_key"])

    @property
    def holds_any(self) -> bool:
        return bool(self._keys)

    def split(self, incoming: list[Incoming]) -> tuple[list[Incoming], list[Incoming]]:
        """Records to handle now, and records that must queue behind a parked one of their key."""
        if not self._keys:
            return incoming, []
        now: list[Incoming] = []
        wait: list[Incoming] = []
        for each in incoming:
            keys = self._keys.get(Partition(each.record.topic, each.record.partition))
            (wait if keys and each.key in keys else now).append(each)
        return now, wait

    async def put_aside(self, db: Connection, locked: Iterable[tuple[FailedRecord, int]], now: datetime) -> None:
        """Park records that need a row that another transaction has locked. Their number of attempts stays: this was no failure."""
        rows = [
            _row(each.incoming, now, tries, now + LOCKED_WAIT * random.uniform(1, 2), each) for each, tries in locked
        ]
        if rows:
            await sql.park(db, rows)

    async def park(
        self,
        db: Connection,
        failed: Sequence[FailedRecord],
        waiting: Sequence[Incoming],
        now: datetime,
        attempts: int = 1,
    ) -> None:
        """Park failed records, and those `waiting` behind parked ones, in the transaction that moves the ledger past them."""
        rows = [_row(each.incoming, now, attempts, now + self._wait(attempts), each) for each in failed]
        rows += [_row(each, now, 0, None, None) for each in waiting]
        if rows:
            await sql.park(db, rows)

    def add_keys(self, failed: Iterable[FailedRecord], waiting: Iterable[Incoming]) -> None:
        """After the commit: add the keys of these records to the parked keys."""
        for each in [*(failure.incoming for failure in failed), *waiting]:
            self._keys.setdefault(Partition(each.record.topic, each.record.partition), set()).add(each.key)

    def _wait(self, attempts: int) -> timedelta:
        """The wait before the next retry: doubled with each attempt, with jitter of a fifth, so that records that failed together
        spread."""
        ceiling_ms = self._settings.park_backoff_ms * 2 ** min(attempts - 1, 16)
        return timedelta(milliseconds=random.uniform(0.8, 1.2) * ceiling_ms)

    def gives_up(self, parked: Parked) -> bool:
        """Whether a record that has just failed again becomes a dead letter."""
        return parked.attempts + 1 - parked.attempts_before >= self._settings.park_attempts_max

    @staticmethod
    async def due(db: Connection, partitions: Iterable[Partition], now: datetime, rows_max: int) -> list[Parked]:
        """The first record of each queue, of those that are due."""
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
        """Lock the rows of these records. Returns those that still have one: an operator may have discarded some."""
        rows = await sql.lock_parked(db, **_columns(each.record for each in parked))
        there = {(row["topic"], row["partition"], row["record_offset"]) for row in rows}
        return [each for each in parked if each.record.coordinates in there]

    @staticmethod
    async def unpark(db: Connection, records: Iterable[Record], now: datetime) -> None:
        """Delete the rows of these records, and make the next of each queue due."""
        columns = _columns(records)
        if columns["topics"]:
            await sql.unpark(db, **columns, now=now)


def log_parked(failed: Iterable[FailedRecord]) -> None:
    """Log each record that a committed turn has parked."""
    for each in failed:
        fields = log_fields.of_record(each.incoming.record, each.incoming.key)
        log.warning("a record is parked", **fields, cause=each.cause, reason=each.reason)


def _row(
    incoming: Incoming, now: datetime, attempts: int, due_at: datetime | None, failure: FailedRecord | None
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
        "said": failure and stored_sayings(failure.reason),
        "parked_at": now,
    }


def _columns(records: Iterable[Record]) -> dict[str, list[Any]]:
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
