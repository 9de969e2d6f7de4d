"""`serve` runs one service or several, as one or several worker processes; `openapi` prints its OpenAPI document."""

import asyncio
import contextvars
import ctypes
import gc
import importlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import structlog
import typer
import uvloop
from litestar import Litestar

from ordersaga import service_context, tracing
from ordersaga.cli.options import fail, load_settings, production_settings
from ordersaga.cli.supervisor import CANNOT_START, Supervisor
from ordersaga.http.documents import document
from ordersaga.http.server import Face, listening
from ordersaga.http.server import serve as serve_http
from ordersaga.http.workers import Worker
from ordersaga.messaging.errors import CannotStart
from ordersaga.observability import log_to_stderr
from ordersaga.settings import PREFIX, SERVICES, Settings

log: Final = structlog.get_logger()

LOOK_EVERY_S: Final = 0.5
GIVE_BACK_EVERY_S: Final = 5.0
PORT_MAX: Final = 65_535


class Server(StrEnum):
    """The services, the sandbox, the pages, and the audit."""

    order = "order"
    stock = "stock"
    payment = "payment"
    delivery = "delivery"
    sandbox = "sandbox"
    web = "web"
    audit = "audit"


def serve(
    servers: Annotated[
        list[Server], typer.Argument(help="which one; several of order, stock, payment and delivery share one process")
    ],
    workers: Annotated[int, typer.Option(min=1, max=64, help="processes; Kafka spreads the partitions over them")] = 1,
    share_port: Annotated[bool, typer.Option(help="let other processes listen on the same port; workers do")] = False,
    supervisor: Annotated[int | None, typer.Option(hidden=True)] = None,
    reason_to: Annotated[int | None, typer.Option(hidden=True)] = None,
    worker: Annotated[int, typer.Option(hidden=True)] = 0,
    worker_count: Annotated[int, typer.Option(hidden=True)] = 1,
    workers_folder: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run one service, or several: their HTTP faces and their consumers. SIGTERM or Ctrl-C ends them in order.

    `serve order stock payment delivery` runs all four in one process, each with its own database, consumer group and port. At the rates of
    most shops they then take a quarter less CPU, and a third of the memory; they start, end and fail together.

    A service waits for Kafka and PostgreSQL if they do not answer yet. Run `ordersaga migrate` and `ordersaga topics create` once before.
    A lasting obstacle, such as a taken port, a wrong password or a missing right, ends the service and all workers with exit code 78.
    """
    settings = production_settings()
    _check(servers, settings, workers, share_port)
    if workers > 1:
        raise typer.Exit(_supervise(servers, workers, settings, share_port))
    log_to_stderr(settings, "+".join(servers))
    if supervisor:
        threading.Thread(target=_end_with, args=(supervisor,), daemon=True).start()
    threading.Thread(target=_give_memory_back, daemon=True).start()
    gc.freeze()  # the objects of the imported modules live until the process ends: the collector need not visit them
    # A batch makes many objects. With the default thresholds it would start the collector again and again.
    gc.set_threshold(50_000, 20, 50)
    faces: list[Face] = []
    try:
        for place, server in enumerate(servers):
            one_of = None if workers_folder is None else Worker(worker, worker_count, workers_folder, server)
            context = contextvars.copy_context()
            faces.append(context.run(_face, server, settings, place, len(servers) > 1, one_of))
        uvloop.run(serve_http(faces, settings, share_port))
    except CannotStart as error:
        if reason_to is None:
            raise fail(str(error), CANNOT_START) from error
        os.write(reason_to, f"{error}\n".encode())  # the supervisor prints the reason once for all workers
        raise typer.Exit(CANNOT_START) from error
    except Exception as error:
        log.critical("the server ends because of an unexpected error", exc_info=error)
        raise
    finally:
        for face in faces:
            face.context.run(tracing.stop)


def _check(servers: Sequence[Server], settings: Settings, workers: int, share_port: bool) -> None:
    """End with the reason where these servers cannot be run so."""
    if len(set(servers)) < len(servers):
        raise fail("a server is named twice")
    for server in servers:
        if len(servers) > 1 and server not in SERVICES:
            raise fail(f"{server} has a process of its own: only {', '.join(SERVICES)} may share one")
        if server in settings.foreign_partners:
            raise fail(
                f"ORDERSAGA_FOREIGN_PARTNERS names {server} as another team's service, so ours is not started; take it out to run ours",
                CANNOT_START,
            )
        if unsafe := settings.unsafe_to_serve(server):
            raise fail(unsafe, CANNOT_START)
    _check_ports(servers, settings, share_port or workers > 1)
    if workers > 1:
        if Server.sandbox in servers:
            raise fail("the sandbox keeps its books in memory, so it runs as one process")
        if Server.audit in servers:
            raise fail("the audit keeps its runs in memory and runs one at a time, so it is one process")
        if Server.web in servers and settings.web_session_secret is None:
            raise fail("the workers of web must sign cookies alike: set ORDERSAGA_WEB_SESSION_SECRET", CANNOT_START)


def _check_ports(servers: Sequence[Server], settings: Settings, shared: bool) -> None:
    """End where two servers of a process would have one port, or `shared` ports are any free ones. Workers share their ports, so nothing would
    tell it: each server would get a part of the other one's requests, each worker would have ports of its own."""
    if shared and 0 in (settings.http_port, settings.operations_port):
        raise fail(
            f"workers share their ports, so these cannot be any free ones: set {PREFIX}HTTP_PORT and {PREFIX}OPERATIONS_PORT to others than 0",
            CANNOT_START,
        )
    taken: dict[int, Server] = {}
    for place, server in enumerate(servers):
        for port in filter(None, (settings.port(server, place), settings.operations_port_of(place))):
            if port > PORT_MAX:
                raise fail(
                    f"{server} would have port {port}, and the last one is {PORT_MAX}: choose a lower {PREFIX}HTTP_PORT or {PREFIX}OPERATIONS_PORT",
                    CANNOT_START,
                )
            if taken.setdefault(port, server) is not server:
                raise fail(
                    f"{taken[port]} and {server} would both have port {port}: choose another {PREFIX}HTTP_PORT or {PREFIX}OPERATIONS_PORT",
                    CANNOT_START,
                )


def _face(server: Server, settings: Settings, place: int, is_one_of_several: bool, worker: Worker | None) -> Face:
    """Make one server's application, in the context in which it will run. Raises `CannotStart`."""
    create = application(server)
    if is_one_of_several:
        service_context.begin(server, tells_process=place == 0)
    try:
        tracing.start(settings, server)
    except tracing.NotInstalled as error:
        raise CannotStart(str(error)) from error
    port, operations_port = settings.port(server, place), settings.operations_port_of(place)
    return Face(create(settings), port, operations_port, contextvars.copy_context(), worker)


def application(server: str) -> Callable[[Settings], Litestar]:
    """The `create_app` of a server. Imports the modules of this server only."""
    create: Callable[[Settings], Litestar] = importlib.import_module(f"ordersaga.{server}.app").create_app
    return create


def _supervise(servers: Sequence[Server], workers: int, settings: Settings, share_port: bool) -> int:
    """Run workers as processes that share the ports; stop all when told to, or when one cannot start. Returns the exit code."""
    try:
        for place, server in enumerate(servers):
            for port in filter(None, (settings.port(server, place), settings.operations_port_of(place))):
                listening(settings.http_host, port, share_port).close()
    except CannotStart as error:
        raise fail(str(error), CANNOT_START) from error
    code, reason = asyncio.run(
        _run_workers([sys.executable, "-m", "ordersaga", "serve", *servers, "--share-port"], workers)
    )
    if reason:
        raise fail(reason, code)
    return code


async def _run_workers(command: list[str], workers: int) -> tuple[int, str | None]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="ordersaga-", ignore_cleanup_errors=True)
    except OSError as error:
        return CANNOT_START, f"the workers need a folder for their sockets, and none can be made: {error}; set TMPDIR"
    with folder as sockets:
        supervisor = Supervisor(command, workers, sockets)
        return await supervisor.run(), supervisor.reason


def _end_with(supervisor: int) -> None:
    """End this worker in order when its supervisor has ended: a killed supervisor cannot send a signal."""
    while os.getppid() == supervisor:
        time.sleep(LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _give_memory_back() -> None:
    """Return memory to the system after a backlog: glibc keeps freed blocks that lie between used blocks."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    while trim is not None:
        time.sleep(GIVE_BACK_EVERY_S)
        trim(0)


def openapi(server: Annotated[Server, typer.Argument(help="the service whose document is printed")]) -> None:
    """Print the OpenAPI document of a service as JSON."""
    if server in (Server.sandbox, Server.web):
        raise fail(f"{server} has no OpenAPI document: its routes are pages for people")
    schema = document(application(server)(load_settings()))
    print(json.dumps(schema, indent=2, ensure_ascii=False))
