"""What the shop reads from the services. Unknown fields are ignored, so a newer service can say more."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct

from ordersaga.contracts.address import Address


class Product(Struct, rename="camel", frozen=True):
    """One product of the catalogue. Price in won."""

    product_id: UUID
    name: str
    price: int
    available: int
    description: str = ""
    picture: str | None = None
    category: str | None = None
    active: bool = True


class Line(Struct, rename="camel", frozen=True):
    """One product of an order."""

    product_id: UUID
    quantity: int
    stock: str = "REQUESTED"


class OrderPayment(Struct, rename="camel", frozen=True):
    """A payment as Order knows it. `held`: what the gateway still has, None for all of it. Amounts in won."""

    payment_key: str
    amount: int
    state: str
    held: int | None = None


class Order(Struct, rename="camel", frozen=True):
    """An order. Amounts in won."""

    order_id: UUID
    customer_id: UUID
    status: str
    reason: str | None
    detail: str | None
    order_name: str
    total_amount: int
    placed_at: datetime
    pay_before: datetime
    recipient: Address
    items: tuple[Line, ...]
    payments: tuple[OrderPayment, ...]
    delivery: str
    delivery_id: UUID | None
    returning: str


class Event(Struct, rename="camel", frozen=True):
    """One line of an order's timeline."""

    at: datetime
    came_in: str
    went_out: tuple[str, ...]
    status: str
    reason: str | None = None


class Payment(Struct, rename="camel", frozen=True):
    """A payment as Payment knows it. Amounts in won."""

    payment_key: str
    amount: int
    status: str


class Delivery(Struct, rename="camel", frozen=True):
    """A delivery."""

    delivery_id: UUID
    status: str
    tracking_number: str | None
