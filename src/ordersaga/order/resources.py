"""The JSON of Order's API: bodies, orders, pages and events, with the examples of the OpenAPI document."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from ordersaga.contracts import limits
from ordersaga.contracts.address import Address
from ordersaga.contracts.limits import INT32_MAX
from ordersaga.contracts.status import ORDER_CODES, OrderStatus
from ordersaga.http.pages import Page
from ordersaga.messaging.held_records import HeldRecord
from ordersaga.order.explanation import Explanation
from ordersaga.order.model import Event, Line, OrderPayment

TOTAL_AMOUNT_MIN: Final = 1_000
ITEMS_MAX: Final = 100

Count = Annotated[int, Meta(ge=1, le=INT32_MAX)]


class Item(Struct, rename="camel"):
    """One line of the body: a product and its number of pieces."""

    product_id: UUID
    quantity: Count


class PlaceOrder(Struct, rename="camel", kw_only=True):
    """The body of `POST /api/v1/orders`. Won."""

    order_name: Annotated[str, Meta(min_length=1, max_length=limits.ORDER_NAME_CHARS_MAX)]
    total_amount: Annotated[int, Meta(ge=TOTAL_AMOUNT_MIN, le=INT32_MAX)]
    address: Annotated[str, Meta(min_length=1, max_length=limits.ADDRESS_CHARS_MAX)]
    address_detail: Annotated[str, Meta(max_length=limits.ADDRESS_CHARS_MAX)] | None = None
    zipcode: Annotated[str, Meta(min_length=1, max_length=limits.ZIPCODE_CHARS_MAX)]
    phone: Annotated[str, Meta(min_length=1, max_length=limits.PHONE_CHARS_MAX)]
    name: Annotated[str, Meta(min_length=1, max_length=limits.PERSON_CHARS_MAX)]
    delivery_memo: Annotated[str, Meta(max_length=limits.MEMO_CHARS_MAX)] | None = None
    items: Annotated[list[Item], Meta(min_length=1, max_length=ITEMS_MAX)]


class OperatorsReason(Struct, rename="camel", kw_only=True):
    """The body of an operator's command on an order, and of a cancel or return in the customer's stead.

    The reason is kept with the act and in the timeline.
    """

    why: Annotated[str, Meta(min_length=1, max_length=500, pattern=r"\S")]


class OrderResource(Struct, rename="camel", kw_only=True):
    """The JSON of an order. Won. Only operators see `flag`, `version`, `waits_for` and `held_records`."""

    order_id: UUID
    customer_id: UUID
    status: str
    status_code: str
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
    flag: str | UnsetType | None = UNSET
    version: str | UnsetType = UNSET
    waits_for: list[Explanation] | UnsetType = UNSET
    held_records: list[HeldRecord] | UnsetType = UNSET


class OrderPage(Page[OrderResource]):
    """One page of orders, the newest first."""


class Waiting(Struct, rename="camel", frozen=True):
    """An order that has not ended."""

    order_id: UUID
    order_name: str
    placed_at: datetime


class OrderStates(Struct, rename="camel"):
    """How many orders of the last `hours` have each status; no number is above `countedMax`. `oldest`: the oldest order that has not ended."""

    hours: int
    counted_max: int
    counts: dict[OrderStatus, int]
    oldest: Waiting | None


class EventResource(Struct, rename="camel"):
    """The JSON of one line of an order's timeline."""

    at: datetime
    came_in: str
    went_out: tuple[str, ...]
    status: str
    reason: str | None
    note: str | None


class EventPage(Page[EventResource]):
    """One page of an order's timeline, the oldest event first."""


def event_resource(event: Event) -> EventResource:
    """The JSON of one line of a timeline."""
    return EventResource(event.at, event.came_in, event.went_out, event.status, event.reason, event.note)


NEW_ORDER: Final = PlaceOrder(
    order_name="찻잔 2",
    total_amount=24_000,
    address="1 Sejong-daero",
    zipcode="04524",
    phone="010-0000-0000",
    name="김하나",
    items=[Item(UUID("0193a8f0-0000-7000-8000-000000000001"), 2)],
)
ORDER: Final = OrderResource(
    order_id=UUID("0193a8f0-0000-7000-8000-000000000002"),
    customer_id=UUID("0193a8f0-0000-7000-8000-000000000009"),
    status="PENDING",
    status_code=ORDER_CODES["PENDING"],
    reason=None,
    detail=None,
    order_name=NEW_ORDER.order_name,
    total_amount=NEW_ORDER.total_amount,
    placed_at=datetime(2026, 1, 1, 9, 28, tzinfo=UTC),
    pay_before=datetime(2026, 1, 1, 9, 58, tzinfo=UTC),
    recipient=Address(NEW_ORDER.address, None, NEW_ORDER.zipcode, NEW_ORDER.phone, NEW_ORDER.name, None),
    items=(Line(NEW_ORDER.items[0].product_id, 2, "RESERVED"),),
    payments=(),
    delivery="NOT_REQUESTED",
    delivery_id=None,
    returning="NOT_REQUESTED",
)
EVENT: Final = EventResource(ORDER.placed_at, "Placed", ("StockDecreaseRequestMessage",), "PENDING", None, None)
ACTED: Final[dict[str, Any]] = {
    "answers": {200: OrderResource},
    "refusals": (404, 409, 422),
    "examples": {200: ORDER},
}
"""The examples of the OpenAPI document, and the answers of a command on an order."""
STATES: Final = OrderStates(
    24,
    10_000,
    {"PENDING": 3, "COMPLETED": 96, "CANCELLED": 2, "FAILED": 1},
    Waiting(ORDER.order_id, ORDER.order_name, ORDER.placed_at),
)
