"""The headers that Spring Kafka's tools put on a dead letter: written as theirs, so that Java's tools read ours, and read back.

Source: `DeadLetterPublishingRecoverer` (`kafka_dlt-...`, these we write) and `@RetryableTopic` (`kafka_original-...`,
`kafka_exception-...`, `retry_topic-...`) of spring-kafka. Integers are big-endian, of fixed width when written; since some of theirs are
not, any width is read. What cannot be read counts as missing: a tool for repairs must not fail on what is broken.
"""

import struct
from typing import Final

from msgspec import Struct

from ordersaga.messaging.handler import Record

Headers = tuple[tuple[str, bytes | None], ...]

TYPE_ID: Final = "__TypeId__"
WRITTEN: Final = "kafka_dlt-"
RETRYABLE: Final = "kafka_"
ATTEMPTS: Final = "retry_topic-attempts"
PREFIXES: Final = (WRITTEN, "kafka_original-", "kafka_exception-", "kafka_key-exception-", "retry_topic-")
OTHERS: Final = ("kafka_deliveryAttempt", "springDeserializerExceptionKey", "springDeserializerExceptionValue")
INT_MAX: Final = 2**31 - 1
LONG_MAX: Final = 2**63 - 1


class Failure(Struct, frozen=True):
    """What the headers of a dead letter say: where its record was, who gave it up, why, and after how many attempts."""

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
    """The headers for a record that `group` gives up."""
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


def read(headers: Headers) -> Failure:
    """What either family says.

    Where both are there, the record came through retry topics: their family knows the topic it was first on, the other one the last
    failure. `exception-fqcn` is usually a wrapper, so the cause goes before it.
    """
    last = dict(headers)

    def first_place(name: str) -> bytes | None:
        return last.get(RETRYABLE + name) or last.get(WRITTEN + name)

    def last_failure(*names: str) -> str | None:
        found = (last.get(family + name) for name in names for family in (WRITTEN, RETRYABLE))
        return next((value.decode(errors="replace") for value in found if value), None)

    topic = first_place("original-topic")
    return Failure(
        topic.decode(errors="replace") if topic else None,
        _integer(first_place("original-partition"), INT_MAX),
        _integer(first_place("original-offset"), LONG_MAX),
        _integer(first_place("original-timestamp"), LONG_MAX),
        last_failure("original-consumer-group"),
        last_failure("exception-cause-fqcn", "exception-fqcn", "key-exception-fqcn"),
        last_failure("exception-message", "key-exception-message"),
        last_failure("exception-stacktrace", "key-exception-stacktrace"),
        max(1, _integer(last.get(ATTEMPTS), INT_MAX) or 1),
    )


def without(headers: Headers) -> Headers:
    """The headers that the record had before it was given up."""
    return tuple(header for header in headers if not header[0].startswith(PREFIXES) and header[0] not in OTHERS)


def with_type_id(headers: Headers, type_id: str | None, instead: bool) -> Headers:
    """The headers with this `__TypeId__` where there is none, or `instead` of the one that is there.

    A record whose JSON was malformed reaches Spring's dead letter topic without it.
    """
    if type_id is None or (not instead and any(name == TYPE_ID for name, _ in headers)):
        return headers
    return (*((name, value) for name, value in headers if name != TYPE_ID), (TYPE_ID, type_id.encode()))


def _integer(value: bytes | None, most: int) -> int | None:
    number = int.from_bytes(value, "big", signed=True) if value else -1
    return number if 0 <= number <= most else None
