"""`migrate`: whole steps or none, whoever kills it, and one at a time."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from ordersaga.devstack import DevStack
from ordersaga.messaging import migrating
from ordersaga.messaging.migrating import migrate

MIGRATING = """
import sys
from types import SimpleNamespace
from ordersaga.messaging import migrating
from ordersaga.messaging.migrating import migrate
print(*migrate(sys.argv[1], SimpleNamespace(__path__=[sys.argv[2]])))
"""
FIRST = "CREATE TABLE first (n int);"
SLOW = "CREATE TABLE slow (n int); INSERT INTO slow SELECT 1 FROM pause WHERE pg_sleep(seconds) IS NOT NULL;"
LIMIT_S = 20.0


class Migrated:
    """A database and a folder with two steps, of which the second takes as long as the table `pause` says."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        (folder / "migrations").mkdir()
        (folder / "migrations" / "0901.first.sql").write_text(FIRST)
        (folder / "migrations" / "0902.slow.sql").write_text(SLOW)
        self.execute("CREATE TABLE pause AS SELECT 0 AS seconds")

    def execute(self, query: str) -> list[Any]:
        with psycopg.connect(self.url, autocommit=True) as db:
            cursor = db.execute(query)
            return cursor.fetchall() if cursor.description else []

    def migrate(self) -> list[str]:
        package: Any = SimpleNamespace(__path__=[str(self.folder)])
        return migrate(self.url, package)

    def begin(self) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", MIGRATING, self.url, str(self.folder)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def tables(self) -> set[str]:
        return {
            row[0] for row in self.execute("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
        }

    def wait_for(self, query: str) -> None:
        """Until the server is at work on a statement like this one."""
        end = time.monotonic() + LIMIT_S
        like = f"SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() AND query LIKE '{query}'"
        while not self.execute(like):
            assert time.monotonic() < end
            time.sleep(0.05)


@pytest.fixture
def migrated(stack: DevStack, tmp_path: Path) -> Iterator[Migrated]:
    name = f"migrated_{uuid4().hex[:8]}"
    stack.create_databases([name])
    yield Migrated(stack.database_url(name), tmp_path)


def test_a_migration_that_is_killed_leaves_whole_steps_and_no_lock(migrated: Migrated) -> None:
    migrated.execute("UPDATE pause SET seconds = 60")
    with migrated.begin() as killed:
        migrated.wait_for("%pg_sleep(seconds)%")
        killed.kill()
    assert {"first", "slow"} & migrated.tables() == {"first"}
    migrated.execute("UPDATE pause SET seconds = 0")
    began = time.monotonic()
    assert migrated.migrate() == ["0902.slow"]
    assert time.monotonic() - began < 30, "the lock of the killed one was waited for"
    assert migrated.migrate() == []


def test_a_step_and_its_mark_are_one_transaction(migrated: Migrated) -> None:
    """Killed between the two, the step would be tried again, and fail, for ever."""
    (migrated.folder / "migrations" / "0902.slow.sql").rename(migrated.folder / "later")
    migrated.migrate()
    (migrated.folder / "later").rename(migrated.folder / "migrations" / "0902.slow.sql")
    with psycopg.connect(migrated.url) as holder, migrated.begin() as killed:
        holder.execute("LOCK TABLE _yoyo_migration IN SHARE MODE")
        migrated.wait_for('%INSERT INTO "_yoyo_migration"%')
        killed.kill()
    assert migrated.migrate() == ["0902.slow"]


def test_two_migrations_at_once_apply_each_step_once(migrated: Migrated) -> None:
    migrated.execute("UPDATE pause SET seconds = 1")
    with migrated.begin() as one, migrated.begin() as other:
        said = [*one.communicate(timeout=LIMIT_S)[0].split(), *other.communicate(timeout=LIMIT_S)[0].split()]
    assert (one.returncode, other.returncode) == (0, 0)
    assert sorted(said)[-2:] == ["0901.first", "0902.slow"]
    assert len(said) == len(set(said))


def test_the_lock_row_that_a_killed_one_of_before_left_is_no_lock(migrated: Migrated) -> None:
    migrated.execute(
        "CREATE TABLE yoyo_lock (locked INT DEFAULT 1, ctime TIMESTAMP, pid INT NOT NULL, PRIMARY KEY (locked))"
    )
    migrated.execute("INSERT INTO yoyo_lock VALUES (1, now(), 1)")
    assert migrated.migrate()[-2:] == ["0901.first", "0902.slow"]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://postgres@127.0.0.1:1/nothing", "Connection refused"),
        ("{server}/no_such_database", "no_such_database"),
        ("{server_as_nobody}/postgres", "nobody_here"),
        ("jdbc:postgresql://127.0.0.1/postgres", "postgresql://"),
    ],
)
def test_a_database_that_cannot_be_migrated_is_said_in_one_sentence(stack: DevStack, url: str, says: str) -> None:
    server = stack.database_url("x").rpartition("/")[0]
    at = url.format(server=server, server_as_nobody=server.replace("postgres@", "nobody_here@"))
    environment = os.environ | {"ORDERSAGA_DELIVERY_DATABASE_URL": at, "COLUMNS": "400"}
    command = [sys.executable, "-m", "ordersaga", "migrate", "--only", "delivery"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert ended.returncode in (1, 2)
    assert says in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


INDEX = """-- transactional: false
DROP INDEX CONCURRENTLY IF EXISTS first_idx;
CREATE INDEX CONCURRENTLY first_idx ON first (n);
"""


def test_an_index_is_built_while_others_write_and_again_after_a_build_that_was_given_up(
    migrated: Migrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrated.migrate()
    (migrated.folder / "migrations" / "0903.index.sql").write_text(INDEX)
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('first_idx')"
    with psycopg.connect(migrated.url) as writer, monkeypatch.context() as then:
        writer.execute("INSERT INTO first VALUES (1)")  # the build waits for its end
        then.setattr(migrating, "STEP_LOCK_WAIT_MS", 500)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            migrated.migrate()
        migrated.execute("INSERT INTO first VALUES (2)")
    assert migrated.execute(valid) == [(False,)]
    assert migrated.migrate() == ["0903.index"]
    assert migrated.execute(valid) == [(True,)]
    assert migrated.migrate() == []
