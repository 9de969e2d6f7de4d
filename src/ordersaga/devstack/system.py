"""The whole of ordersaga as processes: Kafka and PostgreSQL, unless somebody else's are used, the services and the sandbox gateway."""

import asyncio
import contextlib
import http.client
import importlib
import json
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar, Final, Self
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from ordersaga.devstack.errors import DevStackError
from ordersaga.devstack.folder import StackFolder
from ordersaga.devstack.server import Server
from ordersaga.devstack.stack import DevStack
from ordersaga.messaging.database import migrate
from ordersaga.messaging.kafka import KafkaUnavailable, create_missing_topics
from ordersaga.settings import SERVICES, ServiceName, Settings

PREFIX: Final = "ORDERSAGA_"
PROBE_S: Final = 1.0
SANDBOX: Final = "sandbox"
WORKERS_WAIT_MS: Final = 1_500


class ServiceProcess(Server):
    """One service, or the sandbox gateway, as a process of its own; ready when its `/health/status` says that it has started."""

    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, folder: StackFolder, name: str, port: int | None, workers: int = 1) -> None:
        self.name = name  # type: ignore[misc]  # here each object is a server of its own
        super().__init__(folder)
        self._workers: Final = workers
        self.port = port or self.port
        self.url: Final = f"http://127.0.0.1:{self.port}"

    def _prepare(self) -> None:
        """A service keeps no files, but its port must be free: else another system would answer for it."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.port))
            except OSError as error:
                raise DevStackError(
                    f"{self.name} cannot listen on 127.0.0.1:{self.port}: {error.strerror}.\n"
                    "Stop what listens there (another `ordersaga up`?), or choose other ports with --first-port."
                ) from error

    def _command(self) -> list[str]:
        workers = ["--workers", str(self._workers)] if self._workers > 1 else []
        return [sys.executable, "-m", "ordersaga", "serve", self.name, *workers]

    def _is_ready(self, log_from: int) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PROBE_S)
        try:
            connection.request("GET", "/health/status")
            said = json.loads(connection.getresponse().read())
            return bool(said["started"] and not said["problems"])
        except (OSError, http.client.HTTPException, ValueError):
            return False
        finally:
            connection.close()


class System:
    """Use with `with`: everything is started, migrated and ready inside, and ended after, databases last.

    `services` are started here; the others are left to somebody else. `first_port` None: any free ports. `bootstrap_servers` and
    `database_url` name a Kafka and a PostgreSQL server to use instead of starting them. `extra` are settings for the services, each of
    which runs as `workers` processes. `long_lived`: for minutes and more, so that Kafka takes its time to compile its code well.
    """

    def __init__(
        self,
        data: Path | None = None,
        services: Sequence[str] = SERVICES,
        *,
        first_port: int | None = None,
        bootstrap_servers: str | None = None,
        database_url: str | None = None,
        extra: dict[str, str] | None = None,
        workers: int = 1,
        long_lived: bool = False,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._say: Final = say
        self._services: Final = [name for name in SERVICES if name in services]
        self._database_url: Final = database_url
        self.stack: Final = DevStack(data, kafka=bootstrap_servers is None, postgres=database_url is None)
        if bootstrap_servers is None:
            self.stack.kafka.members_wait_ms = WORKERS_WAIT_MS if workers > 1 else 0
            self.stack.kafka.long_lived = long_lived
        folder = self.stack.folder
        names = [*SERVICES, SANDBOX]
        ports = {name: first_port + n if first_port else None for n, name in enumerate(names)}
        self.processes: Final = {
            name: ServiceProcess(folder, name, ports[name], workers) for name in self._services
        } | {SANDBOX: ServiceProcess(folder, SANDBOX, ports[SANDBOX])}
        self.urls: Final = {name: process.url for name, process in self.processes.items()}
        self.environment: Final = self._environment(
            bootstrap_servers or self.stack.bootstrap_servers, folder, extra or {}
        )

    def _environment(self, bootstrap_servers: str, folder: StackFolder, extra: dict[str, str]) -> dict[str, str]:
        values = {
            "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
            "TRUST_GATEWAY_HEADERS": "true",
            "PAYABLE_REQUIRED": "true" if "order" in self._services else "false",
            "GATEWAY_URL": self.urls[SANDBOX],
            "SANDBOX_JOURNAL_PATH": str(folder.path / SANDBOX / "books.jsonl"),
        }
        values |= {f"{name.upper()}_DATABASE_URL": self._database(name) for name in SERVICES}
        if "payment" in self.urls:
            values["SANDBOX_WEBHOOK_URL"] = f"{self.urls['payment']}/api/v1/payments/webhook"
        return {PREFIX + name: value for name, value in values.items()} | extra

    def _database(self, service: str) -> str:
        name = f"ordersaga_{service}"
        if self._database_url is None:
            return self.stack.database_url(name)
        return urlunsplit(urlsplit(self._database_url)._replace(path=f"/{name}"))

    @property
    def settings(self) -> Settings:
        """The settings of this system's services."""
        fields = {name.removeprefix(PREFIX).lower(): value for name, value in self.environment.items()}
        return Settings.model_validate(fields)

    def __enter__(self) -> Self:
        try:
            self._say("starting Kafka and PostgreSQL")
            self.stack.launch()
            self._say("making databases, tables and topics")
            self._make_databases()
            settings = self.settings
            migrating = SERVICES if self._database_url is None else self._services
            with ThreadPoolExecutor() as threads:
                steps = [threads.submit(self._migrate, settings, name) for name in migrating]
                steps.append(threads.submit(asyncio.run, _topics(settings)))
                for step in steps:
                    step.result()
            self._say("starting " + ", ".join(self.processes))
            with ThreadPoolExecutor() as threads:
                for started in [threads.submit(self.start, name) for name in self.processes]:
                    started.result()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str) -> None:
        """Start a service, or start it again after it was killed."""
        process = self.processes[name]
        process.environment |= self.environment | {f"{PREFIX}HTTP_PORT": str(process.port)}
        process.start()

    def kill(self, name: str) -> None:
        """End a service as a power cut would."""
        self.processes[name].kill()

    def stop(self) -> None:
        """Services first, then what they stand on."""
        with ThreadPoolExecutor() as threads:
            list(threads.map(Server.stop, self.processes.values()))
        self.stack.stop()

    def _make_databases(self) -> None:
        names = [f"ordersaga_{service}" for service in SERVICES]
        if self._database_url is None:
            self.stack.create_databases(names)
            return
        with psycopg.connect(self._database_url, autocommit=True) as db:
            for name in names:
                with contextlib.suppress(psycopg.errors.DuplicateDatabase):
                    db.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    @staticmethod
    def _migrate(settings: Settings, name: ServiceName) -> None:
        migrate(settings.database_url(name), importlib.import_module(f"ordersaga.{name}"))


async def _topics(settings: Settings) -> None:
    """A broker that has just started may need a moment for its first answers."""
    for patience in range(20):
        try:
            await create_missing_topics(settings)
            return
        except KafkaUnavailable as error:
            if patience == 19:
                raise DevStackError(
                    f"The topics could not be made on {settings.kafka_bootstrap_servers}: {error}"
                ) from error
            await asyncio.sleep(0.5)
