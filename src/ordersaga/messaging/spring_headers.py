"""Writes Spring Kafka's headers on our dead letters, so that Java's tools read them, and reads the headers of a partner's dead letters.

Source: `DeadLetterPublishingRecoverer` (`kafka_dlt-...`, the family that we write) and `@RetryableTopic` (`kafka_original-...`,
`kafka_exception-...`, `retry_topic-...`) of spring-kafka. Integers are big-endian. They are written with a fixed width and read with any
width, since some of Spring's versions use another. A header that cannot be read counts as missing: a repair tool must not fail on a broken
record.
"""

import struct
from typing import Final

from msgspec import Struct

from ordersaga.contracts.headers import LETTER_PREFIX, TYPE_ID
from ordersaga.messaging.handler import Record

Headers = tuple[tuple[str, bytes | None], ...]

WRITTEN: Final = LETTER_PREFIX
RETRYABLE: Final = "kafka_"
ATTEMPTS: Final = "retry_topic-attempts"
PREFIXES: Final = (WRITTEN, "kafka_original-", "kafka_exception-", "kafka_key-exception-", "retry_topic-")
OTHERS: Final = ("kafka_deliveryAttempt", "springDeserializerExceptionKey", "springDeserializerExceptionValue")
INT_MAX: Final = 2**31 - 1
LONG_MAX: Final = 2**63 - 1


class DeadLetterHeaders(Struct, frozen=True):
    """The record's topic, partition, offset and time stamp, the group that gave it up, the error, and the number of attempts."""

    topic: str | None
    partition: int | None
    offset: int | None
    timestamp_ms: int | None
    group: str | None
    cause: str | None
    message: str | None
    stacktrace: str | None
    attempts: int


def write(record: Record, group: str, cause: str, message: str) -> Headers:
    """The headers to add to a record that `group` gives up."""
    values: Headers = (
        ("original-topic", record.topic.encode()),
        ("original-partition", struct.pack(">i", record.partition)),
        ("original-offset", struct.pack(">q", record.offset)),
        ("original-timestamp", struct.pack(">q", record.timestamp_ms)),
        ("original-timestamp-type", b"CreateTime"),
        ("original-consumer-group", group.encode()),
        ("exception-fqcn", cause.encode()),
        ("exception-cause-fqcn", cause.encode()),
        ("exception-message", message.encode(errors="backslashreplace")),
        ("exception-stacktrace", f"{cause}: {message}".encode(errors="backslashreplace")),
    )
    return tuple((WRITTEN + name, value) for name, value in values)


def read(headers: Headers) -> DeadLetterHeaders:
    """Read either family.

    A record with both came through retry topics: `@RetryableTopic`'s headers name its first topic, `kafka_dlt-` its last failure. The
    cause comes before `exception-fqcn`, which is usually a wrapper.
    """
    last = dict(headers)

    def original(name: str) -> bytes | None:
        return last.get(RETRYABLE + name) or last.get(WRITTEN + name)

    def last_failure(*names: str) -> str | None:
        found = (last.get(family + name) for name in names for family in (WRITTEN, RETRYABLE))
        return next((value.decode(errors="replace") for value in found if value), None)

    topic = original("original-topic")
    return DeadLetterHeaders(
        topic.decode(errors="replace") if topic else None,
        _integer(original("original-partition"), INT_MAX),
        _integer(original("original-offset"), LONG_MAX),
        _integer(original("original-timestamp"), LONG_MAX),
        last_failure("original-consumer-group"),
        last_failure("exception-cause-fqcn", "exception-fqcn", "key-exception-fqcn"),
        last_failure("exception-message", "key-exception-message"),
        last_failure("exception-stacktrace", "key-exception-stacktrace"),
        max(1, _integer(last.get(ATTEMPTS), INT_MAX) or 1),
    )


def without(headers: Headers) -> Headers:
    """The record's headers without those of Spring's tools."""
    return tuple(header for header in headers if not header[0].startswith(PREFIXES) and header[0] not in OTHERS)


def with_type_id(headers: Headers, type_id: str | None, instead: bool) -> Headers:
    """Add `__TypeId__` to headers without one, or, with `instead`, replace the one that is there.

    Spring's tools drop the header from a record whose JSON is malformed.
    """
    if type_id is None or (not instead and any(name == TYPE_ID for name, _ in headers)):
        return headers
    return (*((name, value) for name, value in headers if name != TYPE_ID), (TYPE_ID, type_id.encode()))


def _integer(value: bytes | None, most: int) -> int | None:
    number = int.from_bytes(value, "big", signed=True) if value else -1
    return number if 0 <= number <= most else None
