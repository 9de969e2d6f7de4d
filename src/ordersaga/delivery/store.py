"""Deliveries in PostgreSQL: one statement for any number of rows. A row is written once and never changed."""

from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg

from ordersaga.delivery.model import Address, Delivery
from ordersaga.messaging.database import Connection, queries

sql: Final = queries(__file__)


async def find(db: Connection, order_ids: Iterable[UUID]) -> dict[UUID, Delivery]:
    """The deliveries of orders. Nothing is locked, for nothing of them changes; new ones are guarded by `add`."""
    rows = await sql.deliveries_of_orders(db, order_ids=list(set(order_ids)))
    return {row["order_id"]: _delivery(row) for row in rows}


async def add(db: Connection, deliveries: Sequence[Delivery]) -> None:
    """Keep new deliveries.

    Raises `SerializationError`, after which the turn is tried again, if another process has made one of them meanwhile:
    the insert waits for that process's commit and then finds its row. So no order gets two deliveries.
    """
    if not deliveries:
        return
    ordered = sorted(deliveries, key=lambda each: each.order_id)
    added = await sql.add_deliveries(
        db,
        order_ids=[each.order_id for each in ordered],
        delivery_ids=[each.delivery_id for each in ordered],
        customer_ids=[each.customer_id for each in ordered],
        statuses=[each.status for each in ordered],
        tracking_numbers=[each.tracking_number for each in ordered],
        refusals=[each.refusal for each in ordered],
        addresses=[each.address.address for each in ordered],
        address_details=[each.address.address_detail for each in ordered],
        zipcodes=[each.address.zipcode for each in ordered],
        phones=[each.address.phone for each in ordered],
        names=[each.address.name for each in ordered],
        delivery_memos=[each.address.delivery_memo for each in ordered],
        ats=[each.at for each in ordered],
    )
    if added != len(ordered):
        raise asyncpg.SerializationError("another process began one of these deliveries meanwhile")


async def by_either_id(db: Connection, some_id: UUID) -> Delivery | None:
    """The delivery that has this id, or whose order has it."""
    row = await sql.delivery_by_either_id(db, id=some_id)
    return None if row is None else _delivery(row)


async def page(db: Connection, order_id: UUID | None, before: UUID | None, rows_max: int) -> list[Delivery]:
    """Deliveries, of one order or of all, by order id, the newest order first, a page at a time."""
    return list(map(_delivery, await sql.newest_deliveries(db, order_id=order_id, before=before, rows_max=rows_max)))


def _delivery(row: Any) -> Delivery:
    return Delivery(
        row["order_id"],
        row["delivery_id"],
        row["customer_id"],
        row["status"],
        row["tracking_number"],
        row["refusal"],
        Address(row["address"], row["address_detail"], row["zipcode"], row["phone"], row["name"], row["delivery_memo"]),
        row["at"],
    )
