"""Payments as HTTP clients read them."""

from typing import Annotated, Final
from uuid import UUID

import msgspec
from litestar import Response, get
from litestar.params import FromPath, QueryParameter
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from ordersaga.http.pages import LIMIT_DEFAULT, Cursor, Limit
from ordersaga.http.problems import not_found
from ordersaga.payment import store
from ordersaga.payment.api import AnyRequest, Json, Payments, resource
from ordersaga.payment.resources import LIST, PAYMENT_KEY, SHOW, PageKey, PaymentPage, cursors

OrderId = Annotated[UUID, QueryParameter(name="orderId")]

_json: Final = msgspec.json.Encoder()


def routes(payments: Payments) -> list[ControllerRouterHandler]:
    """The routes that read payments."""

    @get("/api/v1/payments", **LIST)
    async def of_order(
        request: AnyRequest, order_id: OrderId, cursor: Cursor = None, limit: Limit = LIMIT_DEFAULT
    ) -> Json:
        caller = await payments.callers.of(request)
        after = cursors.key(cursor)
        customer_id = None if caller.sees_all else caller.user_id
        async with payments.runtime.searching() as db:
            found = await store.payments_of_order(db, order_id, customer_id, after, limit + 1)
        shown, following = cursors.cut(found, limit, lambda each: PageKey(each.requested_at, each.payment_key))
        return _answer(PaymentPage([resource(each) for each in shown], following))

    @get("/api/v1/payments/{payment_key:str}", **SHOW)
    async def show(request: AnyRequest, payment_key: FromPath[str]) -> Json:
        caller = await payments.callers.of(request)
        if not PAYMENT_KEY.fullmatch(payment_key):
            raise not_found("payment")
        return _answer(resource(await payments.visible_payment(payment_key, caller)))

    return [of_order, show]


def _answer(value: Struct) -> Json:
    return Response(_json.encode(value), media_type="application/json")
