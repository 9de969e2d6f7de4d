"""What all clients of Kafka share: how to reach it, what a record and a partition are, and what its errors mean."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from operator import methodcaller
from typing import Any, Final, NamedTuple, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from ordersaga.messaging.handler import Record
from ordersaga.settings import Settings

T = TypeVar("T")

CALL_TIMEOUT_S: Final = 10.0
LOOK_TIMEOUT_S: Final = 5.0
"""For what is asked again and again: a client that was cut off may wait in vain for a controller, while its next call finds one."""
AGAIN_S: Final = 0.2
METADATA_EVERY_MS: Final = 3_000
RECONNECT_MS_MAX: Final = 1_000
SILENT_S: Final = 2.0
CLOSE_S: Final = 5.0
ANSWER_S: Final = 1.5
"""Longer than a client waits before it connects again."""


class Partition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class KafkaUnavailable(Exception):
    """The broker did not answer, or not as it should; trying again may help."""


def client_config(settings: Settings) -> dict[str, Any]:
    """What every client of the same cluster needs to reach it."""
    password = settings.kafka_sasl_password
    config = {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "security.protocol": settings.kafka_security_protocol,
        "sasl.mechanism": settings.kafka_sasl_mechanism,
        "sasl.username": settings.kafka_sasl_username,
        "sasl.password": password and password.get_secret_value(),
        "ssl.ca.location": settings.kafka_ssl_ca_location,
        "client.id": "ordersaga",
        "log_level": 2,
        # A broker that stood still may never answer what it was asked meanwhile; librdkafka itself would wait for a minute.
        "socket.timeout.ms": settings.kafka_session_timeout_ms,
        # librdkafka forgets what it was asking when all brokers are gone for a while and it begins anew at the bootstrap servers. A consumer
        # that was asking for its topics, to join its group with them, then waits for the next time that anybody asks: by default 5 minutes.
        "topic.metadata.refresh.interval.ms": METADATA_EVERY_MS,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": RECONNECT_MS_MAX,
        "allow.auto.create.topics": False,
    }
    return {name: value for name, value in config.items() if value is not None}


def is_fatal(error: KafkaError) -> bool:
    """Whether the client can only be closed; librdkafka says so in a flag or in a code, by the way the error came."""
    return error.fatal() or error.code() == KafkaError._FATAL


class Lifeline:
    """Notices that a client has lost Kafka for good, which answers others.

    A broker that stood still for about its own session is dead to its controller, and names no broker at all for a moment to whom asks it
    then. librdkafka 2.16 forgets all brokers over that, and may stop looking for any (its issue 5301): such a client is silent until it is
    replaced.
    """

    def __init__(self, settings: Settings) -> None:
        self._config: Final = client_config(settings)
        self._heard_at_s = time.monotonic()

    def heard(self) -> None:
        """Something came from Kafka."""
        self._heard_at_s = time.monotonic()

    @property
    def silent_s(self) -> float:
        """For how long nothing has come."""
        return time.monotonic() - self._heard_at_s

    @property
    def is_silent(self) -> bool:
        """Whether nothing has come for so long that it is time to look."""
        return self.silent_s > SILENT_S

    def is_lost(self, client: Any) -> bool:
        """Whether Kafka does not answer this client, answers another, and then still not this one. Blocks, for `3 * ANSWER_S` at most.

        While it answers nobody the client stays silent, so that whoever looks does so again at once.
        """
        if has_brokers(client):
            self.heard()
            return False
        return has_brokers(AdminClient(self._config)) and not has_brokers(client)


def has_brokers(client: Any) -> bool:
    """Whether Kafka answers this client within `ANSWER_S`, and names a broker. Blocks."""
    try:
        return bool(client.list_topics(timeout=ANSWER_S).brokers)
    except KafkaException:
        return False


# Not `message.headers()`: confluent-kafka 2.16 can set an error and return a list all the same, which a plain call of a method does not
# always notice. This call does, and raises SystemError.
_headers_of: Final = methodcaller("headers")


def record_of(message: Any) -> Record:
    """The record that a message carries; whatever of it the client cannot read is missing, and `flaw` says why.

    The client decodes the names of headers as UTF-8, and raises where one is not.
    """
    flaw = None
    try:
        headers = _headers_of(message)
    except Exception as error:
        headers, flaw = None, f"its headers cannot be read, and are not kept: {type(error).__name__}: {error}"
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
    """A consumer for one look at Kafka. Blocks for up to `CLOSE_S` at the end."""
    consumer = Consumer(config)
    try:
        yield consumer
    finally:
        close_consumer(consumer)


def bounds_of(consumer: Consumer, partitions: Iterable[Partition]) -> dict[Partition, tuple[int, int]]:
    return {p: consumer.get_watermark_offsets(TopicPartition(*p), timeout=LOOK_TIMEOUT_S) for p in partitions}


def patiently(work: Callable[[], T]) -> T:
    """A topic made a moment ago has no leader yet, and says so."""
    for _ in range(int(CALL_TIMEOUT_S / AGAIN_S)):
        with contextlib.suppress(KafkaException):
            return work()
        time.sleep(AGAIN_S)
    return translated(work)
