"""Detects a Kafka client that has lost Kafka for good."""

import time
from collections.abc import Callable
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from ordersaga.messaging.kafka.client import client_config
from ordersaga.settings import Settings

SILENT_S: Final = 2.0
QUICK_ANSWER_S: Final = 0.5
"""How long the first question waits: meanwhile a consumer takes no records."""
ANSWER_S: Final = 1.5
"""Longer than a client waits before it reconnects (`RECONNECT_MS_MAX`)."""


class Lifeline:
    """Detects a client that has lost Kafka for good although Kafka answers other clients.

    A broker that was frozen for about its session is dead to its controller and answers metadata requests without any broker for a
    moment. librdkafka 2.16 then forgets all brokers and may never look for one again (its issue 5301): the client hears nothing until it
    is replaced.
    """

    def __init__(self, settings: Settings) -> None:
        self._config: Final = client_config(settings)
        self._heard_at_s = time.monotonic()

    def heard(self) -> None:
        """Note that something came from Kafka."""
        self._heard_at_s = time.monotonic()

    @property
    def silent_s(self) -> float:
        """Seconds since something came from Kafka."""
        return time.monotonic() - self._heard_at_s

    @property
    def is_silent(self) -> bool:
        """Whether the silence is long enough for `is_lost`."""
        return self.silent_s > SILENT_S

    def is_lost(self, client: Any) -> bool:
        """Whether Kafka answers a new client and, before and after that, this one is connected to no broker. Blocks, for
        `QUICK_ANSWER_S + 2 * ANSWER_S` at most.

        A client that is connected and gets no answer is not lost. Its question may wait behind a record: a broker answers the requests of a
        connection one after the other, and acknowledges a record only when the other brokers have it or are given up. Or the question went to a
        broker that is cut off, whose connection ends with `KAFKA_REQUEST_TIMEOUT_MS`. A new producer would cost more than it brings: until
        Kafka has a controller again, no broker may have a producer id for it.

        False while Kafka answers no client; the client stays silent, so the caller checks again at once.
        """
        if _is_connected(client, QUICK_ANSWER_S, self.heard):
            return False
        return has_brokers(AdminClient(self._config)) and not _is_connected(client, ANSWER_S, self.heard)


def _is_connected(client: Any, wait_s: float, heard: Callable[[], None]) -> bool:
    """Whether this client is connected to a broker, or is within `wait_s`. Calls `heard` if the broker also answers. Blocks."""
    try:
        if client.list_topics(timeout=wait_s).brokers:
            heard()
            return True
        return False  # by this answer the client has forgotten all brokers
    except KafkaException as error:
        return bool(error.args[0].code() == KafkaError._TIMED_OUT)


def has_brokers(client: Any) -> bool:
    """Whether Kafka answers this client within `ANSWER_S` and names at least one broker. Blocks."""
    try:
        return bool(client.list_topics(timeout=ANSWER_S).brokers)
    except KafkaException:
        return False
