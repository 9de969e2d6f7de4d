"""The four services, the web process and the audit as an operations team runs them: each with a user of its own at Kafka and in PostgreSQL, over
TLS, and with the rights of `deploy/kafka-acls.sh` and `deploy/databases.sql` alone."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from ordersaga.devstack.folder import StackFolder
from ordersaga.devstack.side_by_side import side_by_side
from ordersaga.devstack.system import ServiceProcess
from ordersaga.settings import SERVICES
from tests.commands import Answer, type_command
from tests.conformance.secure_broker import SecureBroker
from tests.integration.secure_postgres import SecurePostgres

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
PASSWORD: Final = "0nly-for-this-test"
USERS: Final = (*SERVICES, "audit", "web", "topics")
RECORDER: Final = """#!/bin/sh
[ "$1 $3 $5" = "--bootstrap-server --command-config --add" ] || exit 1
shift 5
printf '%s ' "$@" >> "$RECORD"
echo >> "$RECORD"
"""


class Acl(NamedTuple):
    """One right: a user may do one thing with one topic or group."""

    user: str
    operation: str
    kind: str
    name: str


def acls() -> list[Acl]:
    """What `deploy/kafka-acls.sh` gives to Kafka's tool."""
    folder = StackFolder(None)
    try:
        record, tool = folder.path / "record", folder.path / "kafka-acls.sh"
        tool.write_text(RECORDER)
        tool.chmod(0o755)
        variables = {"BOOTSTRAP": "kafka:9092", "COMMAND_CONFIG": "admin.properties", "RECORD": str(record)}
        way = {"PATH": f"{folder.path}:{os.defpath}"}
        subprocess.run(["/bin/sh", str(DEPLOY / "kafka-acls.sh")], env=variables | way, check=True, timeout=60)
        return [acl for line in record.read_text().splitlines() for acl in _acls(line.split())]
    finally:
        folder.close()


def _acls(words: list[str]) -> Iterator[Acl]:
    given: dict[str, list[str]] = {}
    for option, value in zip(words[::2], words[1::2], strict=True):
        given.setdefault(option, []).append(value)
    (principal,) = given.pop("--allow-principal")
    user, operations = principal.removeprefix("User:"), given.pop("--operation")
    for kind, names in given.items():
        for name in names:
            for operation in operations:
                yield Acl(user, _constant(operation), kind.removeprefix("--").upper(), name)


def _constant(operation: str) -> str:
    return "".join(f"_{each}" if each.isupper() and n else each for n, each in enumerate(operation)).upper()


class SecuredShop:
    """`environments`: the variables of each process."""

    def __init__(self, folder: StackFolder, broker: SecureBroker, postgres: SecurePostgres) -> None:
        self.broker: Final = broker
        self.postgres: Final = postgres
        self.acls: Final = acls()
        names = [*SERVICES, "sandbox", "web"]
        self.processes: Final = {name: ServiceProcess(folder, name, None) for name in names}
        self.urls: Final = {name: process.url for name, process in self.processes.items()}
        self.common: Final = {
            "ORDERSAGA_DEVELOPMENT": "true",  # for the sandbox, which takes no money
            "ORDERSAGA_TOPIC_PARTITIONS": "2",
            "ORDERSAGA_GATEWAY_URL": self.urls["sandbox"],
            "ORDERSAGA_TRUST_GATEWAY_HEADERS": "true",
            "ORDERSAGA_COMPENSATION_DEADLINE_S": "60",
        }

    def kafka(self, user: str) -> dict[str, str]:
        """The variables with which a process comes to Kafka with a password."""
        return {
            "ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS": self.broker.secure_servers,
            "ORDERSAGA_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "ORDERSAGA_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "ORDERSAGA_KAFKA_SASL_USERNAME": f"ordersaga-{user}",
            "ORDERSAGA_KAFKA_SASL_PASSWORD": PASSWORD,
            "ORDERSAGA_KAFKA_SSL_CA_LOCATION": str(self.broker.ca),
        }

    def certified(self, user: str, folder: Path) -> dict[str, str]:
        """The variables with which a process comes to Kafka with a certificate (mTLS)."""
        file = folder / f"{user}.pem"
        file.write_bytes(self.broker.authority.sign(f"ordersaga-{user}"))
        return {
            "ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS": self.broker.certified_servers,
            "ORDERSAGA_KAFKA_SECURITY_PROTOCOL": "SSL",
            "ORDERSAGA_KAFKA_SSL_CA_LOCATION": str(self.broker.ca),
            "ORDERSAGA_KAFKA_SSL_CERTIFICATE_LOCATION": str(file),
            "ORDERSAGA_KAFKA_SSL_KEY_LOCATION": str(file),
        }

    def database(self, service: str, role: str | None = None, **parameters: str) -> dict[str, str]:
        """The variable with a service's database."""
        url = self.postgres.url(role or f"ordersaga_{service}", PASSWORD, f"ordersaga_{service}", **parameters)
        return {f"ORDERSAGA_{service.upper()}_DATABASE_URL": url}

    def of(self, service: str) -> dict[str, str]:
        """The variables of a service."""
        return self.common | self.kafka(service) | self.database(service)

    def of_audit(self) -> dict[str, str]:
        """The variables of the audit, which reads all databases."""
        databases: dict[str, str] = {}
        for service in SERVICES:
            databases |= self.database(service, "ordersaga_audit")
        return self.common | self.kafka("audit") | databases

    def of_migrate(self) -> dict[str, str]:
        """The variables of `migrate`: both URLs of each database; it signs in with the first."""
        found = {"ORDERSAGA_READING_ROLES": '["ordersaga_audit"]'}
        for service in SERVICES:
            name = f"ordersaga_{service}"
            url = self.postgres.url(f"{name}_migrating", PASSWORD, name)
            found |= self.database(service) | {f"ORDERSAGA_{service.upper()}_MIGRATING_URL": url}
        return found

    def prepare(self) -> None:
        """Make users, rights, databases, tables and topics, with the files of `deploy` and with the commands."""
        for user in USERS:
            self.broker.add_user(f"ordersaga-{user}", PASSWORD)
        for each in self.acls:
            self.broker.allow(each.user, each.operation, each.kind, [each.name])
        self.postgres.run((DEPLOY / "databases.sql").read_text())
        for name in [f"ordersaga_{service}{end}" for service in SERVICES for end in ("", "_migrating")]:
            self.postgres.give_password(name, PASSWORD)
        self.postgres.give_password("ordersaga_audit", PASSWORD)
        for arguments, variables in (
            (["migrate"], self.of_migrate()),
            (["topics", "create"], self.common | self.kafka("topics")),
        ):
            done(type_command(arguments, variables))

    def start(self) -> None:
        """Start all processes, each with its own variables."""
        variables: Mapping[str, dict[str, str]] = {
            **{service: self.of(service) for service in SERVICES},
            "sandbox": self.common,
            "web": self.common | self.kafka("web") | {f"ORDERSAGA_{s.upper()}_URL": self.urls[s] for s in SERVICES},
        }
        for name, process in self.processes.items():
            process.environment |= variables[name] | {"ORDERSAGA_HTTP_PORT": str(process.port)}
        side_by_side([process.start for process in self.processes.values()])

    def end(self) -> None:
        """Kill all."""
        for process in self.processes.values():
            process.abandon()


def done(answer: Answer) -> Answer:
    """The answer of a command that must succeed."""
    assert answer.code == 0, answer
    return answer


@contextmanager
def secured_shop() -> Iterator[SecuredShop]:
    """A prepared and started shop."""
    folder = StackFolder(None)
    broker, postgres = SecureBroker(folder), SecurePostgres(folder)
    shop = SecuredShop(folder, broker, postgres)
    try:
        side_by_side([broker.start, postgres.start])
        shop.prepare()
        shop.start()
        yield shop
    finally:
        shop.end()
        broker.abandon()
        postgres.abandon()
        folder.close()
