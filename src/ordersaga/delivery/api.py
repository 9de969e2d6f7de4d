"""Delivery over HTTP: the delivery of an order. A customer sees their own deliveries, an operator sees all."""

from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath, QueryParameter
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from ordersaga.delivery import store
from ordersaga.delivery.resources import LIST, SHOW, DeliveryPage, cursors, resource
from ordersaga.http.caller import Callers
from ordersaga.http.pages import LIMIT_DEFAULT, Cursor, Limit
from ordersaga.http.problems import not_found
from ordersaga.messaging.runtime import Runtime

Json = Response[bytes]
AnyRequest = Request[Any, Any, Any]
OrderId = Annotated[UUID | None, QueryParameter(name="orderId")]

_json: Final = msgspec.json.Encoder()


def routes(runtime: Runtime, callers: Callers) -> list[ControllerRouterHandler]:
    """Every route of the service."""

    @get("/api/v1/deliveries/{some_id:uuid}", **SHOW)
    async def show(request: AnyRequest, some_id: FromPath[UUID]) -> Json:
        caller = await callers.of(request)
        async with runtime.reading() as db:
            found = await store.by_either_id(db, some_id)
        if found is None or not (caller.sees_all or caller.user_id == found.customer_id):
            raise not_found("delivery")
        return _answer(resource(found, caller))

    @get("/api/v1/deliveries", **LIST)
    async def find(
        request: AnyRequest, order_id: OrderId = None, cursor: Cursor = None, limit: Limit = LIMIT_DEFAULT
    ) -> Json:
        caller = await callers.reader(request)
        before = cursors.key(cursor)
        async with runtime.searching() as db:
            found = await store.page(db, order_id, before, limit + 1)
        shown, following = cursors.cut(found, limit, lambda delivery: delivery.order_id)
        return _answer(DeliveryPage([resource(each, caller) for each in shown], following))

    return [show, find]


def _answer(value: Struct) -> Json:
    return Response(_json.encode(value), media_type="application/json")
