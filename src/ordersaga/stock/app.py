"""The Stock service as one process: its runtime and its HTTP routes."""

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

from litestar import Litestar

from ordersaga.http.caller import Callers
from ordersaga.http.server import application
from ordersaga.messaging.ids import new_id
from ordersaga.messaging.runtime import Runtime, utc_now
from ordersaga.operations import api as operations
from ordersaga.settings import Settings
from ordersaga.stock import api, commands, operators_face, reading_routes, store
from ordersaga.stock.handlers import handler


def create_app(settings: Settings) -> Litestar:
    """The ASGI application. It connects when it starts, and waits for a database or a Kafka that does not answer yet."""
    runtime = Runtime(settings, "stock", handler(settings), utc_now, new_id)
    callers = Callers(settings, is_service=True)
    products = api.Products(runtime, callers)

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[None]:
        async with runtime:
            runtime.prune_after(timedelta(days=settings.history_kept_days), "movement", store.prune_movements)
            products.add = runtime.gather(commands.add, about=lambda each: each.product_id or each.new_id)
            products.receive = runtime.gather(commands.receive, about=lambda each: each.product_id)
            products.change = runtime.gather(commands.change, about=lambda each: each.product_id)
            operations.start(runtime, "stock")
            yield

    shown = [each for part in (api, reading_routes) for each in part.routes(products)]
    shown.append(operations.routes(runtime, callers, "stock", own=operators_face.routes))
    return application("stock", shown, runtime, running, callers=callers)
