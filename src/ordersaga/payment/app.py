"""The Payment service as one process: its runtime, its gateway, its recovery, its HTTP routes."""

import contextlib
from collections.abc import AsyncIterator
from typing import Final, NamedTuple

from litestar import Litestar

from ordersaga.http.caller import Callers
from ordersaga.http.server import application
from ordersaga.messaging.health import Trouble
from ordersaga.messaging.ids import new_id
from ordersaga.messaging.runtime import Runtime, utc_now
from ordersaga.operations import api as operations
from ordersaga.payment import api, operators_face, reading_routes, store, webhooks
from ordersaga.payment.api import Payments
from ordersaga.payment.commands import Beginning, Settling, advance
from ordersaga.payment.gateway import PaymentGateway
from ordersaga.payment.handlers import handler
from ordersaga.payment.intents import Intents
from ordersaga.payment.recovery import Recovery
from ordersaga.payment.toss import TossGateway, TossSettings
from ordersaga.payment.waiting import Waiting
from ordersaga.said import say
from ordersaga.settings import Settings

DRAIN_S: Final = 5.0
WATCH_GATEWAY_EVERY_S: Final = 0.5
CONNECT_TIMEOUT_S_MAX: Final = 5.0


class Parts(NamedTuple):
    """The service's parts, made for one runtime and one gateway."""

    payments: Payments
    intents: Intents
    recovery: Recovery
    waiting: Waiting

    def open(self, runtime: Runtime) -> None:
        """Give the parts their gathered writes. The runtime must be running."""
        self.payments.beginning = runtime.gather(Beginning(runtime.settings))
        self.payments.request_look_up = runtime.gather(webhooks.request_look_ups)
        self.intents.settle = runtime.gather(
            Settling(runtime.new_id, self.waiting.name), about=lambda each: each.intent.order_id
        )
        self.intents.advance = runtime.gather(advance)


def parts(runtime: Runtime, gateway: PaymentGateway, callers: Callers) -> Parts:
    """Wire the service to its adapters. `tests/simulation` gives a gateway, a clock and ids of its own."""
    waiting = Waiting(runtime)
    intents = Intents(runtime, gateway, waiting)
    return Parts(Payments(runtime, callers, intents, waiting), intents, Recovery(runtime, intents), waiting)


def create_app(settings: Settings) -> Litestar:
    """The ASGI application. Connects at start, and waits for a database or Kafka that is not there yet."""
    runtime = Runtime(settings, "payment", handler(settings), utc_now, new_id)
    gateway = TossGateway(
        TossSettings(
            settings.gateway_url,
            settings.gateway_secret_key.get_secret_value(),
            connections_max=settings.gateway_calls_max,
            connect_timeout_s=min(CONNECT_TIMEOUT_S_MAX, settings.gateway_timeout_s),
            answer_timeout_s=settings.gateway_timeout_s,
            sends_traceparent=settings.gateway_traceparent,
        )
    )
    callers = Callers(settings, is_service=True)
    service = parts(runtime, gateway, callers)

    async def watch_gateway() -> None:
        now = gateway.health
        refusing = Trouble(
            say(
                "alarm.gateway",
                "no calls are sent to the gateway, since: {reason}",
                reason=now.reason or "",
            ),
            say("todo.gateway", "check the gateway, ORDERSAGA_GATEWAY_URL and ORDERSAGA_GATEWAY_SECRET_KEY"),
        )
        runtime.alarms.tell("gateway", "", None if now.ready else refusing)

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[None]:
        async with gateway, runtime:
            service.open(runtime)
            service.recovery.start()
            operations.start(runtime, "payment")
            runtime.prune_after(webhooks.LOOK_UPS_KEPT, "intent", store.prune_look_ups)
            runtime.every(WATCH_GATEWAY_EVERY_S, watch_gateway, "watching the gateway")
            runtime.supervise("watching for settled payments", service.waiting.run)
            yield
            await service.intents.close(DRAIN_S)

    shown = [each for part in (api, reading_routes) for each in part.routes(service.payments)]
    shown.append(operations.routes(runtime, callers, "payment", own=operators_face.routes))
    return application("payment", shown, runtime, running, callers=callers)
