"""HTTP writes: concurrent requests are gathered into one set-based transaction, and each is answered after the commit.

A request that fails, or that needs a row which another transaction has locked, is isolated by halving the set: the other requests of
the set and the requests that come later go on. The wait of a request and the number of waiting requests are limited.
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
from ordersaga.messaging.outbox import Outbox
from ordersaga.messaging.sizes import SetSize
from ordersaga.messaging.sqlstate import is_locked, is_too_large, is_transient
from ordersaga.settings import Settings

log: Final = structlog.get_logger()

TRIES_MAX: Final = 4
RETRY_WAIT_S_MAX: Final = 0.05
SET_LOCK_WAIT_MS: Final = 400
"""Lock time-out of a whole set. PostgreSQL does not name the request whose row is locked, so the set is halved until it is alone."""
PART_LOCK_WAIT_MS: Final = 40
"""Lock time-out while a set is halved."""
ALONE_PAUSE_S_MAX: Final = 0.2
"""Longest pause before a request is tried again whose row is locked."""

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class OutcomeUnknown(Exception):
    """The database is away, or whether it has committed is not known: answer 503; the client repeats the request with the same key."""


class NotTaken(OutcomeUnknown):
    """The request was not begun, since too many wait or it has waited too long. Nothing was changed."""


class Write(Generic[Answer]):
    """The result of one transaction: an answer for each request, in order, and the messages to publish."""

    def __init__(self, answers: Sequence[Answer], outgoing: Sequence[Outgoing] = ()) -> None:
        self.answers: Final = answers
        self.outgoing: Final = outgoing


class _Waiting(Generic[Request, Answer]):
    """A request and the future of its answer. `begun`: a transaction with the request was begun."""

    __slots__ = ("answer", "begun", "request")

    def __init__(self, request: Request, answer: "asyncio.Future[Answer]") -> None:
        self.request: Final = request
        self.answer: Final = answer
        self.begun = False

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Gather(Generic[Request, Answer]):
    """`await gather(request)` returns the request's answer after the commit.

    `work(db, requests, now)` handles many requests in one transaction. It is called again with fewer requests if one of them makes it
    raise. At most `gather_transactions_max` of these transactions are open at once; requests that come meanwhile share the next one.
    """

    def __init__(
        self,
        work: Callable[[Connection, Sequence[Request], datetime], Awaitable[Write[Answer]]],
        settings: Settings,
        pool: Pool,
        outbox: Outbox,
        clock: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        self._work: Final = work
        self._settings: Final = settings
        self._limit_s: Final = settings.request_timeout_ms / 1000
        self._pool: Final = pool
        self._outbox: Final = outbox
        self._clock: Final = clock
        self._new_id: Final = new_id
        self._size: Final = SetSize(settings.gather_max)
        self._waiting: Final[list[_Waiting[Request, Answer]]] = []
        self._runners: Final[set[asyncio.Task[None]]] = set()
        self._apart: Final[dict[asyncio.Task[None], None]] = {}
        self._halving: Final = asyncio.Lock()
        self._alone: Final = asyncio.Lock()

    async def __call__(self, request: Request) -> Answer:
        """The answer, after the commit. Raises `OutcomeUnknown`, or the error that `work` raises for this request alone."""
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
                await self._commit(some, SET_LOCK_WAIT_MS, self._isolate_apart)
        finally:
            # Not in a done callback, which runs a step later: a request that came in between would start no runner and wait for ever.
            self._runners.discard(asyncio.current_task())

    async def _commit(
        self,
        some: Sequence[_Waiting[Request, Answer]],
        lock_wait_ms: int,
        isolate: Callable[[Sequence[_Waiting[Request, Answer]]], Awaitable[None]],
        tries: int = 1,
    ) -> None:
        """Handle the requests that are still waiting, in one transaction, and answer them. `isolate` goes on where a part may succeed."""
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
                rows = await outbox_rows.add(db, write.outgoing, now, self._new_id, self._settings)
                committing = True
        except Exception as error:
            if is_too_large(error) or isinstance(error, TimeoutError):
                self._size.too_large(len(some))
            if self._is_retried(error) and tries < TRIES_MAX:
                await asyncio.sleep(random.uniform(0, RETRY_WAIT_S_MAX * tries))
                await self._commit(some, lock_wait_ms, isolate, tries + 1)
            elif len(some) > 1 and self._is_one_at_fault(error, committing):
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
    def _is_retried(error: Exception) -> bool:
        return isinstance(error, asyncpg.DeadlockDetectedError | asyncpg.SerializationError)

    @staticmethod
    def _is_one_at_fault(error: Exception, committing: bool) -> bool:
        """Whether one request may have caused the error, so that the others succeed without it. False where the set may be committed."""
        return not is_transient(error) or (not committing and (is_locked(error) or is_too_large(error)))

    @staticmethod
    def _refuse(some: Sequence[_Waiting[Request, Answer]], error: Exception) -> None:
        if is_transient(error):
            log.warning("a gathered write failed", error=f"{type(error).__name__}: {error}", requests=len(some))
            error = OutcomeUnknown(f"{type(error).__name__}: {error}")
        for each in some:
            each.fail(error)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run in a task of its own, so that requests that come later do not wait for these."""
        task = asyncio.create_task(work)
        self._apart[task] = None
        task.add_done_callback(self._apart.pop)

    async def _isolate_apart(self, some: Sequence[_Waiting[Request, Answer]]) -> None:
        self._spawn(self._isolate_in_turn(some))

    async def _isolate_in_turn(self, some: Sequence[_Waiting[Request, Answer]]) -> None:
        async with self._halving:  # one at a time: each takes a connection of the pool
            await self._halves(some)

    async def _halves(self, some: Sequence[_Waiting[Request, Answer]]) -> None:
        middle = len(some) // 2
        for half in (some[:middle], some[middle:]):
            await self._commit(half, PART_LOCK_WAIT_MS, self._halves)

    async def _wait_alone(self, some: Sequence[_Waiting[Request, Answer]]) -> None:
        """Retry a request whose row another transaction has locked, until its time is over. It holds no connection between tries."""
        await asyncio.sleep(random.uniform(0, ALONE_PAUSE_S_MAX))
        async with self._alone:
            await self._commit(some, SET_LOCK_WAIT_MS, self._isolate_apart)
