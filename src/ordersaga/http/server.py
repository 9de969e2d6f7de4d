"""Serves a service's routes with health, metrics and schema, in the event loop that also takes the service's turns."""

import asyncio
import contextlib
import functools
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import Context
from typing import Any, Final, NamedTuple

import structlog
import uvicorn
from litestar import Litestar
from litestar.exceptions import HTTPException
from litestar.types import ControllerRouterHandler
from msgspec import structs

from ordersaga.http import schema
from ordersaga.http.addresses import COUNTS
from ordersaga.http.application import Application, public
from ordersaga.http.caller import Callers
from ordersaga.http.health import health
from ordersaga.http.limits import Limits, Streams, TooManyStreams
from ordersaga.http.problems import (
    Problem,
    on_error,
    on_http,
    on_not_begun,
    on_problem,
    on_too_many_streams,
    on_unknown_outcome,
)
from ordersaga.http.protocol import RESERVED_CONNECTIONS, Protocol
from ordersaga.http.unknown_callers import after_caller
from ordersaga.http.workers import Worker
from ordersaga.messaging.errors import CannotStart
from ordersaga.messaging.gather import NotBegun, OutcomeUnknown
from ordersaga.messaging.health import Reporter
from ordersaga.settings import Settings

log: Final = structlog.get_logger()

BACKLOG: Final = 2048
DRAIN_S: Final = 10
CHECK_EVERY_S: Final = 0.3
CHECK_IDLE_EVERY_S: Final = 1.0
"""Without connections. The first one is checked for its time limits, and its answers have a date, that much late at most."""
FILES_BESIDE_CONNECTIONS: Final = 256
NOSNIFF: Final = ("X-Content-Type-Options", "nosniff")
NO_STORE: Final = ("Cache-Control", "no-store")


def application(
    title: str,
    routes: Sequence[ControllerRouterHandler],
    reporter: Reporter,
    running: Callable[[], AbstractAsyncContextManager[object]],
    streams: Streams | None = None,
    callers: Callers | None = None,
) -> Application:
    """The ASGI application. `running()` is entered before the first request and left after the last one. `callers`: whom a route that is not for
    anybody tells what is wrong with a request."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        try:
            async with running():
                yield
        except CannotStart as error:
            app.state.cannot_start = error  # uvicorn would only log it; `serve` raises it
            raise

    made = Application(
        [*routes, *health(title, reporter)],
        lifespan=[lifespan],
        exception_handlers={
            Problem: on_problem,
            HTTPException: after_caller(callers) if callers else on_http,
            NotBegun: on_not_begun,
            OutcomeUnknown: on_unknown_outcome,
            TooManyStreams: on_too_many_streams,
            Exception: on_error,
        },
        openapi_config=schema.config(title),
        streams=streams or Streams(0, 0),
        logging_config=None,
        debug=False,
    )
    if callers:
        made.state[COUNTS] = callers.addresses
    return made


class Face(NamedTuple):
    """One server of this process. `context`: in which its tasks run, with its `ServiceContext`. `worker`: this process is one of several of it."""

    app: Litestar
    port: int
    operations_port: int | None
    context: Context
    worker: Worker | None = None


async def serve(faces: Sequence[Face], settings: Settings, share_port: bool = False) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests in flight and leave the lifespans. When one server ends, all end.

    `share_port`: the workers of one service listen on one port. Off otherwise, or a second system on the same port would get half of the
    first one's requests. Raises `CannotStart`, also one that an application raised at its start.
    """
    with contextlib.ExitStack() as opened:
        listeners = [
            [opened.enter_context(listening(settings.http_host, port, share_port)) for port in _wanted_ports(face)]
            for face in faces
        ]
        servers = [
            _server(face, settings, len(faces), _ports_of(its)) for face, its in zip(faces, listeners, strict=True)
        ]

        def stop(_: object = None) -> None:
            for each in servers:
                each.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop)
        serving = [
            asyncio.create_task(_serve_one(server, face, its), context=face.context)
            for server, face, its in zip(servers, faces, listeners, strict=True)
        ]
        for each in serving:
            each.add_done_callback(stop)
        ends = await asyncio.gather(*serving, return_exceptions=True)
    failures = [end for end in ends if isinstance(end, BaseException)]
    for failure in sorted(failures, key=lambda each: not isinstance(each, CannotStart)):
        raise failure
    if not all(server.started for server in servers):
        raise SystemExit(1)


def _wanted_ports(face: Face) -> list[int]:
    """The ports of one server as they are set, the operators' one last; 0 is any free port. Raises `CannotStart`."""
    if face.operations_port == face.port != 0:
        raise CannotStart(f"ORDERSAGA_OPERATIONS_PORT is {face.port}, the port of the API: choose another, or unset it")
    return [face.port] if face.operations_port is None else [face.port, face.operations_port]


def _ports_of(listeners: Sequence[socket.socket]) -> list[int]:
    """The ports on which these sockets are bound, in their order."""
    return [each.getsockname()[1] for each in listeners]


def _server(face: Face, settings: Settings, servers: int, ports: Sequence[int]) -> "_Server":
    """The server of an application on these ports. Only the last of two serves all of it: a connection to any other port gets the public part."""
    app = face.app
    streams = app.streams if isinstance(app, Application) else Streams(0, 0)
    apps = {} if face.operations_port is None else {ports[-1]: app}
    config = uvicorn.Config(
        public(app) if apps else app,
        log_config=None,
        access_log=False,
        backlog=BACKLOG,
        proxy_headers=False,  # the address that counts is that of whoever has connected: a client could send any in a header
        timeout_keep_alive=settings.http_keep_alive_s,
        timeout_graceful_shutdown=DRAIN_S,
        lifespan="on",
        ws="none",
        server_header=False,
        headers=[NOSNIFF] if isinstance(app, Application) and app.caching else [NOSNIFF, NO_STORE],
        http=functools.partial(Protocol, _limits(settings, app, servers), streams, apps),  # type: ignore[arg-type]  # a factory of protocols
    )
    return _Server(config)


async def _serve_one(server: "_Server", face: Face, listeners: list[socket.socket]) -> None:
    """Serve one application. Raises the `CannotStart` with which its start or its end has failed."""
    face.app.state.worker = face.worker
    with contextlib.suppress(SystemExit):  # of uvicorn, if the lifespan does not begin
        async with face.worker.listening() if face.worker else contextlib.nullcontext():
            await server.serve(listeners)
    if cannot_start := face.app.state.get("cannot_start"):
        raise cannot_start


def _limits(settings: Settings, app: Litestar, servers: int = 1) -> Limits:
    """The settings' limits, with fewer connections where the system allows this process, which has so many servers, fewer open files."""
    limits = Limits.of(settings)
    if isinstance(app, Application) and app.head_bytes_min > limits.head_bytes_max:
        limits = structs.replace(limits, head_bytes_max=app.head_bytes_min)
    beside = RESERVED_CONNECTIONS + FILES_BESIDE_CONNECTIONS
    wanted = (limits.connections_max + beside) * servers
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        left = max(1, most // servers - beside)
        log.warning(
            "fewer HTTP connections are taken than set: the limit of open files is too low", connections_max=left
        )
        return structs.replace(limits, connections_max=left)
    return limits


def listening(host: str, port: int, share_port: bool = False) -> socket.socket:
    """A socket bound to the port. Raises `CannotStart`."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if share_port:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise CannotStart(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another with ORDERSAGA_HTTP_HOST and ORDERSAGA_HTTP_PORT"
        ) from error
    return listener


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers, which would raise the signal again after a clean stop, and without ten looks a second at nothing."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._told_to_stop: Final = asyncio.Event()

    def stop(self) -> None:
        self.should_exit = True
        self._told_to_stop.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = sockets[0].getsockname()[:2] if sockets else (self.config.host, self.config.port)
            of_operators = {"operations_port": sockets[1].getsockname()[1]} if sockets and sockets[1:] else {}
            log.info("started: HTTP is answered", host=host, port=port, **of_operators)

    async def main_loop(self) -> None:
        while not await self.on_tick(0):  # 0: the date of the answers' heads is made anew
            now = asyncio.get_running_loop().time()
            for each in list(self.server_state.connections):
                if isinstance(each, Protocol):
                    each.check_time(now)
            wait_s = CHECK_EVERY_S if self.server_state.connections else CHECK_IDLE_EVERY_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._told_to_stop.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield
