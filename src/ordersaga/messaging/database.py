"""The connection pool of a service, with the time-outs that the runtime relies on, and inserts of new rows."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import Any, Final, TypeAlias

import asyncpg
import structlog
from asyncpg.pool import PoolConnectionProxy

from ordersaga.messaging.connections import SERVER_SETTINGS, AsyncpgConnection, ConnectionPool
from ordersaga.messaging.connections import Connection as PooledConnection
from ordersaga.messaging.servers import CONNECT_S, Servers
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
"""How long after `statement_timeout` we stop waiting: a healthy server has ended the statement by then."""
BY_KEY_ALONE: Final = dict.fromkeys(("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_material"), "off")
"""Force index lookups. A service looks up thousands of rows by key in tables of millions. PostgreSQL keeps the plan of a prepared
statement: a plan made while the table was small scans the whole table until the next ANALYZE. An ORDER BY that an index satisfies also
leads to such a scan, so a query that finds rows by one key and locks them in the order of another finds them in a step of its own."""
PLANNED_ONCE: Final = {"plan_cache_mode": "force_generic_plan"}
"""Plan a statement once for each connection. By itself PostgreSQL plans one with an array again for each call, since it expects ten elements of
an array that it does not know: for one record that takes longer than the statement. A query with optional filters is `planned_anew`."""
INSERTED_MAX: Final = 6
"""So many rows are inserted by an INSERT with a parameter for each value. Each number of rows is a statement with a plan of its own."""
LOG_EVERY_S: Final = 30.0
MAX_QUERIES: Final = 50_000
EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""PostgreSQL counts microseconds from here."""
MICROSECOND: Final = timedelta(microseconds=1)


async def connect(url: str, settings: Settings) -> Pool:
    """A pool for one service. It connects on first use, so a process starts while its database is away.

    The server ends a transaction that is idle, or waits for a lock, for seconds: a frozen process must not block others. On our side a
    statement on a frozen server ends `OVER_STATEMENT_TIMEOUT_S` after the server should have ended it.
    """
    servers = Servers(url, settings.database_silence_ms)
    logged_at = -LOG_EVERY_S

    async def new_connection(*_: Any, **options: Any) -> AsyncpgConnection:
        nonlocal logged_at
        try:
            connection = await servers.connect(**options)
        except Exception as error:
            if time.monotonic() - logged_at > LOG_EVERY_S:
                logged_at = time.monotonic()
                log.warning("no connection to the database", error=f"{type(error).__name__}: {error}")
            raise
        try:
            async with asyncio.timeout(CONNECT_S):
                await _use_cached_timestamps(connection)
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
            "application_name": f"ordersaga {os.getpid()}",  # tells a DBA the process
            "jit": "off",
            **BY_KEY_ALONE,
            **PLANNED_ONCE,
            **SERVER_SETTINGS,
            "lock_timeout": str(settings.lock_timeout_ms),
            "idle_in_transaction_session_timeout": str(settings.idle_in_transaction_timeout_ms),
            "statement_timeout": str(settings.statement_timeout_ms),
        },
    )
    await pool
    return pool


@contextlib.asynccontextmanager
async def planned_anew(db: Connection) -> AsyncIterator[None]:
    """A read-only transaction in which each statement is planned for its parameters.

    For a query with optional filters: the plan that PostgreSQL keeps for all parameters cannot use the index of the one filter that is given.
    """
    async with db.transaction(readonly=True):
        await db.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        yield


def begin(db: Connection, lock_timeout_ms: int) -> Any:
    """A transaction with a lock time-out of its own; use with `async with`."""
    ours: Any = db
    return ours.transaction(lock_timeout_ms=lock_timeout_ms)


async def insert(db: Connection, table: str, columns: Sequence[str], rows: Collection[tuple[Any, ...]]) -> None:
    """Insert rows: many by COPY, a few by INSERT, which is one round trip instead of two and keeps its plan."""
    if not rows:
        return
    if len(rows) <= INSERTED_MAX:
        values = [value for row in rows for value in row]
        await db.execute(insert_of(table, tuple(columns), len(rows)), *values)
    else:
        await db.copy_records_to_table(table, columns=columns, records=rows)


@cache
def insert_of(table: str, columns: tuple[str, ...], rows: int, first: str = "{}") -> str:
    """An INSERT of so many rows, a parameter for each value. `first`: what stands for the first value of a row."""
    numbers = iter(range(1, len(columns) * rows + 1))
    lists = [[f"${next(numbers)}" for _ in columns] for _ in range(rows)]
    values = ", ".join(f"({', '.join([first.format(one), *others])})" for one, *others in lists)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {values}"


async def insert_new(db: Connection, table: str, columns: Sequence[str], rows: Collection[tuple[Any, ...]]) -> None:
    """Insert rows whose keys the caller has not found. COPY costs half of an INSERT over arrays (`docs/adr/0009-insert-and-retry.md`).

    Sort the rows by key where another process may insert the same keys: two processes then cannot deadlock. The insert waits for the other
    transaction. If that commits, this raises `SerializationError`, and the caller's transaction is retried and finds the rows.
    """
    with already_inserted():
        await insert(db, table, columns, rows)


@contextlib.contextmanager
def already_inserted() -> Iterator[None]:
    """Raise `SerializationError` instead of the error that a key is there already."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        raise asyncpg.SerializationError(f"another process inserted one of these rows meanwhile: {error}") from error


async def answers(pool: Pool) -> bool:
    """Whether the database answers within `ANSWER_S`."""
    try:
        async with pool.acquire(timeout=ANSWER_S) as db:
            await db.fetchval("SELECT 1")
    except DATABASE_ERRORS:
        return False
    return True


async def _nothing_to_reset(_: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Releasing a connection sends no statement: our transactions leave no session state behind."""


async def _use_cached_timestamps(db: AsyncpgConnection) -> None:
    """Convert the `timestamptz` values of this connection through a cache: a turn writes the same time thousands of times."""
    await db.set_type_codec("timestamptz", schema="pg_catalog", encoder=_microseconds, decoder=_moment, format="tuple")


@lru_cache(maxsize=1024)
def _microseconds(moment: datetime) -> tuple[int]:
    return ((moment - EPOCH) // MICROSECOND,)


@lru_cache(maxsize=1024)
def _moment(since_epoch: tuple[int]) -> datetime:
    return EPOCH + timedelta(microseconds=since_epoch[0])
