"""A delivery: whose, where to, and what became of it."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct

from ordersaga.contracts.status import DeliveryStatus


class Address(Struct, frozen=True, rename="camel"):
    """Where a parcel goes, and to whom; as Order sent it."""

    address: str | None
    address_detail: str | None
    zipcode: str | None
    phone: str | None
    name: str | None
    delivery_memo: str | None


class Delivery(Struct, frozen=True):
    """One order's delivery; it never changes. STARTED has a tracking number, FAILED the reason of the refusal."""

    order_id: UUID
    delivery_id: UUID
    customer_id: UUID
    status: DeliveryStatus
    tracking_number: str | None
    refusal: str | None
    address: Address
    at: datetime
