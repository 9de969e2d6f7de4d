"""A customer's orders: the list, one order, its stream, cancel, return, and ordering the same again."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import get, post
from litestar.params import FromPath
from litestar.response import ServerSentEvent, ServerSentEventMessage
from litestar.types import ControllerRouterHandler

from ordersaga.http.limits import Streams
from ordersaga.http.requests import header
from ordersaga.web.accounts import User
from ordersaga.web.desk import AnyRequest, Desk, Page, nothing
from ordersaga.web.renewing import ends_soon, has_ended
from ordersaga.web.services import Refused
from ordersaga.web.shop.live import Live, Shown
from ordersaga.web.shop.orders import Orders
from ordersaga.web.shop.progress import progress
from ordersaga.web.visit import Cart, Visit

PING_S: Final = 15.0
RECONNECT_MS: Final = 1_000


def routes(desk: Desk, orders: Orders, live: Live, streams: Streams) -> list[ControllerRouterHandler]:
    """The routes."""

    @get("/orders")
    async def listed(request: AnyRequest) -> Page:
        visit = desk.visit(request)
        user = await desk.user(request, visit)
        found, following = await orders.page(user, request.query_params.get("cursor", ""))
        return desk.page(visit, "shop/orders.html", {"orders": found, "next": following})

    @get("/orders/{order_id:uuid}")
    async def show(request: AnyRequest, order_id: FromPath[UUID]) -> Page:
        visit = desk.visit(request)
        user = await desk.user(request, visit)
        shown, products = await orders.find_with_products(order_id, user) or nothing()
        return desk.page(visit, "shop/order.html", {**_values(shown), "items": shown.order.items, "products": products})

    @get("/orders/{order_id:uuid}/now")
    async def now(request: AnyRequest, order_id: FromPath[UUID]) -> Page:
        """What the stream would tell now, for a window that has none."""
        visit = desk.visit(request)
        user = await desk.user(request, visit)
        return desk.fragment(visit, "shop/_now.html", _values(await orders.find(order_id, user) or nothing()))

    @get("/orders/{order_id:uuid}/stream")
    async def stream(request: AnyRequest, order_id: FromPath[UUID]) -> ServerSentEvent:
        """The order's progress whenever it changes, as HTML. `Last-Event-ID` names the progress that the browser shows already."""
        visit = desk.visit(request)
        user = await desk.user(request, visit)
        shown = await orders.find(order_id, user) or nothing()
        streams.check(user.user_id)
        seen = header(request, b"last-event-id") or str(request.query_params.get("seen", ""))
        events = _events(desk, visit, user, shown, live, streams, seen)
        return ServerSentEvent(events, headers={"X-Accel-Buffering": "no"})

    return [listed, show, now, stream, *_acts(desk, orders)]


def _acts(desk: Desk, orders: Orders) -> list[ControllerRouterHandler]:
    @post("/orders/{order_id:uuid}/cancel")
    async def cancel(request: AnyRequest, order_id: FromPath[UUID]) -> Page:
        return await _act(request, order_id, orders.cancel, "cancelled", "not_cancelled")

    @post("/orders/{order_id:uuid}/return")
    async def give_back(request: AnyRequest, order_id: FromPath[UUID]) -> Page:
        return await _act(request, order_id, orders.give_back, "returned", "not_returned")

    async def _act(request: AnyRequest, order_id: UUID, command: Any, done: str, refused_as: str) -> Page:
        visit = desk.visit(request)
        await desk.form(request, visit)
        user = await desk.user(request, visit)
        try:
            await command(order_id, user)
        except Refused as refused:
            if refused.status != 409:
                raise
            done = refused_as
        return desk.go(visit, f"/orders/{order_id}", done)

    @post("/orders/{order_id:uuid}/again")
    async def again(request: AnyRequest, order_id: FromPath[UUID]) -> Page:
        """The order's products into a new cart."""
        visit = desk.visit(request)
        await desk.form(request, visit)
        user = await desk.user(request, visit)
        shown = await orders.find(order_id, user) or nothing()
        cart = Cart()
        for line in shown.order.items:
            cart.put(line.product_id, line.quantity)
        visit.cart = cart
        return desk.go(visit, "/cart")

    return [cancel, give_back, again]


def _values(shown: Shown) -> dict[str, Any]:
    now = progress(shown.order, shown.timeline, shown.payments)
    return {
        "order": shown.order,
        "progress": now,
        "version": version(shown),
        "delivery": shown.delivery,
        "delivery_away": shown.delivery_away,
        "ended": now.ended and not shown.delivery_away,
    }


def version(shown: Shown) -> str:
    """The id of what is shown. It is made of the content, so any web process knows what another one has sent."""
    return hashlib.blake2b(msgspec.json.encode(shown), digest_size=9).hexdigest()


async def _events(
    desk: Desk, visit: Visit, user: User, first: Shown, live: Live, streams: Streams, seen: str
) -> AsyncIterator[ServerSentEventMessage]:
    with streams.opened(user.user_id), live.watch(user, first) as watched:
        yield ServerSentEventMessage(data=None, retry=RECONNECT_MS, comment="the progress of one order")
        ends = has_ended if ends_soon(user.token) else ends_soon  # the browser comes again, with a renewed token
        while not ends(user.token):
            changed = watched.changed
            values = _values(watched.shown)
            if values["version"] != seen:
                seen = values["version"]
                yield ServerSentEventMessage(id=seen, event="progress", data=desk.part(visit, "shop/_now.html", values))
            if values["ended"] or watched.gone:
                yield ServerSentEventMessage(event="end", data=seen)
                return
            while not changed.is_set():
                try:
                    await asyncio.wait_for(changed.wait(), PING_S)
                except TimeoutError:
                    yield ServerSentEventMessage(data=None, comment="ping")
                    break
