"""Writes Spring Kafka's headers on our dead letters, so that Java's tools read them, and reads them again.

Source: `DeadLetterPublishingRecoverer` of spring-kafka. Integers are big-endian, of a fixed width. `letter_headers.py` reads the dead
letters of partners, of Spring and of others.
"""

import struct

from msgspec import Struct

from ordersaga.contracts.headers import LETTER_PREFIX, TYPE_ID
from ordersaga.messaging.handler import Record
from ordersaga.messaging.letter_stacks import OFFSET_MAX, PARTITION_MAX, binary

Headers = tuple[tuple[str, bytes | None], ...]


class Written(Struct, frozen=True):
    """What `write` says: the record's topic, partition and offset, and the group that gave it up. None: not there, or not to be read."""

    topic: str | None
    partition: int | None
    offset: int | None
    group: str | None


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
    return tuple((LETTER_PREFIX + name, value) for name, value in values)


def read(headers: Headers) -> Written:
    """What was written last. A record may have such headers of an earlier failure, before those that were added."""
    last = {name.removeprefix(LETTER_PREFIX): value for name, value in headers if name.startswith(LETTER_PREFIX)}
    topic, group = last.get("original-topic"), last.get("original-consumer-group")
    return Written(
        topic.decode(errors="replace") if topic else None,
        binary(last.get("original-partition"), PARTITION_MAX),
        binary(last.get("original-offset"), OFFSET_MAX),
        group.decode(errors="replace") if group else None,
    )


def with_type_id(headers: Headers, type_id: str | None, instead: bool) -> Headers:
    """Add `__TypeId__` to headers without one, or, with `instead`, replace the one that is there.

    Spring's tools drop the header from a record whose JSON is malformed.
    """
    if type_id is None or (not instead and any(name == TYPE_ID for name, _ in headers)):
        return headers
    return (*((name, value) for name, value in headers if name != TYPE_ID), (TYPE_ID, type_id.encode()))
