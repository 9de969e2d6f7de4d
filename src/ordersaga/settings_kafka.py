"""Settings of the connections to Kafka. Part of `Settings`."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings

from ordersaga.settings_limits import Addresses, HttpUrl, ReadableFile
from ordersaga.settings_pairs import PREFIX

KEPT: Final = "the exactly-once processing relies on the value that the services set"
ITS_SETTING: Final = {
    "bootstrap.servers": "BOOTSTRAP_SERVERS",
    "metadata.broker.list": "BOOTSTRAP_SERVERS",
    "security.protocol": "SECURITY_PROTOCOL",
    "sasl.mechanism": "SASL_MECHANISM",
    "sasl.mechanisms": "SASL_MECHANISM",
    "sasl.username": "SASL_USERNAME",
    "sasl.password": "SASL_PASSWORD",
    "ssl.ca.location": "SSL_CA_LOCATION",
    "ssl.certificate.location": "SSL_CERTIFICATE_LOCATION",
    "ssl.key.location": "SSL_KEY_LOCATION",
    "ssl.key.password": "SSL_KEY_PASSWORD",
    "session.timeout.ms": "SESSION_TIMEOUT_MS",
    "socket.timeout.ms": "REQUEST_TIMEOUT_MS",
    "socket.connection.setup.timeout.ms": "REQUEST_TIMEOUT_MS",
    "compression.type": "COMPRESSION",
    "compression.codec": "COMPRESSION",
}
"""Options of librdkafka that have a setting of their own."""
OURS: Final = frozenset(
    {
        "acks",
        "allow.auto.create.topics",
        "auto.commit.enable",
        "auto.offset.reset",
        "check.crcs",
        "delivery.report.only.error",
        "delivery.timeout.ms",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "enable.partition.eof",
        "group.id",
        "group.instance.id",
        "group.protocol",
        "group.remote.assignor",
        "isolation.level",
        "max.in.flight",
        "max.in.flight.requests.per.connection",
        "message.timeout.ms",
        "partition.assignment.strategy",
        "partitioner",
        "queuing.strategy",
        "request.required.acks",
        "transactional.id",
    }
)
"""Options that the promises depend on."""

_OPTION: Final = re.compile(r"[a-z][a-z0-9._]*")


def _as_texts(value: Any) -> Any:
    """JSON's numbers and `true` as librdkafka reads them."""
    if not isinstance(value, Mapping):
        return value
    return {
        name: str(each).lower() if isinstance(each, bool) else str(each) if isinstance(each, int | float) else each
        for name, each in value.items()
    }


def _options(options: Mapping[str, SecretStr]) -> Mapping[str, SecretStr]:
    for name in options:
        if name in ITS_SETTING:
            raise ValueError(f"{name} has a setting of its own: set {PREFIX}KAFKA_{ITS_SETTING[name]} instead")
        if name in OURS:
            raise ValueError(f"{name} cannot be set: {KEPT}")
        if not _OPTION.fullmatch(name) or name.endswith("_cb"):
            raise ValueError(f"{name!r} is no option of librdkafka; write names such as socket.keepalive.enable")
    return options


Options = Annotated[dict[str, SecretStr], BeforeValidator(_as_texts), AfterValidator(_options)]
"""The values may be secrets. `masking.names_a_secret` says which are shown."""


class KafkaSettings(BaseSettings):
    """Where Kafka is, who we are there, and how records are sent."""

    kafka_bootstrap_servers: Addresses = Field(
        default="127.0.0.1:9092", description="host:port of a broker, several with commas between"
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT",
        description="SASL_SSL: TLS and a password or token; SSL: TLS, with a certificate of ours for mTLS",
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = Field(
        default=None, description="how we say who we are, with SASL"
    )
    kafka_sasl_username: str | None = Field(default=None, description="our user, with PLAIN and SCRAM")
    kafka_sasl_password: SecretStr | None = Field(default=None, description="its password")
    kafka_oauth_token_url: HttpUrl | None = Field(
        default=None, description="OAUTHBEARER: where the identity provider gives out tokens for client credentials"
    )
    kafka_oauth_client_id: str | None = Field(
        default=None, description="OAUTHBEARER: our client id at the identity provider"
    )
    kafka_oauth_client_secret: SecretStr | None = Field(default=None, description="OAUTHBEARER: its secret")
    kafka_oauth_scope: str | None = Field(
        default=None, description="OAUTHBEARER: the scope to ask for, where the provider wants one"
    )
    kafka_ssl_ca_location: ReadableFile | None = Field(
        default=None, description="file with the CA of the brokers' certificates, PEM; none: those of the system"
    )
    kafka_ssl_certificate_location: ReadableFile | None = Field(
        default=None, description="mTLS: our certificate, PEM; with KAFKA_SSL_KEY_LOCATION"
    )
    kafka_ssl_key_location: ReadableFile | None = Field(default=None, description="mTLS: our certificate's key, PEM")
    kafka_ssl_key_password: SecretStr | None = Field(default=None, description="mTLS: the password of an encrypted key")
    kafka_options: Options = Field(
        default={},
        description='any other option of librdkafka by its name, for all Kafka clients: {"socket.keepalive.enable": true}',
    )
    kafka_compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field(
        default="none",
        description="how batches are compressed. kafkajs (so NestJS) reads none and gzip, and needs a codec of its own for the others",
    )
    kafka_session_timeout_ms: int = Field(
        default=8_000,
        ge=6_000,
        le=300_000,
        description="after so long without a sign of life a process loses its partitions to the others",
    )
    kafka_request_timeout_ms: int = Field(
        default=5_000,
        ge=2_000,
        le=299_999,
        description="a broker that does not answer a request for so long is connected to anew, and the request is repeated",
    )

    def _kafka_in_part(self) -> Iterator[str]:
        """A sentence for each thing that Kafka's security needs and that is not set, and for what would have no effect."""
        password = ("kafka_sasl_username", "kafka_sasl_password")
        oauth = ("kafka_oauth_token_url", "kafka_oauth_client_id", "kafka_oauth_client_secret")
        protocol, mechanism = self.kafka_security_protocol, self.kafka_sasl_mechanism
        is_sasl, is_oauth = protocol.startswith("SASL_"), mechanism == "OAUTHBEARER"
        by_options = any(name.startswith("sasl.oauthbearer.") for name in self.kafka_options)
        needed = (() if by_options else oauth) if is_oauth else password
        if is_sasl:
            if missing := self._named(("kafka_sasl_mechanism", *needed), present=False):
                yield f"{_variable('kafka_security_protocol')} is {protocol}, so {missing} must be set too"
            if idle := self._named(password if is_oauth else (*oauth, "kafka_oauth_scope"), present=True):
                yield f"{idle} is set and has no effect with {_variable('kafka_sasl_mechanism')} {mechanism}; unset it"
        elif present := self._named(("kafka_sasl_mechanism", *password, *oauth, "kafka_oauth_scope"), present=True):
            yield f"{present} is set, so {_variable('kafka_security_protocol')} must be SASL_SSL or SASL_PLAINTEXT"
        certificate = ("kafka_ssl_certificate_location", "kafka_ssl_key_location")
        files = ("kafka_ssl_ca_location", *certificate, "kafka_ssl_key_password")
        if not protocol.endswith("SSL") and (present := self._named(files, present=True)):
            yield f"{present} is set, so {_variable('kafka_security_protocol')} must be SSL or SASL_SSL"
        if self._named((*certificate, "kafka_ssl_key_password"), present=True) and (
            missing := self._named(certificate, present=False)
        ):
            yield f"a certificate for Kafka needs its key, and a key its certificate: set {missing} too"

    def _named(self, names: tuple[str, ...], present: bool) -> str:
        """The variables of those settings that are set, or that are not, with commas between."""
        return ", ".join(_variable(name) for name in names if (getattr(self, name) is not None) is present)


def _variable(name: str) -> str:
    return PREFIX + name.upper()
