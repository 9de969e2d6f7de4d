"""The web process: the shop's routes, health, static files, and error pages for people."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import structlog
from litestar import Litestar, Request, Response, get
from litestar.datastructures import ResponseHeader
from litestar.exceptions import HTTPException
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler

from ordersaga.http.application import Application
from ordersaga.http.limits import Streams, TooManyStreams
from ordersaga.http.requests import header
from ordersaga.http.server import health
from ordersaga.messaging.health import Alarms, Health
from ordersaga.messaging.loops import Loops
from ordersaga.messaging.runtime import utc_now
from ordersaga.operations.sandbox import Sandbox
from ordersaga.settings import Settings
from ordersaga.web import signing_in
from ordersaga.web.console import routes as console
from ordersaga.web.console import staff
from ordersaga.web.console.audience import Audience
from ordersaga.web.console.load import Load
from ordersaga.web.desk import Desk, File, Nothing, Page, SignInFirst, WrongForm
from ordersaga.web.services import Refused, Services, Unavailable
from ordersaga.web.shop.live import Live
from ordersaga.web.shop.orders import Orders
from ordersaga.web.shop.routes import routes
from ordersaga.web.signing import Signer
from ordersaga.web.signing_in import local_path
from ordersaga.web.visit import Visit

log: Final = structlog.get_logger()

AnyRequest = Request[Any, Any, Any]
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
            *_static(desk.files),
            *health("web", reporter),
        ],
        lifespan=[lifespan],
        exception_handlers=_errors(desk),
        openapi_config=None,
        streams=streams,
        caching=True,
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


def _stands_at(desk: Desk, request: AnyRequest, visit: Visit) -> str:
    """The page that was asked for; of a form the page that it stands on, since a form's own address may have none."""
    if request.method == "GET":
        return visit.path
    came_from, address = header(request, b"referer") or "", desk.address(request)
    if came_from.startswith(f"{address}/"):
        return local_path(came_from.removeprefix(address))
    return str(request.scope["path"]).rpartition("/")[0] or "/"


def _errors(desk: Desk) -> dict[Any, Any]:
    """Each error as a page that says what happened and where to go on."""

    def page(request: AnyRequest, kind: str, status: int, service: str | None = None, role: str = "") -> Page:
        visit = desk.visit(request)
        template = "console/error.html" if in_console(request) else "error.html"
        comes_back = kind == "away" and request.method == "GET"
        values = {
            "kind": kind,
            "service": service,
            "again": _stands_at(desk, request, visit),
            "role": role,
            "comes_back": comes_back,
            "acted": request.method == "POST",
        }
        answer = desk.page(visit, template, values, status)
        if status == 503:
            answer.headers["Retry-After"] = "2"
        return answer

    def in_console(request: AnyRequest) -> bool:
        return str(request.scope["path"]).startswith(staff.HOME)

    def sign_in(request: AnyRequest, _: Exception) -> Page:
        visit = desk.visit(request)
        path = _stands_at(desk, request, visit)
        return desk.go(visit, staff.sign_in_path(path) if in_console(request) else desk.sign_in_path(path))

    def refused(request: AnyRequest, error: Refused) -> Page:
        if error.status == 401:
            return sign_in(request, error)
        if error.status == 403 and in_console(request):
            return page(request, "role", 403, role="OPERATOR" if request.method == "POST" else "READER")
        if error.status in (403, 404) or (error.status == 400 and request.method == "GET"):
            return page(
                request, "nothing", 404
            )  # 400: the page's address has something in it that no page of ours links to
        log.warning("a service refused a request of ours", status=error.status, problem=str(error))
        return page(request, "ours", 500)

    def unexpected(request: AnyRequest, error: Exception) -> Page:
        log.error("a page failed", path=request.scope["path"], exc_info=error)
        return page(request, "ours", 500)

    def http(request: AnyRequest, error: HTTPException) -> Page:
        if error.status_code >= 500:
            return unexpected(request, error)
        return page(request, "nothing", 404 if error.status_code in (400, 404) else error.status_code)

    return {
        Nothing: lambda request, _: page(request, "nothing", 404),
        SignInFirst: sign_in,
        staff.RoleNeeded: lambda request, error: page(request, "role", 403, role=error.role),
        WrongForm: lambda request, _: page(request, "old_form", 403),
        Unavailable: lambda request, error: page(request, "away", 503, error.service),
        Refused: refused,
        TooManyStreams: lambda _, error: Response(
            b"", status_code=429 if error.own else 503, headers={"Retry-After": "2"}
        ),
        HTTPException: http,
        Exception: unexpected,
    }
