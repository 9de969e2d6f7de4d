"""Runs all of ordersaga as processes: the services, the sandbox gateway, and Kafka and PostgreSQL unless others are named."""

import asyncio
import http.client
import importlib
import json
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, Self
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from ordersaga.devstack.errors import DevStackError
from ordersaga.devstack.folder import StackFolder
from ordersaga.devstack.server import Server
from ordersaga.devstack.side_by_side import side_by_side
from ordersaga.devstack.stack import DevStack
from ordersaga.masking import masked
from ordersaga.messaging.kafka import KafkaUnavailable, create_missing_topics, why_unreachable
from ordersaga.messaging.migrating import MigrationUnderWay, migrate
from ordersaga.settings import PREFIX, SERVICES, ServiceName, Settings, WrongSettings
from ordersaga.settings_limits import postgres_url

PROBE_S: Final = 1.0
CONNECT_S: Final = 5
WILDCARDS: Final = ("0.0.0.0", "::", "localhost")
NAMES_A_FILE: Final = ("_FILE", "_LOCATION")
"""A setting whose name ends like this is a path. It is made absolute, since each service runs in a folder of its own."""
ABOUT_REACHING_KAFKA: Final = (
    "SECURITY_PROTOCOL",
    "SASL_MECHANISM",
    "SASL_USERNAME",
    "SASL_PASSWORD",
    "OAUTH_TOKEN_URL",
    "OAUTH_CLIENT_ID",
    "OAUTH_CLIENT_SECRET",
    "OAUTH_SCOPE",
    "SSL_CA_LOCATION",
    "SSL_CERTIFICATE_LOCATION",
    "SSL_KEY_LOCATION",
    "SSL_KEY_PASSWORD",
    "OPTIONS",
)
SANDBOX: Final = "sandbox"
WEB: Final = "web"
AUDIT: Final = "audit"
TOGETHER: Final = "services"
"""The name of the process that runs all services."""
WORKERS_WAIT_MS: Final = 1_500


class ServiceProcess(Server):
    """A process of one server, or of several services on ports in a row; ready when each `/health/status` says that it has started."""

    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(
        self, folder: StackFolder, name: str, port: int | None, workers: int = 1, servers: Sequence[str] = ()
    ) -> None:
        """`servers`: those that it runs; the one that is called as the process, if there are none."""
        self.name = name  # type: ignore[misc]  # here each object is a server of its own
        self._servers: Final = list(servers) or [name]
        self.port_count = len(self._servers)
        super().__init__(folder)
        self.environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
        self._workers: Final = workers
        self.port = port or self.port
        host = os.environ.get(f"{PREFIX}HTTP_HOST", "127.0.0.1")
        self.host = "127.0.0.1" if host in WILDCARDS else host

    @property
    def url(self) -> str:
        """Where its first server is found."""
        return self.urls[self._servers[0]]

    @property
    def urls(self) -> dict[str, str]:
        """Where each of its servers is found."""
        site = f"http://{f'[{self.host}]' if ':' in self.host else self.host}"
        return {each: f"{site}:{self.port + n}" for n, each in enumerate(self._servers)}

    def _prepare(self) -> None:
        self.demand_port()

    def demand_port(self) -> None:
        """Raise `DevStackError` if the port is taken: another system would answer in this service's place."""
        if self.before:
            return  # it has an address of its own
        for n, name in enumerate(self._servers):
            with socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((self.host, self.port + n))
                except OSError as error:
                    raise DevStackError(
                        f"{name} cannot listen on {self.host}:{self.port + n}: {error.strerror}.\n"
                        "Stop what listens there (another `ordersaga up`?), or choose other ports with --first-port."
                    ) from error

    def _command(self) -> list[str]:
        workers = ["--workers", str(self._workers)] if self._workers > 1 else []
        return [sys.executable, "-m", "ordersaga", "serve", *self._servers, *workers]

    def _is_ready(self, log_from: int) -> bool:
        for n in range(self.port_count):
            status = self.status(n)
            if status is None:
                self.not_ready_because = "it does not answer yet"
                return False
            troubles = "; ".join([*status["problems"], *(each["what"] for each in status["alarms"])])
            self.not_ready_because = troubles or "it has not taken its partitions yet"
            if not status["started"] or status["problems"]:
                return False
        return True

    def statuses(self) -> dict[str, dict[str, Any] | None]:
        """`status` of each of its servers, by name."""
        return {name: self.status(n) for n, name in enumerate(self._servers)}

    def status(self, n: int = 0) -> dict[str, Any] | None:
        """The body of the `/health/status` of its server n; None if it does not answer."""
        connection = http.client.HTTPConnection(self.host, self.port + n, timeout=PROBE_S)
        try:
            connection.request("GET", "/health/status")
            answer = connection.getresponse()
            said = json.loads(answer.read())
            return {"started": False, "problems": [], "alarms": []} | said if answer.status == 200 else None
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()


class System:
    """Use with `with`: inside, everything is started, migrated and ready; afterwards everything is ended, databases last.

    `services` names the services to start; other teams run the rest. `first_port` None: any free ports. `bootstrap_servers` and
    `database_url` name a Kafka and a PostgreSQL server to use instead of starting them. `extra` are settings for the services, each of
    which runs as `workers` processes; with `one_process` they share each of these. `long_lived`: the system will run for minutes, so Kafka's JVM
    optimises its code. `web`: the shop's and console's process is started, too, and the audit's. `place` may give a process an address of its
    own before it is started.
    `addressed` is called when Kafka, databases and topics are ready, before the services start. Raises `DevStackError`, which says what to
    do; nothing is left running then, nor after Ctrl-C at any moment.
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
        one_process: bool = False,
        long_lived: bool = False,
        web: bool = False,
        say: Callable[[str], None] = lambda _: None,
        place: Callable[[Server], None] = lambda _: None,
        addressed: Callable[["System"], None] = lambda _: None,
    ) -> None:
        self._say: Final = say
        self._addressed: Final = addressed
        self.services: Final = [name for name in SERVICES if name in services]
        self._database_url: Final = database_url and _checked(database_url)
        self.stack: Final = DevStack(data, kafka=bootstrap_servers is None, postgres=database_url is None)
        self.embedded: Final = [
            name for name, theirs in (("kafka", bootstrap_servers), ("postgres", database_url)) if theirs is None
        ]
        try:
            if bootstrap_servers is None:
                self.stack.kafka.members_wait_ms = WORKERS_WAIT_MS if workers > 1 else 0
                self.stack.kafka.long_lived = long_lived
            folder = self.stack.folder
            names = [*SERVICES, SANDBOX, WEB, AUDIT]
            others = [SANDBOX, WEB, AUDIT] if web else [SANDBOX]
            ports = {name: first_port + n if first_port else None for n, name in enumerate(names)}
            shared = self.services if one_process else []
            together = {TOGETHER: ServiceProcess(folder, TOGETHER, first_port, workers, shared)} if shared else {}
            self.processes: Final = together | {
                name: ServiceProcess(folder, name, ports[name], 1 if name in (SANDBOX, AUDIT) else workers)
                for name in [*self.services, *others]
                if name not in shared
            }
            for process in self.processes.values():
                place(process)
            self.urls: Final = {name: url for process in self.processes.values() for name, url in process.urls.items()}
            self.environment: Final = self._environment(
                bootstrap_servers or self.stack.bootstrap_servers, folder, web, extra or {}
            )
            self.settings: Final = Settings.of(self.environment)
        except WrongSettings as error:
            self.stack.folder.close()
            raise DevStackError(str(error)) from error
        except BaseException:
            self.stack.folder.close()
            raise

    def _environment(
        self, bootstrap_servers: str, folder: StackFolder, web: bool, extra: dict[str, str]
    ) -> dict[str, str]:
        """The variables of the services: this system's own addresses, and the caller's settings for everything else."""
        callers = {
            name.upper().removeprefix(PREFIX): value
            for name, value in os.environ.items()
            if name.upper().startswith(PREFIX)
        }
        own = {
            "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
            "GATEWAY_URL": self.urls[SANDBOX],
            "SANDBOX_JOURNAL_PATH": str(folder.path / SANDBOX / "books.jsonl"),
            "AUDIT_RUNS_PATH": str(folder.path / AUDIT / "runs"),
        }
        own |= {f"{name.upper()}_DATABASE_URL": self._database(name) for name in SERVICES}
        own |= {f"{name.upper()}_URL": self.urls[name] for name in [*self.services, AUDIT] if name in self.urls}
        if "payment" in self.urls:
            own["SANDBOX_WEBHOOK_URL"] = f"{self.urls['payment']}/api/v1/payments/webhook"
        left_out = {"HTTP_PORT", *own}
        if "kafka" in self.embedded:
            left_out |= {f"KAFKA_{name}" for name in ABOUT_REACHING_KAFKA}
        given = {*callers, *(name.removeprefix(PREFIX) for name in extra)}
        checks_tokens = bool(given & {"JWT_JWKS_URL", "JWT_KEY", "JWT_KEY_FILE"})
        defaults = {
            "DEVELOPMENT": "true",
            "TRUST_GATEWAY_HEADERS": "true",
            "HTTP_PROXY_ADDRESSES": '["127.0.0.1", "::1"]',  # of the web process
            "WEB_SIGN_IN": "token" if checks_tokens else "demo",
            "CONSUMER_FAULTS": str(web and not checks_tokens).lower(),
            "WEB_SESSION_SECRET": secrets.token_urlsafe(32),
            "FOREIGN_PARTNERS": json.dumps([name for name in SERVICES if name not in self.services]),
        }
        taken = {
            name: str(Path(value).absolute()) if name.endswith(NAMES_A_FILE) else value
            for name, value in callers.items()
            if name.removesuffix("_FILE") not in left_out
        }
        unset = {name: value for name, value in defaults.items() if f"{name}_FILE" not in taken}
        return {PREFIX + name: value for name, value in (unset | taken | own).items()} | extra

    def _database(self, service: str) -> str:
        name = f"ordersaga_{service}"
        if self._database_url is None:
            return self.stack.database_url(name)
        return urlunsplit(urlsplit(self._database_url)._replace(path=f"/{name}"))

    def __enter__(self) -> Self:
        try:
            for process in self.processes.values():
                process.demand_port()
            if "kafka" not in self.embedded:
                self._find_kafka()
            if self._database_url is not None:
                self._make_databases(self._database_url)
            if self.embedded:
                self._say(
                    "starting "
                    + " and ".join({"kafka": "Kafka", "postgres": "PostgreSQL"}[name] for name in self.embedded)
                )
            self.stack.launch(self._say)
            self._say("making databases, tables and topics")
            if self._database_url is None:
                self.stack.create_databases([f"ordersaga_{service}" for service in SERVICES])
            migrating = SERVICES if self._database_url is None else self.services
            side_by_side([self._topics, *(partial(self._migrate, name) for name in migrating)])
            self._addressed(self)
            self._say("starting " + ", ".join(self.processes))
            side_by_side([partial(self.start, name) for name in self.processes])
        except BaseException:
            self.abandon()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def process_of(self, name: str) -> ServiceProcess:
        """The process that runs this service, or is called so."""
        return self.processes[TOGETHER if TOGETHER in self.processes and name in SERVICES else name]

    def start(self, name: str) -> None:
        """Start a service's process, also again after it was killed."""
        process = self.process_of(name)
        process.environment |= self.environment | {f"{PREFIX}HTTP_PORT": str(process.port)}
        if process.before:
            process.environment[f"{PREFIX}HTTP_HOST"] = process.host
        process.start(self._say)

    def kill(self, name: str) -> None:
        """Kill a service's processes at once, like a power cut."""
        self.process_of(name).kill()

    def stop(self) -> None:
        """Stop the services, then Kafka and PostgreSQL. If this is interrupted, kill all."""
        try:
            side_by_side([process.stop for process in self.processes.values()])
        except BaseException:
            self.abandon()
            raise
        self.stack.stop()

    def abandon(self) -> None:
        """Kill everything, also in the middle of a start. Committed data survives."""
        for process in self.processes.values():
            process.abandon()
        self.stack.abandon()

    def _find_kafka(self) -> None:
        servers = self.settings.kafka_bootstrap_servers
        self._say(f"looking for Kafka at {servers}")
        if why := why_unreachable(self.settings):
            raise DevStackError(
                f"Kafka at {servers} cannot be used: {why}.\n"
                "Is --bootstrap right, and does Kafka run there? For TLS and passwords see ORDERSAGA_KAFKA_SECURITY_PROTOCOL in the README."
            )

    def _make_databases(self, url: str) -> None:
        """Create the databases of the services that run here, where they are missing."""
        self._say("looking for PostgreSQL")
        try:
            with psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_S) as db:
                there = {row[0] for row in db.execute("SELECT datname FROM pg_database")}
                for name in (f"ordersaga_{service}" for service in self.services):
                    if name not in there:
                        db.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        except psycopg.errors.InsufficientPrivilege as error:
            missing = ", ".join(
                name for name in (f"ordersaga_{service}" for service in self.services) if name not in there
            )
            raise DevStackError(
                f"The user of --database-url may not make databases: {_one_line(error)}.\n"
                f"Have {missing} made for that user, or give it the right: ALTER ROLE ... CREATEDB."
            ) from error
        except psycopg.Error as error:
            raise DevStackError(
                f"PostgreSQL cannot be used: {_one_line(error)}.\nIs --database-url right, and does PostgreSQL run there?"
            ) from error

    def _migrate(self, name: ServiceName) -> None:
        try:
            migrate(self.settings.database_url(name), importlib.import_module(f"ordersaga.{name}"))
        except (psycopg.Error, MigrationUnderWay) as error:
            raise DevStackError(f"The database of {name} cannot be migrated: {_one_line(error)}.") from error

    def _topics(self) -> None:
        asyncio.run(_make_topics(self.settings))


def _checked(database_url: str) -> str:
    """The server's URL, with the database `postgres` where it names none."""
    try:
        if "://" in database_url and urlsplit(database_url).path in ("", "/"):
            database_url = urlunsplit(urlsplit(database_url)._replace(path="/postgres"))
        return postgres_url(database_url)
    except ValueError as error:
        raise DevStackError(f"--database-url: {error}.") from error


def _one_line(error: BaseException) -> str:
    return masked(" ".join(str(error).split()))


async def _make_topics(settings: Settings) -> None:
    """Create the topics. A broker that has just started may refuse the first tries."""
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
