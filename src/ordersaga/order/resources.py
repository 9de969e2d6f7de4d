"""The JSON of Order's API: bodies, orders, pages and events, and what the OpenAPI document says of each route."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from ordersaga.contracts import limits
from ordersaga.contracts.address import Address
from ordersaga.contracts.limits import INT32_MAX
from ordersaga.contracts.status import ORDER_CODES, OrderStatus
from ordersaga.http.documents import described
from ordersaga.http.pages import Cursors, Page
from ordersaga.messaging.held_records import HeldRecord
from ordersaga.messaging.texts import read_sayings
from ordersaga.order.explanation import Explanation
from ordersaga.order.model import Event, Line, OrderPayment
from ordersaga.said import Saying

TOTAL_AMOUNT_MIN: Final = 1_000
ITEMS_MAX: Final = 100

Count = Annotated[int, Meta(ge=1, le=INT32_MAX)]


class Item(Struct, rename="camel"):
    """One line of the body: a product and its number of pieces."""

    product_id: UUID
    quantity: Count


class PlaceOrder(Struct, rename="camel", kw_only=True):
    """The body of `POST /api/v1/orders`. Amounts in won."""

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

    The reason is kept with the act and in the timeline. `seen`: that of the order when the operator looked at it. If the order has another one by
    now, the answer is 409 with the title `Somebody else has acted`, and nothing is done. Without `seen` any state will do.
    """

    why: Annotated[str, Meta(min_length=1, max_length=500, pattern=r"\S")]
    seen: Annotated[str, Meta(min_length=1, max_length=100)] | None = None


class OrderResource(Struct, rename="camel", kw_only=True):
    """The JSON of an order. Amounts in won. Only operators see `flag`, `flag_said`, `version`, `seen`, `waits_for` and `held_records`.

    `detail_said` and `flag_said`: the detail and the flag as codes with values, for pages in another language.
    `version` is for a resend, and changes with each request and answer. `seen` is for the commands, and changes with what decides about them.
    """

    order_id: UUID
    customer_id: UUID
    status: str
    status_code: str
    reason: str | None
    detail: str | None
    detail_said: list[Saying] = []
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
    flag_said: list[Saying] | UnsetType = UNSET
    version: str | UnsetType = UNSET
    seen: str | UnsetType = UNSET
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
    """The JSON of one line of an order's timeline. `note_said`: the note as codes with values, for pages in another language."""

    at: datetime
    came_in: str
    went_out: tuple[str, ...]
    status: str
    reason: str | None
    note: str | None
    note_said: list[Saying] = []


class EventPage(Page[EventResource]):
    """One page of an order's timeline, the oldest event first."""


def event_resource(event: Event) -> EventResource:
    """The JSON of one line of a timeline."""
    note_said = read_sayings(event.said)
    return EventResource(event.at, event.came_in, event.went_out, event.status, event.reason, event.note, note_said)


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
STATES: Final = OrderStates(
    24,
    10_000,
    {"PENDING": 3, "COMPLETED": 96, "CANCELLED": 2, "FAILED": 1},
    Waiting(ORDER.order_id, ORDER.order_name, ORDER.placed_at),
)
cursors: Final[Cursors[UUID]] = Cursors("orders", UUID)

TAGS: Final = ("orders",)
PLACE: Final = {
    "tags": TAGS,
    "summary": "Place an order (steps 1-4); 202: at once (`Prefer: respond-async` or `wait=0`), 200: an earlier request with the same Idempotency-Key has placed it",
    **described(
        "placeOrder",
        {201: OrderResource, 202: OrderResource, 200: OrderResource},
        refusals=(422,),
        body=PlaceOrder,
        headers=("Idempotency-Key", "Prefer"),
        examples={201: ORDER},
        body_example=NEW_ORDER,
    ),
}
"""What the OpenAPI document says of a route. The same below."""
LIST: Final = {
    "tags": TAGS,
    "summary": "The caller's orders, newest first; an operator sees all orders",
    **described("listOrders", {200: OrderPage}, examples={200: OrderPage([ORDER], cursors.of(ORDER.order_id))}),
}
COUNT: Final = {
    "tags": TAGS,
    "summary": "How many recent orders have each status, and the oldest order that has not ended (operators, readers)",
    **described("countOrders", {200: OrderStates}, access="operator", examples={200: STATES}),
}
SHOW: Final = {
    "tags": TAGS,
    "summary": "One order; to an operator also why it waits",
    **described("showOrder", {200: OrderResource}, refusals=(404,), examples={200: ORDER}),
}
STREAM: Final = {
    "tags": TAGS,
    "summary": "An order's timeline as server-sent events",
    **described("streamEvents", {200: bytes}, refusals=(404, 429), headers=("Last-Event-ID",)),
}
TIMELINE: Final = {
    "tags": TAGS,
    "summary": "An order's timeline up to now, the oldest event first",
    **described("listEvents", {200: EventPage}, refusals=(404,), examples={200: EventPage([EVENT], None)}),
}


def _command(operation_id: str, summary: str, **more: Any) -> dict[str, Any]:
    said = described(operation_id, {200: OrderResource}, refusals=(403, 404, 409, 422), examples={200: ORDER}, **more)
    return {"tags": TAGS, "status_code": 200, "summary": summary, **said}


def _operators(operation_id: str, summary: str) -> dict[str, Any]:
    example = OperatorsReason(why="the customer called")
    return _command(operation_id, summary, body=OperatorsReason, body_example=example)


CANCEL: Final = _command("cancelOrder", "Cancel before delivery is requested", headers=("Idempotency-Key",))
RETURN: Final = _command("returnOrder", "Return a completed order", headers=("Idempotency-Key",))
ACCEPT_REFUND: Final = _operators(
    "acceptRefund",
    "An operator accepts a refund that was made at the gateway; the order goes on with the money that is held",
)
RECEIVE_RETURN: Final = _operators(
    "receiveReturn", "An operator has received the goods of a return: the order is CANCELLED, RETURNED, and refunded"
)
REFUSE_RETURN: Final = _operators("refuseReturn", "An operator does not accept a return: the order stays COMPLETED")
