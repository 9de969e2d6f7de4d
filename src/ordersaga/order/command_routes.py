"""Commands on an order over HTTP: a customer's cancel and return, and what operators do."""

from typing import Final
from uuid import UUID

import msgspec
from litestar import post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler

from ordersaga.http.caller import Caller, must_operate
from ordersaga.http.problems import not_found, unless_refused
from ordersaga.http.requests import body_of, decoded, idempotency_key, raw_body
from ordersaga.messaging.acts import Operator
from ordersaga.order.api import AnyRequest, Json, Orders, answer
from ordersaga.order.commands import CustomerAct
from ordersaga.order.operators import OperatorAct
from ordersaga.order.refunds import AcceptRefund
from ordersaga.order.resources import (
    ACCEPT_REFUND,
    CANCEL,
    RECEIVE_RETURN,
    REFUSE_RETURN,
    RETURN,
    OperatorsReason,
)
from ordersaga.order.returns import CancelBeforeDelivery, ReceiveReturn, RefuseReturn, RequestReturn, Return
from ordersaga.order.saga import CustomerCommand, OperatorCommand

NO_REASON: Final = "no reason given"
"""For an operator who cancels or returns an order in the customer's stead without a body."""
ORDER: Final = "/api/v1/orders/{order_id:uuid}"

_reason: Final = msgspec.json.Decoder(OperatorsReason)


def routes(orders: Orders) -> list[ControllerRouterHandler]:
    """The routes."""
    return_command = RequestReturn() if orders.runtime.settings.return_needs_receipt else Return()

    @post(f"{ORDER}/cancel/delivery-before", **CANCEL)
    async def cancel(request: AnyRequest, order_id: FromPath[UUID]) -> Json:
        return await _act(orders, request, order_id, "cancel/delivery-before", CancelBeforeDelivery())

    @post(f"{ORDER}/cancel/return", **RETURN)
    async def give_back(request: AnyRequest, order_id: FromPath[UUID]) -> Json:
        return await _act(orders, request, order_id, "cancel/return", return_command)

    @post(f"{ORDER}/refund/accept", **ACCEPT_REFUND)
    async def accept_refund(request: AnyRequest, order_id: FromPath[UUID]) -> Json:
        return await _by_operator(orders, request, order_id, AcceptRefund)

    @post(f"{ORDER}/return/receive", **RECEIVE_RETURN)
    async def receive_return(request: AnyRequest, order_id: FromPath[UUID]) -> Json:
        return await _by_operator(orders, request, order_id, ReceiveReturn)

    @post(f"{ORDER}/return/refuse", **REFUSE_RETURN)
    async def refuse_return(request: AnyRequest, order_id: FromPath[UUID]) -> Json:
        return await _by_operator(orders, request, order_id, RefuseReturn)

    return [cancel, give_back, accept_refund, receive_return, refuse_return]


async def _act(orders: Orders, request: AnyRequest, order_id: UUID, route: str, command: CustomerCommand) -> Json:
    """Cancel or return: by the order's customer, or by an operator in the customer's stead."""
    caller = await orders.callers.of(request)
    await _reader_acts_on_own(orders, caller, order_id)
    route = f"POST /api/v1/orders/{order_id}/{route}"
    raw = await raw_body(request)
    key = idempotency_key(request, caller.user_id, route, raw, orders.runtime.new_id())
    if caller.is_operator:
        body = decoded(raw, _reason) if raw else OperatorsReason(why=NO_REASON)
        act = CustomerAct(order_id, None, command, key, Operator(str(caller.user_id), body.why), body.seen)
    else:
        act = CustomerAct(order_id, caller.user_id, command, key)
    return answer(unless_refused(await orders.acting(act)), 200)


async def _reader_acts_on_own(orders: Orders, caller: Caller, order_id: UUID) -> None:
    """Tell a reader who acts on another's order which role that needs: they can see the order, so it is no secret. Raises `Problem` 403."""
    if (
        caller.sees_all
        and not caller.is_operator
        and (await orders.visible_order(order_id, caller)).customer_id != caller.user_id
    ):
        must_operate(caller)


async def _by_operator(orders: Orders, request: AnyRequest, order_id: UUID, command: type[OperatorCommand]) -> Json:
    caller = await orders.callers.of(request)
    if not caller.sees_all:
        raise not_found("order")
    must_operate(caller)
    body, _ = await body_of(request, _reason)
    act = OperatorAct(order_id, Operator(str(caller.user_id), body.why), command, seen=body.seen)
    return answer(unless_refused(await orders.operating(act)), 200)
