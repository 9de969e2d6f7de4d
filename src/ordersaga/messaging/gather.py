"""HTTP writes: concurrent requests are gathered into one set-based transaction, and each is answered only after its commit.

A request that fails, or that has to wait for a row that somebody else holds, is isolated by halving the set: the others of its
transaction, and those that come after it, are not harmed. Each waits for a bounded time, and so many wait at most.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

import asyncpg
import structlog

from ordersaga.messaging import outbox_rows
from ordersaga.messaging.database import Connection, Pool, begin
from ordersaga.messaging.handler import Outgoing
from ordersaga.messaging.message_ids import MessageIds
from ordersaga.messaging.outbox import Outbox
from ordersaga.messaging.sizes import SetSize
from ordersaga.messaging.sqlstate import is_locked, is_too_large, is_transient
from ordersaga.settings import Settings

log: Final = structlog.get_logger()

TRIES_MAX: Final = 4
RETRY_WAIT_S_MAX: Final = 0.05
SET_LOCK_WAIT_MS: Final = 400
"""For a whole set. PostgreSQL does not tell whose row was not free, so the set is halved until that request stands alone."""
PART_LOCK_WAIT_MS: Final = 40
ALONE_PAUSE_S_MAX: Final = 0.2

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class OutcomeUnknown(Exception):
    """The commit's outcome is not known, or the database is away: the caller answers 503, and the client asks again with the same key."""


class NotTaken(OutcomeUnknown):
    """The request was not begun: too many wait, or it has waited too long. Nothing was changed."""


class Write(Generic[Answer]):
    """What one transaction did: an answer for each request, in order, and what is to be sent."""

    def __init__(self, answers: Sequence[Answer], outgoing: Sequence[Outgoing] = ()) -> None:
        self.answers: Final = answers
        self.outgoing: Final = outgoing


class _Waiting(Generic[Request, Answer]):
    """A request and whoever waits for its answer."""

    __slots__ = ("answer", "begun", "request")

    def __init__(self, request: Request, answer: "asyncio.Future[Answer]") -> None:
        self.request: Final = request
        self.answer: Final = answer
        self.begun = False

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


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
        self._limit_s: Final = settings.request_timeout_ms / 1000
        self._pool: Final = pool
        self._outbox: Final = out
        self._clock: Final = clock
        self._new_id: Final = new_id
        self._size: Final = SetSize(settings.gather_max)
        self._waiting: Final[list[_Waiting[Request, Answer]]] = []
        self._runners: Final[set[asyncio.Task[None]]] = set()
        self._beside: Final[dict[asyncio.Task[None], None]] = {}
        self._halving: Final = asyncio.Lock()
        self._alone: Final = asyncio.Lock()

    async def __call__(self, request: Request) -> Answer:
        """The answer, after the commit. Raises `OutcomeUnknown`, or what this request alone made `work` raise."""
        if len(self._waiting) >= self._settings.gather_waiting_max:
            raise NotTaken(f"{len(self._waiting)} requests wait already")
        loop = asyncio.get_running_loop()
        waiting: _Waiting[Request, Answer] = _Waiting(request, loop.create_future())
        self._waiting.append(waiting)
        if len(self._runners) < self._settings.gather_transactions_max:
            self._runners.add(asyncio.create_task(self._run()))
        limit = loop.call_later(self._limit_s, self._expire, waiting)
        try:
            return await waiting.answer
        finally:
            limit.cancel()

    def _expire(self, waiting: _Waiting[Request, Answer]) -> None:
        kind = OutcomeUnknown if waiting.begun else NotTaken
        waiting.fail(kind(f"no answer of the database within {self._limit_s:g} s"))

    async def _run(self) -> None:
        try:
            while self._waiting:
                some = self._waiting[: self._size.now]
                del self._waiting[: len(some)]
                await self._commit(some, SET_LOCK_WAIT_MS, self._halves_beside)
        finally:
            # Here, not in a callback: that would come a step later, and a request that comes in between would wait for ever.
            self._runners.discard(asyncio.current_task())

    async def _commit(
        self,
        some: Sequence[_Waiting[Request, Answer]],
        lock_wait_ms: int,
        isolate: Callable[[Sequence[_Waiting[Request, Answer]]], Awaitable[None]],
        tries: int = 1,
    ) -> None:
        """Do the work of those who still wait for it, and answer them. Where a part of them may succeed, `isolate` goes on with them."""
        some = [each for each in some if not each.answer.done()]
        if not some:
            return
        for each in some:
            each.begun = True
        committing = False
        try:
            now = self._clock()
            async with self._pool.acquire(timeout=self._limit_s) as db, begin(db, lock_wait_ms):
                write = await self._work(db, [each.request for each in some], now)
                rows = []
                if write.outgoing:
                    ids = MessageIds("", {}, self._new_id)
                    rows = outbox_rows.compose(
                        write.outgoing, await outbox_rows.first_id(db), ids, self._settings.type_ids
                    )
                    await outbox_rows.write(db, rows, outbox_rows.adopt_at(now, self._settings))
                committing = True
        except Exception as error:
            if is_too_large(error) or isinstance(error, TimeoutError):
                self._size.too_large(len(some))
            if self._is_again(error) and tries < TRIES_MAX:
                await asyncio.sleep(random.uniform(0, RETRY_WAIT_S_MAX * tries))
                await self._commit(some, lock_wait_ms, isolate, tries + 1)
            elif len(some) > 1 and self._is_somebodys(error, committing):
                await isolate(some)
            elif is_locked(error) and not committing:
                self._spawn(self._wait_alone(some))
            else:
                self._refuse(some, error)
            return
        self._size.went_well(len(some))
        for each, answer in zip(some, write.answers, strict=True):
            if not each.answer.done():
                each.answer.set_result(answer)
        self._outbox.publish_soon(rows, now)

    @staticmethod
    def _is_again(error: Exception) -> bool:
        return isinstance(error, asyncpg.DeadlockDetectedError | asyncpg.SerializationError)

    @staticmethod
    def _is_somebodys(error: Exception, committing: bool) -> bool:
        """Whether the others of the set, which was certainly not committed, may do without whoever caused this."""
        return not is_transient(error) or (not committing and (is_locked(error) or is_too_large(error)))

    @staticmethod
    def _refuse(some: Sequence[_Waiting[Request, Answer]], error: Exception) -> None:
        if is_transient(error):
            log.warning("a gathered write failed", error=f"{type(error).__name__}: {error}", requests=len(some))
            error = OutcomeUnknown(f"{type(error).__name__}: {error}")
        for each in some:
            each.fail(error)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Beside the queue: whoever comes now does not wait for what these wait for."""
        task = asyncio.create_task(work)
        self._beside[task] = None
        task.add_done_callback(self._beside.pop)

    async def _halves_beside(self, some: Sequence[_Waiting[Request, Answer]]) -> None:
        self._spawn(self._halves_in_turn(some))

    async def _halves_in_turn(self, some: Sequence[_Waiting[Request, Answer]]) -> None:
        async with self._halving:  # a connection each, and the pool is for others too
            await self._halves(some)

    async def _halves(self, some: Sequence[_Waiting[Request, Answer]]) -> None:
        middle = len(some) // 2
        for half in (some[:middle], some[middle:]):
            await self._commit(half, PART_LOCK_WAIT_MS, self._halves)

    async def _wait_alone(self, some: Sequence[_Waiting[Request, Answer]]) -> None:
        """Try a request again that needs a row which somebody holds; it has until its time is over. It keeps no connection meanwhile."""
        await asyncio.sleep(random.uniform(0, ALONE_PAUSE_S_MAX))
        async with self._alone:
            await self._commit(some, SET_LOCK_WAIT_MS, self._halves_beside)
