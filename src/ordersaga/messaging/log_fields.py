"""What a log line about a record says of it, so that the lines of an order, and of a trace, are found together."""

from typing import Any
from uuid import UUID

from ordersaga.contracts.topics import BY_NAME
from ordersaga.messaging.handler import Record
from ordersaga.messaging.ids import traceparent_of
from ordersaga.tracing import taken_apart


def of_record(record: Record, key: UUID | None) -> dict[str, Any]:
    """Its coordinates, `order_id` or `product_id` (by its topic) and `trace_id`, so far as they are known."""
    fields: dict[str, Any] = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    if key is not None:
        known = BY_NAME.get(record.topic)
        fields[known.key if known else "key"] = str(key)
    if found := taken_apart(traceparent_of(record)):
        fields["trace_id"] = found[0]
    return fields
