"""Kafka and PostgreSQL together: started side by side, ended together."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from ordersaga.devstack.errors import DevStackError
from ordersaga.devstack.folder import StackFolder
from ordersaga.devstack.kafka import KafkaBroker
from ordersaga.devstack.postgres import PostgresServer
from ordersaga.devstack.server import Server
from ordersaga.devstack.side_by_side import side_by_side


class DevStack:
    """Real Kafka and real PostgreSQL on 127.0.0.1, as children of this process that never outlive it.

    `DevStack.start()` returns when both answer. With a folder, data and ports are kept there for the next start; without one, `stop` removes
    everything. Raises DevStackError, which says what to do, if a server cannot start; nothing is left running then.
    """

    def __init__(self, data: Path | None = None, *, kafka: bool = True, postgres: bool = True) -> None:
        self.folder = StackFolder(data)
        try:
            self._kafka = KafkaBroker(self.folder) if kafka else None
            self._postgres = PostgresServer(self.folder) if postgres else None
        except BaseException:
            self.folder.close()
            raise

    @classmethod
    def start(cls, data: Path | None = None, *, kafka: bool = True, postgres: bool = True) -> Self:
        """A started stack. With `kafka=False` or `postgres=False` that server is not started."""
        stack = cls(data, kafka=kafka, postgres=postgres)
        stack.launch()
        return stack

    def launch(self, say: Callable[[str], None] = lambda _: None) -> None:
        """Start the servers of a stack that was constructed but not started: all, or on an error none. `say` gets what the start waits
        for."""
        try:
            side_by_side([partial(server.start, say) for server in self._servers])
        except BaseException:
            self.abandon()
            raise

    @property
    def kafka(self) -> KafkaBroker:
        if self._kafka is None:
            raise DevStackError("This stack was started without Kafka.")
        return self._kafka

    @property
    def postgres(self) -> PostgresServer:
        if self._postgres is None:
            raise DevStackError("This stack was started without PostgreSQL.")
        return self._postgres

    @property
    def bootstrap_servers(self) -> str:
        return self.kafka.bootstrap_servers

    def database_url(self, name: str) -> str:
        return self.postgres.database_url(name)

    def create_databases(self, names: Iterable[str]) -> None:
        """Make each database that is not there yet."""
        self.postgres.create_databases(names)

    @property
    def _servers(self) -> list[Server]:
        return [server for server in (self._kafka, self._postgres) if server is not None]

    @property
    def dead(self) -> list[Server]:
        """The servers that were started and have ended."""
        return [server for server in self._servers if not server.is_running]

    def stop(self) -> None:
        """Stop both servers. With kept data they get their stop signals; temporary ones are killed, and so are both after Ctrl-C."""
        end = Server.kill if self.folder.temporary else Server.stop
        try:
            side_by_side([partial(end, server) for server in self._servers])
        except BaseException:
            self.abandon()
            raise
        self.folder.close()

    def abandon(self) -> None:
        """Kill both servers, also in the middle of a start. Committed data survives in a kept folder."""
        for server in self._servers:
            server.abandon()
        self.folder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
