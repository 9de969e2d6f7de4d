"""Products, what orders hold of them, and the movements between."""

from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct

State = Literal["RESERVED", "RELEASED", "REFUSED", "OVERTAKEN"]
MovementKind = Literal["received", "reserved", "released"]

NAME_CHARS_MAX: Final = 200


class Product(Struct, frozen=True):
    """A product and its stock in pieces. Won. `version` rises with each change of name or price: see `next_version`.

    `received`, `reserved` and `released` only grow; PostgreSQL computes `available` from them too, and refuses to let
    it go below zero.
    """

    product_id: UUID
    name: str
    price: int
    version: int
    received: int
    reserved: int
    released: int

    @property
    def available(self) -> int:
        return self.received - self.reserved + self.released


def next_version(before: int, now: datetime) -> int:
    """The version of a change to a product that had this one.

    From the row, so that each change has a higher one than the last, whatever the clocks of Stock's processes say. At least the time in
    milliseconds, so that a product made anew, or a database set back to an earlier point, soon has a higher one than whatever Order has seen.
    """
    return max(before + 1, int(now.timestamp() * 1000))


class Item(Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """What became of one product of an order.

    RESERVED: held. RELEASED: was held, and given back. REFUSED: the order got nothing, and `message` says so if it was
    for want of this product. OVERTAKEN: given back before it was asked for, so never held.
    """

    product_id: UUID
    quantity: int
    state: State
    message: str | None = None


class Reservation(Struct, frozen=True, gc=False):
    """What Stock decided for one order, which is also the answer that a repeat gets.

    RESERVED: holds at least one item. RELEASED: held some, and holds none. REFUSED: never held any. OVERTAKEN: a
    tombstone, left by a rollback that came before its request; the request is not known yet.
    """

    order_id: UUID
    state: State
    items: tuple[Item, ...]


class Movement(Struct, frozen=True, gc=False):
    """A line of the stock ledger; `order_id` is None for what came from outside."""

    product_id: UUID
    order_id: UUID | None
    kind: MovementKind
    quantity: int
