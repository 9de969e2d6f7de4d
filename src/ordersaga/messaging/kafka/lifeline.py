"""Detects a Kafka client that has lost Kafka for good."""

import time
from typing import Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from ordersaga.messaging.kafka.client import client_config
from ordersaga.settings import Settings

SILENT_S: Final = 2.0
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
        """Whether Kafka answers a new client and, before and after that, not this one. Blocks, for `3 * ANSWER_S` at most.

        False while Kafka answers no client; the client stays silent, so the caller checks again at once.
        """
        if has_brokers(client):
            self.heard()
            return False
        return has_brokers(AdminClient(self._config)) and not has_brokers(client)


def has_brokers(client: Any) -> bool:
    """Whether Kafka answers this client within `ANSWER_S` and names at least one broker. Blocks."""
    try:
        return bool(client.list_topics(timeout=ANSWER_S).brokers)
    except KafkaException:
        return False
