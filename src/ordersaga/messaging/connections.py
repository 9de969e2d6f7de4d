"""Connections to PostgreSQL that are terminated when the server does not answer or has become read-only.

A frozen server, or a network that drops packets, causes no error. So every wait has a limit in this process, and a call that exceeds its
limit or is cancelled terminates its connection at once. (asyncpg alone would send the server a cancel request and wait for the answer.)
"""

import asyncio
import contextlib
import itertools
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import asyncpg
import structlog
from asyncpg.pool import PoolAcquireContext, PoolConnectionHolder
from asyncpg.transaction import Transaction, TransactionState

from ordersaga.messaging.sqlstate import ErrorKind, kind_of

log: Final = structlog.get_logger()

AsyncpgConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

CLOSE_S: Final = 2.0
SERVER_SETTINGS: Final = {
    # The server notices a dead client, also in the middle of a statement, and releases its locks.
    "client_connection_check_interval": "1000",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "3",
    "tcp_keepalives_count": "3",
}
next_moment: Final = itertools.count(1).__next__
"""Numbers in the order of what happens in this process."""


class Connection(asyncpg.Connection):
    """Is terminated at once when a call on it is cancelled or exceeds its limit."""

    _loop: asyncio.AbstractEventLoop
    _protocol: Any

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.opened: Final = next_moment()

    def _cancel_current_command(self, waiter: Any, cancel_waiter: Any = None) -> None:
        # Terminate a step later: asyncpg still updates its state after this call.
        self._loop.call_soon(self.terminate)

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109  # as its parent has it
        """Close in order, or terminate after `CLOSE_S`."""
        with contextlib.suppress(TimeoutError):
            await super().close(timeout=CLOSE_S if timeout is None else timeout)

    def transaction(self, *, lock_timeout_ms: int | None = None, **options: Any) -> Any:
        """asyncpg's transaction, optionally with a `lock_timeout` of its own, which is sent with BEGIN in one round trip."""
        return _Transaction(lock_timeout_ms, self, **options)

    @property
    def is_given_up(self) -> bool:
        """Whether the connection cannot be used any more."""
        return self.is_closed() or self._protocol._is_cancelling()


class _Transaction(Transaction):
    """Raises the error of its block even if no ROLLBACK can be sent: a cancelled task must see its CancelledError."""

    _connection: Any

    def __init__(self, lock_timeout_ms: int | None, connection: Connection, **options: Any) -> None:
        super().__init__(connection, **{"isolation": None, "readonly": False, "deferrable": False, **options})
        self._lock_timeout_ms: Final = lock_timeout_ms

    async def start(self) -> None:
        connection = self._connection
        if self._lock_timeout_ms is None:
            await super().start()
            return
        connection._top_xact = self  # as the parent class does
        try:
            await connection.execute(f"BEGIN; SET LOCAL lock_timeout = {self._lock_timeout_ms:d}")
        except BaseException:
            self._state = TransactionState.FAILED
            raise
        self._state = TransactionState.STARTED

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if error is not None and self._connection.is_given_up:
            return
        await super().__aexit__(kind, error, trace)


class ConnectionPool(asyncpg.Pool):
    """A pool that replaces all connections when a server has become read-only, and whose `acquire` takes a time limit."""

    _generation: int
    _max_queries: int
    _holders: Sequence[PoolConnectionHolder]

    def acquire(self, *, timeout: float | None = None) -> "_Acquired":
        """Use with `async with`. `timeout` limits the whole block: waiting for a connection, connecting, and the statements."""
        return _Acquired(self, timeout)

    async def release(self, connection: Any, *, timeout: float | None = None) -> None:  # noqa: ASYNC109  # as its parent has it
        """Release a connection; a usable one at once.

        asyncpg releases each in a task of its own, so that a cancellation cannot end it halfway. Nothing waits here where no statement resets
        the connection, so that is needed only for one that is closed or replaced.
        """
        whole = connection._con
        if (
            whole is None
            or whole.is_given_up
            or whole._protocol.queries_count >= self._max_queries
            or connection._holder._generation != self._generation
        ):
            await super().release(connection, timeout=timeout)
            return
        whole._on_release()
        await connection._holder.release(timeout)

    def replace_all(self) -> None:
        """Replace every connection: idle ones now, those in use when they are released."""
        self._generation += 1
        for holder in self._holders:
            if holder.is_idle():
                holder.terminate()

    async def close(self) -> None:
        """Close in order, or terminate all connections after `CLOSE_S`."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await super().close()
        except TimeoutError:
            self.terminate()


class _Acquired(PoolAcquireContext):
    """A connection for the duration of a block."""

    pool: ConnectionPool

    def __init__(self, pool: ConnectionPool, timeout: float | None) -> None:
        super().__init__(pool, None)
        self._limit: Final = asyncio.timeout(timeout) if timeout is not None else None

    async def __aenter__(self) -> Any:
        if self._limit is None:
            return await super().__aenter__()
        await self._limit.__aenter__()
        try:
            return await super().__aenter__()
        except BaseException as error:
            await self._limit.__aexit__(type(error), error, error.__traceback__)
            raise

    async def __aexit__(self, *left_with: Any) -> None:
        error = left_with[1]
        if isinstance(error, asyncpg.PostgresError) and kind_of(error) is ErrorKind.RECONNECT:
            log.warning("the connections to the database are replaced", error=f"{type(error).__name__}: {error}")
            self.pool.replace_all()
        proxy: Any = self.connection
        connection = proxy._con  # None: lost already
        if connection is not None and connection.is_given_up:
            connection.terminate()  # releasing it would wait for the server
        if self._limit is None:
            await super().__aexit__(*left_with)
            return
        try:
            await super().__aexit__(*left_with)
        except BaseException as failure:
            await self._limit.__aexit__(type(failure), failure, failure.__traceback__)
            raise
        await self._limit.__aexit__(*left_with)
