"""Dead letters: records that are given up, as a row of `dead_letter` and a record on `<topic>-dlt` with Spring Kafka's headers.

`letters.py` is what operators see of them, `letter_reading.py` reads them for operators, `redrive.py` has the acts of operators on them.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import structlog
from msgspec import Struct

from ordersaga.contracts.codec import decode
from ordersaga.contracts.headers import MESSAGE_ID
from ordersaga.contracts.topics import BY_NAME, DEAD_LETTER_SUFFIX, key_of
from ordersaga.masking import masked
from ordersaga.messaging import letter_headers, log_fields, spring_headers
from ordersaga.messaging.database import Connection
from ordersaga.messaging.handler import Record, Rejected
from ordersaga.messaging.ids import MessageIds
from ordersaga.messaging.kafka import Publication
from ordersaga.messaging.queries import queries
from ordersaga.messaging.spring_headers import Headers
from ordersaga.messaging.texts import storable, stored_sayings

log: Final = structlog.get_logger()
sql: Final = queries(__file__)

REASON_CHARS_MAX: Final = 2_000
REFUSED: Final = "RefusedByBroker"
REJECTED: Final = "Rejected"
UNDECODABLE: Final = "Undecodable"
UUID_PATTERN: Final = rb"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_FIELD: Final = rb'"%b\\*"\s*:\s*\\*"(%b)'
"""A field with an id, also of JSON inside a JSON string, where quotes have backslashes. The pattern begins with the quote itself: one that began
with backslashes would read a long run of them again from each."""
_KEY: Final = rb'(?:\{.*"payload"\s*:\s*)?"?(%b)"?\}?' % UUID_PATTERN
"""A key: an id, in quotes, or in an envelope of Kafka Connect."""


class GivenUp(Struct, frozen=True):
    """A record that is given up, with its reason, the class of the error, and the number of attempts."""

    rejected: Rejected
    cause: str
    attempts: int = 1


class DeadLetter(Struct, frozen=True):
    """A record that is given up after `attempts`. `cause`: the class of the error; `reason`: its text."""

    id: UUID
    causation_id: str
    traceparent: str
    record: Record
    cause: str
    reason: str
    attempts: int

    @property
    def topic(self) -> str:
        """The dead letter topic of the record's topic; the partition stays the same."""
        return self.record.topic + DEAD_LETTER_SUFFIX

    def headers(self, group: str) -> Headers:
        """The headers of the record, then Spring's."""
        reason = masked(self.reason)[:REASON_CHARS_MAX]
        return (self.record.headers or ()) + spring_headers.write(self.record, group, self.cause, reason)


def order_key(topic: str, key: bytes | None, value: bytes | None) -> UUID | None:
    """The order or product of a record, also where its message cannot be decoded: for searching, never for handling."""
    known = BY_NAME.get(topic)
    if known is not None:
        try:
            return key_of(decode(topic, value))
        except Exception:  # any malformed value: the search below needs only an id
            pass
    field = b"productId" if known is not None and known.key == "product_id" else b"orderId"
    pattern = re.compile(_FIELD % (field, UUID_PATTERN))
    named = next((name for layer in letter_headers.layers_of(value) if (name := pattern.search(layer))), None)
    found = named or (re.fullmatch(_KEY, key) if key else None)
    return UUID(found[1].decode()) if found else None


async def give_up(db: Connection, given_up: Sequence[GivenUp], ids: MessageIds, now: datetime) -> list[DeadLetter]:
    """Add these records as dead letters, in the caller's transaction. `outbox_rows.write_output` calls it and publishes their records."""
    letters = [_letter(each, ids) for each in given_up]
    await add(db, letters, now)
    return letters


def _letter(given_up: GivenUp, ids: MessageIds) -> DeadLetter:
    record, reason = given_up.rejected.record, given_up.rejected.reason
    fields = log_fields.of_record(record, order_key(record.topic, record.key, record.value))
    log.warning("a record is a dead letter", **fields, cause=given_up.cause, reason=reason, attempts=given_up.attempts)
    message_id, causation_id, traceparent = ids.of_record(record, -given_up.attempts)
    return DeadLetter(message_id, causation_id, traceparent, record, given_up.cause, reason, given_up.attempts)


async def add(db: Connection, letters: Sequence[DeadLetter], now: datetime) -> None:
    """Add the rows of `dead_letter`, in the transaction that gives the records up. The letter of a replayed record `follows` the earlier one."""
    if letters:
        await sql.add_dead_letters(
            db,
            [
                {
                    "id": each.id,
                    "topic": each.record.topic,
                    "partition": each.record.partition,
                    "record_offset": each.record.offset,
                    "order_key": order_key(each.record.topic, each.record.key, each.record.value),
                    "key": each.record.key,
                    "value": each.record.value,
                    "header_names": [storable(name) for name, _ in each.record.headers or ()],
                    "header_values": [value for _, value in each.record.headers or ()],
                    "timestamp_ms": each.record.timestamp_ms,
                    "cause": each.cause,
                    "reason": storable(masked(each.reason), REASON_CHARS_MAX),
                    "said": stored_sayings(each.reason),
                    "attempts": each.attempts,
                    "at": now,
                }
                for each in letters
            ],
        )
        await sql.supersede_dead_letters(db, ids=[each.id for each in letters], now=now)


async def add_refused(db: Connection, refused: Sequence[tuple[Publication, str]], now: datetime) -> None:
    """Add rows for output records that Kafka refuses for good, each with its reason. The letter's topic is the record's own topic.

    The record of a dead letter has a row already. That row is marked `unpublished`, and published again when the dead letter topic
    takes records.
    """
    reasons = {_message_id(each): storable(masked(reason), REASON_CHARS_MAX) for each, reason in refused}
    marked = await sql.mark_unpublished(db, ids=list(reasons), reasons=list(reasons.values()))
    known = {row["id"] for row in marked}
    rows = [_refused_row(each, reasons[_message_id(each)], now) for each, _ in refused]
    new = [row for row in rows if row["id"] not in known]
    if new:
        await sql.add_dead_letters(db, new)
        ids = [row["id"] for row in new]
        await supersede_published(db, ids, ids, now)


async def supersede_published(db: Connection, ids: Sequence[UUID], message_ids: Sequence[UUID], now: datetime) -> None:
    """Let letters `ids` follow the letters that were published again with `message_ids`: those records were given up again."""
    await sql.supersede_published(db, ids=ids, message_ids=message_ids, now=now)


async def settle_published(db: Connection, now: datetime) -> None:
    """Mark the letters that were published again and whose outbox rows are gone: Kafka has acknowledged their records."""
    await sql.settle_published(db, now=now)


async def unpublished_by_topic(db: Connection) -> list[Any]:
    """Of each topic the number of open letters that are not on the dead letter topic: `topic`, `letters`, `oldest_at`, `reason`."""
    rows: list[Any] = await sql.unpublished_letters(db)
    return rows


def _message_id(publication: Publication) -> UUID:
    return UUID((dict(publication.headers)[MESSAGE_ID] or b"").decode())


def _refused_row(publication: Publication, reason: str, now: datetime) -> dict[str, Any]:
    return {
        "id": _message_id(publication),
        "topic": publication.topic,
        "partition": publication.partition,
        "record_offset": None,
        "order_key": order_key(publication.topic, publication.key, publication.value),
        "key": publication.key,
        "value": publication.value,
        "header_names": [name for name, _ in publication.headers],
        "header_values": [value for _, value in publication.headers],
        "timestamp_ms": None,
        "cause": REFUSED,
        "reason": reason,
        "said": None,
        "attempts": 1,
        "at": now,
    }
