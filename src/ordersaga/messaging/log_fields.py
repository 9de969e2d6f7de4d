"""What a log line about a record says of it, so that the lines of an order, and of a trace, are found together."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from ordersaga.contracts.headers import TRACEPARENT
from ordersaga.contracts.topics import BY_NAME
from ordersaga.messaging.handler import Record
from ordersaga.messaging.ids import traceparent_of
from ordersaga.tracing import trace_id_of

CHARS_MAX: Final = 200
"""A partner's key, with which a dead letter is sent, may be as long as a record."""


def of_record(record: Record, key: UUID | None) -> dict[str, Any]:
    """Its coordinates, `order_id` or `product_id` (by its topic) and `trace_id`, so far as they are known."""
    at = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    return at | _found_by(record.topic, None if key is None else str(key), traceparent_of(record))


def of_sent(topic: str, key: bytes | None, headers: Mapping[str, bytes | None]) -> dict[str, Any]:
    """`order_id` or `product_id` and `trace_id` of a record that we send."""
    traceparent = headers.get(TRACEPARENT)
    return _found_by(topic, _text(key), _text(traceparent))


def _text(sent: bytes | None) -> str | None:
    return None if sent is None else sent[:CHARS_MAX].decode(errors="replace")


def _found_by(topic: str, key: str | None, traceparent: str | None) -> dict[str, Any]:
    fields = {}
    if key is not None:
        known = BY_NAME.get(topic)
        fields[known.key if known else "key"] = key
    if trace_id := trace_id_of(traceparent):
        fields["trace_id"] = trace_id
    return fields
