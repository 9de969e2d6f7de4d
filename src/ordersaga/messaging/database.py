"""PostgreSQL: a pool with the time-outs the runtime relies on, named queries from `.sql` files."""

import asyncio
import os
import time
from typing import Any, Final, TypeAlias

import asyncpg
import structlog
from asyncpg.pool import PoolConnectionProxy

from ordersaga.messaging.connections import CONNECT_S, SERVER_SETTINGS, ConnectionPool, Lone, Servers
from ordersaga.messaging.connections import Connection as PooledConnection
from ordersaga.messaging.timestamps import use_cached_timestamps
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
                await use_cached_timestamps(connection)
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


async def _nothing_to_reset(_: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Our transactions clean up after themselves, so handing a connection back costs no statement."""
