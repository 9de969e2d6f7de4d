"""HTTP writes: concurrent requests are gathered into one set-based transaction, and each is answered only after its commit.

A request that fails is isolated by halving the set, so the others of its transaction are not harmed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final, Generic, TypeVar
from uuid import UUID

import asyncpg
import structlog

from ordersaga.messaging import outbox
from ordersaga.messaging.database import Connection, Pool, is_transient
from ordersaga.messaging.handler import Outgoing
from ordersaga.messaging.outbox import MessageIds, Outbox
from ordersaga.settings import Settings

log: Final = structlog.get_logger()

TRIES_MAX: Final = 3

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class OutcomeUnknown(Exception):
    """The commit's outcome is not known, or the database is away: the caller answers 503, and the client asks again with the same key."""


class Write(Generic[Answer]):
    """What one transaction did: an answer for each request, in order, and what is to be sent."""

    def __init__(self, answers: Sequence[Answer], outgoing: Sequence[Outgoing] = ()) -> None:
        self.answers: Final = answers
        self.outgoing: Final = outgoing


class Gather(Generic[Request, Answer]):
    """Call it with a request; it returns that request's answer after the commit.

    `work(db, requests, now)` handles many requests set-based. It may be run again, with fewer of them, if one makes it raise. At most
    `gather_transactions_max` transactions of it are open at once; whoever comes meanwhile is in the next one.
    """

    def __init__(
        self,
        work: Callable[[Connection, Sequence[Request], datetime], Awaitable[Write[Answer]]],
        settings: Settings,
        pool: Pool,
        out: Outbox,
        clock: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        self._work: Final = work
        self._settings: Final = settings
        self._pool: Final = pool
        self._outbox: Final = out
        self._clock: Final = clock
        self._new_id: Final = new_id
        self._waiting: Final[list[tuple[Request, asyncio.Future[Answer]]]] = []
        self._runners: Final[set[asyncio.Task[None]]] = set()

    async def __call__(self, request: Request) -> Answer:
        """The answer, after the commit. Raises `OutcomeUnknown`, or what this request alone made `work` raise."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, answer))
        if len(self._runners) < self._settings.gather_transactions_max:
            self._runners.add(asyncio.create_task(self._run()))
        return await answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                some = self._waiting[: self._settings.gather_max]
                del self._waiting[: len(some)]
                await self._commit(some)
        finally:
            # Here, not in a callback: that would come a step later, and a request that comes in between would wait for ever.
            self._runners.discard(asyncio.current_task())

    async def _commit(self, some: Sequence[tuple[Request, "asyncio.Future[Answer]"]], tries: int = 1) -> None:
        try:
            now = self._clock()
            async with self._pool.acquire() as db, db.transaction():
                write = await self._work(db, [request for request, _ in some], now)
                rows = []
                if write.outgoing:
                    ids = MessageIds("", {}, self._new_id)
                    rows = outbox.compose(write.outgoing, await outbox.first_id(db), ids, self._settings.type_ids)
                    await outbox.write(db, rows, outbox.adopt_at(now, self._settings))
        except Exception as error:
            await self._isolate(some, error, tries)
            return
        for (_, future), answer in zip(some, write.answers, strict=True):
            if not future.done():
                future.set_result(answer)
        self._outbox.publish_soon(rows, now)

    async def _isolate(
        self, some: Sequence[tuple[Request, "asyncio.Future[Answer]"]], error: Exception, tries: int
    ) -> None:
        if is_transient(error):
            again = isinstance(error, asyncpg.DeadlockDetectedError | asyncpg.SerializationError)
            log.warning("a gathered write failed", error=f"{type(error).__name__}: {error}", requests=len(some))
            if again and tries < TRIES_MAX:
                await self._commit(some, tries + 1)
                return
            error = OutcomeUnknown(str(error))
        elif len(some) > 1:
            await self._halves(some)
            return
        for _, future in some:
            if not future.done():
                future.set_exception(error)

    async def _halves(self, some: Sequence[tuple[Request, "asyncio.Future[Answer]"]]) -> None:
        middle = len(some) // 2
        await self._commit(some[:middle])
        await self._commit(some[middle:])
