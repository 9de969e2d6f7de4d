"""The Delivery service as one process: its runtime and its HTTP face."""

import contextlib
from collections.abc import AsyncIterator

from litestar import Litestar

from ordersaga.delivery.api import routes
from ordersaga.delivery.handlers import handler
from ordersaga.http.caller import Callers
from ordersaga.http.server import application
from ordersaga.messaging.runtime import Runtime
from ordersaga.settings import Settings


def create_app(settings: Settings) -> Litestar:
    """The ASGI application. It connects when it starts, waiting for whatever is not there yet."""
    runtime = Runtime(settings, "delivery", handler(settings))

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[None]:
        async with runtime:
            yield

    return application("delivery", routes(runtime, Callers(settings)), runtime, running)
