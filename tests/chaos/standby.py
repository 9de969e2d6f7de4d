"""PostgreSQL servers as operations teams run them: a commit is acknowledged when a synchronous standby has it, too."""

import shutil
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, LiteralString, Self

import psycopg

from ordersaga.devstack.folder import StackFolder
from ordersaga.devstack.postgres import PostgresServer
from tests.chaos.network import Network

IN_STEP_LIMIT_S: Final = 60.0
PROMOTED_LIMIT_S: Final = 60
KEPT_WAL: Final = "512MB"
"""So much of the log a standby may lag behind before it would have to be made again."""


RECEIVED: Final = "SELECT pg_last_wal_receive_lsn() - '0/0'"
IN_STEP: Final = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'quorum'"


class Replica(PostgresServer):
    """One of the servers. `follows`: the server that it is a copy of when it is started without data."""

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

    def follow(self, primary: PostgresServer) -> None:
        """Have this standby, which runs, follow another primary."""
        self.follows = primary
        at = f"host={primary.host} port={primary.port} user=postgres application_name={self.application_name}"
        self.say(f"ALTER SYSTEM SET primary_conninfo = '{at}'", "SELECT pg_reload_conf()")

    @property
    def application_name(self) -> str:
        """The name of this standby at its primary."""
        return self.name.replace("-", "_")

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
            "pg_basebackup",
            "--dbname", f"{self.follows.database_url('postgres')}&application_name={self.application_name}",
            "--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast",
        ]  # fmt: skip


class Replicated:
    """Use with `with`: inside, `primary` takes writes, and one of the `standbys` has each of them before it is acknowledged."""

    def __init__(self, network: Network | None = None, standbys: int = 1) -> None:
        self._folder: Final = StackFolder(None)
        self.servers: Final = [Replica(self._folder, n + 1, network) for n in range(1 + standbys)]
        self.primary = self.servers[0]
        if network is not None:
            for server in self.servers:
                network.place(server)

    @property
    def standbys(self) -> list[Replica]:
        return [each for each in self.servers if each is not self.primary]

    def database_url(self, name: str) -> str:
        """A URL that names all servers; the one that takes writes is meant."""
        hosts = ",".join(f"{each.host}:{each.port}" for each in self.servers)
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

    def promote(self, reachable: Sequence[Replica]) -> None:
        """Make the standby the primary that has most of the log; other ones follow it. It waits for no standby until `rebuild`.

        With `ANY 1` a commit may be on one standby alone, which is the one that has most.
        """
        chosen = max(reachable, key=lambda each: each.asked(RECEIVED)[0][0])
        promoted = f"SELECT pg_promote(true, {PROMOTED_LIMIT_S})"
        chosen.say("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()", promoted)
        self.primary = chosen
        for each in reachable:
            if each is not chosen:
                each.follow(chosen)

    def go_on_alone(self) -> None:
        """Have the primary wait for no standby until `rebuild`."""
        self.primary.say("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")

    def rebuild(self) -> None:
        """Make each standby anew that is not running, from a copy of the primary, and let commits wait for one that is in step."""
        for each in self.standbys:
            if not each.is_running:
                each.forget()
                each.follows = self.primary
                each.start()
        names = ", ".join(each.application_name for each in self.standbys)
        self.primary.say(f"ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 ({names})'", "SELECT pg_reload_conf()")
        end = time.monotonic() + IN_STEP_LIMIT_S
        while self.primary.asked(IN_STEP) != [(len(self.standbys),)]:
            if time.monotonic() > end:
                raise AssertionError(f"a standby is not in step after {IN_STEP_LIMIT_S:.0f} s")
            time.sleep(0.1)

    def _end(self) -> None:
        for server in self.servers:
            server.abandon()
        self._folder.close()
