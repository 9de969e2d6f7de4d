"""The Delivery service as one process: its carrier, its runtime, its HTTP routes."""

import contextlib
from collections.abc import AsyncIterator

from litestar import Litestar

from ordersaga.delivery import handlers
from ordersaga.delivery.api import routes
from ordersaga.delivery.carrier import BuiltInCarrier
from ordersaga.delivery.erasing import Ageing
from ordersaga.http.caller import Callers
from ordersaga.http.server import application
from ordersaga.messaging.handler import Handler
from ordersaga.messaging.ids import new_id
from ordersaga.messaging.runtime import Runtime, utc_now
from ordersaga.operations import api as operations
from ordersaga.settings import Settings


def handler(settings: Settings) -> Handler:
    """Delivery's handler with the carrier of this installation. This function chooses the carrier."""
    return handlers.handler(BuiltInCarrier(settings.undeliverable_zipcodes))


def create_app(settings: Settings) -> Litestar:
    """The ASGI application. It connects when it starts, and waits for a database or a Kafka that does not answer yet."""
    runtime = Runtime(settings, "delivery", handler(settings), utc_now, new_id)
    callers = Callers(settings, is_service=True)

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[None]:
        async with runtime:
            operations.start(runtime, "delivery", ageing=Ageing())
            yield

    shown = [*routes(runtime, callers), operations.routes(runtime, callers, "delivery")]
    return application("delivery", shown, runtime, running, callers=callers)
