"""Examines the database of one service: its server, its time-outs, its tables, and the room for one more process."""

import importlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple
from urllib.parse import unquote

import asyncpg

from ordersaga.doctor.finding import CLOCK_S_MAX, Finding
from ordersaga.masking import masked
from ordersaga.messaging.connections import AsyncpgConnection
from ordersaga.messaging.kafka import Partition
from ordersaga.messaging.migrating import MARKS, steps
from ordersaga.messaging.servers import connect_alone
from ordersaga.said import counted
from ordersaga.settings import PREFIX, Settings

VERSION_MIN: Final = 150_000
CONNECTIONS_BESIDE_POOL: Final = 2
"""A process holds its number on one connection and listens on another."""
DURABLE: Final = ("fsync", "full_page_writes", "synchronous_commit")
SERVER_SETTINGS: Final = (
    *DURABLE,
    "idle_session_timeout",
    "max_connections",
    "reserved_connections",
    "server_encoding",
    "server_version_num",
    "superuser_reserved_connections",
    "synchronous_standby_names",
    "transaction_timeout",
)
STANDBYS_MIN: Final = 2
OTHERS: Final = """
    SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid()
    AND (backend_type = 'client backend' OR backend_type IS NULL AND datid IS NOT NULL AND usesysid IS NOT NULL)
"""
"""Connections beside ours. PostgreSQL hides the type of another role's connection from a role without pg_read_all_stats."""
STANDBYS: Final = "SELECT count(*) FROM pg_stat_replication"
"""Of another role's connections this shows no more than that they are there."""
NO_ANSWER: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, ValueError)


class Position(NamedTuple):
    """A row of the ledger."""

    partition: Partition
    topic_id: str
    next_offset: int


class Examined(NamedTuple):
    """What a database's examination found, and the service's positions; none without tables."""

    findings: list[Finding]
    positions: list[Position]


async def examine(settings: Settings, service: str, clock: Callable[[], float] = time.time) -> Examined:
    """Look at the database of a service."""
    variable = f"{PREFIX}{service.upper()}_DATABASE_URL"
    try:
        db = await connect_alone(settings.database_url(service), "ordersaga doctor")
        try:
            return await _examine(db, settings, service, clock)
        finally:
            await db.close()
    except NO_ANSWER as error:
        said = masked(" ".join(str(error).split()) or type(error).__name__)
        todo = f"start the server, or correct {variable}: `ordersaga settings` shows it"
        return Examined([Finding("database", service, "unknown", f"it does not answer, or refuses: {said}", todo)], [])


async def _examine(db: AsyncpgConnection, settings: Settings, service: str, clock: Callable[[], float]) -> Examined:
    before = clock()
    theirs: float = await db.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
    after = clock()
    rows = await db.fetch("SELECT name, setting FROM pg_settings WHERE name = ANY($1::text[])", list(SERVER_SETTINGS))
    server: dict[str, str] = {row["name"]: row["setting"] for row in rows}
    used: int = await db.fetchval(OTHERS)
    findings = [
        _clock(service, theirs - (before + after) / 2, (after - before) / 2),
        *_server(service, server),
        *_time_outs(settings, service, server),
        _room(settings, service, server, used),
        *_standbys(settings, service, server, await db.fetchval(STANDBYS)),
    ]
    if await db.fetchval("SELECT pg_is_in_recovery()"):
        todo = f"have {PREFIX}{service.upper()}_DATABASE_URL name the primary, or all servers with commas between"
        findings.append(Finding("primary", service, "wrong", "the server is a standby and takes no writes", todo))
    applied = set()
    if await db.fetchval("SELECT to_regclass($1) IS NOT NULL", MARKS):
        applied = {row[0] for row in await db.fetch(f'SELECT migration_id FROM "{MARKS}"')}
    findings.append(_schema(service, applied))
    if settings.personal_data_kept_days is not None and await db.fetchval(
        "SELECT to_regclass('personal_data_later') IS NOT NULL"
    ):
        held: int = await db.fetchval("SELECT count(*) FROM personal_data_later WHERE held")
        findings.append(_personal_data(settings, service, held))
    positions = []
    if await db.fetchval("SELECT to_regclass('ledger') IS NOT NULL"):
        rows = await db.fetch("SELECT topic, partition, topic_id, next_offset FROM ledger")
        positions = [Position(Partition(row[0], row[1]), row[2], row[3]) for row in rows]
    return Examined(findings, positions)


def _clock(service: str, ahead_s: float, give_or_take_s: float) -> Finding:
    if abs(ahead_s) - give_or_take_s <= CLOCK_S_MAX:
        return Finding("clock", service, "ok", f"the server's clock and this machine's agree to {CLOCK_S_MAX:g} s")
    than = "ahead of" if ahead_s > 0 else "behind"
    what = f"the server's clock is {abs(ahead_s):.1f} s {than} this machine's"
    return Finding("clock", service, "wrong", what, "have both machines keep time with NTP")


def _server(service: str, server: Mapping[str, str]) -> Iterator[Finding]:
    version = int(server["server_version_num"])
    if version < VERSION_MIN:
        what = f"PostgreSQL is {version // 10_000}, and {VERSION_MIN // 10_000} is the oldest that ordersaga is written for"
        yield Finding("server", service, "wrong", what, "upgrade the server")
    if server["server_encoding"] != "UTF8":
        what = f"the database's encoding is {server['server_encoding']}, which lacks letters that customers write"
        yield Finding("server", service, "wrong", what, "create the database anew with ENCODING 'UTF8'")
    if off := [name for name in DURABLE if server[name] == "off"]:
        what = f"{', '.join(off)} is off: a crash of the server takes back turns whose records Kafka has already"
        yield Finding("server", service, "wrong", what, "switch it on, also for the role and the database")
    elif version >= VERSION_MIN:
        yield Finding("server", service, "ok", f"PostgreSQL {version // 10_000}, and what it commits is durable")


def _time_outs(settings: Settings, service: str, server: Mapping[str, str]) -> Iterator[Finding]:
    wrong = False
    limit_ms = int(server.get("transaction_timeout", "0"))
    if 0 < limit_ms <= settings.statement_timeout_ms:
        wrong = True
        what = (
            f"the server's transaction_timeout ({limit_ms} ms) is not above {PREFIX}STATEMENT_TIMEOUT_MS "
            f"({settings.statement_timeout_ms}): it ends turns that would have ended well"
        )
        yield Finding("time-outs", service, "wrong", what, "raise the server's, also for the role, or lower ours")
    if idle_ms := int(server["idle_session_timeout"]):
        wrong = True
        what = (
            f"the server's idle_session_timeout ({idle_ms} ms) ends the connections on which processes listen and hold "
            "their number, again and again"
        )
        yield Finding("time-outs", service, "wrong", what, "ALTER ROLE ... SET idle_session_timeout = 0")
    if settings.database_silence_ms >= settings.request_timeout_ms:
        wrong = True
        what = (
            f"{PREFIX}DATABASE_SILENCE_MS ({settings.database_silence_ms}) is not below {PREFIX}REQUEST_TIMEOUT_MS "
            f"({settings.request_timeout_ms}): a request that meets a server which was cut off learns nothing of it before its time is over"
        )
        yield Finding("time-outs", service, "note", what, "lower the first; 3000 is the default")
    if not wrong:
        yield Finding("time-outs", service, "ok", "no limit of the server cuts off ours")


def _standbys(settings: Settings, service: str, server: Mapping[str, str], connected: int) -> Iterator[Finding]:
    """What becomes of the last commits, and of the next ones, when one of several servers is lost."""
    if "," not in unquote(settings.database_url(service)):
        return
    two = "have two standbys, and synchronous_standby_names = 'ANY 1 (db2, db3)' on each server"
    if not server["synchronous_standby_names"]:
        what = "the URL names several servers, and a commit waits for no standby: one that is promoted may lack the last commits"
        yield Finding("standbys", service, "note", what, two)
    elif connected < STANDBYS_MIN:
        what = f"standbys that are connected: {connected}. Each commit waits for one, so while that is away nothing is committed"
        yield Finding("standbys", service, "note", what, two)
    else:
        yield Finding("standbys", service, "ok", f"a commit waits for a standby, and {connected} are connected")


def _room(settings: Settings, service: str, server: Mapping[str, str], used: int) -> Finding:
    reserved = int(server["superuser_reserved_connections"]) + int(server.get("reserved_connections", "0"))
    free = int(server["max_connections"]) - reserved - used
    wanted = settings.database_connections_max + CONNECTIONS_BESIDE_POOL
    if free >= wanted:
        return Finding("connections", service, "ok", f"{free} are free, and a process takes up to {wanted}")
    what = f"{free} are free, and one more process, as at a rolling update, takes up to {wanted}"
    todo = f"raise the server's max_connections, lower {PREFIX}DATABASE_CONNECTIONS_MAX, or run fewer processes"
    return Finding("connections", service, "wrong", what, todo)


def _personal_data(settings: Settings, service: str, held: int) -> Finding:
    days = settings.personal_data_kept_days or 0
    if not held:
        return Finding("personal data", service, "ok", f"no order keeps it for more than {counted(days, 'day')}")
    what = f"{counted(held, 'order keeps', 'orders keep')} it for more than {counted(days, 'day')}, since an order goes on, its money is to go back, or a record about it is parked or an open dead letter"
    todo = f"`ordersaga dead-letters list --service {service}`, `ordersaga parked list --service {service}`, and the console's oldest orders"
    return Finding("personal data", service, "note", what, todo)


def _schema(service: str, applied: set[str]) -> Finding:
    ours = steps(importlib.import_module(f"ordersaga.{service}"))
    if missing := [step for step in ours if step not in applied]:
        what = f"{len(missing)} of {len(ours)} migrations are not applied, from {missing[0]} on"
        return Finding("schema", service, "wrong", what, f"`ordersaga migrate --only {service}`")
    if unknown := sorted(applied - set(ours)):
        what = f"a newer version has migrated it: {', '.join(unknown)} is not known here"
        return Finding("schema", service, "note", what, "finish the upgrade: run the newer version everywhere")
    return Finding("schema", service, "ok", f"all {len(ours)} migrations are applied")
