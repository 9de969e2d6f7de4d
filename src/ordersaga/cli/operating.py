"""Shared by the operators' commands: options, the desks of the services, who acts and why, output as text or JSON."""

import asyncio
import contextlib
import functools
import importlib
import os
import pwd
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

import aiohttp
import msgspec
import typer
from rich.console import Console

from ordersaga.cli.errors import DATABASE_PROBLEMS, database_problem, sentence
from ordersaga.cli.options import TOKEN, fail, load_settings, services_here, warn
from ordersaga.masking import remember
from ordersaga.messaging.acts import NotPossible, Operator
from ordersaga.messaging.handler import Handler
from ordersaga.messaging.kafka import KafkaUnavailable
from ordersaga.observability import log_to_stderr
from ordersaga.operations.desk import Desk, open_desk
from ordersaga.operations.ports import OperatorsDesk, Refused
from ordersaga.operations.rehearsing import NO_HISTORY, History
from ordersaga.order.operators import HISTORY, last_note
from ordersaga.settings import SERVICES, ServiceName, Settings

WIDTH_UNSEEN_CHARS: Final = 200
HISTORIES: Final[dict[str, History]] = {"order": (HISTORY, last_note)}

Result = TypeVar("Result")

Service = Annotated[str | None, typer.Option(help="order, stock, payment or delivery; default: all four")]
Order = Annotated[UUID | None, typer.Option(help="of this order; for prices, of this product")]
Topic = Annotated[str | None, typer.Option(help="of this topic, by its own name, not the dead letter topic's")]
Cause = Annotated[
    str | None, typer.Option(help="with this cause; for a Java exception its class name without the package is enough")
]
Why = Annotated[str | None, typer.Option(help="the reason, kept with the act; required")]
Who = Annotated[str | None, typer.Option(help="who acts; default: the user of this system")]
ViaHttp = Annotated[
    list[str] | None,
    typer.Option(help="a service's address, such as http://localhost:8081, to work over HTTP; may be repeated"),
]
Token = Annotated[str | None, typer.Option(envvar=TOKEN, help="the bearer token for --via-http")]
Headers = Annotated[
    list[str] | None, typer.Option("--header", help="name:value of a request header for --via-http; may be repeated")
]
Json = Annotated[bool, typer.Option("--json", help="one JSON object per line")]

# As wide as the terminal; in a pipe wide enough that no id is broken over two lines.
out = Console(highlight=False)
if not out.is_terminal:
    out.width = WIDTH_UNSEEN_CHARS


@contextlib.asynccontextmanager
async def open_desks(settings: Settings, service: str | None) -> AsyncIterator[list[Desk]]:
    """The desks of the named services. Without a name: of all four, except those whose database does not answer, which are named in a note."""
    log_to_stderr(settings, "operator")
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for name in chosen(service) if service else services_here("--service"):
            try:
                handler, history = functools.partial(_handler, name, settings), HISTORIES.get(name, NO_HISTORY)
                found.append(await stack.enter_async_context(open_desk(settings, name, handler, history)))
            except DATABASE_PROBLEMS as error:
                problem = database_problem(name, error)
                if service is not None:
                    raise fail(problem, 1) from error
                warn(f"{name} is left out: {problem}")
        if not found:
            raise fail("no database answers", 1)
        yield found


def chosen(service: str | None) -> Sequence[ServiceName]:
    """The services that an option names."""
    if service is None:
        return SERVICES
    if service not in SERVICES:
        raise fail(f"{service} is no service; there are {', '.join(SERVICES)}")
    return [name for name in SERVICES if name == service]


def _handler(service: ServiceName, settings: Settings) -> Handler:
    """The service's own handler, with the adapters that its `app.py` chooses."""
    handler: Handler = importlib.import_module(f"ordersaga.{service}.app").handler(settings)
    return handler


class Via(msgspec.Struct, frozen=True):
    """The services' addresses for commands over HTTP, and the headers that say who calls."""

    urls: Sequence[str]
    headers: dict[str, str]


_via: Final[ContextVar[Via | None]] = ContextVar("via", default=None)


def reach(via_http: ViaHttp = None, token: Token = None, header: Headers = None) -> None:
    """The options of a group of commands that also work over HTTP: `app.callback()(reach)`."""
    if not via_http:
        if token or header:
            raise fail(f"--token (or {TOKEN}) and --header are for --via-http; give that, too, or leave them out")
        return
    _via.set(Via(via_http, headers_of(token, header)))


def headers_of(token: str | None, header: Sequence[str] | None) -> dict[str, str]:
    """The headers that say who calls."""
    headers = {}
    for each in header or []:
        name, colon, value = each.partition(":")
        if not colon or not name.strip():
            raise fail(f"--header {each}: write it as name:value")
        headers[name.strip()] = value.strip()
    if token:
        headers["Authorization"] = f"Bearer {token}"
        remember([token])
    return headers


def must_be_local(what: str) -> None:
    """End a command that cannot work over HTTP."""
    if _via.get() is not None:
        raise fail(f"{what} works on Kafka and the database; leave --via-http out")


def at_desks(service: str | None, work: Callable[[Sequence[OperatorsDesk]], Awaitable[Result]]) -> Result:
    """Run the work of a command at the desks of the named service, or of all: over the databases, or over HTTP."""
    via = _via.get()

    async def opened() -> Result:
        if via is not None:
            async with _open_remote_desks(via, service) as remote:
                return await work(remote)
        async with open_desks(load_settings(), service) as local:
            return await work(local)

    result: Result = run(opened())
    return result


@contextlib.asynccontextmanager
async def _open_remote_desks(via: Via, service: str | None) -> AsyncIterator[Sequence[OperatorsDesk]]:
    from ordersaga.operations.remote import open_remote  # the resources of the face take a while to import

    async with contextlib.AsyncExitStack() as stack:
        found = [await stack.enter_async_context(open_remote(url, via.headers)) for url in via.urls]
        wanted = [desk for desk in found if service in (None, desk.service)]
        if not wanted:
            raise fail(
                f"none of these addresses is {service}'s: they are of {', '.join(desk.service for desk in found)}"
            )
        yield wanted


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a command. An error ends it with a sentence: exit code 2 for wrong usage, 1 for trouble in the system."""
    try:
        return asyncio.run(work)
    except NotPossible as error:
        raise fail(str(error)) from error
    except (Refused, aiohttp.ClientError) as error:
        raise fail(f"{error or type(error).__name__}; check --via-http, --token and --header", 1) from error
    except (*DATABASE_PROBLEMS, KafkaUnavailable) as error:
        raise fail(sentence(error), 1) from error


def operator(who: str | None, why: str | None) -> Operator:
    """The operator and the reason, which must not be empty."""
    if not why or not why.strip():
        raise fail("--why is required: the reason is kept with the act")
    if who and _via.get() is not None:
        raise fail("--who cannot be used over HTTP: the operator is the caller, whom --token or --header names")
    return Operator(who or _system_user(), why)


def _system_user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def time(text: str | None) -> datetime | None:
    """The time of an option; UTC if it has no zone."""
    try:
        at = None if text is None else datetime.fromisoformat(text)
    except ValueError as error:
        raise fail(f"{text} is no time; write it like 2026-11-24T09:30:00") from error
    return at.replace(tzinfo=UTC) if at and at.tzinfo is None else at


def say_json(**values: Any) -> None:
    """Print one line of JSON: the English texts, without the codes by which pages say them in other languages."""
    told = {name: each for name, each in values.items() if name not in ("said", "last_said")}
    print(msgspec.json.encode(told, enc_hook=str).decode(), flush=True)


def shown(at: datetime) -> str:
    """A time as text, in UTC."""
    return f"{at:%Y-%m-%d %H:%M:%S}"
