"""Orders as HTTP clients read them: lists and searches, one order, its timeline, and its events as a stream."""

import contextlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Annotated, Final
from uuid import UUID

import msgspec
from litestar import Response, get
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import ServerSentEvent, ServerSentEventMessage
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from ordersaga.contracts.status import OrderStatus
from ordersaga.http.caller import Caller
from ordersaga.http.pages import LIMIT_DEFAULT, NO_NUL, TEXT_CHARS_MAX, Cursor, Cursors, KeyNumber, Limit
from ordersaga.http.problems import invalid
from ordersaga.http.requests import header
from ordersaga.order import searchable, store
from ordersaga.order.api import AnyRequest, Json, Orders, resource_for
from ordersaga.order.model import Order, Reason
from ordersaga.order.resources import (
    COUNT,
    LIST,
    SHOW,
    STREAM,
    TIMELINE,
    EventPage,
    OrderPage,
    cursors,
    event_resource,
)
from ordersaga.order.search import OrderFilter
from ordersaga.order.states import counted
from ordersaga.order.versions import seen_of, version_of
from ordersaga.order.watch import NumberedEvent, WatchEnded

PING_S: Final = 15.0
RECONNECT_MS: Final = 1_000
EVENT_ID_MAX: Final = 2**63 - 1

IN_ZONE: Final = "A time with its zone, as in RFC 3339; `placedBefore` itself is not included, `placedAfter` is."
OLDER_THAN_S_MAX: Final = 10 * 365 * 24 * 3600
OlderThanS = Annotated[
    int | None,
    QueryParameter(name="olderThanS", ge=0, le=OLDER_THAN_S_MAX, description="Placed at least so many seconds ago."),
]
PaymentKey = Annotated[str | None, QueryParameter(name="paymentKey", max_length=TEXT_CHARS_MAX, pattern=NO_NUL)]
PlacedBefore = Annotated[datetime | None, QueryParameter(name="placedBefore", description=IN_ZONE)]
PlacedAfter = Annotated[datetime | None, QueryParameter(name="placedAfter", description=IN_ZONE)]
ProductId = Annotated[UUID | None, QueryParameter(name="productId", description="With this product among its lines.")]
Text = Annotated[
    str | None,
    QueryParameter(
        name="text",
        max_length=TEXT_CHARS_MAX,
        pattern=NO_NUL,
        description="Each word of this is a word of the order's name, in capitals or not; among the newest 10,000 orders, a part of one.",
    ),
]
OrderId = Annotated[UUID | None, QueryParameter(name="orderId")]
CustomerId = Annotated[UUID | None, QueryParameter(name="customerId")]

_timeline_cursors: Final = Cursors[int]("timeline", KeyNumber)
_json: Final = msgspec.json.Encoder()


def routes(orders: Orders) -> list[ControllerRouterHandler]:
    """The routes."""

    @get("/api/v1/orders", **LIST)
    async def find(
        request: AnyRequest,
        order_id: OrderId = None,
        customer_id: CustomerId = None,
        payment_key: PaymentKey = None,
        status: FromQuery[OrderStatus | None] = None,
        reason: FromQuery[Reason | None] = None,
        placed_before: PlacedBefore = None,
        placed_after: PlacedAfter = None,
        older_than_s: OlderThanS = None,
        product_id: ProductId = None,
        text: Text = None,
        cursor: Cursor = None,
        limit: Limit = LIMIT_DEFAULT,
    ) -> Json:
        caller = await orders.callers.of(request)
        wanted = OrderFilter(
            order_id=order_id,
            customer_id=customer_id,
            payment_key=payment_key,
            status=status,
            reason=reason,
            placed_before=_earlier(_zoned("placedBefore", placed_before), older_than_s, orders.runtime.clock()),
            placed_after=_zoned("placedAfter", placed_after),
            product_id=product_id,
            text=text,
        )
        return _answer(await _page(orders, caller, wanted, cursors.key(cursor), limit))

    @get("/api/v1/orders/states", **COUNT)
    async def states(request: AnyRequest) -> Json:
        await orders.callers.reader(request)
        return _answer(await counted(orders.runtime))

    return [find, states, *_routes_of_one(orders)]


def _routes_of_one(orders: Orders) -> list[ControllerRouterHandler]:
    @get("/api/v1/orders/{order_id:uuid}", **SHOW)
    async def show(request: AnyRequest, order_id: FromPath[UUID]) -> Json:
        caller = await orders.callers.of(request)
        order = await orders.visible_order(order_id, caller)
        shown = resource_for(order, caller)
        if caller.sees_all:
            shown.flag, shown.flag_said = order.facts.flag, list(order.facts.flag_said)
            shown.version, shown.seen = version_of(order), seen_of(order)
            shown.waits_for, shown.held_records = await orders.obstacles(order, caller)
        return _answer(shown)

    @get("/api/v1/orders/{order_id:uuid}/events", **STREAM)
    async def events(request: AnyRequest, order_id: FromPath[UUID]) -> ServerSentEvent:
        caller = await orders.callers.of(request)
        after_seq = _event_id(header(request, b"last-event-id") or "0")
        await orders.visible_order(order_id, caller)
        orders.streams.check(caller.user_id)
        return ServerSentEvent(_stream(orders, order_id, caller, after_seq), headers={"X-Accel-Buffering": "no"})

    @get("/api/v1/orders/{order_id:uuid}/timeline", **TIMELINE)
    async def timeline(
        request: AnyRequest, order_id: FromPath[UUID], cursor: Cursor = None, limit: Limit = LIMIT_DEFAULT
    ) -> Json:
        caller = await orders.callers.of(request)
        after = _timeline_cursors.key(cursor)
        await orders.visible_order(order_id, caller)
        async with orders.runtime.searching() as db:
            found = await store.events_after(db, {order_id: after or 0}, limit + 1)
        shown, following = _timeline_cursors.cut(found, limit, lambda numbered: numbered[0])
        return _answer(EventPage([event_resource(event) for _, event in shown], following))

    return [show, events, timeline]


async def _page(orders: Orders, caller: Caller, wanted: OrderFilter, before: UUID | None, limit: int) -> OrderPage:
    """The orders that the caller may see and that fit."""
    visible = wanted if caller.sees_all else wanted.of_customer(caller.user_id)
    found: list[Order] = []
    if visible is not None and not visible.fits_none:
        async with orders.runtime.searching() as db:
            found = await searchable.page(db, before, limit + 1, visible)
    shown, following = cursors.cut(found, limit, lambda order: order.order_id)
    return OrderPage([resource_for(order, caller) for order in shown], following)


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


def _answer(value: Struct) -> Json:
    return Response(_json.encode(value), media_type="application/json")
