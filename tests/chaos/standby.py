"""Two PostgreSQL servers as operations teams run them: a commit is acknowledged when the synchronous standby has it, too."""

import shutil
import time
from types import TracebackType
from typing import Any, Final, LiteralString, Self

import psycopg

from ordersaga.devstack.folder import StackFolder
from ordersaga.devstack.postgres import PostgresServer
from tests.chaos.network import Network

SERVERS: Final = 2
IN_STEP_LIMIT_S: Final = 60.0
PROMOTED_LIMIT_S: Final = 60
KEPT_WAL: Final = "512MB"
"""So much of the log a standby may lag behind before it would have to be made again."""


class Replica(PostgresServer):
    """One of the two servers. `follows`: the server that it is a copy of when it is started without data."""

    def __init__(self, folder: StackFolder, number: int, network: Network | None) -> None:
        self.name = f"postgres-{number}"  # type: ignore[misc]  # here each object is a server of its own
        super().__init__(folder)
        self.follows: PostgresServer | None = None
        self._network: Final = network

    def forget(self) -> None:
        """Remove the data of a server that is not running."""
        shutil.rmtree(self._data, ignore_errors=True)

    def say(self, *statements: str) -> None:
        """Send statements, each as a transaction of its own."""
        with psycopg.connect(self.database_url("postgres"), autocommit=True) as db:
            for each in statements:
                db.execute(each)

    def asked(self, query: LiteralString) -> list[Any]:
        """The rows of an answer."""
        with psycopg.connect(self.database_url("postgres"), autocommit=True) as db:
            return db.execute(query).fetchall()

    def _init(self) -> None:
        super()._init()
        if self.follows is None and self._network is not None:
            with (self._data / "pg_hba.conf").open("a") as rules:
                rules.writelines(
                    f"host {what} all {self._network.addresses} trust\n" for what in ("all", "replication")
                )

    def _filling(self) -> list[str]:
        if self.follows is None:
            return super()._filling()
        return [
            "pg_basebackup", "--dbname", self.follows.database_url("postgres"),
            "--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast",
        ]  # fmt: skip


class Pair:
    """Use with `with`: inside, `primary` takes writes, and `standby` has each of them before it is acknowledged."""

    def __init__(self, network: Network | None = None) -> None:
        self._folder: Final = StackFolder(None)
        self.primary, self.standby = (Replica(self._folder, n, network) for n in range(1, SERVERS + 1))
        self._servers: Final = (self.primary, self.standby)
        if network is not None:
            for server in self._servers:
                network.place(server)

    def database_url(self, name: str) -> str:
        """A URL that names both servers; the one that takes writes is meant."""
        hosts = ",".join(f"{each.host}:{each.port}" for each in self._servers)
        return f"postgresql://postgres@{hosts}/{name}?sslmode=disable&target_session_attrs=read-write"

    def __enter__(self) -> Self:
        try:
            self.primary.start()
            self.primary.say(f"ALTER SYSTEM SET wal_keep_size = '{KEPT_WAL}'", "SELECT pg_reload_conf()")
            self.rebuild()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def promote(self) -> None:
        """Make the standby the primary. It waits for no standby until `rebuild`."""
        promoted = f"SELECT pg_promote(true, {PROMOTED_LIMIT_S})"
        self.standby.say("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()", promoted)
        self.primary, self.standby = self.standby, self.primary

    def go_on_alone(self) -> None:
        """Have the primary wait for no standby until `rebuild`."""
        self.primary.say("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")

    def rebuild(self) -> None:
        """Make the standby anew, from a copy of the primary, and let commits wait for it when it is in step. It must not be running."""
        self.standby.forget()
        self.standby.follows = self.primary
        self.standby.start()
        self.primary.say("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        end = time.monotonic() + IN_STEP_LIMIT_S
        while self.primary.asked("SELECT sync_state FROM pg_stat_replication") != [("sync",)]:
            if time.monotonic() > end:
                raise AssertionError(f"the standby is not in step after {IN_STEP_LIMIT_S:.0f} s")
            time.sleep(0.1)

    def _end(self) -> None:
        for server in self._servers:
            server.abandon()
        self._folder.close()
