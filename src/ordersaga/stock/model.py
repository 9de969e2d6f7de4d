"""Products, the reservations of orders, and the movements of pieces."""

from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct

from ordersaga.stock.listing import Listing

State = Literal["RESERVED", "RELEASED", "REFUSED", "OVERTAKEN"]
MovementKind = Literal["received", "reserved", "released"]

DESCRIPTION_CHARS_MAX: Final = 5_000
PICTURE_CHARS_MAX: Final = 2_000
CATEGORY_CHARS_MAX: Final = 100


class Product(Struct, frozen=True):
    """A product, its price in won, its stock in pieces, and what the shop shows of it.

    `version` rises with each change of name, price or `listing.active`: see `next_version`.

    The counters `received`, `reserved` and `released` only grow. PostgreSQL computes `available` from them too, and fails a statement
    that would take it below zero.
    """

    product_id: UUID
    name: str
    price: int
    version: int
    received: int
    reserved: int
    released: int
    listing: Listing = Listing()

    @property
    def available(self) -> int:
        return self.received - self.reserved + self.released


def next_version(before: int, now: datetime) -> int:
    """The version after a change of a product whose row had the version `before`.

    The new version is higher than the row's, so two changes have two versions whatever the clocks of Stock's processes say. The new version
    is at least the time in milliseconds: after a product was deleted and added again, or the database was restored, new versions are soon
    higher than those Order has.
    """
    return max(before + 1, int(now.timestamp() * 1000))


class Item(Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """One product of an order.

    RESERVED: its pieces are reserved. RELEASED: they were reserved and are released. REFUSED: the order got nothing; `message` says why if
    this product was short and is None otherwise. OVERTAKEN: the rollback came before the request, so the product was never reserved.
    """

    product_id: UUID
    quantity: int
    state: State
    message: str | None = None


class Reservation(Struct, frozen=True, gc=False):
    """What Stock decided for one order. A repeated request is answered from this row.

    RESERVED: at least one item is reserved. RELEASED: all items that were reserved are released. REFUSED: no item was ever reserved.
    OVERTAKEN: a tombstone; the rollback came first, and the request has not come yet.
    """

    order_id: UUID
    state: State
    items: tuple[Item, ...]


class Movement(Struct, frozen=True, gc=False):
    """Pieces of a product that were received, reserved or released. `order_id` is None for received pieces."""

    product_id: UUID
    order_id: UUID | None
    kind: MovementKind
    quantity: int
