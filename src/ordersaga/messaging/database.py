"""PostgreSQL: a pool with the time-outs the runtime relies on, named queries from `.sql` files."""

import asyncio
import os
import time
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import aiosql
import asyncpg
import structlog
from aiosql.adapters.asyncpg import AsyncPGAdapter
from asyncpg.pool import PoolConnectionProxy

from ordersaga.messaging import migrating, sqlstate
from ordersaga.messaging.connections import CONNECT_S, SERVER_SETTINGS, ConnectionPool, Lone, Servers
from ordersaga.messaging.connections import Connection as PooledConnection
from ordersaga.settings import Settings

log: Final = structlog.get_logger()

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
DATABASE_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)

ANSWER_S: Final = 2.0
OVER_STATEMENT_TIMEOUT_S: Final = 2.0
"""How much later than `statement_timeout` we stop waiting for a server that should have ended the statement itself."""
BY_KEY_ALONE: Final = dict.fromkeys(("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_material"), "off")
"""A service looks rows up by key, some thousands of a table of millions. PostgreSQL keeps the plan of a prepared statement, and one that
it made while the table was small may read all of it, for as long as nobody has analyzed the table since it grew. An order that an index
has tempts it too: what is to be locked in the order of an id, but found by another key, is found in a step of its own."""
SAY_AGAIN_S: Final = 30.0
MAX_QUERIES: Final = 50_000
EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)


migrate: Final = migrating.migrate
is_transient: Final = sqlstate.is_transient
is_deployment: Final = sqlstate.is_deployment


class _Rows(AsyncPGAdapter):
    """aiosql over asyncpg with rows as a list, on the connection it is given: no generator step per row, no pool look-up per call."""

    is_aio_driver = False  # the methods are coroutines; aiosql only passes them on

    async def select(self, conn: Any, query_name: str, sql: str, parameters: Any, record_class: Any = None) -> Any:
        return await conn.fetch(sql, *self._in_order(query_name, parameters))

    async def select_value(self, conn: Any, query_name: str, sql: str, parameters: Any) -> Any:
        return await conn.fetchval(sql, *self._in_order(query_name, parameters))

    async def insert_update_delete(self, conn: Any, query_name: str, sql: str, parameters: Any) -> Any:
        return await conn.execute(sql, *self._in_order(query_name, parameters))

    async def insert_update_delete_many(self, conn: Any, query_name: str, sql: str, parameters: Any) -> Any:
        return await conn.executemany(sql, [self._in_order(query_name, each) for each in parameters])

    def _in_order(self, query_name: str, parameters: Any) -> Any:
        return self.maybe_order_params(query_name, parameters)  # type: ignore[no-untyped-call]


def queries(module: str) -> Any:
    """The named queries of `queries.sql` beside a module (pass its `__file__`). Selects return a list of rows."""
    adapter: Any = _Rows
    return aiosql.from_path(Path(module).parent / "queries.sql", adapter, mandatory_parameters=False)


def storable(text: str, chars_max: int | None = None) -> str:
    """A text from outside as PostgreSQL can keep it: without NUL and half surrogates, which are escaped, and cut to `chars_max`."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\x00")[:chars_max]


async def connect(url: str, settings: Settings) -> Pool:
    """A pool for one service. It connects when it is used, so a process starts while its database is still away.

    A transaction left idle, or waiting for a lock, ends by itself after seconds: a frozen process must not hold others up. A statement on
    a frozen server ends for us a little after the server should have ended it.
    """
    servers = Servers(url)
    said_at = -SAY_AGAIN_S

    async def new_connection(*_: Any, **options: Any) -> Lone:
        nonlocal said_at
        try:
            connection = await servers.connect(**options)
        except Exception as error:
            if time.monotonic() - said_at > SAY_AGAIN_S:
                said_at = time.monotonic()
                log.warning("no connection to the database", error=f"{type(error).__name__}: {error}")
            raise
        try:
            async with asyncio.timeout(CONNECT_S):
                await _know_moments(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    pool: Pool = ConnectionPool(
        None,
        connect=new_connection,
        min_size=0,
        max_size=settings.database_connections_max,
        max_queries=MAX_QUERIES,
        max_inactive_connection_lifetime=0,
        reset=_nothing_to_reset,
        loop=None,
        connection_class=PooledConnection,
        record_class=asyncpg.Record,
        command_timeout=settings.statement_timeout_ms / 1000 + OVER_STATEMENT_TIMEOUT_S,
        server_settings={
            "application_name": f"ordersaga {os.getpid()}",  # so that a DBA sees whose a connection is
            "jit": "off",
            **BY_KEY_ALONE,
            **SERVER_SETTINGS,
            "lock_timeout": str(settings.lock_timeout_ms),
            "idle_in_transaction_session_timeout": str(settings.idle_in_transaction_timeout_ms),
            "statement_timeout": str(settings.statement_timeout_ms),
        },
    )
    await pool
    return pool


async def _know_moments(db: Lone) -> None:
    """Moments as PostgreSQL counts them. A turn writes one and the same thousands of times, and asyncpg would work it out each time."""
    await db.set_type_codec("timestamptz", schema="pg_catalog", encoder=_microseconds, decoder=_moment, format="tuple")


@lru_cache(maxsize=1024)
def _microseconds(moment: datetime) -> tuple[int]:
    return ((moment - EPOCH) // MICROSECOND,)


@lru_cache(maxsize=1024)
def _moment(since_epoch: tuple[int]) -> datetime:
    return EPOCH + timedelta(microseconds=since_epoch[0])


def begin(db: Connection, lock_timeout_ms: int) -> Any:
    """A transaction that waits for a row no longer than this; use with `async with`."""
    ours: Any = db
    return ours.transaction(lock_timeout_ms=lock_timeout_ms)


async def answers(pool: Pool) -> bool:
    """Whether the database answers."""
    try:
        async with pool.acquire(timeout=ANSWER_S) as db:
            await db.fetchval("SELECT 1")
    except DATABASE_ERRORS:
        return False
    return True


async def insert_new(db: Connection, table: str, columns: Sequence[str], rows: Collection[tuple[Any, ...]]) -> None:
    """Insert rows that are not there yet, by COPY, which costs half of an INSERT over arrays.

    Where another process may insert the same ones, give them in the order of their keys. This waits for that process's commit, meets its
    row, and raises `SerializationError`, after which the caller's transaction is tried again.
    """
    try:
        await db.copy_records_to_table(table, columns=columns, records=rows)
    except asyncpg.UniqueViolationError as error:
        raise asyncpg.SerializationError(f"another process made one of these rows meanwhile: {error}") from error


async def _nothing_to_reset(_: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Our transactions clean up after themselves, so handing a connection back costs no statement."""
