"""Dead letters: records that can never be handled, on `<topic>-dlt` with the headers that Spring Kafka's tools read, and in a table.

What operators then do with them is in `redrive.py`.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from msgspec import Struct

from ordersaga.contracts.codec import decode
from ordersaga.contracts.topics import BY_NAME, DEAD_LETTER_SUFFIX, key_of
from ordersaga.masking import masked
from ordersaga.messaging import spring_headers
from ordersaga.messaging.database import Connection
from ordersaga.messaging.handler import MESSAGE_ID, Record
from ordersaga.messaging.kafka import Publication
from ordersaga.messaging.queries import queries
from ordersaga.messaging.spring_headers import Headers
from ordersaga.messaging.texts import storable

sql: Final = queries(__file__)

REASON_CHARS_MAX: Final = 2_000
REFUSED: Final = "RefusedByBroker"
UUID_PATTERN: Final = rb"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"


class DeadLetter(Struct, frozen=True):
    """A record that could not be handled, why, and after how many attempts. `cause` is the error's class, `reason` its text."""

    id: UUID
    causation_id: str
    traceparent: str
    record: Record
    cause: str
    reason: str
    attempts: int

    @property
    def topic(self) -> str:
        """Where it goes: the same partition of its dead letter topic."""
        return self.record.topic + DEAD_LETTER_SUFFIX

    def headers(self, group: str) -> Headers:
        """The original headers, then Spring's."""
        reason = masked(self.reason)[:REASON_CHARS_MAX]
        return (self.record.headers or ()) + spring_headers.write(self.record, group, self.cause, reason)


def order_key(topic: str, key: bytes | None, value: bytes | None) -> UUID | None:
    """The order (or product) that a record is about, even if its message cannot be decoded: for finding it, not for handling it."""
    known = BY_NAME.get(topic)
    if known is not None:
        try:
            return key_of(decode(topic, value))
        except Exception:  # whatever is wrong with it, this only looks for an id to find it by
            pass
    field = b"productId" if known is not None and known.key == "product_id" else b"orderId"
    named = re.search(rb'"' + field + rb'"\s*:\s*"(' + UUID_PATTERN + rb')"', value or b"")
    found = named[1] if named else key if key and re.fullmatch(UUID_PATTERN, key) else None
    return UUID(found.decode()) if found else None


async def keep(db: Connection, letters: Sequence[DeadLetter], now: datetime) -> None:
    """Write the `dead_letter` rows in the transaction of the turn that gave up; one that was replayed before names the letter it had then."""
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
                    "attempts": each.attempts,
                    "at": now,
                }
                for each in letters
            ],
        )
        await sql.supersede_dead_letters(db, ids=[each.id for each in letters], now=now)


async def keep_refused(db: Connection, refused: Sequence[tuple[Publication, str]], now: datetime) -> None:
    """Keep output records that Kafka will never take, each with its reason; the topic of such a letter is the one it could not reach.

    A dead letter's own record has its row already, which then says why it is not on its dead letter topic (`unpublished`); it is published again when that topic takes records.
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
    """Mark the letters that were published again under `message_ids` as followed by the letters `ids`: their records were given up again."""
    await sql.supersede_published(db, ids=ids, message_ids=message_ids, now=now)


async def settle_published(db: Connection, now: datetime) -> None:
    """Resolve the letters that were published again and whose outbox rows are gone: Kafka has acknowledged their records."""
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
        "attempts": 1,
        "at": now,
    }
