"""Reads topics without joining a group, for pages, tools and tests."""

import asyncio
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from ordersaga.messaging.handler import Coordinates, Record
from ordersaga.messaging.kafka.client import (
    READING_GROUP,
    REPEATED_CALL_TIMEOUT_S,
    KafkaForbids,
    KafkaUnavailable,
    Partition,
    bounds_of,
    client_config,
    close_consumer,
    forbidden,
    record_of,
    temporary_consumer,
    translated,
    with_retries,
)
from ordersaga.messaging.kafka.lifeline import has_brokers
from ordersaga.settings import Settings

NEAR: Final = 500
"""So many records are read through rather than sought behind."""
NOTHING_THERE: Final = (KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET)


class Tap:
    """Reads topics without joining a group, from now on or from the beginning. Raises `KafkaUnavailable`, also for a topic that is not there,
    and `KafkaForbids` for one that an ACL does not let us read."""

    def __init__(self, settings: Settings, topics: Sequence[str], from_beginning: bool = False) -> None:
        self._topics: Final = topics
        self._thread: Final = ThreadPoolExecutor(1, thread_name_prefix="tap")
        self._consumer: Final = Consumer(
            client_config(
                settings,
                {
                    "group.id": READING_GROUP,
                    "enable.auto.commit": False,
                    "enable.partition.eof": True,
                    "auto.offset.reset": "earliest" if from_beginning else "latest",
                    "queued.max.messages.kbytes": 16_384,  # read-ahead; 64 MiB by default
                },
            )
        )
        ends = with_retries(lambda: bounds_of(self._consumer, _partitions(self._consumer, topics)))
        self._consumer.assign([TopicPartition(*p, low if from_beginning else high) for p, (low, high) in ends.items()])
        self._read: Final = set(ends)
        self._unread: Final = {p: high for p, (low, high) in ends.items() if from_beginning and low < high}

    @classmethod
    async def open(cls, settings: Settings, topics: Sequence[str], from_beginning: bool = False) -> "Tap":
        """Make a tap without blocking the event loop."""
        opening = ThreadPoolExecutor(1, thread_name_prefix="tap-open")
        try:
            return await asyncio.get_running_loop().run_in_executor(opening, cls, settings, topics, from_beginning)
        finally:
            opening.shutdown(
                wait=False
            )  # when this is cancelled, the thread may wait for Kafka, and the event loop must not wait for it

    async def fetch(self, records_max: int, wait_s: float) -> list[Record]:
        """Up to `records_max` + 1 records; waits up to `wait_s` for the first."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._fetch, records_max, wait_s)

    async def reaches_kafka(self) -> bool:
        """Whether Kafka answers this client. Without records it cannot be told otherwise: librdkafka reports no lost connection here."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, has_brokers, self._consumer)

    async def read_added(self) -> None:
        """Read the partitions, too, that were added to the topics meanwhile: from their beginning, since all their records are new."""
        await asyncio.get_running_loop().run_in_executor(self._thread, translated, self._read_added)

    def _read_added(self) -> None:
        added = [each for each in _partitions(self._consumer, self._topics) if each not in self._read]
        if added:
            self._consumer.incremental_assign([TopicPartition(*each, OFFSET_BEGINNING) for each in added])
            self._read.update(added)

    def _fetch(self, records_max: int, wait_s: float) -> list[Record]:
        first = self._consumer.poll(wait_s)
        messages = [] if first is None else [first, *self._consumer.consume(records_max, 0)]
        for message in messages:
            self._mark_read(message)
        return [record_of(message) for message in messages if message.error() is None]

    def _mark_read(self, message: Message) -> None:
        """Note that a partition is read to its end. The last offsets may have no record (transaction markers, aborted records): then EOF tells."""
        partition, problem = Partition(message.topic() or "", message.partition() or 0), message.error()
        if problem is not None and problem.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise KafkaForbids(forbidden("Read", f"topic {partition.topic}"))
        if partition not in self._unread:
            return
        if problem is None:
            is_read = (message.offset() or 0) + 1 >= self._unread[partition]
        elif problem.code() == KafkaError._PARTITION_EOF:
            is_read = True
        else:
            raise KafkaUnavailable(f"{partition.topic}/{partition.partition} cannot be read: {problem.str()}")
        if is_read:
            del self._unread[partition]

    async def at_end(self) -> bool:
        """Whether all records were fetched that were readable when the tap was opened."""
        return not self._unread

    async def end(self) -> None:
        """Stop reading, without blocking the event loop."""
        await asyncio.get_running_loop().run_in_executor(self._thread, close_consumer, self._consumer)
        self._thread.shutdown(wait=False)

    def close(self) -> None:
        """Stop reading. Blocks."""
        self._thread.submit(close_consumer, self._consumer).result()
        self._thread.shutdown()


def records_at(settings: Settings, places: Collection[Coordinates]) -> dict[Coordinates, Record]:
    """The records at these places; a place whose record is gone, or that never was, is left out. Blocks. Raises `KafkaUnavailable`."""
    config = client_config(
        settings,
        {
            "group.id": READING_GROUP,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
        },
    )
    found, bounds = {}, dict[Partition, tuple[int, int]]()
    following: Coordinates | None = None
    with temporary_consumer(config) as consumer:
        for place in sorted(places):
            partition = Partition(place.topic, place.partition)
            if partition not in bounds:
                bounds[partition] = translated(partial(_bounds, consumer, partition))
            first, end = bounds[partition]
            if not first <= place.offset < end:
                continue
            if following is None or following[:2] != partition or not 0 <= place.offset - following.offset < NEAR:
                consumer.assign([TopicPartition(*place)])
            record = _next_from(consumer, place)
            following = None if record is None else Coordinates(*partition, record.offset + 1)
            if record is not None and record.coordinates == place:
                found[place] = record
            else:  # the log goes on behind the place: the record was compacted away, or its transaction was aborted
                following = None
    return found


def _bounds(consumer: Consumer, partition: Partition) -> tuple[int, int]:
    described = consumer.list_topics(partition.topic, timeout=REPEATED_CALL_TIMEOUT_S).topics[partition.topic]
    if partition.partition not in described.partitions:
        return 0, 0
    return bounds_of(consumer, [partition])[partition]


def _next_from(consumer: Consumer, place: Coordinates) -> Record | None:
    """The first record at the place or behind it; None: there is none."""
    while True:
        message = consumer.poll(REPEATED_CALL_TIMEOUT_S)
        problem = message.error() if message is not None else None
        if message is None or (problem is not None and problem.code() not in NOTHING_THERE):
            why = "nothing came in time" if problem is None else problem.str()
            raise KafkaUnavailable(f"{place.topic}/{place.partition} cannot be read: {why}")
        if problem is not None:
            return None
        if (message.offset() or 0) >= place.offset:
            return record_of(message)


def _partitions(consumer: Consumer, topics: Sequence[str]) -> list[Partition]:
    described = consumer.list_topics(timeout=REPEATED_CALL_TIMEOUT_S).topics
    if missing := [name for name in topics if name not in described]:
        raise KafkaUnavailable(f"there is no topic {', '.join(missing)}, or Kafka's ACLs do not allow Describe on it")
    return [Partition(name, number) for name in topics for number in described[name].partitions]


def watermarks(settings: Settings, partitions: Sequence[Partition]) -> dict[Partition, tuple[int, int]]:
    """Of each partition the first offset of the log and the offset of the next record. Blocks. Raises `KafkaUnavailable`."""
    with temporary_consumer(client_config(settings) | {"group.id": READING_GROUP}) as consumer:
        return with_retries(lambda: bounds_of(consumer, partitions))
