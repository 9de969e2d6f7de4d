"""A Kafka as operations teams run it: TLS with a CA of its own, users with passwords (SCRAM) or certificates (mTLS), and ACLs."""

from collections.abc import Iterable
from functools import cached_property
from typing import Any, Final

from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from ordersaga.devstack.folder import StackFolder
from ordersaga.devstack.kafka import KafkaBroker
from tests.certificates import Authority

CALL_S: Final = 20
MORE_PROPERTIES: Final = """\
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port},CLIENTS://127.0.0.1:{secure_port},CERTIFIED://127.0.0.1:{certified_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},CLIENTS://127.0.0.1:{secure_port},CERTIFIED://127.0.0.1:{certified_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,CLIENTS:SASL_SSL,CERTIFIED:SSL
inter.broker.listener.name=PLAINTEXT
listener.name.clients.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.clients.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.certified.ssl.client.auth=required
ssl.principal.mapping.rules=RULE:^CN=(.*)$/$1/
ssl.keystore.type=PEM
ssl.keystore.location=server.pem
ssl.truststore.type=PEM
ssl.truststore.location=ca.pem
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""
DECISIONS: Final = """\
logger.acls.name=kafka.authorizer.logger
logger.acls.level=debug
"""
"""Each use of an ACL, and each refusal, is in the log."""


class SecureBroker(KafkaBroker):
    """`secure_servers` is for users with a password, `certified_servers` for those with a certificate. The plain listener is the operators': who comes there may do everything."""

    def __init__(self, folder: StackFolder) -> None:
        super().__init__(folder)
        self.ca: Final = self.path / "ca.pem"
        self._secure_port: Final = folder.port("kafka_secure")
        self._certified_port: Final = folder.port("kafka_certified")
        self.authority: Authority

    @property
    def secure_servers(self) -> str:
        return f"127.0.0.1:{self._secure_port}"

    @property
    def certified_servers(self) -> str:
        return f"127.0.0.1:{self._certified_port}"

    def _prepare(self) -> None:
        super()._prepare()
        self.authority = Authority(self.ca)
        (self.path / "server.pem").write_bytes(self.authority.sign("a broker", addresses=["127.0.0.1"]))
        more = MORE_PROPERTIES.format(
            port=self.port,
            controller_port=self._controller_port,
            secure_port=self._secure_port,
            certified_port=self._certified_port,
        )
        with (self.path / "server.properties").open("a") as properties:  # the last of two lines counts
            properties.write(more)
        with (self.path / "log4j2.properties").open("a") as logging:
            logging.write(DECISIONS)

    def add_user(self, name: str, password: str) -> None:
        """Make a user, who may do nothing yet."""
        credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        wanted = UserScramCredentialUpsertion(name, credential, password.encode())
        _done(self._admin.alter_user_scram_credentials([wanted], request_timeout=CALL_S))

    def allow(self, user: str, operations: str, kind: str, names: Iterable[str], *, prefix: bool = False) -> None:
        """Let a user do these things with topics, groups or transactional ids; with `prefix` with all whose name begins so."""
        self._rule(AclPermissionType.ALLOW, user, operations, kind, names, prefix)

    def take_back(self, user: str, operation: str, kind: str, name: str) -> None:
        """Take back one thing that `allow` gave."""
        resource, literal = ResourceType[kind], ResourcePatternType.LITERAL
        given = AclBindingFilter(
            resource, name, literal, f"User:{user}", "*", AclOperation[operation], AclPermissionType.ALLOW
        )
        _done(self._admin.delete_acls([given], request_timeout=CALL_S))

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
