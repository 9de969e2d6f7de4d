"""Dead letters: records that can never be handled, on `<topic>-dlt` with the headers that Spring Kafka's tools read, and in a table.

Source of the headers: what `DeadLetterPublishingRecoverer` of spring-kafka writes; integers are big-endian and of fixed width.
"""

import struct
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec import Struct

from ordersaga.contracts.topics import DEAD_LETTER_SUFFIX
from ordersaga.messaging.database import Connection, queries
from ordersaga.messaging.handler import Record
from ordersaga.messaging.kafka import Publication

sql: Final = queries(__file__)

REASON_CHARS_MAX: Final = 2_000
PREFIX: Final = "kafka_dlt-"

Headers = tuple[tuple[str, bytes | None], ...]


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
        record = self.record
        spring: Headers = (
            ("original-topic", record.topic.encode()),
            ("original-partition", struct.pack(">i", record.partition)),
            ("original-offset", struct.pack(">q", record.offset)),
            ("original-timestamp", struct.pack(">q", record.timestamp_ms)),
            ("original-timestamp-type", b"CreateTime"),
            ("original-consumer-group", group.encode()),
            ("exception-fqcn", self.cause.encode()),
            ("exception-cause-fqcn", self.cause.encode()),
            ("exception-message", self.reason[:REASON_CHARS_MAX].encode()),
            ("exception-stacktrace", f"{self.cause}: {self.reason[:REASON_CHARS_MAX]}".encode()),
        )
        return (record.headers or ()) + tuple((PREFIX + name, value) for name, value in spring)


async def keep(db: Connection, letters: Sequence[DeadLetter], now: datetime) -> None:
    """Write the `dead_letter` rows in the transaction of the turn that gave up."""
    if letters:
        await sql.add_dead_letters(
            db,
            [
                {
                    "id": each.id,
                    "topic": each.record.topic,
                    "partition": each.record.partition,
                    "record_offset": each.record.offset,
                    "key": each.record.key,
                    "value": each.record.value,
                    "header_names": [name for name, _ in each.record.headers or ()],
                    "header_values": [value for _, value in each.record.headers or ()],
                    "cause": each.cause,
                    "reason": each.reason[:REASON_CHARS_MAX].replace("\0", ""),
                    "attempts": each.attempts,
                    "at": now,
                }
                for each in letters
            ],
        )


async def keep_refused(db: Connection, publication: Publication, reason: str, now: datetime) -> None:
    """Write the row of an output record that the broker will never take; its topic is the one it could not reach."""
    headers = dict(publication.headers)
    await sql.add_dead_letters(
        db,
        [
            {
                "id": UUID((headers["message-id"] or b"").decode()),
                "topic": publication.topic,
                "partition": publication.partition,
                "record_offset": None,
                "key": publication.key,
                "value": publication.value,
                "header_names": [name for name, _ in publication.headers],
                "header_values": [value for _, value in publication.headers],
                "cause": "RefusedByBroker",
                "reason": reason[:REASON_CHARS_MAX],
                "attempts": 1,
                "at": now,
            }
        ],
    )
