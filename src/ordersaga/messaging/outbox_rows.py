"""Outbox rows: composed from what a handler returned, written in the transaction that causes them, read back for publishing.

Every transaction that sends messages calls `write_output` before its commit, and `outbox.py` publishes the rows after it.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.contracts import codec
from ordersaga.contracts.headers import CAUSATION_ID, MESSAGE_ID, TRACEPARENT, TYPE_ID
from ordersaga.contracts.topics import BY_MESSAGE, key_of
from ordersaga.messaging import dead_letters
from ordersaga.messaging.database import INSERTED_MAX, Connection, insert, insert_of
from ordersaga.messaging.dead_letters import DeadLetter, GivenUp
from ordersaga.messaging.handler import Outgoing
from ordersaga.messaging.ids import MessageIds
from ordersaga.messaging.kafka import Partition, Publication
from ordersaga.messaging.queries import queries
from ordersaga.messaging.short_transaction import ShortTransaction
from ordersaga.settings import Settings
from ordersaga.settings_pairs import OUTBOX_BLOCK_IDS

sql: Final = queries(__file__)

BLOCK_IDS: Final = OUTBOX_BLOCK_IDS
ID_IN_BLOCK: Final = "(SELECT id FROM block) + {}::int"
"""The id of a row that is written by the last statement of a transaction, which makes the block, too."""

COLUMNS: Final = (
    "id",
    "source_topic",
    "source_partition",
    "adopt_at",
    "topic",
    "partition",
    "key",
    "value",
    "message_id",
    "causation_id",
    "traceparent",
    "header_names",
    "header_values",
)


class TooManyRows(Exception):
    """A transaction has more output than ids for outbox rows. A turn or a gathered set is halved; a record alone becomes a dead letter."""


class OutboxRow(Struct, frozen=True, gc=False):
    """One row of the table `outbox`.

    `source`: the input partition of the record that caused the row; None for HTTP, timers and dead letters that are published again. `partition`: None if the key chooses it.
    """

    id: int
    source: Partition | None
    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    message_id: UUID
    causation_id: str | None
    traceparent: str
    headers: tuple[tuple[str, bytes | None], ...] = ()

    def publication(self) -> Publication:
        """The record for Kafka."""
        return _publication(
            self.id,
            self.topic,
            self.partition,
            self.key,
            self.value,
            self.message_id,
            self.causation_id,
            self.traceparent,
            self.headers,
        )


def compose(outgoing: Sequence[Outgoing], block: int, ids: MessageIds, type_ids: dict[str, str]) -> list[OutboxRow]:
    """The rows for the messages that a handler returned, in their order, with ids from `block` on."""
    rows = []
    sources: dict[tuple[str, int], Partition] = {}  # one object for all rows of a partition
    for number, each in enumerate(outgoing, block):
        message, cause = each.message, each.cause
        topic = BY_MESSAGE[type(message)].name
        key = key_of(message)
        message_id, causation_id, traceparent = ids.of(cause, key, each.trace)
        source = None
        if cause is not None:
            place = cause.record.topic, cause.record.partition
            source = sources.get(place) or sources.setdefault(place, Partition(*place))
        type_id = type_ids.get(topic) if type_ids else None
        rows.append(
            OutboxRow(
                number,
                source,
                topic,
                None,
                codec.text_of(key),
                codec.encode(message),
                each.message_id or message_id,
                causation_id,
                traceparent,
                ((TYPE_ID, type_id.encode()),) if type_id else (),
            )
        )
    return rows


def letter_row(letter: DeadLetter, id: int, group: str) -> OutboxRow:
    """The row for a dead letter: partition, key and value are those of the record that was given up."""
    record = letter.record
    source = Partition(record.topic, record.partition)
    to, headers = letter.topic, letter.headers(group)
    return OutboxRow(
        id,
        source,
        to,
        record.partition,
        record.key,
        record.value,
        letter.id,
        letter.causation_id,
        letter.traceparent,
        headers,
    )


async def write_output(
    db: Connection,
    outgoing: Sequence[Outgoing],
    now: datetime,
    ids: MessageIds,
    settings: Settings,
    given_up: Sequence[GivenUp] = (),
    block: int | None = None,
) -> list[OutboxRow]:
    """Write the output of a transaction: its messages in their order, then dead letters for the records that are given up.

    Publish the rows after the commit: those of a turn by `Outbox.publish`, others by `Outbox.publish_soon`. `block`: the first id of the
    rows, which a turn gets from its fence; None: it is fetched here. Raises `TooManyRows`.
    """
    count = len(outgoing) + len(given_up)
    if not count:
        return []
    if count > BLOCK_IDS:
        raise TooManyRows(f"{count} output records in one transaction, which has ids for {BLOCK_IDS}")
    if block is None:
        block = await first_id(db)
    rows = await _composed(db, outgoing, now, ids, settings, given_up, block)
    await write(db, rows, adopt_at(now, settings))
    return rows


async def write_last(
    db: ShortTransaction,
    outgoing: Sequence[Outgoing],
    now: datetime,
    ids: MessageIds,
    settings: Settings,
    end: Callable[[Any], Awaitable[int]],
    given_up: Sequence[GivenUp] = (),
) -> list[OutboxRow]:
    """Write the output of a short transaction by its last statement. `end` sends it: it gets `db.last`, and returns the first id of the rows."""
    if len(outgoing) + len(given_up) > INSERTED_MAX:
        rows = await write_output(db.itself, outgoing, now, ids, settings, given_up)
        await end(db.last)
        return rows
    rows = await _composed(db.itself, outgoing, now, ids, settings, given_up, 0)
    if rows:
        values = [value for row in _values(rows, adopt_at(now, settings)) for value in row]
        await db.later.execute(insert_of("outbox", COLUMNS, len(rows), ID_IN_BLOCK), *values)
    block = await end(db.last)
    return [replace(row, id=block + row.id) for row in rows]


async def end(last: Any) -> int:
    """End a short transaction that is not a turn."""
    block: int
    block, transaction_id = await sql.outbox_block_at_end(last)
    last.written_by(transaction_id)
    return block


async def _composed(
    db: Connection,
    outgoing: Sequence[Outgoing],
    now: datetime,
    ids: MessageIds,
    settings: Settings,
    given_up: Sequence[GivenUp],
    block: int,
) -> list[OutboxRow]:
    rows = compose(outgoing, block, ids, settings.type_ids)
    if given_up:
        letters = await dead_letters.give_up(db, given_up, ids, now)
        rows += [letter_row(each, n, ids.group) for n, each in enumerate(letters, block + len(rows))]
    return rows


async def first_id(db: Connection) -> int:
    """A fresh block of row ids for a transaction that is not a turn (a turn's block comes with its fence)."""
    first: int = await sql.outbox_block(db)
    return first


async def write(db: Connection, rows: Sequence[OutboxRow], adopt_at: datetime) -> None:
    """Write rows in the caller's transaction, by one statement."""
    await insert(db, "outbox", COLUMNS, _values(rows, adopt_at))


def _values(rows: Sequence[OutboxRow], adopt_at: datetime) -> list[tuple[Any, ...]]:
    return [
        (
            row.id,
            row.source and row.source.topic,
            row.source and row.source.partition,
            adopt_at,
            row.topic,
            row.partition,
            row.key,
            row.value,
            row.message_id,
            row.causation_id,
            row.traceparent,
            [name for name, _ in row.headers] if row.headers else None,
            [value for _, value in row.headers] if row.headers else None,
        )
        for row in rows
    ]


def publication_of(row: Any) -> Publication:
    """The record for Kafka of a row that was read from the table."""
    extra = tuple(zip(row["header_names"] or (), row["header_values"] or (), strict=True))
    return _publication(
        row["id"],
        row["topic"],
        row["partition"],
        row["key"],
        row["value"],
        row["message_id"],
        row["causation_id"],
        row["traceparent"],
        extra,
    )


def _publication(
    id: int,
    topic: str,
    partition: int | None,
    key: bytes | None,
    value: bytes | None,
    message_id: UUID,
    causation_id: str | None,
    traceparent: str,
    extra: Sequence[tuple[str, bytes | None]],
) -> Publication:
    headers: list[tuple[str, bytes | None]] = [
        (MESSAGE_ID, str(message_id).encode()),
        (TRACEPARENT, traceparent.encode()),
    ]
    if causation_id is not None:
        headers.append((CAUSATION_ID, causation_id.encode()))
    if extra:
        ours = (MESSAGE_ID, TRACEPARENT, CAUSATION_ID)
        # confluent-kafka 2.16 crashes the process on a header name that is not UTF-8.
        headers += [
            (name.encode(errors="backslashreplace").decode(), value) for name, value in extra if name not in ours
        ]
    return Publication(id, topic, partition, key, value, headers)


def adopt_at(now: datetime, settings: Settings) -> datetime:
    """From when on any instance may publish a row without a source that its writer has not published."""
    return now + timedelta(milliseconds=settings.outbox_adopt_after_ms)
