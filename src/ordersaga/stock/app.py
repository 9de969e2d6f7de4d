"""The Stock service as one process: its runtime and its HTTP face."""

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

from litestar import Litestar

from ordersaga.http.caller import Callers
from ordersaga.http.server import application
from ordersaga.messaging.runtime import Runtime
from ordersaga.settings import Settings
from ordersaga.stock import commands, store
from ordersaga.stock.api import Shelf, routes
from ordersaga.stock.handlers import handler


def create_app(settings: Settings) -> Litestar:
    """The ASGI application. It connects when it starts, waiting for whatever is not there yet."""
    runtime = Runtime(settings, "stock", handler(settings))
    shelf = Shelf(runtime, Callers(settings))

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[None]:
        async with runtime:
            runtime.keep("movement", timedelta(days=settings.history_kept_days), store.prune_movements)
            shelf.add = runtime.gather(commands.add)
            shelf.receive = runtime.gather(commands.receive)
            shelf.change = runtime.gather(commands.change)
            yield

    return application("stock", routes(shelf), runtime, running)
