"""Reads and writes products, reservations and movements with a fixed number of statements for any number of rows.

Every transaction takes its locks in the same order, so no two can deadlock: existing reservations by id, products by id, new
reservations by id.
"""

from collections.abc import Collection, Iterable, Sequence, Set
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import Struct

from ordersaga.messaging.database import Connection, insert, insert_new
from ordersaga.messaging.queries import queries
from ordersaga.messaging.short_transaction import Known, comparing, later
from ordersaga.stock import listing
from ordersaga.stock.allocation import Allocation
from ordersaga.stock.listing import Listing, Search
from ordersaga.stock.model import Item, Movement, Product, Reservation

sql: Final = queries(__file__)

RESERVATION_COLUMNS: Final = ("order_id", "state", "items", "at")
MOVEMENT_COLUMNS: Final = ("product_id", "order_id", "kind", "quantity", "at")

_json: Final = msgspec.json.Encoder()
_items: Final = msgspec.json.Decoder(tuple[Item, ...])


async def lock_reservations(
    db: Connection, order_ids: Set[UUID], new: Set[UUID] = frozenset()
) -> dict[UUID, Reservation]:
    """The reservations of these orders, locked in id order, or compared at the end of a short transaction. An order without a reservation has no row to lock; `save` fails the turn if
    another process inserts the row meanwhile.

    `new`: the orders that should have none. A short transaction does not look for theirs: `save` meets a row that is there after all.
    """
    if (short := comparing(db)) is None:
        rows = await sql.lock_reservations(db, order_ids=list(order_ids))
    elif order_ids <= new:
        rows = []
    else:
        rows = await sql.reservations_with_versions(short.connection, order_ids=list(order_ids))
        ids, versions = [row["order_id"] for row in rows], [row["version"] for row in rows]
        await sql.reservations_as_read(short.compared(len(rows)), order_ids=ids, versions=versions)
    return {row["order_id"]: _reservation(row) for row in rows}


async def decided(db: Connection, order_id: UUID) -> tuple[Reservation, datetime] | None:
    """The reservation of an order, not locked, and when Stock first decided about it."""
    row = await sql.reservation(db, order_id=order_id)
    return (_reservation(row), row["at"]) if row else None


async def lock_available(
    db: Connection, product_ids: Iterable[UUID], known: Known[int] | None = None
) -> dict[UUID, int]:
    """The available pieces of each product, its row locked, in id order, or compared at the end of a short transaction. A product that does not exist is missing.

    `known`: what a short transaction need not read.
    """
    wanted = list(set(product_ids))
    if (short := comparing(db)) is None:
        if known is not None:
            known.forget(wanted)
        return {row["product_id"]: row["available"] for row in await sql.lock_available(db, product_ids=wanted)}
    there = known.all_of(wanted, short) if known is not None else None
    if there is not None:
        available = dict(zip(wanted, there, strict=True))
    else:
        available = {
            row["product_id"]: row["available"] for row in await sql.available(short.connection, product_ids=wanted)
        }
    await sql.available_as_read(
        short.compared(len(available)), product_ids=list(available), available=list(available.values())
    )
    return available


async def save(db: Connection, allocation: Allocation, known: Collection[UUID], now: datetime) -> None:
    """Save the reservations and movements of a batch. `known`: the orders whose reservation was loaded and is locked.

    Raises `SerializationError` if another process has inserted the reservation of a new order meanwhile, so no order is decided twice.
    Inserting and retrying costs one write for each order; inserting a row first in order to lock it would cost two.
    """
    ordered = sorted(allocation.reservations.values(), key=lambda each: each.order_id)
    new = [(*_row(each), now) for each in ordered if each.order_id not in known]
    if new:
        await insert_new(later(db), "reservation", RESERVATION_COLUMNS, new)
    changed = [_row(each) for each in ordered if each.order_id in known]
    if changed:
        order_ids, states, items = map(list, zip(*changed, strict=True))
        await sql.change_reservations(later(db), order_ids=order_ids, states=states, items=items)
    await save_movements(db, allocation.movements, now)


async def save_movements(db: Connection, movements: Sequence[Movement], now: datetime) -> None:
    """Insert movements, and add them to the counters of their products, whose rows must be locked."""
    if not movements:
        return
    counted: dict[UUID, dict[str, int]] = {}
    for each in movements:
        counts = counted.setdefault(each.product_id, {"received": 0, "reserved": 0, "released": 0})
        counts[each.kind] += each.quantity
    await sql.count_movements(
        later(db),
        product_ids=list(counted),
        received=[counts["received"] for counts in counted.values()],
        reserved=[counts["reserved"] for counts in counted.values()],
        released=[counts["released"] for counts in counted.values()],
    )
    records = [(each.product_id, each.order_id, each.kind, each.quantity, now) for each in movements]
    await insert(later(db), "movement", MOVEMENT_COLUMNS, records)


async def add_products(db: Connection, products: Iterable[Product]) -> set[UUID]:
    """Insert products with zero pieces, and their listings. Returns the ids that were inserted; a product whose id exists is not
    changed."""
    ordered = sorted(products, key=lambda each: each.product_id)
    rows = await sql.add_products(
        db,
        product_ids=[each.product_id for each in ordered],
        names=[each.name for each in ordered],
        prices=[each.price for each in ordered],
        versions=[each.version for each in ordered],
    )
    free = {row["product_id"] for row in rows}
    await save_listings(db, [each for each in ordered if each.product_id in free])
    return free


async def save_listings(db: Connection, products: Sequence[Product]) -> None:
    """Save what the shop shows of products, whose rows must be locked or new, and what a search finds them by."""
    if not products:
        return
    listings = [each.listing for each in products]
    texts = [listing.search_text(each.name, each.listing.category) for each in products]
    await sql.save_listings(
        db,
        product_ids=[each.product_id for each in products],
        descriptions=[each.description for each in listings],
        pictures=[each.picture for each in listings],
        categories=[each.category for each in listings],
        actives=[each.active for each in listings],
        search_texts=texts,
        search_parts=[_json.encode(listing.parts(each)).decode() for each in texts],
    )


async def change_products(db: Connection, products: Sequence[Product]) -> None:
    """Save name, price and version of products, whose rows must be locked."""
    await sql.change_products(
        db,
        product_ids=[each.product_id for each in products],
        names=[each.name for each in products],
        prices=[each.price for each in products],
        versions=[each.version for each in products],
    )


async def lock_products(db: Connection, product_ids: Iterable[UUID]) -> dict[UUID, Product]:
    """Products to change, locked in id order.

    A second statement reads their listings: a statement that has waited for a lock still sees other tables as they were before it waited.
    """
    rows = await sql.lock_products(db, product_ids=list(set(product_ids)))
    listed = await sql.listings(db, product_ids=[row["product_id"] for row in rows])
    listings = {row["product_id"]: _listing(row) for row in listed}
    return {row["product_id"]: _product(row, listings.get(row["product_id"], Listing())) for row in rows}


async def find(db: Connection, product_ids: Iterable[UUID]) -> dict[UUID, Product]:
    """Products by id, without a lock."""
    rows = await sql.products_by_id(db, product_ids=list(product_ids))
    return {row["product_id"]: _product(row, _listing(row)) for row in rows}


async def ids_after(db: Connection, after: UUID | None, rows_max: int) -> list[UUID]:
    """The ids of products in id order, after the id `after`."""
    return [row["product_id"] for row in await sql.ids_after(db, after=after, rows_max=rows_max)]


class CatalogueFilter(Struct, frozen=True):
    """Which products a page of the catalogue shows: those that fit each field that is not None."""

    search: Search | None = None
    category: str | None = None
    active: bool | None = None


EVERY_PRODUCT: Final = CatalogueFilter()


async def page(
    db: Connection, after: UUID | None, rows_max: int, wanted: CatalogueFilter = EVERY_PRODUCT
) -> list[Product]:
    """One page of the catalogue in id order, after the id `after`."""
    rows = await sql.find_products(
        db,
        after=after,
        active=wanted.active,
        category=wanted.category,
        parts=wanted.search.parts if wanted.search else None,
        patterns=wanted.search.patterns if wanted.search else None,
        rows_max=rows_max,
    )
    return [_product(row, _listing(row)) for row in rows]


async def prune_movements(db: Connection, before: datetime, rows_max: int) -> int:
    """Replace movements older than `before` by one balance row for each product and kind; returns how many rows were deleted."""
    count: int = await sql.prune_movements(db, before=before, rows_max=rows_max)
    return count


def _reservation(row: Any) -> Reservation:
    return Reservation(row["order_id"], row["state"], _items.decode(row["items"]))


def _row(reservation: Reservation) -> tuple[UUID, str, str]:
    return reservation.order_id, reservation.state, _json.encode(reservation.items).decode()


def _product(row: Any, listed: Listing) -> Product:
    counts = row["received"], row["reserved"], row["released"]
    return Product(row["product_id"], row["name"], row["price"], row["version"], *counts, listed)


def _listing(row: Any) -> Listing:
    if row["active"] is None:  # a product without a listing
        return Listing()
    return Listing(row["description"], row["picture"], row["category"], row["active"])
