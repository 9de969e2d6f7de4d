"""Erases the personal data of deliveries. That they were made, when, and their tracking numbers stay."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from msgspec import Struct

from ordersaga.contracts.address import Address
from ordersaga.messaging.database import Connection
from ordersaga.messaging.queries import queries
from ordersaga.operations.erasing import Words

sql: Final = queries(__file__)


class Erasable(Struct, frozen=True):
    """One delivery. `values`: what its address says. `place`: its place among the deliveries in the sequence of their ages."""

    order_id: UUID
    place: UUID
    is_erased: bool
    values: tuple[str, ...]
    last_at: datetime
    refusal: str | None

    @property
    def needs_its_address(self) -> bool:
        """Never: the carrier has the address when a delivery is stored."""
        return False


async def lock(db: Connection, customer_id: UUID, order_ids: Sequence[UUID]) -> list[Erasable]:
    """The deliveries of a customer, and of these orders."""
    return _erasables(await sql.deliveries_of_customer(db, customer_id=customer_id, order_ids=order_ids))


class Ageing:
    """Deliveries by their ages, for the retention of personal data: `operations/retention.py` `Ageing`."""

    async def after(self, db: Connection, place: UUID, below: UUID, rows_max: int) -> list[Erasable]:
        """The oldest deliveries between these places. They are locked."""
        return _erasables(await sql.deliveries_between(db, after=place, below=below, rows_max=rows_max))

    async def of_orders(self, db: Connection, order_ids: Sequence[UUID]) -> list[Erasable]:
        """The deliveries of these orders. They are locked."""
        return _erasables(await sql.deliveries_of_orders(db, order_ids=order_ids))

    async def erase(self, db: Connection, each: Erasable, words: Words, now: datetime) -> None:
        """Erase a delivery's address."""
        await erase(db, [each], words, now)


def _erasables(rows: Iterable[Mapping[str, Any]]) -> list[Erasable]:
    return [
        Erasable(
            row["order_id"],
            row["delivery_id"],
            row["erased_at"] is not None,
            tuple(row[name] for name in Address.__struct_fields__ if row[name]),
            row["at"],
            row["refusal"],
        )
        for row in rows
    ]


async def erase(db: Connection, deliveries: Sequence[Erasable], words: Words, now: datetime) -> None:
    """Erase these deliveries' addresses."""
    for each in deliveries:
        refusal = each.refusal and words.without(each.refusal)
        await sql.erase_address(db, order_id=each.order_id, refusal=refusal, now=now)
