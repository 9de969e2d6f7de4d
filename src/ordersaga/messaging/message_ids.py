"""The ids of output records and their position in a trace."""

import hashlib
from typing import Any
from uuid import UUID

from ordersaga.messaging.handler import CAUSATION_CHARS_MAX, MESSAGE_ID, TRACEPARENT, Incoming, Record
from ordersaga.messaging.ids import uuid_of
from ordersaga.messaging.texts import storable


def output_id(group: str, topic_id: str, partition: int, offset: int, n: int) -> UUID:
    """The `message-id` of the n-th output of a record: the same however often the record is handled (UUIDv5, RFC 9562)."""
    digest = bytearray(
        hashlib.sha1(f"{group}/{topic_id}/{partition}/{offset}/{n}".encode(), usedforsecurity=False).digest()[:16]
    )
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return uuid_of(bytes(digest))


class MessageIds:
    """Gives the outputs of one transaction their ids and their place in the trace."""

    def __init__(self, group: str, topic_ids: dict[str, str], new_id: Any, traceparent: str | None = None) -> None:
        self._group = group
        self._topic_ids = topic_ids
        self._new_id = new_id
        self._traceparent = traceparent
        self._given: dict[tuple[str, int, int], int] = {}

    def of(self, cause: Incoming | None) -> tuple[UUID, str | None, str]:
        """`message-id`, `causation-id` and `traceparent` for the next output of this cause."""
        if cause is None:
            message_id: UUID = self._new_id()
            return message_id, None, _child_span(self._traceparent, message_id, message_id)
        return self.of_record(cause.record)

    def of_record(self, record: Record, n: int | None = None) -> tuple[UUID, str, str]:
        """The same for an output that a raw record causes; `n` where it is not simply the next one."""
        place = (record.topic, record.partition, record.offset)
        if n is None:
            n = self._given.get(place, 0)
            self._given[place] = n + 1
        topic_id = self._topic_ids[record.topic]
        message_id = output_id(self._group, topic_id, record.partition, record.offset, n)
        return message_id, *descent(record, message_id)


def descent(record: Record, message_id: UUID) -> tuple[str, str]:
    """The `causation-id` and `traceparent` of an output that a raw record causes."""
    causation_id = _text(record.header(MESSAGE_ID)) or f"{record.topic}/{record.partition}/{record.offset}"
    return causation_id, _child_span(_text(record.header(TRACEPARENT)), message_id, message_id)


def _text(header: bytes | None) -> str | None:
    """A partner's header as a text column takes it: whatever is in it, it must not stop the partition."""
    if not header:
        return None
    if len(header) <= CAUSATION_CHARS_MAX and header.isascii() and b"\0" not in header:
        return header.decode()
    return storable(header.decode(errors="replace"), CAUSATION_CHARS_MAX)


def _child_span(parent: str | None, trace: UUID, span: UUID) -> str:
    """A W3C `traceparent`: the parent's trace, or a new one, and a span id taken from the message's own id."""
    if parent and len(parent) == 55 and parent.count("-") == 3:
        return f"{parent[:36]}{span.hex[16:]}-{parent[53:]}"
    return f"00-{trace.hex}-{span.hex[16:]}-01"
