"""HTTP writes: concurrent requests are gathered into one set-based transaction, and each is answered after the commit.

A request that fails, or that needs a row which another transaction has locked, is isolated by halving the set: the other requests of
the set and the requests that come later go on. The wait of a request and the number of waiting requests are limited.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

import asyncpg
import structlog

from ordersaga import tracing
from ordersaga.contracts.topics import key_of
from ordersaga.messaging import outbox_rows, spans
from ordersaga.messaging.database import Connection, Pool
from ordersaga.messaging.handler import Outgoing
from ordersaga.messaging.ids import MessageIds
from ordersaga.messaging.isolation import narrow
from ordersaga.messaging.outbox import Outbox
from ordersaga.messaging.short_transaction import NotAsRead, ShortTransaction
from ordersaga.messaging.sizes import SetSize
from ordersaga.messaging.sqlstate import is_locked, is_too_large, is_transient
from ordersaga.settings import Settings

log: Final = structlog.get_logger()

TRIES_MAX: Final = 4
RETRY_WAIT_S_MAX: Final = 0.05
SET_LOCK_WAIT_MS: Final = 400
"""Lock time-out of a whole set. PostgreSQL does not name the request whose row is locked, so the set is halved until that request is alone."""
PART_LOCK_WAIT_MS: Final = 40
"""Lock time-out while a set is halved."""
ALONE_PAUSE_S_MAX: Final = 0.2
"""Longest pause before a request whose row is locked is tried again."""

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class OutcomeUnknown(Exception):
    """The database is away, or it is not known whether it has committed. Answer 503: the client may repeat the request with the same key."""


class NotBegun(OutcomeUnknown):
    """The request was not begun, since too many wait or it has waited too long. Nothing was changed."""


class Write(Generic[Answer]):
    """The result of one transaction: an answer for each request, in order, and the messages to publish."""

    def __init__(self, answers: Sequence[Answer], outgoing: Sequence[Outgoing] = ()) -> None:
        self.answers: Final = answers
        self.outgoing: Final = outgoing


class _Waiting(Generic[Request, Answer]):
    """A request, its trace, and the future of its answer. `begun`: a transaction with the request was begun."""

    __slots__ = ("answer", "begun", "request", "traceparent")

    def __init__(self, request: Request, answer: "asyncio.Future[Answer]") -> None:
        self.request: Final = request
        self.traceparent: Final = tracing.current.get()
        self.answer: Final = answer
        self.begun = False

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Gather(Generic[Request, Answer]):
    """`await gather(request)` returns the request's answer after the commit.

    `work(db, requests, now)` handles many requests in one transaction. It is called again with fewer requests if one of them makes it
    raise. `short`: it may get a `ShortTransaction` instead of a connection. `about`: the key of the messages that a request sends, which are
    in its trace.
    At most `gather_transactions_max` of these transactions are open at once; requests that come meanwhile share the next one.
    """

    def __init__(
        self,
        work: Callable[[Connection, Sequence[Request], datetime], Awaitable[Write[Answer]]],
        settings: Settings,
        pool: Pool,
        outbox: Outbox,
        clock: Callable[[], datetime],
        new_id: Callable[[], UUID],
        short: bool = False,
        about: Callable[[Request], UUID | None] | None = None,
    ) -> None:
        self._work: Final = work
        self._about: Final = about
        self._short: Final = short
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
            raise NotBegun(f"{len(self._waiting)} requests wait already")
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
        kind = OutcomeUnknown if waiting.begun else NotBegun
        waiting.fail(kind(f"no answer of the database within {self._limit_s:g} s"))

    async def _run(self) -> None:
        tracing.current.set(None)  # the set is of many requests, not of the one that has begun this task
        try:
            while self._waiting:
                some = self._waiting[: self._size.now]
                del self._waiting[: len(some)]
                await self._try(some)
        finally:
            # Not in a done callback, which runs a step later: a request that came in between would start no runner and wait for ever.
            self._runners.discard(asyncio.current_task())

    async def _try(self, some: Sequence[_Waiting[Request, Answer]]) -> None:
        """Commit the requests together. If that fails, isolate those that fail apart from the requests that come later."""
        try:
            await self._commit(some, SET_LOCK_WAIT_MS)
            return
        except Exception as error:
            failure = error
        if len(some) > 1 and self._may_be_one(failure):
            self._spawn(self._isolate(some, failure))
        else:
            await self._failed(some, failure)

    async def _commit(self, some: Sequence[_Waiting[Request, Answer]], lock_wait_ms: int) -> None:
        """Handle the requests that are still waiting, in one transaction, and answer them. Raises as `_commit_once` does."""
        try:
            await self._commit_once(some, lock_wait_ms, as_read=True)
        except NotAsRead:
            await self._commit_once(some, lock_wait_ms, as_read=False)

    async def _commit_once(
        self, some: Sequence[_Waiting[Request, Answer]], lock_wait_ms: int, as_read: bool, tries: int = 1
    ) -> None:
        """The same with a short transaction that compares what it has not read, or that reads everything.

        Raises `NotAsRead` if what it has not read was otherwise, `OutcomeUnknown` if the transaction may be committed, otherwise the error that rolled it back.
        """
        some = [each for each in some if not each.answer.done()]
        if not some:
            return
        for each in some:
            each.begun = True
        committing = False
        try:
            now = self._clock()
            acquired = self._pool.acquire(timeout=self._limit_s)
            async with acquired as connection, ShortTransaction(connection, lock_wait_ms, as_read) as db:
                given = db.itself if self._short else await db.begun()
                write = await self._work(given, [each.request for each in some], now)
                committing = True
                rows, ids = [], self._ids(some)
                if write.outgoing or db.has_kept:
                    end = outbox_rows.end
                    rows = await outbox_rows.write_last(db, write.outgoing, now, ids, self._settings, end)
        except Exception as error:
            if is_too_large(error) or isinstance(error, TimeoutError):
                self._size.too_large(len(some))
            if not self._is_retried(error) or tries == TRIES_MAX:
                if committing and is_transient(error) and not (is_locked(error) or is_too_large(error)):
                    raise _unknown(error) from error
                raise
        else:
            self._size.went_well(len(some))
            for each, answer in zip(some, write.answers, strict=True):
                if not each.answer.done():
                    each.answer.set_result(answer)
            self._outbox.publish_soon(rows, now)
            if tracing.exporting() is not None:
                spans.of_output(rows, (ids.parent_of(key_of(each.message)) for each in write.outgoing))
            return
        await asyncio.sleep(random.uniform(0, RETRY_WAIT_S_MAX * tries))
        await self._commit_once(some, lock_wait_ms, as_read, tries + 1)

    def _ids(self, some: Sequence[_Waiting[Request, Answer]]) -> MessageIds:
        """No record causes the output of HTTP, so group and topic ids are not needed: each message gets a new `message-id`."""
        traced = {
            key: each.traceparent
            for each in some
            if each.traceparent and self._about and (key := self._about(each.request))
        }
        return MessageIds("", {}, self._new_id, traceparents=traced)

    @staticmethod
    def _is_retried(error: Exception) -> bool:
        return isinstance(error, asyncpg.DeadlockDetectedError | asyncpg.SerializationError)

    @staticmethod
    def _may_be_one(error: Exception) -> bool:
        """Whether one request may have caused the error, so that the others succeed without it. False where the set may be committed."""
        if isinstance(error, OutcomeUnknown):
            return False
        return not is_transient(error) or is_locked(error) or is_too_large(error)

    async def _failed(self, some: Sequence[_Waiting[Request, Answer]], error: Exception) -> None:
        """Answer requests that cannot be divided further with their error. One that needs a locked row is tried again."""
        if is_locked(error):
            self._spawn(self._wait_alone(some))
            return
        if is_transient(error):
            error = _unknown(error)
        if isinstance(error, OutcomeUnknown):
            log.warning("a gathered write failed", error=str(error), requests=len(some))
        for each in some:
            each.fail(error)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run in a task of its own, so that requests that come later do not wait for these."""
        task = asyncio.create_task(work)
        self._apart[task] = None
        task.add_done_callback(self._apart.pop)

    async def _isolate(self, some: Sequence[_Waiting[Request, Answer]], error: Exception) -> None:
        """Commit those of the requests that can be, after all of them together have failed with this error."""
        async with self._halving:  # one at a time: each takes a connection of the pool
            commit = partial(self._commit, lock_wait_ms=PART_LOCK_WAIT_MS)
            await narrow(some, commit, self._may_be_one, self._failed, error)

    async def _wait_alone(self, some: Sequence[_Waiting[Request, Answer]]) -> None:
        """Retry a request whose row another transaction has locked, until its time is over. It holds no connection between tries."""
        await asyncio.sleep(random.uniform(0, ALONE_PAUSE_S_MAX))
        async with self._alone:
            await self._try(some)


def _unknown(error: Exception) -> OutcomeUnknown:
    return OutcomeUnknown(f"{type(error).__name__}: {error}")
