"""A desk: one service's database and outbox, as operators use them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
from msgspec import Struct, field

from ordersaga.messaging import guests
from ordersaga.messaging.database import Connection, Pool, connect
from ordersaga.messaging.gather import Answer, Gather, Request, Write
from ordersaga.messaging.handler import Handler
from ordersaga.messaging.ids import new_id
from ordersaga.messaging.letters import Letter
from ordersaga.messaging.outbox import Outbox
from ordersaga.messaging.queues import Queues
from ordersaga.messaging.redrive import Redrive
from ordersaga.messaging.runtime import Runtime
from ordersaga.operations.rehearsing import NO_HISTORY, History, Rehearsed, rehearse
from ordersaga.settings import ServiceName, Settings


class Desk(Struct, frozen=True):
    """One service's database and outbox. `writing`: the connections of gathered writes.

    `handler` makes the service's handler with the adapters that its `app.py` chooses.
    """

    settings: Settings
    service: ServiceName
    pool: Pool
    writing: Pool
    outbox: Outbox
    clock: Callable[[], datetime]
    new_id: Callable[[], UUID]
    handler: Callable[[], Handler]
    history: History = NO_HISTORY
    jobs_changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a job is added or stopped: this process looks at it at once."""

    @classmethod
    def of(cls, runtime: Runtime, service: ServiceName, history: History) -> "Desk":
        """The desk of a running service, over its own connections."""
        return cls(
            runtime.settings,
            service,
            runtime.pool,
            runtime.pool,
            runtime.outbox,
            runtime.clock,
            runtime.new_id,
            lambda: runtime.handler,
            history,
            runtime.jobs_changed,
        )

    @property
    def redrive(self) -> Redrive:
        """The acts on dead letters."""
        return Redrive(self.settings, self.service, self.pool, self.outbox, self.clock, self.new_id)

    @property
    def queues(self) -> Queues:
        """The acts on parked records."""
        return Queues(self.settings, self.service, self.pool, self.clock, self.new_id)

    @property
    def attempts_max(self) -> int:
        """How often a parked record is tried before it becomes a dead letter."""
        return self.settings.park_attempts_max

    async def rehearse(self, letters: Sequence[Letter], type_id: str | None) -> list[Rehearsed]:
        """What a replay of each letter would do: see `rehearsing.py`."""
        return await rehearse(self.redrive, self.handler(), self.history, letters, type_id)

    def gather(
        self, work: Callable[[Connection, Sequence[Request], datetime], Awaitable[Write[Answer]]]
    ) -> Gather[Request, Answer]:
        """A gathered write like the service's own, over its database and outbox."""
        return Gather(work, self.settings, self.writing, self.outbox, self.clock, self.new_id)


@contextlib.asynccontextmanager
async def open_desk(
    settings: Settings, service: ServiceName, handler: Callable[[], Handler], history: History = NO_HISTORY
) -> AsyncIterator[Desk]:
    """The desk of a service for a command, over connections of its own. Raises database errors, also where the tables are missing."""
    url = settings.database_url(service)
    async with guests.pool(url, settings) as pool:
        if await pool.fetchval("SELECT to_regclass('operator_job')") is None:
            raise asyncpg.UndefinedTableError('there is no table "operator_job"')
        outbox = Outbox(settings, pool)
        writing = await connect(url, settings)
        try:
            yield Desk(settings, service, pool, writing, outbox, _now, new_id, handler, history)
        finally:
            await outbox.close()
            await writing.close()


def _now() -> datetime:
    return datetime.now(UTC)
