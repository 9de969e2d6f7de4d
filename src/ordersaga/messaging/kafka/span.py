"""Reads a bounded stretch of some partitions, without a group: for looks into topics."""

import time
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from ordersaga.messaging.handler import Record
from ordersaga.messaging.kafka.client import KafkaUnavailable, Partition, bounds_of, record_of, with_retries

BYTES_MAX: Final = 8_000_000
METADATA_S: Final = 3.0
POLL_S: Final = 0.2
AT_ONCE: Final = 500

Fits: TypeAlias = Callable[[Record], bool]


class Span:
    """Reads the offsets from a begin up to an end of some partitions. `records`: those that fit. `oldest`: the time of each partition's first
    record."""

    def __init__(self, consumer: Consumer, spans: Mapping[Partition, tuple[int, int]], fits: Fits) -> None:
        self.records: Final[list[Record]] = []
        self.oldest: Final[dict[Partition, int]] = {}
        self.looked = 0
        self._consumer: Final = consumer
        self._fits: Final = fits
        self._ends: Final = {each: end for each, (_, end) in spans.items()}
        self._bytes = 0
        consumer.assign([TopicPartition(*each, begin) for each, (begin, _) in spans.items()])

    def read(self, deadline: float) -> bool:
        """Whether all of them were read before the deadline, and were not too large."""
        while self._ends and self._bytes < BYTES_MAX and time.monotonic() < deadline:
            first = self._consumer.poll(POLL_S)  # `consume` would wait for as many as it may return
            for message in [] if first is None else [first, *self._consumer.consume(AT_ONCE, 0)]:
                self._add(message)
        return not self._ends

    def _add(self, message: Message) -> None:
        place, problem = Partition(message.topic() or "", message.partition() or 0), message.error()
        if problem is not None and problem.code() != KafkaError._PARTITION_EOF:
            raise KafkaUnavailable(f"{place} cannot be read: {problem.str()}")
        end = self._ends.get(place)
        if end is None:
            return
        offset = message.offset() or 0
        if problem is None and offset < end:
            record = record_of(message)
            self.looked += 1
            self.oldest[place] = min(self.oldest.get(place, record.timestamp_ms), record.timestamp_ms)
            if self._fits(record):
                self.records.append(record)
                self._bytes += len(record.value or b"")
        # The last offsets may have no record (transaction markers, aborted or compacted records): then EOF or a later record tells.
        if problem is not None or offset + 1 >= end:
            del self._ends[place]


def bounds_in(consumer: Consumer, topic: str) -> dict[Partition, tuple[int, int]]:
    """Of each partition of a topic the first offset and that of the next record; nothing for a topic that Kafka does not have. Blocks."""
    described = consumer.list_topics(topic, timeout=METADATA_S).topics.get(topic)
    if described is None or described.error is not None:
        return {}
    places = [Partition(topic, number) for number in sorted(described.partitions)]
    return with_retries(lambda: bounds_of(consumer, places))
