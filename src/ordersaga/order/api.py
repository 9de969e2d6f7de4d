"""Order over HTTP: steps 1 to 4 of the guide, an order and its events, cancel and return, and the operators' commands."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
import structlog
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import ServerSentEvent, ServerSentEventMessage
from litestar.types import ControllerRouterHandler

from ordersaga.contracts.address import Address, address_fields
from ordersaga.contracts.status import ORDER_CODES, OrderStatus
from ordersaga.http.caller import Caller, Callers
from ordersaga.http.documents import described
from ordersaga.http.encoded import EncodedJson
from ordersaga.http.limits import Streams
from ordersaga.http.pages import LIMIT_DEFAULT, NO_NUL, TEXT_CHARS_MAX, Cursor, Cursors, Limit
from ordersaga.http.problems import Problem, invalid, invalid_fields, not_found, unless_refused
from ordersaga.http.requests import (
    body_of,
    decoded,
    header,
    idempotency_key,
    raw_body,
    raw_json,
    repeated_resource,
    wait_s,
)
from ordersaga.messaging.acts import Operator
from ordersaga.messaging.gather import Gather
from ordersaga.messaging.held_records import HeldRecord, held_records
from ordersaga.messaging.refusal import FieldError, Refusal
from ordersaga.messaging.runtime import Runtime
from ordersaga.order import store
from ordersaga.order.commands import CustomerAct, Placed, Placement
from ordersaga.order.deadlines import Deadlines
from ordersaga.order.explanation import Explanation, explain
from ordersaga.order.model import Facts, Line, Order, Reason
from ordersaga.order.operators import OperatorAct, version_of
from ordersaga.order.refunds import AcceptRefund
from ordersaga.order.resources import (
    ACTED,
    EVENT,
    NEW_ORDER,
    ORDER,
    STATES,
    EventPage,
    OperatorsReason,
    OrderPage,
    OrderResource,
    OrderStates,
    PlaceOrder,
    Waiting,
    event_resource,
)
from ordersaga.order.returns import CancelBeforeDelivery, ReceiveReturn, RefuseReturn, RequestReturn, Return
from ordersaga.order.saga import CustomerCommand, OperatorCommand
from ordersaga.order.search import OrderFilter, first_id_at
from ordersaga.order.watch import NumberedEvent, Watch, WatchEnded

log: Final = structlog.get_logger()

PING_S: Final = 15.0
RECONNECT_MS: Final = 1_000
NO_REASON: Final = "no reason given"
"""For an operator who cancels or returns an order in the customer's stead without a body."""
EVENT_ID_MAX: Final = 2**63 - 1

Json = Response[bytes]
AnyRequest = Request[Any, Any, Any]
IN_ZONE: Final = "A time with its zone, as in RFC 3339; `placedBefore` itself is not included, `placedAfter` is."
COUNTED_FOR: Final = timedelta(hours=24)
COUNTED_MAX: Final = 10_000
"""For the counts by status: how far back orders are counted, and where a count ends."""
OLDER_THAN_S_MAX: Final = 10 * 365 * 24 * 3600
OlderThanS = Annotated[
    int | None,
    QueryParameter(name="olderThanS", ge=0, le=OLDER_THAN_S_MAX, description="Placed at least so many seconds ago."),
]
PaymentKey = Annotated[str | None, QueryParameter(name="paymentKey", max_length=TEXT_CHARS_MAX, pattern=NO_NUL)]


_body: Final = msgspec.json.Decoder(PlaceOrder)
_reason: Final = msgspec.json.Decoder(OperatorsReason)
_cursors: Final[Cursors[UUID]] = Cursors("orders", UUID)
_timeline_cursors: Final = Cursors[int]("timeline", int)
TAGS: Final = ("orders",)
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
        self.return_command: Final = RequestReturn() if runtime.settings.return_needs_receipt else Return()
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

    async def states(self) -> OrderStates:
        """How many orders have each status, and the oldest order that has not ended."""
        now = self.runtime.clock()
        async with self.runtime.searching() as db:
            counts = await store.counts(db, first_id_at(now - COUNTED_FOR), COUNTED_MAX)
            oldest = await store.oldest_pending(db)
        return OrderStates(COUNTED_FOR // timedelta(hours=1), COUNTED_MAX, counts, oldest and Waiting(*oldest))

    async def obstacles(self, order: Order) -> tuple[list[Explanation], list[HeldRecord]]:
        """Why an order waits: the answers that have not come, and the records that Order has parked or given up."""
        async with self.runtime.reading() as db:
            return explain(order, self._deadlines), await held_records(db, order.order_id)

    async def with_stock_answer(self, order: Order, seconds: float) -> Order:
        """The order once Stock has answered (step 3 of the guide), or as it was placed when `seconds` are over or the wait fails.

        The order is committed, so no error while waiting may fail the request.
        """
        try:
            with self.watch.order(order.order_id) as watcher:
                end = self.runtime.clock().timestamp() + seconds
                while (left := end - self.runtime.clock().timestamp()) > 0:
                    seen = await watcher.next(left)
                    if seen is not None and seen[1].stock_known:
                        async with self.runtime.reading() as db:
                            return (await store.find(db, [order.order_id])).get(order.order_id, order)
        except asyncio.CancelledError:  # the server stops; the client still gets its answer
            if task := asyncio.current_task():
                task.uncancel()
        except Exception as error:
            log.warning("an order is answered without Stock's answer", error=f"{type(error).__name__}: {error}")
        return order


def routes(orders: Orders) -> list[ControllerRouterHandler]:
    """Every route of the service."""

    @post(
        "/api/v1/orders",
        tags=TAGS,
        summary="Place an order (steps 1-4); 202: at once (`Prefer: respond-async` or `wait=0`), 200: an earlier request with the same Idempotency-Key has placed it",
        **described(
            "placeOrder",
            {201: OrderResource, 202: OrderResource, 200: OrderResource},
            refusals=(422,),
            body=PlaceOrder,
            headers=("Idempotency-Key", "Prefer"),
            examples={201: ORDER},
            body_example=NEW_ORDER,
        ),
    )
    async def place(request: AnyRequest) -> Json:
        return await _place(orders, request)

    @get(
        "/api/v1/orders",
        tags=TAGS,
        summary="The caller's orders, newest first; an operator sees all orders",
        **described("listOrders", {200: OrderPage}, examples={200: OrderPage([ORDER], _cursors.of(ORDER.order_id))}),
    )
    async def find(
        request: AnyRequest,
        order_id: Annotated[UUID | None, QueryParameter(name="orderId")] = None,
        customer_id: Annotated[UUID | None, QueryParameter(name="customerId")] = None,
        payment_key: PaymentKey = None,
        status: FromQuery[OrderStatus | None] = None,
        reason: FromQuery[Reason | None] = None,
        placed_before: Annotated[datetime | None, QueryParameter(name="placedBefore", description=IN_ZONE)] = None,
        placed_after: Annotated[datetime | None, QueryParameter(name="placedAfter", description=IN_ZONE)] = None,
        older_than_s: OlderThanS = None,
        cursor: Cursor = None,
        limit: Limit = LIMIT_DEFAULT,
    ) -> Json:
        caller = await orders.callers.of(request)
        before = _cursors.key(cursor)
        wanted = OrderFilter(
            order_id=order_id,
            customer_id=customer_id,
            payment_key=payment_key,
            status=status,
            reason=reason,
            placed_before=_earlier(_zoned("placedBefore", placed_before), older_than_s, orders.runtime.clock()),
            placed_after=_zoned("placedAfter", placed_after),
        )
        visible = wanted if caller.sees_all else wanted.of_customer(caller.user_id)
        found: list[Order] = []
        if visible is not None:
            async with orders.runtime.searching() as db:
                found = await store.page(db, before, limit + 1, visible)
        shown, following = _cursors.cut(found, limit, lambda order: order.order_id)
        page = OrderPage([resource_for(order, caller) for order in shown], following)
        return Response(_json.encode(page), media_type="application/json")

    @get(
        "/api/v1/orders/states",
        tags=TAGS,
        summary="How many recent orders have each status, and the oldest order that has not ended (operators, readers)",
        **described("countOrders", {200: OrderStates}, access="operator", examples={200: STATES}),
    )
    async def states(request: AnyRequest) -> Json:
        await orders.callers.reader(request)
        return Response(_json.encode(await orders.states()), media_type="application/json")

    @get(
        "/api/v1/orders/{order_id:uuid}",
        tags=TAGS,
        summary="One order; to an operator also why it waits",
        **described("showOrder", {200: OrderResource}, refusals=(404,), examples={200: ORDER}),
    )
    async def show(request: AnyRequest, order_id: FromPath[UUID]) -> Json:
        caller = await orders.callers.of(request)
        order = await orders.visible_order(order_id, caller)
        shown = resource_for(order, caller)
        if caller.sees_all:
            shown.flag, shown.version = order.facts.flag, version_of(order)
            shown.waits_for, shown.held_records = await orders.obstacles(order)
        return Response(_json.encode(shown), media_type="application/json")

    @get(
        "/api/v1/orders/{order_id:uuid}/events",
        tags=TAGS,
        summary="An order's timeline as server-sent events",
        **described("streamEvents", {200: bytes}, refusals=(404, 429), headers=("Last-Event-ID",)),
    )
    async def events(request: AnyRequest, order_id: FromPath[UUID]) -> ServerSentEvent:
        caller = await orders.callers.of(request)
        after_seq = _event_id(header(request, b"last-event-id") or "0")
        await orders.visible_order(order_id, caller)
        orders.streams.check(caller.user_id)
        return ServerSentEvent(_stream(orders, order_id, caller, after_seq), headers={"X-Accel-Buffering": "no"})

    @get(
        "/api/v1/orders/{order_id:uuid}/timeline",
        tags=TAGS,
        summary="An order's timeline up to now, the oldest event first",
        **described("listEvents", {200: EventPage}, refusals=(404,), examples={200: EventPage([EVENT], None)}),
    )
    async def timeline(
        request: AnyRequest, order_id: FromPath[UUID], cursor: Cursor = None, limit: Limit = LIMIT_DEFAULT
    ) -> Json:
        caller = await orders.callers.of(request)
        after = _timeline_cursors.key(cursor)
        await orders.visible_order(order_id, caller)
        async with orders.runtime.searching() as db:
            found = await store.events_after(db, {order_id: after or 0}, limit + 1)
        shown, following = _timeline_cursors.cut(found, limit, lambda numbered: numbered[0])
        page = EventPage([event_resource(event) for _, event in shown], following)
        return Response(_json.encode(page), media_type="application/json")

    @post(
        "/api/v1/orders/{order_id:uuid}/cancel/delivery-before",
        tags=TAGS,
        **described("cancelOrder", **ACTED, headers=("Idempotency-Key",)),
        status_code=200,
        summary="Cancel before delivery is requested",
    )
    async def cancel(request: AnyRequest, order_id: FromPath[UUID]) -> Json:
        return await _act(orders, request, order_id, "cancel/delivery-before", CancelBeforeDelivery())

    @post(
        "/api/v1/orders/{order_id:uuid}/cancel/return",
        tags=TAGS,
        **described("returnOrder", **ACTED, headers=("Idempotency-Key",)),
        status_code=200,
        summary="Return a completed order",
    )
    async def give_back(request: AnyRequest, order_id: FromPath[UUID]) -> Json:
        return await _act(orders, request, order_id, "cancel/return", orders.return_command)

    return [place, find, states, show, events, timeline, cancel, give_back, *_operator_routes(orders)]


def _operator_routes(orders: Orders) -> list[ControllerRouterHandler]:
    @post(
        "/api/v1/orders/{order_id:uuid}/refund/accept",
        tags=TAGS,
        status_code=200,
        **described(
            "acceptRefund", **ACTED, body=OperatorsReason, body_example=OperatorsReason(why="the customer called")
        ),
        summary="An operator accepts a refund that was made at the gateway; the order goes on with the money that is held",
    )
    async def accept_refund(request: AnyRequest, order_id: FromPath[UUID]) -> Json:
        return await _by_operator(orders, request, order_id, AcceptRefund)

    @post(
        "/api/v1/orders/{order_id:uuid}/return/receive",
        tags=TAGS,
        status_code=200,
        **described(
            "receiveReturn", **ACTED, body=OperatorsReason, body_example=OperatorsReason(why="the customer called")
        ),
        summary="An operator has received the goods of a return: the order is CANCELLED, RETURNED, and refunded",
    )
    async def receive_return(request: AnyRequest, order_id: FromPath[UUID]) -> Json:
        return await _by_operator(orders, request, order_id, ReceiveReturn)

    @post(
        "/api/v1/orders/{order_id:uuid}/return/refuse",
        tags=TAGS,
        status_code=200,
        **described(
            "refuseReturn", **ACTED, body=OperatorsReason, body_example=OperatorsReason(why="the customer called")
        ),
        summary="An operator does not accept a return: the order stays COMPLETED",
    )
    async def refuse_return(request: AnyRequest, order_id: FromPath[UUID]) -> Json:
        return await _by_operator(orders, request, order_id, RefuseReturn)

    return [accept_refund, receive_return, refuse_return]


async def _by_operator(orders: Orders, request: AnyRequest, order_id: UUID, command: type[OperatorCommand]) -> Json:
    caller = await orders.callers.of(request)
    if not caller.is_operator:
        raise not_found("order")
    body, _ = await body_of(request, _reason)
    act = OperatorAct(order_id, Operator(str(caller.user_id), body.why), command)
    return _answer(unless_refused(await orders.operating(act)), 200)


async def _place(orders: Orders, request: AnyRequest) -> Json:
    caller = await orders.callers.of(request)
    seconds = wait_s(request)  # without `Prefer`: 2 s, in which Stock usually answers
    order_id = orders.runtime.new_id()
    raw = await raw_json(request)
    # The key remembers the order's id, so a repeat is answered with this order.
    key = idempotency_key(request, caller.user_id, "POST /api/v1/orders", raw, order_id)
    try:
        placement = Placement(_order(decoded(raw, _body), caller, order_id), key)
    except Problem:
        # A repeat gets its order although the body would be refused now, for instance after a limit was lowered.
        if (placed := await repeated_resource(orders.runtime, key)) is None:
            raise
        return _answer(await orders.visible_order(placed, caller), 200)
    done = unless_refused(await orders.placing(placement))
    order = done.order
    if seconds and not order.stock_is_known:
        order = await orders.with_stock_answer(order, seconds)
    return _answer(order, 200 if done.is_repeat else 201 if seconds else 202)


def _zoned(name: str, moment: datetime | None) -> datetime | None:
    if moment is not None and moment.tzinfo is None:
        raise invalid(name, "must have a time zone, such as Z", "format")
    return moment


def _earlier(placed_before: datetime | None, older_than_s: int | None, now: datetime) -> datetime | None:
    """The earlier of two bounds: a time, and an age."""
    if older_than_s is None:
        return placed_before
    by_age = now - timedelta(seconds=older_than_s)
    return by_age if placed_before is None else min(placed_before, by_age)


def _order(body: PlaceOrder, caller: Caller, order_id: UUID) -> Order:
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
    )


NOT_YET: Final = datetime.min.replace(tzinfo=UTC)


async def _act(orders: Orders, request: AnyRequest, order_id: UUID, route: str, command: CustomerCommand) -> Json:
    caller = await orders.callers.of(request)
    route = f"POST /api/v1/orders/{order_id}/{route}"
    raw = await raw_body(request)
    key = idempotency_key(request, caller.user_id, route, raw, orders.runtime.new_id())
    if caller.is_operator:
        why = decoded(raw, _reason).why if raw else NO_REASON
        act = CustomerAct(order_id, None, command, key, Operator(str(caller.user_id), why))
    else:
        act = CustomerAct(order_id, caller.user_id, command, key)
    return _answer(unless_refused(await orders.acting(act)), 200)


def _event_id(text: str) -> int:
    """The sequence number of an event, checked: one query serves all streams of this process, and a bad number would fail it for all."""
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= EVENT_ID_MAX):
        raise invalid("Last-Event-ID", "must be the id of an event of this stream", "pattern")
    return int(text)


async def _stream(
    orders: Orders, order_id: UUID, caller: Caller, after_seq: int
) -> AsyncIterator[ServerSentEventMessage]:
    with orders.streams.opened(caller.user_id), orders.watch.order(order_id, after_seq) as watcher:
        yield ServerSentEventMessage(data=None, retry=RECONNECT_MS, comment="events of one order")
        with contextlib.suppress(WatchEnded):
            while True:
                seen = await watcher.next(PING_S)
                yield _message(seen) if seen else ServerSentEventMessage(data=None, comment="ping")


def _message(numbered: NumberedEvent) -> ServerSentEventMessage:
    seq, event = numbered
    return ServerSentEventMessage(id=str(seq), event="order", data=_json.encode(event_resource(event)).decode())


def resource(order: Order) -> OrderResource:
    """The JSON of an order."""
    return OrderResource(
        order_id=order.order_id,
        customer_id=order.customer_id,
        status=order.status,
        status_code=ORDER_CODES[order.status],
        reason=order.reason,
        detail=order.detail,
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


def _answer(order: Order, status: int) -> Json:
    location = {"Location": f"/api/v1/orders/{order.order_id}"}
    return EncodedJson(_json.encode(resource(order)), status_code=status, headers=location)
