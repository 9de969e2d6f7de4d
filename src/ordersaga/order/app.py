"""The Order service as one process: its runtime, its watch over events, its HTTP routes."""

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

from litestar import Litestar

from ordersaga.http.caller import Callers
from ordersaga.http.limits import Streams
from ordersaga.http.server import application
from ordersaga.messaging import timers
from ordersaga.messaging.ids import new_id
from ordersaga.messaging.runtime import Runtime, utc_now
from ordersaga.operations import api as operations
from ordersaga.order import api, command_routes, operators_face, reading_routes, searchable, states, store
from ordersaga.order.commands import Acting, Placing
from ordersaga.order.erasing import Ageing
from ordersaga.order.handlers import handler
from ordersaga.order.operators import HISTORY, Operating, last_note
from ordersaga.order.waking import Waking
from ordersaga.order.watch import Watch
from ordersaga.settings import Settings


def create_app(settings: Settings) -> Litestar:
    """The ASGI application. It connects when it starts, and waits for a database or a Kafka that does not answer yet."""
    known = store.KnownOrders()
    runtime = Runtime(settings, "order", handler(settings, known), utc_now, new_id)
    watch = Watch(runtime, settings.database_url("order"))
    known.tell, known.is_watched = watch.saved, watch.is_watched
    streams = Streams(settings.http_streams_max, settings.http_streams_per_caller_max)
    callers = Callers(settings, is_service=True)
    orders = api.Orders(runtime, callers, watch, streams)

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[None]:
        async with runtime:
            runtime.prune_after(timedelta(days=settings.history_kept_days), "order_event", store.prune_events)
            orders.placing = runtime.gather(
                Placing(settings, known), short=True, about=lambda each: each.order.order_id
            )
            orders.acting = runtime.gather(Acting(settings), about=lambda each: each.order_id)
            orders.operating = runtime.gather(Operating(settings), about=lambda each: each.order_id)
            runtime.every(timers.FIRE_EVERY_S, timers.Timers(runtime, Waking(settings), "order_id").fire, "timers")
            states.start(runtime)
            searchable.start(runtime)
            operations.start(runtime, "order", (HISTORY, last_note), Ageing())
            runtime.supervise("watching for events", watch.run, needed_for_http=True)
            yield

    shown = [each for part in (api, reading_routes, command_routes) for each in part.routes(orders)]
    shown.append(operations.routes(runtime, callers, "order", (HISTORY, last_note), operators_face.routes(orders)))
    return application("order", shown, runtime, running, streams, callers)
