"""Connections of operators' commands and of the audit to a service's database. Every wait on them has a limit on our side.

A frozen server, or a network that drops packets, causes no error. A statement that is not answered in time ends with `TimeoutError`, and
its connection is terminated at once.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Final

import asyncpg

from ordersaga.messaging.connections import SERVER_SETTINGS, AsyncpgConnection, Connection, ConnectionPool
from ordersaga.messaging.servers import Servers
from ordersaga.settings import Settings

STATEMENT_S: Final = 60.0
"""`statement_timeout` of a command. Longer than a service's, since a command may read a whole table."""
OVER_STATEMENT_S: Final = 2.0
"""How long after `STATEMENT_S` we stop waiting: a healthy server has ended the statement by then."""
CONNECTIONS_MAX: Final = 4


def _server_settings(settings: Settings) -> dict[str, str]:
    return SERVER_SETTINGS | {
        "application_name": "ordersaga operator",
        "lock_timeout": str(settings.lock_timeout_ms),
        "idle_in_transaction_session_timeout": str(settings.idle_in_transaction_timeout_ms),
        "statement_timeout": str(int(STATEMENT_S * 1000)),
    }


@contextlib.asynccontextmanager
async def connection(url: str, settings: Settings) -> AsyncIterator[AsyncpgConnection]:
    """One connection, for a command with few statements."""
    db = await Servers(url).connect(
        command_timeout=STATEMENT_S + OVER_STATEMENT_S, server_settings=_server_settings(settings)
    )
    try:
        yield db
    finally:
        await db.close()


@contextlib.asynccontextmanager
async def pool(url: str, settings: Settings) -> AsyncIterator[ConnectionPool]:
    """A pool of a few connections, which are made when they are used."""
    made = ConnectionPool(
        None,
        connect=Servers(url).connect,
        min_size=0,
        max_size=CONNECTIONS_MAX,
        max_queries=50_000,
        max_inactive_connection_lifetime=0,
        loop=None,
        connection_class=Connection,
        record_class=asyncpg.Record,
        command_timeout=STATEMENT_S + OVER_STATEMENT_S,
        server_settings=_server_settings(settings),
    )
    await made
    try:
        yield made
    finally:
        await made.close()
