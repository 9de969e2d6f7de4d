"""Reads the held records of an order in a service: parked records and dead letters, which may be why the order does not go on."""

from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct

from ordersaga.messaging.database import Connection
from ordersaga.messaging.queries import queries

sql: Final = queries(__file__)


class HeldRecord(Struct, frozen=True, rename="camel"):
    """A record without effect so far.

    PARKED: it is retried at `next_attempt_at`, or (None) once the record before it in its queue is gone. OPEN, DISCARDED: a dead letter
    that waits for an operator, or that an operator has discarded. `offset` None: an output record that the broker refused.
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
    """The held records of one order, oldest first."""
    return [HeldRecord(*row.values()) for row in await sql.held_records(db, order_key=order_key)]
