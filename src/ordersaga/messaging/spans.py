"""The spans of records: one for each record that a turn handles, below the span of who sent it, and one for each record that is sent.

The span of a record that is sent is the one that its `traceparent` names, so a partner's consumer goes on below it. All are made after
the commit; a turn that is rolled back leaves none.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec import Struct

from ordersaga.messaging.handler import Coordinates, Record
from ordersaga.messaging.ids import causation_id_of, traceparent_of
from ordersaga.messaging.outbox_rows import OutboxRow
from ordersaga.tracing import Exporter, Kind, child_of, exporting, is_sampled, taken_apart

HANDLED: Final = "handled"
PARKED: Final = "parked"
WAITING: Final = "waiting"
DEAD_LETTER: Final = "dead letter"
KEY_BYTES_MAX: Final = 200
"""A partner's key may be as long as a record."""


class Outcome(Struct, frozen=True):
    """What a turn did with a record, if it was not simply handled. `attempt` counts from 1."""

    what: str
    why: str | None = None
    attempt: int = 1


_handled: Final = Outcome(HANDLED)


def of_turn(
    group: str,
    began: datetime,
    records: Sequence[tuple[Record, UUID | None]],
    rows: Iterable[OutboxRow],
    outcomes: Mapping[Coordinates, Outcome],
) -> None:
    """Export the spans of a turn, after its commit: those of its records with their keys, and of the rows that each has caused."""
    exporter = exporting()
    if exporter is None:
        return
    caused: dict[str, list[OutboxRow]] = defaultdict(list)
    for row in rows:
        caused[row.causation_id or ""].append(row)
    began_ns, ended_ns = int(began.timestamp() * 1e9), time.time_ns()
    for record, key in records:
        sent = caused.pop(causation_id_of(record), [])
        parent = traceparent_of(record)
        first = taken_apart(sent[0].traceparent) if sent else None
        own = child_of(parent, first[0] if first else None)
        if not is_sampled(own):
            continue
        outcome = outcomes.get(record.coordinates, _handled)
        exporter.span(
            f"process {record.topic}",
            own,
            parent,
            Kind.CONSUMER,
            began_ns,
            ended_ns,
            {
                "messaging.system": "kafka",
                "messaging.operation.type": "process",
                "messaging.destination.name": record.topic,
                "messaging.destination.partition.id": str(record.partition),
                "messaging.kafka.offset": record.offset,
                "messaging.consumer.group.name": group,
                "messaging.batch.message_count": len(records),
                "ordersaga.key": str(key) if key else _text(record.key),
                "ordersaga.outcome": outcome.what,
                "ordersaga.attempt": outcome.attempt,
            },
            outcome.why,
        )
        for row in sent:
            _sent(exporter, row, own, ended_ns)


def of_output(rows: Iterable[OutboxRow], parents: Iterable[str | None]) -> None:
    """Export the spans of messages that no record has caused, but a request or a timer. `parents`: what is above each."""
    exporter = exporting()
    if exporter is not None:
        now_ns = time.time_ns()
        for row, parent in zip(rows, parents, strict=True):
            _sent(exporter, row, parent, now_ns)


def _text(key: bytes | None) -> str | None:
    return key[:KEY_BYTES_MAX].decode(errors="replace") if key else None


def _sent(exporter: Exporter, row: OutboxRow, parent: str | None, at_ns: int) -> None:
    exporter.span(
        f"create {row.topic}",
        row.traceparent,
        parent,
        Kind.PRODUCER,
        at_ns,
        at_ns,
        {
            "messaging.system": "kafka",
            "messaging.operation.type": "create",
            "messaging.destination.name": row.topic,
            "messaging.message.id": str(row.message_id),
            "ordersaga.key": _text(row.key),
        },
    )
