"""Migrates one service's database by yoyo, under an advisory lock. Each step and its mark as done are one transaction.

yoyo's own lock is a row, which a killed process leaves behind, and yoyo commits a step before it marks the step as done.

A step that begins with `-- transactional: false`, such as one that builds an index while others write, has a transaction for each statement.
It is not marked unless all succeeded, so it must bear to be run again. yoyo would run it on a connection without our time-outs.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from yoyo import read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.migrations import default_migration_table

from ordersaga.messaging.connections import SERVER_SETTINGS
from ordersaga.messaging.servers import READ_WRITE

LOCK: Final = 0x0DE5A6B
LOCK_WAIT_MS: Final = 60_000
LOCK_EVERY_S: Final = 0.1
STEP_LOCK_WAIT_MS: Final = 20_000
"""Lock time-out of a step. Statements that need the table queue behind a waiting step, so the wait is short."""
CONNECT_S: Final = 10
MARKS: Final = default_migration_table
"""The table with the names of the steps that were applied."""


class MigrationUnderWay(Exception):
    """Another process has been migrating this database for longer than `LOCK_WAIT_MS`."""


class Rights(NamedTuple):
    """Roles that do not own the tables. `running`: the one that the service runs as; `reading`: those that only read."""

    running: str | None = None
    reading: Sequence[str] = ()


NO_RIGHTS: Final = Rights()


class _Address(NamedTuple):
    """The URL of a database and its name, which yoyo asks for."""

    url: str
    database: str


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]  # yoyo has no types
    """Uses one session, so the advisory lock is held until the server has finished or rolled back the work of a killed process."""

    def connect(self, dburi: _Address) -> Any:
        options = " ".join(f"-c {name}={value}" for name, value in SERVER_SETTINGS.items())
        named: dict[str, Any] = {"connect_timeout": CONNECT_S, "application_name": "ordersaga migrate"}
        given = conninfo_to_dict(dburi.url)
        if "," in str(given.get("host")):
            named["target_session_attrs"] = READ_WRITE
        named["options"] = f"{given.get('options', '')} {options}".strip()
        return psycopg.connect(
            dburi.url, autocommit=True, **{k: v for k, v in named.items() if k == "options" or k not in given}
        )

    @contextlib.contextmanager
    def lock(self, timeout: float = 0) -> Iterator[None]:
        """Take no lock of yoyo's: `migrate` holds the advisory lock."""
        yield

    def apply_one(self, migration: Any, force: bool = False, mark: bool = True) -> None:
        migration.load()
        if not mark:
            super().apply_one(migration, force, mark)
            return
        self.ensure_internal_schema_updated()
        if not migration.use_transactions:
            migration.process_steps(self, "apply", force=force)
        with self.transaction():
            if migration.use_transactions:
                migration.process_steps(self, "apply", force=force)
            self.log_migration(migration, "apply")
            self.mark_one(migration, log=False)


def migrate(url: str, service: ModuleType | Path, rights: Rights = NO_RIGHTS) -> list[str]:
    """Apply the missing steps to one service's database; returns their names. Blocks.

    The steps are the runtime's own and the `.sql` files in `migrations/` of the service's package, or folder. Raises psycopg's errors and
    `MigrationUnderWay`. `rights`: given again each time, so that new tables have them. If the process is killed, the committed steps stay
    applied and the open step is rolled back.
    """
    with _Backend(_Address(url, str(conninfo_to_dict(url).get("dbname"))), MARKS) as backend:
        _lock(backend)
        backend.execute(f"SET lock_timeout = {STEP_LOCK_WAIT_MS}")
        todo = backend.to_apply(_read(service))
        backend.apply_migrations(todo)
        _give(backend.connection, rights)
        return [step.id for step in todo]


def _lock(backend: _Backend) -> None:
    """Take the advisory lock. Asks again and again: a statement that waited for it would be a transaction, for whose end the other process's
    CREATE INDEX CONCURRENTLY waits. Raises `MigrationUnderWay`."""
    until_s = time.monotonic() + LOCK_WAIT_MS / 1_000
    while not backend.execute(f"SELECT pg_try_advisory_lock({LOCK})").fetchone()[0]:
        if time.monotonic() > until_s:
            raise MigrationUnderWay("another process is migrating it")
        time.sleep(LOCK_EVERY_S)


def steps(service: ModuleType | Path) -> list[str]:
    """The names of all steps of a service's database, in their order."""
    return [step.id for step in _read(service)]


def _read(service: ModuleType | Path) -> Any:
    home = service if isinstance(service, Path) else Path(service.__path__[0])
    return read_migrations(str(Path(__file__).parent / "migrations"), str(home / "migrations"))


def _give(db: Any, rights: Rights) -> None:
    """Let other roles use our tables in this schema. Of yoyo's own they read `MARKS`, as `doctor` does; none may change or drop a table.

    Somebody else's tables, such as those of an extension, have another owner, and are left as they are.
    """
    kinds = {
        row[0]: row[1]
        for row in db.execute(
            """
            SELECT relkind = 'S', array_agg(relname::text)
            FROM pg_class WHERE relnamespace = quote_ident(current_schema())::regnamespace AND relkind IN ('r', 'S') AND relname !~ 'yoyo'
              AND relowner IN (quote_ident(current_user)::regrole, (SELECT relowner FROM pg_class WHERE oid = to_regclass(%s)))
            GROUP BY 1
            """,
            (MARKS,),
        )
    }
    tables, sequences = kinds.get(False, []), kinds.get(True, [])
    given = [(role, "SELECT", "TABLE", [*tables, MARKS]) for role in rights.reading]
    if rights.running is not None:
        given += [
            (rights.running, "SELECT", "TABLE", [MARKS]),
            (rights.running, "SELECT, INSERT, UPDATE, DELETE", "TABLE", tables),
            (rights.running, "USAGE", "SEQUENCE", sequences),
        ]
    for role, what, kind, names in given:
        if names:
            of = sql.SQL(", ").join(map(sql.Identifier, names))
            db.execute(sql.SQL(f"GRANT {what} ON {kind} {{}} TO {{}}").format(of, sql.Identifier(role)))
