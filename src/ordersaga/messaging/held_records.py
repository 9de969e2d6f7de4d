"""Held records: the records of an order that have had no effect in a service, since they are parked or dead letters."""

from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct

from ordersaga.messaging.database import Connection
from ordersaga.messaging.queries import queries

sql: Final = queries(__file__)


class HeldRecord(Struct, frozen=True, rename="camel"):
    """One held record. PARKED: retried at `next_attempt_at`, or, if None, after the record before it in its queue. OPEN: a dead letter that
    waits for an operator. DISCARDED: a dead letter that is not replayed. `offset` None: Kafka refused the record.
    """

    topic: str
    partition: int | None
    offset: int | None
    state: Literal["PARKED", "OPEN", "DISCARDED"]
    attempts: int
    next_attempt_at: datetime | None
    cause: str | None
    reason: str | None
    since: datetime


async def held_records(db: Connection, order_key: UUID) -> list[HeldRecord]:
    """The held records of one order, the oldest first."""
    return [HeldRecord(*row.values()) for row in await sql.held_records(db, order_key=order_key)]
