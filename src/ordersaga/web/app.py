"""The web process: the routes of shop and console, health, and static files."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Final

from litestar import Litestar, Response, get
from litestar.datastructures import ResponseHeader
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler

from ordersaga.http.application import Application
from ordersaga.http.health import health
from ordersaga.http.limits import Streams
from ordersaga.messaging.health import Alarms, Health
from ordersaga.messaging.loops import Loops
from ordersaga.messaging.runtime import utc_now
from ordersaga.operations.sandbox import Sandbox
from ordersaga.settings import Settings
from ordersaga.web import provider_routes, signing_in
from ordersaga.web.console import routes as console
from ordersaga.web.console.audience import Audience
from ordersaga.web.console.load import Load
from ordersaga.web.desk import HEAD_BYTES_MIN, Desk, File, Nothing
from ordersaga.web.error_pages import handlers
from ordersaga.web.renewing import BringsCookies
from ordersaga.web.services import Services
from ordersaga.web.shop.live import Live
from ordersaga.web.shop.orders import Orders
from ordersaga.web.shop.routes import routes
from ordersaga.web.signing import Signer

FOREVER: Final = "public, max-age=31536000, immutable"
STOP_S: Final = 2.0


def create_app(settings: Settings) -> Litestar:
    """The ASGI application of `ordersaga serve web`. It starts without any service and without Kafka, and says what is missing."""
    secret = (
        settings.web_session_secret.get_secret_value() if settings.web_session_secret else secrets.token_urlsafe(32)
    )
    services = Services(settings)
    desk = Desk(settings, services, Signer(secret.encode()))
    orders = Orders(services, has_delivery="delivery" not in settings.foreign_partners)
    live = Live(settings, orders.read_again)
    streams = Streams(settings.http_streams_max, settings.http_streams_per_caller_max)
    reporter = Reporter(live)
    audience = Audience()
    load = Load(Sandbox(settings.gateway_url), audience)

    @contextlib.asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        async with services, reporter.running():
            if settings.web_sign_in == "demo":
                async with load:
                    yield
            else:
                yield

    return Application(
        [
            *routes(desk, orders, live, streams),
            *console.routes(desk, load, audience),
            *signing_in.routes(desk),
            *provider_routes.routes(desk),
            *_static(desk.files),
            *health("web", reporter),
        ],
        lifespan=[lifespan],
        before_request=desk.count,
        before_send=[BringsCookies(desk.renewing)],
        exception_handlers=handlers(desk),
        openapi_config=None,
        streams=streams,
        caching=True,
        head_bytes_min=HEAD_BYTES_MIN,
        response_headers=[ResponseHeader(name="Cache-Control", value="no-store")],
        logging_config=None,
        debug=False,
    )


class Reporter:
    """The health of the web process. It answers HTTP whatever else is away."""

    def __init__(self, live: Live) -> None:
        self._live: Final = live
        self._alarms: Final = Alarms(utc_now)
        self._stopping: Final = asyncio.Event()
        self._loops: Final = Loops(self._alarms, self._stopping)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen to Kafka while the block lasts."""
        listening = self._loops.start("listening to Kafka", self._live.listen)
        try:
            yield
        finally:
            self._stopping.set()
            listening.task.cancel()
            await self._loops.stop(listening, STOP_S)

    async def health(self) -> Health:
        return Health(self._loops.problems, self._alarms.now(), self._live.listening)

    def dead(self) -> list[str]:
        return self._loops.dead


def _static(files: Mapping[str, File]) -> list[ControllerRouterHandler]:
    @get(
        "/static/{name:str}",
        include_in_schema=False,
        response_headers=[ResponseHeader(name="Cache-Control", value=FOREVER)],
    )
    async def static(name: FromPath[str]) -> Response[bytes]:
        """A file of ours, from memory. Its address has a hash of its content, so a browser may keep it."""
        if name not in files:
            raise Nothing
        return Response(files[name].body, media_type=files[name].kind)

    return [static]
