"""Why an order may not go on in a service: its records that are parked, or were given up, in that service's database."""

from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct

from ordersaga.messaging.database import Connection
from ordersaga.messaging.queries import queries

sql: Final = queries(__file__)


class HeldRecord(Struct, frozen=True, rename="camel"):
    """A record without effect so far. PARKED: tried again, itself (`next_attempt_at`) or when the one before it is done with; OPEN and
    DISCARDED: a dead letter, which waits for a person or has had one. `offset` None: the broker refused it.
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
    """Those of one order, the oldest first."""
    return [HeldRecord(*row.values()) for row in await sql.held_records(db, order_key=order_key)]
