"""The Payment service as one process: its runtime, its gateway, its recovery, its HTTP face."""

import contextlib
from collections.abc import AsyncIterator
from typing import Final

from litestar import Litestar

from ordersaga.http.caller import Callers
from ordersaga.http.server import application
from ordersaga.messaging.health import Trouble
from ordersaga.messaging.runtime import Runtime
from ordersaga.payment import store, webhooks
from ordersaga.payment.api import Payments, routes
from ordersaga.payment.commands import Beginning
from ordersaga.payment.handlers import handler
from ordersaga.payment.intents import Intents
from ordersaga.payment.recovery import Recovery
from ordersaga.payment.toss import TossGateway, TossSettings
from ordersaga.payment.waiting import LOOK_EVERY_S, Waiting
from ordersaga.settings import Settings

DRAIN_S: Final = 5.0
LOOK_AT_GATEWAY_EVERY_S: Final = 0.5
CONNECT_TIMEOUT_S_MAX: Final = 5.0


def create_app(settings: Settings) -> Litestar:
    """The ASGI application. It connects when it starts, waiting for whatever is not there yet."""
    runtime = Runtime(settings, "payment", handler(settings))
    gateway = TossGateway(
        TossSettings(
            settings.gateway_url,
            settings.gateway_secret_key.get_secret_value(),
            connections_max=settings.gateway_calls_max,
            connect_timeout_s=min(CONNECT_TIMEOUT_S_MAX, settings.gateway_timeout_s),
            answer_timeout_s=settings.gateway_timeout_s,
        )
    )
    waiting = Waiting(runtime)
    intents = Intents(runtime, gateway, waiting)
    recovery = Recovery(runtime, intents)
    payments = Payments(runtime, Callers(settings), intents, waiting)

    async def look_at_gateway() -> None:
        now = gateway.health
        refusing = Trouble(f"no calls are sent, after {now.reason}", "look at the gateway, its URL and its secret key")
        runtime.alarms.tell("gateway", "", None if now.ready else refusing)

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[None]:
        async with gateway, runtime:
            payments.begin = runtime.gather(Beginning(settings))
            payments.note = runtime.gather(webhooks.note)
            runtime.keep("intent", webhooks.LOOKS_KEPT, store.prune_looks)
            intents.open()
            recovery.start()
            runtime.every(LOOK_AT_GATEWAY_EVERY_S, look_at_gateway, "watching the gateway")
            runtime.every(LOOK_EVERY_S, waiting.look, "looking for outcomes of other processes")
            yield
            await intents.close(DRAIN_S)

    return application("payment", routes(payments), runtime, running)
