"""Asks the leaders of partitions where their logs begin and end, without waiting for a silent leader again and again."""

import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from ordersaga.messaging.kafka.client import REPEATED_CALL_TIMEOUT_S, Partition

LEADER_S: Final = 2.0
"""How long a leader is waited for. A broker that has died leads its partitions for a session more. Longer than a fetch waits for records
(`QUIET_MS`): a broker answers the requests of a connection one after the other, and a fetch may be before ours."""
SILENT_LEADER_S: Final = 0.5
"""How long one that was silent the last time is waited for, over a connection without fetches."""
ASK_AGAIN_S: Final = 5.0
"""Until then a silent leader is not asked again: others may reach it, so Kafka chooses no other one, and each question holds up all turns."""


class Leaders:
    """The leaders as one client reaches them. `another_client` is used while a leader is silent, and made when one falls silent."""

    def __init__(
        self,
        consumer: Consumer,
        another_client: Callable[[], AdminClient],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._consumer: Final = consumer
        self._another_client: Final = another_client
        self._other: AdminClient | None = None
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
            if leader < 0 or not self._may_be_asked(leader, each):
                continue
            asked_s = self._now_s()
            try:
                found[each] = self._consumer.get_watermark_offsets(TopicPartition(*each), timeout=LEADER_S)
            except KafkaException as error:
                if _is_silence(error) or self._now_s() - asked_s >= LEADER_S:
                    self._is_silent(leader)
        return found

    def _may_be_asked(self, leader: int, partition: Partition) -> bool:
        """Whether a leader is not silent, or answers again. `partition`: one that it leads."""
        if leader not in self._silent_until_s:
            return True
        if self._now_s() < self._silent_until_s[leader]:
            return False
        assert self._other is not None
        asked: Any = TopicPartition(*partition)
        asked_s = self._now_s()
        try:
            end = OffsetSpec.latest()  # type: ignore[no-untyped-call]
            self._other.list_offsets({asked: end}, request_timeout=SILENT_LEADER_S)[asked].result()
        except KafkaException as error:
            if _is_silence(error) or self._now_s() - asked_s >= SILENT_LEADER_S:
                self._is_silent(leader)
                return False
        del self._silent_until_s[leader]
        if not self._silent_until_s:
            self._other = None
        return True

    def _is_silent(self, leader: int) -> None:
        self._silent_until_s[leader] = self._now_s() + ASK_AGAIN_S
        self._other = (
            self._other or self._another_client()
        )  # made now, so that it is connected when the leader is asked again


def _is_silence(error: KafkaException) -> bool:
    """Whether nothing was heard: a negative code is the client's own, such as a time-out. Another one is an answer about the partition alone."""
    return bool(error.args[0].code() < 0)
