"""A Kafka as operations teams run it: TLS with a CA of its own, users with passwords (SCRAM), and ACLs."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ordersaga.devstack.folder import StackFolder
from ordersaga.devstack.kafka import KafkaBroker

DAY: Final = timedelta(days=1)
CALL_S: Final = 20
MORE_PROPERTIES: Final = """\
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port},CLIENTS://127.0.0.1:{secure_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},CLIENTS://127.0.0.1:{secure_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,CLIENTS:SASL_SSL
inter.broker.listener.name=PLAINTEXT
listener.name.clients.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.clients.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location=server.pem
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""


class SecureBroker(KafkaBroker):
    """`secure_servers` is for users with a password. The plain listener is the operators': who comes there may do everything."""

    def __init__(self, folder: StackFolder) -> None:
        super().__init__(folder)
        self.ca: Final = self.path / "ca.pem"
        self._secure_port: Final = folder.port("kafka_secure")

    @property
    def secure_servers(self) -> str:
        return f"127.0.0.1:{self._secure_port}"

    def _prepare(self) -> None:
        super()._prepare()
        write_certificates(self.ca, self.path / "server.pem")
        more = MORE_PROPERTIES.format(
            port=self.port, controller_port=self._controller_port, secure_port=self._secure_port
        )
        with (self.path / "server.properties").open("a") as properties:  # the last of two lines counts
            properties.write(more)

    def add_user(self, name: str, password: str) -> None:
        """Make a user, who may do nothing yet."""
        credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        wanted = UserScramCredentialUpsertion(name, credential, password.encode())
        _done(self._admin.alter_user_scram_credentials([wanted], request_timeout=CALL_S))

    def allow(self, user: str, operations: str, kind: str, names: Iterable[str], *, prefix: bool = False) -> None:
        """Let a user do these things with topics, groups or transactional ids; with `prefix` with all whose name begins so."""
        self._rule(AclPermissionType.ALLOW, user, operations, kind, names, prefix)

    def deny(self, user: str, operations: str, kind: str, name: str) -> None:
        """Forbid a user these things, whatever else allows them."""
        self._rule(AclPermissionType.DENY, user, operations, kind, [name], False)

    def _rule(self, rule: Any, user: str, operations: str, kind: str, names: Iterable[str], prefix: bool) -> None:
        pattern = ResourcePatternType.PREFIXED if prefix else ResourcePatternType.LITERAL
        bindings = [
            AclBinding(ResourceType[kind], name, pattern, f"User:{user}", "*", AclOperation[operation], rule)
            for name in names
            for operation in operations.split()
        ]
        _done(self._admin.create_acls(bindings, request_timeout=CALL_S))

    @cached_property
    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap_servers})


def _done(asked: dict[Any, Any]) -> None:
    for future in asked.values():
        future.result(CALL_S)


def write_certificates(ca_file: Path, server_file: Path | None = None) -> None:
    """Make a CA, and with it a certificate for 127.0.0.1 with its key."""
    ca_key, ca_name = ec.generate_private_key(ec.SECP256R1()), _name("a CA of a test")
    ca = _certificate(ca_name, ca_key, ca_name, ca_key).add_extension(x509.BasicConstraints(True, None), True)
    ca_file.write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM))
    if server_file is not None:
        key = ec.generate_private_key(ec.SECP256R1())
        here = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        server = _certificate(_name("a broker"), key, ca_name, ca_key).add_extension(here, False)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        server_file.write_bytes(private + server.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM))


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(
    name: x509.Name, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, issuer_key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )
