"""Erases the personal data of a customer's deliveries. That they were made, when, and their tracking numbers stay."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec import Struct

from ordersaga.contracts.address import Address
from ordersaga.messaging.database import Connection
from ordersaga.messaging.queries import queries
from ordersaga.operations.erasing import Words

sql: Final = queries(__file__)


class Erasable(Struct, frozen=True):
    """One delivery of a customer. `values`: what its address says."""

    order_id: UUID
    is_erased: bool
    values: tuple[str, ...]
    refusal: str | None


async def lock(db: Connection, customer_id: UUID, order_ids: Sequence[UUID]) -> list[Erasable]:
    """The deliveries of a customer, and of these orders."""
    return [
        Erasable(
            row["order_id"],
            row["erased_at"] is not None,
            tuple(row[name] for name in Address.__struct_fields__ if row[name]),
            row["refusal"],
        )
        for row in await sql.deliveries_of_customer(db, customer_id=customer_id, order_ids=order_ids)
    ]


async def erase(db: Connection, deliveries: Sequence[Erasable], words: Words, now: datetime) -> None:
    """Erase these deliveries' addresses."""
    for each in deliveries:
        refusal = each.refusal and words.without(each.refusal)
        await sql.erase_address(db, order_id=each.order_id, refusal=refusal, now=now)
