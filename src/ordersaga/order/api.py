"""Order over HTTP: what its routes share, and `POST /api/v1/orders`, the guide's steps 1 to 4.

The other routes are in `reading_routes.py` and `command_routes.py`.
"""

import asyncio
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog
from litestar import Request, Response, post
from litestar.types import ControllerRouterHandler
from msgspec.structs import replace

from ordersaga import tracing
from ordersaga.contracts.address import Address, address_fields
from ordersaga.contracts.status import ORDER_CODES
from ordersaga.http.caller import Caller, Callers
from ordersaga.http.encoded import EncodedJson
from ordersaga.http.limits import Streams
from ordersaga.http.problems import Problem, invalid_fields, not_found, unless_refused
from ordersaga.http.requests import decoded, idempotency_key, raw_json, repeated_resource, wait_s
from ordersaga.messaging.gather import Gather
from ordersaga.messaging.held_records import HeldRecord, held_records
from ordersaga.messaging.ids import root_of
from ordersaga.messaging.refusal import FieldError, Refusal
from ordersaga.messaging.runtime import Runtime
from ordersaga.operations.personal import words_for
from ordersaga.order import store
from ordersaga.order.commands import CustomerAct, Placed, Placement
from ordersaga.order.deadlines import Deadlines
from ordersaga.order.explanation import Explanation, explain
from ordersaga.order.model import Facts, Line, Order
from ordersaga.order.operators import OperatorAct
from ordersaga.order.resources import PLACE, OrderResource, PlaceOrder
from ordersaga.order.watch import Watch, Watcher
from ordersaga.tracing import plain

log: Final = structlog.get_logger()

Json = Response[bytes]
AnyRequest = Request[Any, Any, Any]
NOT_YET: Final = datetime.min.replace(tzinfo=UTC)

PLACE_CALL: Final = "place-order"
ANSWERED: Final = "place-order-answered"
ANSWERED_EARLY: Final = "place-order-answered-early"
"""What operators see counted: requests that place an order (the guide's step 1), and their answers (step 4), with Stock's answer or before it."""

_body: Final = msgspec.json.Decoder(PlaceOrder)
_json: Final = msgspec.json.Encoder()


class Orders:
    """The parts of the service that its routes use.

    `placing`, `acting` and `operating` are the gathered writes `Placing` and `Acting` of `commands.py` and `Operating` of `operators.py`: a
    call returns the answer after the commit. `app.py` sets them when the service starts.
    """

    def __init__(self, runtime: Runtime, callers: Callers, watch: Watch, streams: Streams) -> None:
        self.runtime: Final = runtime
        self.callers: Final = callers
        self.watch: Final = watch
        self.streams: Final = streams
        self._deadlines: Final = Deadlines.of(runtime.settings)
        self.placing: Gather[Placement, Placed | Refusal]
        self.acting: Gather[CustomerAct, Order | Refusal]
        self.operating: Gather[OperatorAct, Order | Refusal]

    async def visible_order(self, order_id: UUID, caller: Caller) -> Order:
        """An order that the caller may see. Raises `Problem` 404."""
        async with self.runtime.reading() as db:
            order = (await store.find(db, [order_id])).get(order_id)
        if order is None or not (caller.sees_all or caller.user_id == order.customer_id):
            raise not_found("order")
        return order

    async def obstacles(self, order: Order, caller: Caller) -> tuple[list[Explanation], list[HeldRecord]]:
        """Why an order waits: the answers that have not come, and the records that Order has parked or given up.

        The reason of a failure may repeat what a record says, so a reader is shown it without personal data.
        """
        async with self.runtime.reading() as db:
            held = await held_records(db, order.order_id)
        shown = [replace(each, reason=each.reason and words_for(caller, each.reason)) for each in held]
        return explain(order, self._deadlines), shown

    async def place(self, placement: Placement, seconds: float) -> Placed | Refusal:
        """Place an order and wait for Stock's answer for so many seconds. The watcher of a new order is there before the order."""
        if not seconds:
            return await self.placing(placement)
        with self.watch.new_order(placement.order.order_id) as watcher:
            done = await self.placing(placement)
            if isinstance(done, Refusal) or done.order.stock_is_known:
                return done
            if not done.is_repeat:
                return replace(done, order=await self._with_stock_answer(done.order, watcher, seconds))
        with self.watch.order(done.order.order_id) as watcher:
            return replace(done, order=await self._with_stock_answer(done.order, watcher, seconds))

    async def _with_stock_answer(self, order: Order, watcher: Watcher, seconds: float) -> Order:
        """The order once Stock has answered (step 3 of the guide), or as it was placed when `seconds` are over or the wait fails.

        The order is committed, so no error while waiting may fail the request.
        """
        try:
            end = self.runtime.clock().timestamp() + seconds
            while (left := end - self.runtime.clock().timestamp()) > 0:
                seen = await watcher.next_or_order(left)
                if isinstance(seen, Order):
                    if seen.stock_is_known:
                        return seen
                elif seen is not None and seen[1].stock_known:
                    async with self.runtime.reading() as db:
                        return (await store.find(db, [order.order_id])).get(order.order_id, order)
        except asyncio.CancelledError:  # the server stops; the client still gets its answer
            if task := asyncio.current_task():
                task.uncancel()
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            log.warning("an order is answered without Stock's answer", order_id=str(order.order_id), error=why)
        return order


def routes(orders: Orders) -> list[ControllerRouterHandler]:
    """The route of a new order."""

    @post("/api/v1/orders", **PLACE)
    async def place(request: AnyRequest) -> Json:
        with orders.runtime.calls.call(PLACE_CALL):
            return await _place(orders, request)

    return [place]


async def _place(orders: Orders, request: AnyRequest) -> Json:
    caller = await orders.callers.of(request)
    seconds = wait_s(request)  # without `Prefer`: 2 s, in which Stock usually answers
    order_id = orders.runtime.new_id()
    if (traceparent := tracing.current.get()) is None:
        tracing.current.set(root_of(order_id))  # which is not stored: the id tells it
    raw = await raw_json(request)
    # The key remembers the order's id, so a repeat is answered with this order.
    key = idempotency_key(request, caller.user_id, "POST /api/v1/orders", raw, order_id)
    try:
        placement = Placement(_order(decoded(raw, _body), caller, order_id, traceparent), key)
    except Problem:
        # A repeat gets its order although the body would be refused now, for instance after a limit was lowered.
        if (placed := await repeated_resource(orders.runtime, key)) is None:
            raise
        return answer(await orders.visible_order(placed, caller), 200)
    done = unless_refused(await orders.place(placement, seconds))
    order = done.order
    orders.runtime.calls.count(ANSWERED if order.stock_is_known else ANSWERED_EARLY)
    return answer(order, 200 if done.is_repeat else 201 if seconds else 202)


def _order(body: PlaceOrder, caller: Caller, order_id: UUID, traceparent: str | None) -> Order:
    """The order of the body; its times are set when it is placed. Raises `Problem` 400 where two fields do not fit each other."""
    products = [item.product_id for item in body.items]
    if len(set(products)) < len(products):
        twice = "the product is there twice; put its pieces in one line"
        raise invalid_fields(
            [
                FieldError(f"items[{n}].productId", twice, "duplicate")
                for n, product in enumerate(products)
                if product in products[:n]
            ]
        )
    return Order(
        order_id,
        caller.user_id,
        body.order_name,
        body.total_amount,
        Address(*address_fields(body)),
        NOT_YET,
        NOT_YET,
        Facts(tuple(Line(item.product_id, item.quantity) for item in body.items)),
        traceparent=plain(traceparent),
    )


def resource(order: Order) -> OrderResource:
    """The JSON of an order."""
    return OrderResource(
        order_id=order.order_id,
        customer_id=order.customer_id,
        status=order.status,
        status_code=ORDER_CODES[order.status],
        reason=order.reason,
        detail=order.detail,
        detail_said=list(order.facts.detail_said),
        order_name=order.order_name,
        total_amount=order.total_amount,
        placed_at=order.placed_at,
        pay_before=order.pay_before,
        recipient=order.recipient,
        items=order.facts.lines,
        payments=order.facts.payments,
        delivery=order.facts.delivery,
        delivery_id=order.facts.delivery_id,
        returning=order.facts.returning,
    )


def resource_for(order: Order, caller: Caller) -> OrderResource:
    """The JSON of an order, without personal data where the caller may not see it."""
    shown = resource(order)
    if not caller.sees_personal_data_of(order.customer_id):
        shown.recipient = order.recipient.hidden()
    return shown


def answer(order: Order, status: int) -> Json:
    """The answer of a command: the order, and its address."""
    location = {"Location": f"/api/v1/orders/{order.order_id}"}
    return EncodedJson(_json.encode(resource(order)), status_code=status, headers=location)
