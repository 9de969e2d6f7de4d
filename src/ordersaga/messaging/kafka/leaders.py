"""Asks the leaders of partitions where their logs begin and end, without waiting for a silent leader again and again."""

import time
from collections.abc import Callable, Iterable
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from ordersaga.messaging.kafka.client import REPEATED_CALL_TIMEOUT_S, Partition

LEADER_S: Final = 2.0
"""How long a leader is waited for. A broker that has died leads its partitions for a session more."""
SILENT_LEADER_S: Final = 1.5
"""How long one that was silent the last time is waited for. Longer than a fetch waits for records (`QUIET_MS`): a broker answers the requests of a
connection one after the other, so on a system without orders every question waits for the fetch before it."""
ASK_AGAIN_S: Final = 5.0
"""Until then a silent leader is not asked again: others may reach it, so Kafka chooses no other one, and each question holds up all turns."""


class Leaders:
    """The leaders as one client reaches them."""

    def __init__(self, consumer: Consumer, now_s: Callable[[], float] = time.monotonic) -> None:
        self._consumer: Final = consumer
        self._now_s: Final = now_s
        self._silent_until_s: Final[dict[int, float]] = {}

    def bounds(self, partitions: Iterable[Partition]) -> dict[Partition, tuple[int, int]]:
        """Of each partition the first offset of the log and the offset of the next record; not of those without a leader that answers.

        Blocks for `LEADER_S` for a leader that falls silent, and now and then for `SILENT_LEADER_S` for one that still is. Raises KafkaException
        where no broker answers at all.
        """
        topics = self._consumer.list_topics(timeout=REPEATED_CALL_TIMEOUT_S).topics
        found: dict[Partition, tuple[int, int]] = {}
        for each in partitions:
            known = topics[each.topic].partitions.get(each.partition) if each.topic in topics else None
            leader = -1 if known is None else known.leader
            if leader < 0 or self._now_s() < self._silent_until_s.get(leader, 0.0):
                continue
            limit_s = SILENT_LEADER_S if leader in self._silent_until_s else LEADER_S
            asked_s = self._now_s()
            try:
                found[each] = self._consumer.get_watermark_offsets(TopicPartition(*each), timeout=limit_s)
            except KafkaException as error:
                # A negative code is the client's own, such as a time-out. Another one, if it comes in time, is an answer about this partition alone.
                if error.args[0].code() < 0 or self._now_s() - asked_s >= limit_s:
                    self._silent_until_s[leader] = self._now_s() + ASK_AGAIN_S
            else:
                self._silent_until_s.pop(leader, None)
        return found
