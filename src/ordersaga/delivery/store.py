"""Reads and inserts deliveries, with one statement for any number of rows. A row is inserted once and never updated."""

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

from msgspec.structs import astuple

from ordersaga.contracts.address import Address
from ordersaga.delivery.model import Delivery
from ordersaga.messaging.database import Connection, insert_new
from ordersaga.messaging.queries import queries
from ordersaga.messaging.short_transaction import comparing, later, unlocked

sql: Final = queries(__file__)

# The table has the address's fields in place of the field `address`.
*_first, _, _last = Delivery.__struct_fields__
_address: Final = itemgetter(*Address.__struct_fields__)
COLUMNS: Final = (*_first, *Address.__struct_fields__, _last)


async def find(db: Connection, order_ids: Iterable[UUID], may_miss: bool = False) -> dict[UUID, Delivery]:
    """The deliveries that these orders have. No row is locked, since none is ever updated; `add` fails the turn if another process inserts
    one of them meanwhile. `may_miss`: a short transaction does not look for them, since `add` meets a row that is there after all."""
    if may_miss and comparing(db) is not None:
        return {}
    rows = await sql.deliveries_of_orders(unlocked(db), order_ids=list(set(order_ids)))
    return {row["order_id"]: _delivery(row) for row in rows}


async def add(db: Connection, deliveries: Sequence[Delivery]) -> None:
    """Insert new deliveries. Raises `SerializationError` if another process has inserted one of them meanwhile: no order gets two."""
    if deliveries:
        ordered = sorted(deliveries, key=lambda each: each.order_id)
        await insert_new(later(db), "delivery", COLUMNS, list(map(_row, ordered)))


async def by_either_id(db: Connection, some_id: UUID) -> Delivery | None:
    """The delivery with this id, or of the order with this id."""
    row = await sql.delivery_by_either_id(db, id=some_id)
    return None if row is None else _delivery(row)


async def page(db: Connection, order_id: UUID | None, before: UUID | None, rows_max: int) -> list[Delivery]:
    """One page of deliveries, of one order or of all, the newest order first. `before`: the last order id of the page before."""
    return list(map(_delivery, await sql.newest_deliveries(db, order_id=order_id, before=before, rows_max=rows_max)))


def _row(delivery: Delivery) -> tuple[Any, ...]:
    *first, address, last = astuple(delivery)
    return (*first, *astuple(address), last)


def _delivery(row: Any) -> Delivery:
    own = {name: row[name] for name in (*_first, _last)}
    return Delivery(**own, address=Address(*_address(row)))
