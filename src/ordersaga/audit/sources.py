"""Takes one snapshot of each database, or notes why a database cannot be read."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from typing import Any, Final

from ordersaga.audit.finding import Finding
from ordersaga.messaging.connections import SERVER_SETTINGS
from ordersaga.messaging.database import DATABASE_ERRORS, Connection
from ordersaga.messaging.servers import Servers
from ordersaga.said import joined, say
from ordersaga.settings import SERVICES, ServiceName, Settings

CONNECT_S: Final = 5.0
STATEMENT_S: Final = 900.0
"""Limit of one statement, long because sorting a large table takes minutes. `_watch` notices a frozen server much sooner."""
WATCH_EVERY_S: Final = 5.0
ANSWER_S: Final = 5.0
SILENCES_MAX: Final = 2
LOCK_MS: Final = 10_000
PREFETCH_ROWS: Final = 1_000
TABLES: Final[dict[ServiceName, list[str]]] = {
    "order": ["orders", "saga", "order_event", "price", "timer"],
    "stock": ["product", "listing", "reservation", "movement"],
    "payment": ["payable", "payment", "intent"],
    "delivery": ["delivery"],
}
RUNTIME_TABLES: Final = ["ledger", "outbox", "dead_letter", "operator_act", "parked", "predecessor"]
MISSING: Final = """SELECT array_agg(name) FROM unnest($1::text[]) AS t (name)
                    WHERE NOT coalesce(has_table_privilege(to_regclass(name), 'SELECT'), false)"""


class Sources:
    """`db`: the snapshots. `away`: why a database has none. `only`: the services that are audited."""

    def __init__(self, only: Collection[ServiceName]) -> None:
        self.only: Final = only
        self.db: Final[dict[ServiceName, Connection]] = {}
        self.away: Final[dict[ServiceName, str]] = {}
        self.silent: Final[dict[ServiceName, str]] = {}
        """Databases that stopped answering while they were read, with the reason."""

    def lacks(self, finding: Finding, *wanted: ServiceName) -> bool:
        """Whether a database that the invariant needs is missing. The finding gets the reason."""
        for service in wanted:
            if service not in self.only:
                finding.is_left_out(
                    say(
                        "audit.left_out",
                        "it needs {service}, which is not ours (--only, or FOREIGN_PARTNERS)",
                        service=service,
                    )
                )
            elif service in self.away:
                finding.unknown(self.away[service])
        return any(service not in self.db for service in wanted)

    def why(self, service: ServiceName, error: BaseException) -> str:
        """Why a service's database could not be read to the end."""
        return say("audit.database", "{service}'s database: ", service=service) + (
            self.silent.get(service) or say("audit.error", "{error}", error=in_words(error))
        )

    def why_any(self, error: BaseException) -> str:
        """Why databases that are read together could not be read to the end."""
        return joined("; ", (self.why(service, error) for service in self.silent)) or in_words(error)

    @contextlib.asynccontextmanager
    async def guarded(self, service: ServiceName, *findings: Finding) -> AsyncIterator[Connection]:
        """A service's snapshot. After a database error these findings keep the rows found so far and are marked unknown; all other
        findings are still judged."""
        db = self.db[service]
        try:
            async with contextlib.AsyncExitStack() as savepoint:
                # Without a savepoint, an error would end the snapshot's transaction: PostgreSQL refuses every later statement in it.
                # On a lost connection the caller's first statement raises instead.
                with contextlib.suppress(*DATABASE_ERRORS):
                    await savepoint.enter_async_context(db.transaction())
                yield db
        except DATABASE_ERRORS as error:
            for finding in findings:
                finding.unknown(self.why(service, error))


@contextlib.asynccontextmanager
async def snapshots(settings: Settings, only: Collection[ServiceName]) -> AsyncIterator[Sources]:
    """A snapshot of each database. Order's snapshot is taken last, so it has every order that the others mention."""
    sources = Sources(only)
    async with contextlib.AsyncExitStack() as stack:
        for name in reversed(SERVICES):
            if name in only:
                try:
                    db = await stack.enter_async_context(_snapshot(settings, name))
                    watch = asyncio.create_task(_watch(settings, name, db, sources.silent))
                    stack.callback(watch.cancel)
                    if missing := await db.fetchval(MISSING, TABLES[name] + RUNTIME_TABLES):
                        sources.away[name] = say(
                            "audit.tables",
                            "{service}'s database: no table {tables} that may be read",
                            service=name,
                            tables=", ".join(missing),
                        )
                    else:
                        sources.db[name] = db
                except DATABASE_ERRORS as error:
                    sources.away[name] = sources.why(name, error)
        yield sources


@contextlib.asynccontextmanager
async def _snapshot(settings: Settings, name: ServiceName) -> AsyncIterator[Connection]:
    """A read-only transaction. `statement_timeout` and the idle time-out are off, since one snapshot waits while others are read."""
    db = await Servers(settings.database_url(name)).connect(
        timeout=CONNECT_S,
        command_timeout=STATEMENT_S,
        server_settings=SERVER_SETTINGS
        | {
            "application_name": "ordersaga audit",
            "jit": "off",
            "lock_timeout": str(LOCK_MS),
            "statement_timeout": "0",
            "idle_in_transaction_session_timeout": "0",
        },
    )
    try:
        async with asyncio.timeout(CONNECT_S):
            transaction = db.transaction(isolation="repeatable_read", readonly=True)
            await transaction.start()
            await db.fetchval("SELECT 1")  # the first statement takes the snapshot, not BEGIN
        yield db
    finally:
        db.terminate()  # no ROLLBACK: the transaction wrote nothing, and a server that is down would not answer


async def _watch(settings: Settings, name: ServiceName, db: Any, silent: dict[ServiceName, str]) -> None:
    """Open another connection to the server every WATCH_EVERY_S. If it stays silent, close the snapshot, whose statement would wait for
    minutes.

    An error counts as an answer: a server that has no free connection is alive.
    """
    servers = Servers(settings.database_url(name))
    silences = 0
    while silences < SILENCES_MAX:
        await asyncio.sleep(WATCH_EVERY_S)
        try:
            async with asyncio.timeout(ANSWER_S):
                probe = await servers.connect(timeout=ANSWER_S)
            probe.terminate()
        except OSError:  # also `TimeoutError`
            silences += 1
        except DATABASE_ERRORS:
            silences = 0
        else:
            silences = 0
    silent[name] = say(
        "audit.silent",
        "the server has stopped answering; run verify again when it answers under {setting}",
        setting=f"ORDERSAGA_{name.upper()}_DATABASE_URL",
    )
    db.terminate()


def in_words(error: BaseException) -> str:
    """The error in one line."""
    text = str(error).strip().splitlines()
    return text[0] if text else "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__


def stream(db: Connection, query: Any, *parameters: Any) -> AsyncIterator[Any]:
    """A query's rows through a cursor, so that memory stays flat. Needs an open transaction."""
    return aiter(db.cursor(query.sql, *parameters, prefetch=PREFETCH_ROWS))
