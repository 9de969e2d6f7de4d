"""A delivery: its order, its address, and the carrier's verdict."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct

from ordersaga.contracts.address import Address
from ordersaga.contracts.status import DeliveryStatus


class Delivery(Struct, frozen=True):
    """The delivery of one order. The row never changes. STARTED has a tracking number, FAILED has the carrier's reason in `refusal`."""

    order_id: UUID
    delivery_id: UUID
    customer_id: UUID
    status: DeliveryStatus
    tracking_number: str | None
    refusal: str | None
    address: Address
    at: datetime
