"""Delivery over HTTP: the delivery of an order. A customer sees their own deliveries, an operator sees all."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath, QueryParameter
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from ordersaga.contracts.address import HIDDEN, Address
from ordersaga.delivery import store
from ordersaga.delivery.model import Delivery
from ordersaga.http.caller import Caller, Callers
from ordersaga.http.documents import described
from ordersaga.http.pages import LIMIT_DEFAULT, Cursor, Cursors, Limit, Page
from ordersaga.http.problems import not_found
from ordersaga.messaging.runtime import Runtime

Json = Response[bytes]
AnyRequest = Request[Any, Any, Any]

_cursors: Final[Cursors[UUID]] = Cursors("deliveries", UUID)
TAGS: Final = ("deliveries",)
_json: Final = msgspec.json.Encoder()


class DeliveryResource(Struct, rename="camel"):
    """A delivery as its customer sees it."""

    delivery_id: UUID
    order_id: UUID
    customer_id: UUID
    status: str
    tracking_number: str | None
    refusal: str | None
    address: Address
    at: datetime


class DeliveryPage(Page[DeliveryResource]):
    """One page of deliveries, the newest order first."""


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


def routes(runtime: Runtime, callers: Callers) -> list[ControllerRouterHandler]:
    """Every route of the service."""

    @get(
        "/api/v1/deliveries/{some_id:uuid}",
        tags=TAGS,
        summary="One delivery, by its own id or by its order's",
        **described("showDelivery", {200: DeliveryResource}, refusals=(404,), examples={200: DELIVERY}),
    )
    async def show(request: AnyRequest, some_id: FromPath[UUID]) -> Json:
        caller = await callers.of(request)
        async with runtime.reading() as db:
            found = await store.by_either_id(db, some_id)
        if found is None or not (caller.sees_all or caller.user_id == found.customer_id):
            raise not_found("delivery")
        return _answer(resource(found, caller))

    @get(
        "/api/v1/deliveries",
        tags=TAGS,
        summary="Deliveries of one order or of all, newest order first (operators, readers)",
        **described(
            "listDeliveries",
            {200: DeliveryPage},
            access="operator",
            examples={200: DeliveryPage([DELIVERY], _cursors.of(DELIVERY.order_id))},
        ),
    )
    async def find(
        request: AnyRequest,
        order_id: Annotated[UUID | None, QueryParameter(name="orderId")] = None,
        cursor: Cursor = None,
        limit: Limit = LIMIT_DEFAULT,
    ) -> Json:
        caller = await callers.reader(request)
        before = _cursors.key(cursor)
        async with runtime.searching() as db:
            found = await store.page(db, order_id, before, limit + 1)
        shown, following = _cursors.cut(found, limit, lambda delivery: delivery.order_id)
        return _answer(DeliveryPage([resource(each, caller) for each in shown], following))

    return [show, find]


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
    )


def _answer(value: Struct) -> Json:
    return Response(_json.encode(value), media_type="application/json")
