"""Erases the personal data of orders. What was ordered, paid and answered stays, and so does the customer's id."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ordersaga.contracts.address import Address, address_fields
from ordersaga.messaging.database import Connection
from ordersaga.messaging.queries import queries
from ordersaga.operations.erasing import Words
from ordersaga.order.model import Facts

sql: Final = queries(__file__)

NOTHING: Final = msgspec.json.encode(Address(*(None for _ in Address.__struct_fields__))).decode()
OWED: Final = ("REFUND_REQUESTED", "REFUND_FAILED")
_address: Final = msgspec.json.Decoder(Address)
_facts: Final = msgspec.json.Decoder(Facts)


class Erasable(Struct, frozen=True):
    """One order. `needs_its_address`: it goes on, its delivery is awaited, an operator has to decide its return, for which goods go either way, or
    money is to go back to its customer: its refund is awaited, or the gateway has refused it and a person has to find whom to pay.
    `values`: what its address says. `last_at`: when something happened to it last."""

    order_id: UUID
    needs_its_address: bool
    is_erased: bool
    values: tuple[str, ...]
    last_at: datetime
    detail: str | None
    facts: Facts

    @property
    def place(self) -> UUID:
        """Its place among the orders in the sequence of their ages."""
        return self.order_id


async def lock(db: Connection, customer_id: UUID) -> list[Erasable]:
    """The orders of a customer. Their sagas are locked until the transaction ends."""
    return _erasables(await sql.orders_of_customer(db, customer_id=customer_id))


class Ageing:
    """Orders by their ages, for the retention of personal data: `operations/retention.py` `Ageing`."""

    async def after(self, db: Connection, place: UUID, below: UUID, rows_max: int) -> list[Erasable]:
        """The oldest orders between these places. Their sagas are locked."""
        return _erasables(await sql.orders_between(db, after=place, below=below, rows_max=rows_max))

    async def of_orders(self, db: Connection, order_ids: Sequence[UUID]) -> list[Erasable]:
        """These orders. Their sagas are locked."""
        return _erasables(await sql.orders_by_id(db, order_ids=order_ids))

    async def erase(self, db: Connection, each: Erasable, words: Words, now: datetime) -> None:
        """Erase an order's address."""
        await erase(db, [each], words, now)


def _erasables(rows: Iterable[Mapping[str, Any]]) -> list[Erasable]:
    found = []
    for row in rows:
        facts = _facts.decode(row["facts"])
        goes_on = row["status"] == "PENDING" or "REQUESTED" in (facts.delivery, facts.returning)
        needs_its_address = goes_on or any(each.state in OWED for each in facts.payments)
        values = tuple(each for each in address_fields(_address.decode(row["recipient"])) if each)
        is_erased = row["erased_at"] is not None
        order_id, last_at = row["order_id"], row["last_at"]
        found.append(Erasable(order_id, needs_its_address, is_erased, values, last_at, row["detail"], facts))
    return found


async def erase(db: Connection, orders: Sequence[Erasable], words: Words, now: datetime) -> None:
    """Erase these orders' addresses, and what their timelines repeat of them."""
    ids = [each.order_id for each in orders]
    await sql.erase_recipients(db, order_ids=ids, nothing=NOTHING, now=now)
    for each in orders:
        detail = each.detail and words.without(each.detail)
        facts = _without(each.facts, words)
        if (detail, facts) != (each.detail, each.facts):
            await sql.rewrite_saga(db, order_id=each.order_id, detail=detail, facts=msgspec.json.encode(facts).decode())
    for row in await sql.notes(db, order_ids=ids):
        note, said = words.without(row["note"]), words.without_in_stored(row["said"])
        if (note, said) != (row["note"], row["said"]):
            await sql.rewrite_note(db, order_id=row["order_id"], seq=row["seq"], note=note, said=said)


def _without(facts: Facts, words: Words) -> Facts:
    """The facts with other texts for people. Nothing that the saga decides from is a word to be removed, whatever an address says."""
    return replace(
        facts,
        flag=facts.flag and words.without(facts.flag),
        flag_said=words.without_in_sayings(facts.flag_said),
        detail_said=words.without_in_sayings(facts.detail_said),
    )
