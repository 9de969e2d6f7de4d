"""The databases as the audit reads them: one snapshot each, and a reason for each that cannot be read."""

import contextlib
from collections.abc import AsyncIterator, Collection
from typing import Any, Final

import asyncpg

from ordersaga.audit.finding import Finding
from ordersaga.messaging.database import DATABASE_ERRORS, Connection
from ordersaga.settings import SERVICES, ServiceName, Settings

CONNECT_S: Final = 10.0
STATEMENT_S: Final = 900.0
LOCK_MS: Final = 10_000
PREFETCH_ROWS: Final = 1_000
LEFT_OUT: Final = "which is not ours (--only, or FOREIGN_PARTNERS)"
TABLES: Final[dict[ServiceName, list[str]]] = {
    "order": ["orders", "saga", "order_event", "price", "timer"],
    "stock": ["product", "reservation", "movement"],
    "payment": ["payment", "intent"],
    "delivery": ["delivery"],
}
RUNTIME_TABLES: Final = ["ledger", "outbox", "dead_letter", "operator_act", "parked"]
MISSING: Final = """SELECT array_agg(name) FROM unnest($1::text[]) AS t (name)
                    WHERE NOT coalesce(has_table_privilege(to_regclass(name), 'SELECT'), false)"""


class Sources:
    """The snapshots that were taken, why each other one was not, and which services were left out on purpose."""

    def __init__(self, only: Collection[ServiceName]) -> None:
        self.only: Final = only
        self.db: Final[dict[ServiceName, Connection]] = {}
        self.away: Final[dict[ServiceName, str]] = {}

    def lacks(self, finding: Finding, *wanted: ServiceName) -> bool:
        """Whether a database that an invariant rests on is missing; says so in the finding."""
        for service in wanted:
            if service not in self.only:
                finding.left_out = f"it needs {service}, {LEFT_OUT}"
            elif service in self.away:
                finding.unknown(self.away[service])
        return any(service not in self.db for service in wanted)

    @contextlib.asynccontextmanager
    async def guarded(self, service: ServiceName, *findings: Finding) -> AsyncIterator[Connection]:
        """A service's snapshot. An error there leaves what was found and makes the rest unknown; other invariants can still be judged."""
        db = self.db[service]
        try:
            async with (
                db.transaction()
            ):  # a savepoint: after an error PostgreSQL takes no further statement without one
                yield db
        except DATABASE_ERRORS as error:
            for finding in findings:
                finding.unknown(f"{service}'s database: {in_words(error)}")


@contextlib.asynccontextmanager
async def snapshots(settings: Settings, only: Collection[ServiceName]) -> AsyncIterator[Sources]:
    """A snapshot of each database. Order's is the last: whatever the others hold by then is of an order that it knows."""
    sources = Sources(only)
    async with contextlib.AsyncExitStack() as stack:
        for name in reversed(SERVICES):
            if name in only:
                try:
                    db = await stack.enter_async_context(_snapshot(settings, name))
                    if missing := await db.fetchval(MISSING, TABLES[name] + RUNTIME_TABLES):
                        sources.away[name] = f"{name}'s database: no table {', '.join(missing)} that may be read"
                    else:
                        sources.db[name] = db
                except DATABASE_ERRORS as error:
                    sources.away[name] = f"{name}'s database: {in_words(error)}"
        yield sources


@contextlib.asynccontextmanager
async def _snapshot(settings: Settings, name: ServiceName) -> AsyncIterator[Connection]:
    """The role's or server's own time-outs do not count: one snapshot waits while others are read."""
    db = await asyncpg.connect(
        settings.database_url(name),
        timeout=CONNECT_S,
        command_timeout=STATEMENT_S,
        server_settings={
            "application_name": "ordersaga audit",
            "jit": "off",
            "lock_timeout": str(LOCK_MS),
            "statement_timeout": "0",
            "idle_in_transaction_session_timeout": "0",
        },
    )
    try:
        transaction = db.transaction(isolation="repeatable_read", readonly=True)
        await transaction.start()
        await db.fetchval("SELECT 1")  # the snapshot is taken by the first statement, not by BEGIN
        yield db
    finally:
        db.terminate()  # nothing was written, and a server that has gone away is not waited for


def in_words(error: BaseException) -> str:
    """What went wrong, in one line."""
    text = str(error).strip().splitlines()
    return text[0] if text else "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__


def stream(db: Connection, query: Any, *parameters: Any) -> AsyncIterator[Any]:
    """A query's rows through a cursor, so that memory stays flat; needs an open transaction."""
    return aiter(db.cursor(query.sql, *parameters, prefetch=PREFETCH_ROWS))
