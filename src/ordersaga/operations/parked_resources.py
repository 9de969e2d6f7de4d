"""The JSON of parked records and their queues, as the HTTP face answers it and as its clients read it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct

from ordersaga.http.caller import Caller
from ordersaga.messaging.acts import Act
from ordersaga.messaging.handler import Coordinates
from ordersaga.messaging.letters import Content
from ordersaga.messaging.queues import ParkedRecord, Queue
from ordersaga.messaging.texts import read_sayings
from ordersaga.operations.personal import sayings_for, words_for
from ordersaga.operations.resources import ActResource, ContentResource, act_resource, content_resource
from ordersaga.said import Saying


class ParkedResource(Struct, rename="camel", kw_only=True):
    """A parked record without its bytes. `dueAt`: its next attempt; null: it waits behind another record of its queue.

    `attempts` counts all; those since the last replay are at most `attemptsMax`.
    """

    topic: str
    partition: int
    offset: int
    version: str
    order_id: UUID
    attempts: int
    attempts_before_replay: int
    attempts_max: int
    due_at: datetime | None
    cause: str | None
    reason: str | None
    parked_at: datetime
    said: list[Saying] = []


class QueueResource(ParkedResource, rename="camel", kw_only=True):
    """A queue of parked records, by its first record, which alone can be acted on. `records`: the queue's length."""

    records: int


class ParkedDetails(ParkedResource, rename="camel", kw_only=True):
    """A parked record with its bytes. `ahead`, `behind`: the records of its queue that come before and after it."""

    ahead: int
    behind: int
    content: ContentResource
    acts: list[ActResource]


class RetriedResource(Struct, rename="camel"):
    """When the record is due: now."""

    due_at: datetime


class DiscardedResource(Struct):
    """How many records waited behind the discarded one. The first of them is tried now."""

    waiting: int


def queue_resource(queue: Queue, attempts_max: int, caller: Caller) -> QueueResource:
    """The JSON of a queue."""
    return QueueResource(**_shared(queue, queue.first, attempts_max, caller), records=queue.records)


def parked_details(parked: ParkedRecord, acts: Sequence[Act], attempts_max: int, caller: Caller) -> ParkedDetails:
    """The JSON of a parked record."""
    record = parked.record
    content = Content(record.key, record.value, record.headers or (), record.timestamp_ms, None)
    return ParkedDetails(
        **_shared(parked, record.coordinates, attempts_max, caller),
        ahead=parked.ahead,
        behind=parked.behind,
        content=content_resource(content, caller),
        acts=[act_resource(each, caller) for each in acts],
    )


def _shared(parked: Queue | ParkedRecord, at: Coordinates, attempts_max: int, caller: Caller) -> dict[str, Any]:
    return {
        "topic": at.topic,
        "partition": at.partition,
        "offset": at.offset,
        "version": parked.version,
        "order_id": parked.order_key,
        "attempts": parked.attempts,
        "attempts_before_replay": parked.attempts_before,
        "attempts_max": attempts_max,
        "due_at": parked.due_at,
        "cause": parked.cause,
        "reason": parked.reason and words_for(caller, parked.reason),
        "parked_at": parked.parked_at,
        "said": sayings_for(caller, read_sayings(parked.said)),
    }
