"""Topics as a whole: making and describing them, their bounds, and reading all of one."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from ordersaga.contracts.topics import TOPICS
from ordersaga.messaging.handler import Record
from ordersaga.messaging.kafka.client import (
    CALL_TIMEOUT_S,
    LOOK_TIMEOUT_S,
    KafkaUnavailable,
    Partition,
    bounds_of,
    client_config,
    has_brokers,
    patiently,
    record_of,
    translated,
)
from ordersaga.settings import Settings

T = TypeVar("T")

DEAD_LETTER_BYTES_MAX: Final = 1_048_588 + 64 * 1024


class Topics:
    """Creating and describing topics. Calls block, so each runs in a thread."""

    def __init__(self, settings: Settings) -> None:
        self._config: Final = client_config(settings)
        self._admin = AdminClient(self._config)

    async def ids(self, names: Sequence[str]) -> dict[str, str]:
        """Kafka's own id of each topic that exists; a topic deleted and made again has another."""
        return {name: str(found.topic_id) for name, found in (await self._describe(names)).items()}

    async def partition_counts(self, names: Sequence[str]) -> dict[str, int]:
        """How many partitions each topic that exists has."""
        return {name: len(found.partitions) for name, found in (await self._describe(names)).items()}

    async def _describe(self, names: Sequence[str]) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            found = {}
            for name, future in self._admin.describe_topics(
                TopicCollection(list(names)), request_timeout=LOOK_TIMEOUT_S
            ).items():
                try:
                    found[name] = future.result()
                except KafkaException as error:
                    if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                        raise
            return found

        return await self._asked(ask)

    async def create(
        self, wanted: Sequence[tuple[str, dict[str, str]]], partitions: int, replication_factor: int
    ) -> None:
        """Create topics with their configs; one that is there is left as it is."""
        new = [
            NewTopic(name, num_partitions=partitions, replication_factor=replication_factor, config=config)
            for name, config in wanted
        ]

        def ask() -> None:
            for future in self._admin.create_topics(new, request_timeout=CALL_TIMEOUT_S).values() if new else ():
                try:
                    future.result()
                except KafkaException as error:
                    if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                        raise

        await self._asked(ask)

    async def reachable(self) -> bool:
        """Whether the cluster answers at all."""
        return await asyncio.to_thread(has_brokers, self._admin)

    async def _asked(self, ask: Callable[[], T]) -> T:
        """In a thread. A client that had no answer is not asked again: it may have lost Kafka for good (`Lifeline`)."""
        try:
            return await asyncio.to_thread(translated, ask)
        except KafkaUnavailable:
            self._admin = AdminClient(self._config)
            raise


class Tap:
    """Reads whole topics without being a member of any group: for whoever looks on. From now on, or from the beginning."""

    def __init__(self, settings: Settings, topics: Sequence[str], from_beginning: bool = False) -> None:
        self._thread: Final = ThreadPoolExecutor(1, thread_name_prefix="tap")
        self._consumer: Final = Consumer(
            client_config(settings) | {"group.id": "ordersaga-tap", "enable.auto.commit": False}
        )
        self._ends = patiently(lambda: bounds_of(self._consumer, _partitions(self._consumer, topics)))
        self._consumer.assign(
            [TopicPartition(*p, low if from_beginning else high) for p, (low, high) in self._ends.items()]
        )

    async def fetch(self, records_max: int, wait_s: float) -> list[Record]:
        """What is there; waits up to `wait_s` for the first record."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._fetch, records_max, wait_s)

    def _fetch(self, records_max: int, wait_s: float) -> list[Record]:
        first = self._consumer.poll(wait_s)
        messages = [] if first is None else [first, *self._consumer.consume(records_max, 0)]
        return [record_of(message) for message in messages if message.error() is None]

    async def at_end(self) -> bool:
        """Whether everything was read that was there when the tap was opened."""

        def ask() -> bool:
            places = self._consumer.position(
                [TopicPartition(*p) for p, (low, high) in self._ends.items() if high > low]
            )
            return all(place.offset >= self._ends[Partition(place.topic, place.partition)][1] for place in places)

        return await asyncio.get_running_loop().run_in_executor(self._thread, ask)

    def close(self) -> None:
        """Stop reading."""
        self._thread.submit(self._consumer.close).result()
        self._thread.shutdown()


def _partitions(consumer: Consumer, topics: Sequence[str]) -> list[Partition]:
    described = consumer.list_topics(timeout=CALL_TIMEOUT_S).topics
    return [Partition(name, number) for name in topics if name in described for number in described[name].partitions]


async def create_missing_topics(settings: Settings) -> list[str]:
    """Create the topics that are missing, dead letter topics too, and return their names; existing ones are left as they are.

    A dead letter may be as large as any record, and its headers come on top.
    """
    topics = Topics(settings)
    wanted: list[tuple[str, dict[str, str]]] = [(topic.name, {}) for topic in TOPICS]
    wanted += [(topic.dead_letters, {"max.message.bytes": str(DEAD_LETTER_BYTES_MAX)}) for topic in TOPICS]
    there = await topics.ids([name for name, _ in wanted])
    missing = [(name, config) for name, config in wanted if name not in there]
    await topics.create(missing, settings.topic_partitions, settings.topic_replication_factor)
    return [name for name, _ in missing]


def watermarks(settings: Settings, partitions: Sequence[Partition]) -> dict[Partition, tuple[int, int]]:
    """The bounds of partitions' logs, for audits and tools. Blocks. Raises `KafkaUnavailable`."""
    consumer = Consumer(client_config(settings) | {"group.id": "ordersaga-audit"})
    try:
        return patiently(lambda: bounds_of(consumer, partitions))
    finally:
        consumer.close()
