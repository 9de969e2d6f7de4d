"""Records as somebody may see them: for a reader without personal data. Pure."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from msgspec import Struct

from ordersaga.contracts.personal import hidden_in_words
from ordersaga.contracts.topics import Topic
from ordersaga.messaging.handler import Record
from ordersaga.messaging.texts import readable
from ordersaga.operations.personal import hidden_in_value
from ordersaga.operations.resources import BytesResource
from ordersaga.web.console.frame import is_id
from ordersaga.web.console.letters import pretty

VALUE_CHARS_MAX: Final = 20_000


class ShownRecord(Struct, frozen=True):
    """A record as somebody may see it: for a reader without personal data. `value` None: the record has none."""

    partition: int
    offset: int
    at: datetime | None
    key: str | None
    value: str | None
    is_cut: bool
    headers: Sequence[tuple[str, str | None]]
    order_id: UUID | None

    @property
    def name(self) -> str:
        return f"{self.partition}/{self.offset}"


def shown(record: Record, topic: Topic, is_operator: bool) -> ShownRecord:
    """The record for an operator, or for a reader."""
    key, value = readable(record.key), readable(record.value)
    order_id = _order_id(topic, key, value)
    headers = [(name, readable(each)) for name, each in record.headers or ()]
    if not is_operator:
        value = value and hidden_in_value(value)
        headers = [(name, each and hidden_in_words(each)) for name, each in headers]
    told = None if value is None else pretty(BytesResource(value, None))
    return ShownRecord(
        record.partition,
        record.offset,
        time_of(record.timestamp_ms),
        key,
        told and told[:VALUE_CHARS_MAX],
        len(told or "") > VALUE_CHARS_MAX,
        headers,
        order_id,
    )


def _order_id(topic: Topic, key: str | None, value: str | None) -> UUID | None:
    """The order that a record is about: its key, or the field of its value where it has no key."""
    if topic.key != "order_id":
        return None
    if key is None:
        try:
            said = json.loads(value or "")
            key = said.get("orderId") if isinstance(said, dict) else None
        except (ValueError, RecursionError):
            return None
    return UUID(key) if isinstance(key, str) and is_id(key) else None


def time_of(ms: int | None) -> datetime | None:
    """A time stamp of Kafka; None for one that no clock shows."""
    try:
        return None if ms is None or ms < 0 else datetime.fromtimestamp(ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
