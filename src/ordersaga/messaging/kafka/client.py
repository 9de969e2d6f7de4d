"""Shared by all Kafka clients: configuration, partitions, records, and the handling of errors."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import methodcaller
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from ordersaga.messaging.handler import Record
from ordersaga.settings import Settings

T = TypeVar("T")

CALL_TIMEOUT_S: Final = 10.0
REPEATED_CALL_TIMEOUT_S: Final = 5.0
"""Limit of each try of a call that is repeated: a client that lost its connection may wait in vain for a controller that the next try
finds."""
AGAIN_S: Final = 0.2
METADATA_EVERY_MS: Final = 3_000
RECONNECT_MS_MAX: Final = 1_000
CLOSE_S: Final = 5.0
READING_GROUP: Final = "ordersaga-reader"
"""Of the consumers that join no group: the client wants a name, and asks Kafka where that group is."""


class Partition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class KafkaUnavailable(Exception):
    """Kafka did not answer, or answered with an error; a retry may help."""


class KafkaForbids(KafkaUnavailable):
    """Kafka's ACLs do not allow it; no retry helps before they are changed."""


def forbidden(operation: str, resource: str) -> str:
    """The sentence of an ACL that is missing."""
    return f"Kafka's ACLs do not allow {operation} on {resource}"


def client_config(settings: Settings, own: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """The configuration that every client of the cluster needs, with the client's `own` values. `KAFKA_OPTIONS` are over both."""
    secrets = {
        "sasl.password": settings.kafka_sasl_password,
        "sasl.oauthbearer.client.secret": settings.kafka_oauth_client_secret,
        "ssl.key.password": settings.kafka_ssl_key_password,
        **settings.kafka_options,
    }
    config = {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "security.protocol": settings.kafka_security_protocol,
        "sasl.mechanism": settings.kafka_sasl_mechanism,
        "sasl.username": settings.kafka_sasl_username,
        "sasl.oauthbearer.method": "oidc" if settings.kafka_oauth_token_url else None,
        "sasl.oauthbearer.token.endpoint.url": settings.kafka_oauth_token_url,
        "sasl.oauthbearer.client.id": settings.kafka_oauth_client_id,
        "sasl.oauthbearer.scope": settings.kafka_oauth_scope,
        "ssl.ca.location": settings.kafka_ssl_ca_location,
        "ssl.certificate.location": settings.kafka_ssl_certificate_location,
        "ssl.key.location": settings.kafka_ssl_key_location,
        "client.id": "ordersaga",
        "log_level": 2,
        # A broker that was frozen or cut off may never answer the requests of that time; librdkafka would wait for a minute, and until then the
        # partitions that it led take no records.
        "socket.timeout.ms": settings.kafka_request_timeout_ms,
        # While a network is cut, TCP tries to connect ever more seldom; librdkafka would go on with the same try for half a minute.
        "socket.connection.setup.timeout.ms": settings.kafka_request_timeout_ms,
        # When all brokers are gone for a while, librdkafka restarts at the bootstrap servers and drops pending metadata requests. A consumer
        # that needs the metadata to join its group then waits for the next refresh: 5 minutes by default.
        "topic.metadata.refresh.interval.ms": METADATA_EVERY_MS,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": RECONNECT_MS_MAX,
        "allow.auto.create.topics": False,
        **own,
        **{name: value and value.get_secret_value() for name, value in secrets.items()},
    }
    return {name: value for name, value in config.items() if value is not None}


def is_fatal(error: KafkaError) -> bool:
    """Whether the client must be closed. librdkafka marks such an error by a flag or by its code, depending on how it is delivered."""
    return error.fatal() or error.code() == KafkaError._FATAL


# Not `message.headers()`: confluent-kafka 2.16 can set an exception and still return a list, which CPython's plain method call does not
# always check. `methodcaller` checks, and raises SystemError.
_headers_of: Final = methodcaller("headers")


def record_of(message: Any) -> Record:
    """The record of a message. Headers that the client cannot read are left out, and `flaw` says why.

    The client decodes header names as UTF-8 and raises for a name that is not.
    """
    flaw = None
    try:
        headers = _headers_of(message)
    except Exception as error:
        headers, flaw = None, f"its headers cannot be read and are dropped: {type(error).__name__}: {error}"
    return Record(
        message.topic(),
        message.partition(),
        message.offset(),
        message.key(),
        message.value(),
        tuple(headers) if headers else None,
        message.timestamp()[1],
        flaw,
    )


def translated(work: Callable[[], T]) -> T:
    """Call `work`, with `KafkaUnavailable` for the client's KafkaException."""
    try:
        return work()
    except KafkaException as error:
        raise KafkaUnavailable(error.args[0].str()) from error


def close_consumer(consumer: Consumer, limit_s: float = CLOSE_S) -> bool:
    """Close a consumer and return whether it closed within `limit_s`. Blocks.

    `Consumer.close()` can block for ever when the broker is gone. A daemon thread then stays in it, which does not keep the process.
    """
    closing = threading.Thread(target=consumer.close, name="consumer-close", daemon=True)
    closing.start()
    closing.join(limit_s)
    return not closing.is_alive()


@contextlib.contextmanager
def temporary_consumer(config: dict[str, Any]) -> Iterator[Consumer]:
    """A consumer for the duration of a block. Closing it blocks for up to `CLOSE_S`."""
    consumer = Consumer(config)
    try:
        yield consumer
    finally:
        close_consumer(consumer)


def bounds_of(consumer: Consumer, partitions: Iterable[Partition]) -> dict[Partition, tuple[int, int]]:
    """Of each partition the first offset of the log and the offset of the next record. Blocks."""
    return {p: consumer.get_watermark_offsets(TopicPartition(*p), timeout=REPEATED_CALL_TIMEOUT_S) for p in partitions}


def with_retries(work: Callable[[], T]) -> T:
    """Retry `work` for `CALL_TIMEOUT_S`: a topic that was just created has no leader yet. Blocks for that time and one more try at most.

    Raises `KafkaUnavailable`.
    """
    end = time.monotonic() + CALL_TIMEOUT_S
    while True:
        try:
            return work()
        except KafkaException as error:
            if time.monotonic() > end:
                raise KafkaUnavailable(error.args[0].str()) from error
        time.sleep(AGAIN_S)
