"""PostgreSQL: connections with the time-outs the runtime relies on, named queries from `.sql` files, migrations, error classes."""

import asyncio
import os
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeAlias

import aiosql
import asyncpg
from aiosql.adapters.asyncpg import AsyncPGAdapter
from asyncpg.pool import PoolConnectionProxy
from yoyo import get_backend, read_migrations

from ordersaga.settings import Settings

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
TRANSIENT_CLASSES: Final = ("08", "40", "53", "57")
TRANSIENT_STATES: Final = ("55P03", "25P03", "25P04")
DEPLOYMENT_CLASS: Final = "42"
BY_KEY_ALONE: Final = dict.fromkeys(("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_material"), "off")
"""A service looks rows up by key, some thousands of a table of millions. PostgreSQL keeps the plan of a prepared statement, and one that
it made while the table was small may read all of it, for as long as nobody has analyzed the table since it grew. An order that an index
has tempts it too: what is to be locked in the order of an id, but found by another key, is found in a step of its own."""
EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)


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


def is_transient(error: BaseException) -> bool:
    """Whether trying again may help and no record is to blame: SQLSTATE 08, 40, 53, 57, 55P03, and any network error.

    25P03 and 25P04 are our own time-outs, which end a transaction that a frozen process left open. An InternalClientError is what
    asyncpg makes of a server that dies in the middle of an exchange.
    """
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state[:2] in TRANSIENT_CLASSES or state in TRANSIENT_STATES
    if isinstance(error, ValueError):
        return False  # asyncpg's word for a value that no column can take is an InterfaceError too
    return isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError | OSError | TimeoutError)


def is_deployment(error: BaseException) -> bool:
    """Whether the code and the database do not fit together (class 42: a missing column or table, a syntax error)."""
    return isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "")[:2] == DEPLOYMENT_CLASS


def storable(text: str, chars_max: int | None = None) -> str:
    """A text from outside as PostgreSQL can keep it: without NUL and half surrogates, which are escaped, and cut to `chars_max`."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\x00")[:chars_max]


async def connect(url: str, settings: Settings) -> Pool:
    """A pool for one service. It connects when it is used, so a process starts while its database is still away.

    A transaction left idle, or waiting for a lock, ends by itself after seconds: a frozen process must not hold others up.
    """
    return await asyncpg.create_pool(
        url,
        min_size=0,
        max_size=settings.database_connections_max,
        max_inactive_connection_lifetime=0,
        init=_know_moments,
        reset=_nothing_to_reset,
        server_settings={
            "application_name": f"ordersaga {os.getpid()}",  # so that a DBA sees whose a connection is
            "jit": "off",
            **BY_KEY_ALONE,
            "lock_timeout": str(settings.lock_timeout_ms),
            "idle_in_transaction_session_timeout": str(settings.idle_in_transaction_timeout_ms),
            "statement_timeout": str(settings.statement_timeout_ms),
        },
    )


async def _know_moments(db: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Moments as PostgreSQL counts them. A turn writes one and the same thousands of times, and asyncpg would work it out each time."""
    await db.set_type_codec("timestamptz", schema="pg_catalog", encoder=_microseconds, decoder=_moment, format="tuple")


@lru_cache(maxsize=1024)
def _microseconds(moment: datetime) -> tuple[int]:
    return ((moment - EPOCH) // MICROSECOND,)


@lru_cache(maxsize=1024)
def _moment(since_epoch: tuple[int]) -> datetime:
    return EPOCH + timedelta(microseconds=since_epoch[0])


async def answers(pool: Pool) -> bool:
    """Whether the database answers."""
    try:
        async with asyncio.timeout(ANSWER_S), pool.acquire() as db:
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


def migrate(url: str, package: ModuleType) -> list[str]:
    """Bring one service's database up to date, under a lock; returns the names of the steps applied. Blocks."""
    folders = [Path(__file__).parent / "migrations", Path(package.__path__[0]) / "migrations"]
    backend = get_backend("postgresql+psycopg" + url[url.index("://") :])
    with backend.lock():
        steps = read_migrations(*map(str, folders))
        todo = backend.to_apply(steps)
        backend.apply_migrations(todo)
        return [step.id for step in todo]
