"""Shared by the operators' commands: who acts and why, the services' databases, output as text or JSON."""

import asyncio
import contextlib
import importlib
import os
import pwd
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

import asyncpg
import msgspec
import typer
from rich.console import Console

from ordersaga.cli.errors import DATABASE_PROBLEMS, database_problem, sentence
from ordersaga.cli.options import fail, services_here, warn
from ordersaga.messaging import guests
from ordersaga.messaging.acts import NotPossible, Operator
from ordersaga.messaging.database import Connection, Pool, connect
from ordersaga.messaging.gather import Answer, Gather, Request, Write
from ordersaga.messaging.handler import Handler
from ordersaga.messaging.ids import new_id
from ordersaga.messaging.kafka import KafkaUnavailable
from ordersaga.messaging.outbox import Outbox
from ordersaga.messaging.queues import Queues
from ordersaga.messaging.redrive import Redrive
from ordersaga.observability import log_to_stderr
from ordersaga.settings import SERVICES, ServiceName, Settings

WIDTH_UNSEEN_CHARS: Final = 200

Service = Annotated[str | None, typer.Option(help="order, stock, payment or delivery; default: all four")]
Order = Annotated[UUID | None, typer.Option(help="of this order (for prices: product)")]
Topic = Annotated[str | None, typer.Option(help="of this topic, by its own name, not the dead letter topic's")]
Cause = Annotated[str | None, typer.Option(help="with this cause; of Java's, the class alone will do")]
Why = Annotated[str | None, typer.Option(help="the reason, kept with the act; required")]
Who = Annotated[str | None, typer.Option(help="who acts; default: the user of this system")]
Json = Annotated[bool, typer.Option("--json", help="one JSON object per line")]

# As wide as the terminal; in a pipe wide enough that no id is broken over two lines.
out = Console(highlight=False)
if not out.is_terminal:
    out.width = WIDTH_UNSEEN_CHARS


class Desk(msgspec.Struct, frozen=True):
    """One service's database, as operators use it."""

    redrive: Redrive
    queues: Queues
    outbox: Outbox
    writing: Pool

    @property
    def service(self) -> ServiceName:
        return self.redrive.service

    def gather(
        self, work: Callable[[Connection, Sequence[Request], datetime], Awaitable[Write[Answer]]]
    ) -> Gather[Request, Answer]:
        """A gathered write like the service's own, over its database and outbox."""
        return Gather(work, self.redrive.settings, self.writing, self.outbox, _now, new_id)

    def handler(self) -> Handler:
        """The service's own handler, with the adapters that its `app.py` chooses."""
        handler: Handler = importlib.import_module(f"ordersaga.{self.service}.app").handler(self.redrive.settings)
        return handler


@contextlib.asynccontextmanager
async def desks(settings: Settings, service: str | None) -> AsyncIterator[list[Desk]]:
    """The desks of the named services. Without a name: of all four, except those whose database does not answer, which are named in a note."""
    log_to_stderr(settings, "operator")
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for name in chosen(service) if service else services_here("--service"):
            try:
                found.append(await stack.enter_async_context(_desk(settings, name)))
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


@contextlib.asynccontextmanager
async def _desk(settings: Settings, name: ServiceName) -> AsyncIterator[Desk]:
    url = settings.database_url(name)
    async with guests.pool(url, settings) as pool:
        if await pool.fetchval("SELECT to_regclass('dead_letter')") is None:
            raise asyncpg.UndefinedTableError('there is no table "dead_letter"')
        outbox = Outbox(settings, pool)
        writing = await connect(url, settings)
        try:
            redrive = Redrive(settings, name, pool, outbox, _now, new_id)
            yield Desk(redrive, Queues(settings, name, pool, _now, new_id), outbox, writing)
        finally:
            await outbox.close()
            await writing.close()


def _now() -> datetime:
    return datetime.now(UTC)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a command. An error ends it with a sentence: exit code 2 for wrong usage, 1 for trouble in the system."""
    try:
        return asyncio.run(work)
    except NotPossible as error:
        raise fail(str(error)) from error
    except (*DATABASE_PROBLEMS, KafkaUnavailable) as error:
        raise fail(sentence(error), 1) from error


def operator(who: str | None, why: str | None) -> Operator:
    """The operator and the reason, which must not be empty."""
    if not why or not why.strip():
        raise fail("--why is required: the reason is kept with the act")
    return Operator(who or _system_user(), why)


def _system_user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def say_json(**values: Any) -> None:
    """Print one line of JSON."""
    print(msgspec.json.encode(values).decode(), flush=True)


def shown(at: datetime) -> str:
    """A time as text, in UTC."""
    return f"{at:%Y-%m-%d %H:%M:%S}"
