"""Connections to PostgreSQL on which nobody waits for a server that does not answer, or that cannot write any more.

A server that is frozen, or behind a network that swallows packets, gives no error: every wait has a limit on our side, and a call that
runs into it, or is cancelled, gives its connection up at once. (asyncpg by itself asks the server to cancel, and waits for its word.)
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import asyncpg
import psycopg
import structlog
from asyncpg.pool import PoolAcquireContext, PoolConnectionHolder
from asyncpg.transaction import Transaction, TransactionState
from psycopg.conninfo import conninfo_to_dict

from ordersaga.messaging.errors import CannotStart
from ordersaga.messaging.sqlstate import Verdict, verdict_of

log: Final = structlog.get_logger()

Lone: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

CONNECT_S: Final = 3.0
"""For one server of the URL: the network, TLS, authentication. The next is tried after that."""
CLOSE_S: Final = 2.0
READ_WRITE: Final = "read-write"
SERVER_SETTINGS: Final = {
    # The server notices a client that is gone, also in the middle of a statement: what it holds is free then.
    "client_connection_check_interval": "1000",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "3",
    "tcp_keepalives_count": "3",
}
KEEPALIVE: Final = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 10_000))
"""A peer that is gone without a word is noticed after about ten seconds, also while nothing is sent. Not every system has all of them."""


class Connection(asyncpg.Connection):
    """Gives up at once where a call on it is cancelled or takes longer than its limit."""

    _loop: asyncio.AbstractEventLoop
    _protocol: Any

    def _cancel_current_command(self, waiter: Any, cancel_waiter: Any = None) -> None:
        # In a step of its own: asyncpg still has something to note after this.
        self._loop.call_soon(self.terminate)

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109  # as its parent has it
        """Take leave of the server, which need not hear it."""
        with contextlib.suppress(TimeoutError):
            await super().close(timeout=CLOSE_S if timeout is None else timeout)

    def transaction(self, *, lock_timeout_ms: int | None = None, **options: Any) -> Any:
        """As asyncpg's, with a `lock_timeout` of its own that costs no further exchange with the server."""
        return _Transaction(lock_timeout_ms, self, **options)

    @property
    def is_given_up(self) -> bool:
        """Whether nothing can be said on it any more."""
        return self.is_closed() or self._protocol._is_cancelling()


class _Transaction(Transaction):
    """Ends with the error it was left with, also where no rollback can be sent: a cancelled task must hear that it is cancelled."""

    _connection: Any

    def __init__(self, lock_timeout_ms: int | None, connection: Connection, **options: Any) -> None:
        super().__init__(connection, **{"isolation": None, "readonly": False, "deferrable": False, **options})
        self._lock_timeout_ms: Final = lock_timeout_ms

    async def start(self) -> None:
        connection = self._connection
        if self._lock_timeout_ms is None:
            await super().start()
            return
        connection._top_xact = self  # from here on as its parent
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
    """A pool that is done with a server that cannot write any more, with a limit for whoever wants one."""

    _generation: int
    _holders: Sequence[PoolConnectionHolder]

    def acquire(self, *, timeout: float | None = None) -> "_Acquired":
        """Use with `async with`. `timeout` limits the whole of it: waiting for a connection, making it, and what is done with it."""
        return _Acquired(self, timeout)

    def lose_all(self) -> None:
        """Make every connection anew: those that are free at once, those in use when they are given back."""
        self._generation += 1
        for holder in self._holders:
            if holder.is_idle():
                holder.terminate()

    async def close(self) -> None:
        """Give a statement that is under way a moment, then leave it."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await super().close()
        except TimeoutError:
            self.terminate()


class _Acquired(PoolAcquireContext):
    """A connection for the length of a block."""

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
        if isinstance(error, asyncpg.PostgresError) and verdict_of(error) is Verdict.RECONNECT:
            log.warning("connections to the database are made anew", error=f"{type(error).__name__}: {error}")
            self.pool.lose_all()
        proxy: Any = self.connection
        connection = proxy._con  # None: it is lost already
        if connection is not None and connection.is_given_up:
            connection.terminate()  # before it is released, which would wait for it
        if self._limit is None:
            await super().__aexit__(*left_with)
            return
        try:
            await super().__aexit__(*left_with)
        except BaseException as failure:
            await self._limit.__aexit__(type(failure), failure, failure.__traceback__)
            raise
        await self._limit.__aexit__(*left_with)


class Servers:
    """The server, or servers, that a URL names. Connecting to the first that can write; a frozen one is passed over."""

    def __init__(self, url: str) -> None:
        try:
            named = conninfo_to_dict(url)
        except psycopg.ProgrammingError as error:
            raise CannotStart("a database's URL cannot be read; `ordersaga settings` shows them") from error
        hosts = str(named.get("host") or "").split(",")
        ports = str(named.get("port") or "5432").split(",")
        self._url: Final = url
        self._places = list(zip(hosts, ports * len(hosts) if len(ports) == 1 else ports, strict=False))
        self._attributes: Final = named.get("target_session_attrs") or os.environ.get("PGTARGETSESSIONATTRS")

    async def connect(self, *_: Any, **options: Any) -> Lone:
        """As `asyncpg.connect`. Raises the last server's error where none can be used."""
        if len(self._places) == 1:
            return await _connect(self._url, **options)
        options["target_session_attrs"] = self._attributes or READ_WRITE
        failure: Exception | None = None
        for place in list(self._places):
            host, port = place
            try:
                connection = await _connect(self._url, host=host, port=int(port), **options)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
                failure = error
                continue
            self._places.remove(place)
            self._places.insert(0, place)  # the first to ask next time
            return connection
        assert failure is not None
        raise failure


async def _connect(url: str, **options: Any) -> Lone:
    connection: Lone = await asyncpg.connect(url, **{"timeout": CONNECT_S, "connection_class": Connection, **options})
    _keep_alive(connection)
    return connection


def _keep_alive(connection: Any) -> None:
    wire = connection._transport.get_extra_info("socket")  # the same that asyncpg sets TCP_NODELAY on
    if wire is None or wire.family not in (socket.AF_INET, socket.AF_INET6):
        return
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE:
        if hasattr(socket, name):
            wire.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def connect_alone(url: str, name: str) -> Lone:
    """A connection outside of the pool, for a lock or for LISTEN; `name` tells a DBA what it is for."""
    settings = {"application_name": name, **SERVER_SETTINGS}
    return await Servers(url).connect(server_settings=settings, command_timeout=CONNECT_S)
