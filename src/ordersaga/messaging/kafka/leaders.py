"""Asks the leaders of partitions where their logs begin and end, without waiting for a silent leader again and again."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Final

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from ordersaga.messaging.kafka.client import REPEATED_CALL_TIMEOUT_S, Partition

LEADER_S: Final = 2.0
"""How long a leader is waited for. A broker that has died leads its partitions for a session more."""
SILENT_LEADER_S: Final = 0.5
"""How long one that was silent the last time is waited for. The client is connected by then."""
ASK_AGAIN_S: Final = 5.0
"""Until then a silent leader is not asked again: others may reach it, so Kafka chooses no other one, and each question holds up all turns."""


class Leaders:
    """The leaders as this process reaches them, asked over a client of their own, all partitions of a leader at once.

    A broker answers the requests of a connection one after the other. Over the consumer's own connection each question would wait behind a fetch,
    which waits up to a second for records: a process that takes further partitions while it reads others would stand still for as many seconds as
    it takes partitions.

    The client is made by `new_client` for a question, and kept while a partition is not told.
    """

    def __init__(self, new_client: Callable[[], AdminClient], now_s: Callable[[], float] = time.monotonic) -> None:
        self._new_client: Final = new_client
        self._client: AdminClient | None = None
        self._now_s: Final = now_s
        self._silent_until_s: Final[dict[int, float]] = {}

    def bounds(self, partitions: Iterable[Partition]) -> dict[Partition, tuple[int, int]]:
        """Of each partition the first offset of the log and the offset of the next record; not of those without a leader that answers.

        Blocks for `LEADER_S` for a leader that falls silent, and now and then for `SILENT_LEADER_S` for one that still is. Raises KafkaException
        where no broker answers at all.
        """
        asked = list(partitions)
        if not asked:
            return {}
        client = self._client = self._client or self._new_client()
        found: dict[Partition, tuple[int, int]] = {}
        for leader, its in _by_leader(client, asked).items():
            if self._now_s() >= self._silent_until_s.get(leader, 0.0):
                found |= self._ask(client, leader, its)
        if len(found) == len(asked):
            self._client = None
        return found

    def _ask(
        self, client: AdminClient, leader: int, partitions: Iterable[Partition]
    ) -> dict[Partition, tuple[int, int]]:
        """The bounds of these partitions of one leader, which is noted as silent if nothing is heard in time."""
        limit_s = SILENT_LEADER_S if leader in self._silent_until_s else LEADER_S
        places: dict[Partition, Any] = {each: TopicPartition(*each) for each in partitions}
        asked_s = self._now_s()
        firsts, ends = (
            client.list_offsets(dict.fromkeys(places.values(), spec), request_timeout=limit_s)
            for spec in (OffsetSpec.earliest(), OffsetSpec.latest())  # type: ignore[no-untyped-call]
        )
        self._silent_until_s.pop(leader, None)
        found = {}
        for each, place in places.items():
            try:
                found[each] = (firsts[place].result().offset, ends[place].result().offset)
            except KafkaException as error:
                if _is_silence(error) or self._now_s() - asked_s >= limit_s:
                    self._silent_until_s[leader] = self._now_s() + ASK_AGAIN_S
        return found


def _by_leader(client: AdminClient, partitions: Iterable[Partition]) -> dict[int, list[Partition]]:
    """The partitions of each leader; without those that have none."""
    topics = client.list_topics(timeout=REPEATED_CALL_TIMEOUT_S).topics
    found = defaultdict(list)
    for each in partitions:
        known = topics[each.topic].partitions.get(each.partition) if each.topic in topics else None
        if known is not None and known.leader >= 0:
            found[known.leader].append(each)
    return found


def _is_silence(error: KafkaException) -> bool:
    """Whether nothing was heard: a negative code is the client's own, such as a time-out. Another one is an answer about the partition alone."""
    return bool(error.args[0].code() < 0)
