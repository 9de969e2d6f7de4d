"""Order's own routes in the operators' HTTP face: why an order waits, and the resend of the requests that it waits for."""

from collections.abc import Callable
from typing import Final
from uuid import UUID

import msgspec
from litestar import get, post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from ordersaga.http.caller import Caller
from ordersaga.http.problems import not_found, unless_refused
from ordersaga.http.requests import json_body
from ordersaga.messaging.held_records import HeldRecord
from ordersaga.operations.face import ActBody, AnyRequest, Face
from ordersaga.order import store
from ordersaga.order.api import Orders
from ordersaga.order.explanation import Explanation
from ordersaga.order.model import Order
from ordersaga.order.operators import OperatorAct
from ordersaga.order.resending import Resend
from ordersaga.order.versions import version_of

_resend: Final = msgspec.json.Decoder(ActBody)


class WaitingOrder(Struct, rename="camel", kw_only=True):
    """What an order waits for, and its records that Order has parked or given up. `version`: for an act on the order."""

    order_id: UUID
    version: str
    status: str
    reason: str | None
    flag: str | None
    waits_for: list[Explanation]
    held_records: list[HeldRecord]


def routes(orders: Orders) -> Callable[[Face], list[ControllerRouterHandler]]:
    """The routes, over the service's own parts."""

    async def shown(order: Order, caller: Caller) -> WaitingOrder:
        waits, held = await orders.obstacles(order, caller)
        return WaitingOrder(
            order_id=order.order_id,
            version=version_of(order),
            status=order.status,
            reason=order.reason,
            flag=order.facts.flag,
            waits_for=waits,
            held_records=held,
        )

    def of(face: Face) -> list[ControllerRouterHandler]:
        @get("/orders/{order_id:uuid}", operation_id="showWaits", summary="What an order waits for")
        async def show(request: AnyRequest, order_id: FromPath[UUID]) -> WaitingOrder:
            caller = await face.reader(request)
            async with face.runtime.reading() as db:
                order = (await store.find(db, [order_id])).get(order_id)
            if order is None:
                raise not_found("order")
            return await shown(order, caller)

        @post(
            "/orders/{order_id:uuid}/resend",
            status_code=200,
            operation_id="resendRequests",
            operation_class=json_body(ActBody),
            summary="Send the requests that an order waits for once more, now",
        )
        async def resend(request: AnyRequest, order_id: FromPath[UUID]) -> WaitingOrder:
            operator, body = await face.act(request, _resend)
            act = OperatorAct(order_id, operator, Resend, body.version)
            return await shown(unless_refused(await orders.operating(act)), await face.reader(request))

        return [show, resend]

    return of
