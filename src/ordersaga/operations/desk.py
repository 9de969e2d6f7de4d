"""A desk: one service's database and outbox, as operators use them."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from msgspec import Struct

from ordersaga.messaging.database import Connection, Pool
from ordersaga.messaging.gather import Answer, Gather, Request, Write
from ordersaga.messaging.handler import Handler
from ordersaga.messaging.outbox import Outbox
from ordersaga.messaging.queues import Queues
from ordersaga.messaging.redrive import Redrive
from ordersaga.messaging.rehearsal import Explain, Rehearsal
from ordersaga.messaging.runtime import Runtime
from ordersaga.settings import ServiceName, Settings

History: TypeAlias = tuple[frozenset[str], Explain | None]
"""A service's tables that only record incoming messages, and the function that reads why such a row was written."""
NO_HISTORY: History = (frozenset(), None)


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
        )

    @property
    def redrive(self) -> Redrive:
        """The acts on dead letters."""
        return Redrive(self.settings, self.service, self.pool, self.outbox, self.clock, self.new_id)

    @property
    def queues(self) -> Queues:
        """The acts on parked records."""
        return Queues(self.settings, self.service, self.pool, self.clock, self.new_id)

    def rehearsal(self) -> Rehearsal:
        """A rehearsal of the service's handler."""
        return Rehearsal(self.handler().handle, *self.history)

    def gather(
        self, work: Callable[[Connection, Sequence[Request], datetime], Awaitable[Write[Answer]]]
    ) -> Gather[Request, Answer]:
        """A gathered write like the service's own, over its database and outbox."""
        return Gather(work, self.settings, self.writing, self.outbox, self.clock, self.new_id)
