"""The JSON of Delivery's API, and what the OpenAPI document says of each route."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from msgspec import Struct

from ordersaga.contracts.address import HIDDEN, Address
from ordersaga.delivery.carrier import REFUSALS
from ordersaga.delivery.model import Delivery
from ordersaga.http.caller import Caller
from ordersaga.http.documents import described
from ordersaga.http.pages import Cursors, Page
from ordersaga.said import Saying, read_back, sayings_of


class DeliveryResource(Struct, rename="camel"):
    """A delivery as its customer sees it. `refusal_said`: the refusal as codes with values, for pages in another language."""

    delivery_id: UUID
    order_id: UUID
    customer_id: UUID
    status: str
    tracking_number: str | None
    refusal: str | None
    address: Address
    at: datetime
    refusal_said: list[Saying] = []


class DeliveryPage(Page[DeliveryResource]):
    """One page of deliveries, the newest order first."""


def resource(delivery: Delivery, caller: Caller) -> DeliveryResource:
    """The JSON of a delivery, without personal data where the caller may not see it. The carrier's reason may name the zipcode."""
    address, refusal = delivery.address, delivery.refusal
    if not caller.sees_personal_data_of(delivery.customer_id):
        if refusal and address.zipcode:
            refusal = refusal.replace(address.zipcode, HIDDEN)
        address = address.hidden()
    return DeliveryResource(
        delivery.delivery_id,
        delivery.order_id,
        delivery.customer_id,
        delivery.status,
        delivery.tracking_number,
        refusal,
        address,
        delivery.at,
        list(sayings_of(read_back(refusal or "", REFUSALS))),
    )


cursors: Final[Cursors[UUID]] = Cursors("deliveries", UUID)
DELIVERY: Final = DeliveryResource(
    UUID("0193a8f0-0000-7000-8000-000000000003"),
    UUID("0193a8f0-0000-7000-8000-000000000002"),
    UUID("0193a8f0-0000-7000-8000-000000000009"),
    "STARTED",
    "1234567890",
    None,
    Address("1 Sejong-daero", None, "04524", "010-0000-0000", "김하나", None),
    datetime(2026, 1, 1, 9, 30, tzinfo=UTC),
)
"""The example of the OpenAPI document."""
TAGS: Final = ("deliveries",)
SHOW: Final = {
    "tags": TAGS,
    "summary": "One delivery, by its own id or by its order's",
    **described("showDelivery", {200: DeliveryResource}, refusals=(404,), examples={200: DELIVERY}),
}
LIST: Final = {
    "tags": TAGS,
    "summary": "Deliveries of one order or of all, newest order first (operators, readers)",
    **described(
        "listDeliveries",
        {200: DeliveryPage},
        access="operator",
        examples={200: DeliveryPage([DELIVERY], cursors.of(DELIVERY.order_id))},
    ),
}
