"""Erases the personal data of a customer's orders. What was ordered, paid and answered stays, and so does the customer's id."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct

from ordersaga.contracts.address import Address, address_fields
from ordersaga.messaging.database import Connection
from ordersaga.messaging.queries import queries
from ordersaga.operations.erasing import Words
from ordersaga.order.model import Facts

sql: Final = queries(__file__)

NOTHING: Final = msgspec.json.encode(Address(*(None for _ in Address.__struct_fields__))).decode()
_address: Final = msgspec.json.Decoder(Address)
_facts: Final = msgspec.json.Decoder(Facts)


class Erasable(Struct, frozen=True):
    """One order of a customer. `needs_its_address`: it goes on, or its delivery is awaited. `values`: what its address says."""

    order_id: UUID
    needs_its_address: bool
    is_erased: bool
    values: tuple[str, ...]
    detail: str | None
    facts: str


async def lock(db: Connection, customer_id: UUID) -> list[Erasable]:
    """The orders of a customer. Their sagas are locked until the transaction ends."""
    return [
        Erasable(
            row["order_id"],
            row["status"] == "PENDING" or _facts.decode(row["facts"]).delivery == "REQUESTED",
            row["erased_at"] is not None,
            tuple(each for each in address_fields(_address.decode(row["recipient"])) if each),
            row["detail"],
            row["facts"],
        )
        for row in await sql.orders_of_customer(db, customer_id=customer_id)
    ]


async def erase(db: Connection, orders: Sequence[Erasable], words: Words, now: datetime) -> None:
    """Erase these orders' addresses, and what their timelines repeat of them."""
    ids = [each.order_id for each in orders]
    await sql.erase_recipients(db, order_ids=ids, nothing=NOTHING, now=now)
    for each in orders:
        detail = each.detail and words.without(each.detail)
        facts = words.without_in_json(each.facts)
        if (detail, facts) != (each.detail, each.facts):
            await sql.rewrite_saga(db, order_id=each.order_id, detail=detail, facts=facts)
    for row in await sql.notes(db, order_ids=ids):
        note, said = words.without(row["note"]), row["said"] and words.without_in_json(row["said"])
        if (note, said) != (row["note"], row["said"]):
            await sql.rewrite_note(db, order_id=row["order_id"], seq=row["seq"], note=note, said=said)
