"""Topics as a whole: making, describing and changing them, their bounds, and reading all of one."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
)
from msgspec import Struct

from ordersaga.messaging.handler import Record
from ordersaga.messaging.kafka.client import (
    CALL_TIMEOUT_S,
    LOOK_TIMEOUT_S,
    KafkaUnavailable,
    Partition,
    bounds_of,
    client_config,
    close_consumer,
    has_brokers,
    patiently,
    record_of,
    temporary_consumer,
    translated,
)
from ordersaga.settings import Settings

T = TypeVar("T")

SHOWN_CONFIGS: Final = ("cleanup.policy", "retention.ms", "retention.bytes", "max.message.bytes", "min.insync.replicas")


class TopicState(Struct, frozen=True):
    """A topic as it is. `replicas`: of the partition that has fewest; `config`: what counts, with the broker's defaults; None: not readable."""

    topic_id: str
    partitions: int
    replicas: int
    leaderless: Sequence[int]
    config: dict[str, str] | None


class Topics:
    """Creating, describing and changing topics. Calls block, so they run in threads of their own."""

    def __init__(self, settings: Settings) -> None:
        self._config: Final = client_config(settings)
        self._admin = AdminClient(self._config)
        self._threads: Final = ThreadPoolExecutor(2, thread_name_prefix="topics")

    async def ids(self, names: Sequence[str]) -> dict[str, str]:
        """Kafka's own id of each topic that exists; a topic deleted and made again has another."""
        return {name: str(found.topic_id) for name, found in (await self._asked(self._describe, names)).items()}

    async def partition_counts(self, names: Sequence[str]) -> dict[str, int]:
        """How many partitions each topic that exists has."""
        return {name: len(found.partitions) for name, found in (await self._asked(self._describe, names)).items()}

    async def states(self, names: Sequence[str]) -> dict[str, TopicState]:
        """All that counts of each topic that exists."""
        return await self._asked(self._states, names)

    def _states(self, names: Sequence[str]) -> dict[str, TopicState]:
        described = self._describe(names)
        configs = self._configs(list(described))
        return {
            name: TopicState(
                str(found.topic_id),
                len(found.partitions),
                min(len(each.replicas) for each in found.partitions),
                [each.id for each in found.partitions if each.leader is None or each.leader.id < 0],
                configs.get(name),
            )
            for name, found in described.items()
        }

    def _describe(self, names: Sequence[str]) -> dict[str, Any]:
        asked = self._admin.describe_topics(TopicCollection(list(names)), request_timeout=LOOK_TIMEOUT_S)
        return _results(asked, KafkaError.UNKNOWN_TOPIC_OR_PART) if names else {}

    def _configs(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
        asked = self._admin.describe_configs(resources, request_timeout=LOOK_TIMEOUT_S) if resources else {}
        may_fail = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED)
        found = _results({resource.name: future for resource, future in asked.items()}, *may_fail)
        return {name: {each: config[each].value or "" for each in SHOWN_CONFIGS} for name, config in found.items()}

    async def create(
        self, wanted: Sequence[tuple[str, dict[str, str]]], partitions: int, replication_factor: int
    ) -> list[str]:
        """Create topics with their configs and return their names; one that is there is left as it is."""
        new = [
            NewTopic(name, num_partitions=partitions, replication_factor=replication_factor, config=config)
            for name, config in wanted
        ]

        def ask() -> list[str]:
            asked = self._admin.create_topics(new, request_timeout=CALL_TIMEOUT_S) if new else {}
            return list(_results(asked, KafkaError.TOPIC_ALREADY_EXISTS))

        return await self._asked(ask)

    async def widen(self, partitions: dict[str, int]) -> None:
        """Give topics more partitions."""
        new = [NewPartitions(name, count) for name, count in partitions.items()]

        def ask() -> None:
            if new:
                _results(self._admin.create_partitions(new, request_timeout=CALL_TIMEOUT_S))

        await self._asked(ask)

    async def configure(self, configs: dict[str, dict[str, str]]) -> None:
        """Set these configs of topics, and leave their others."""
        changes = [
            ConfigResource(
                ConfigResource.Type.TOPIC,
                name,
                incremental_configs=[
                    ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
                    for key, value in config.items()
                ],
            )
            for name, config in configs.items()
        ]

        def ask() -> None:
            if changes:
                asked = self._admin.incremental_alter_configs(changes, request_timeout=CALL_TIMEOUT_S)
                _results({resource.name: future for resource, future in asked.items()})

        await self._asked(ask)

    async def reachable(self) -> bool:
        """Whether the cluster answers at all."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, has_brokers, self._admin)

    async def _asked(self, ask: Callable[..., T], *arguments: Any) -> T:
        """In a thread. A client that had no answer is not asked again: it may have lost Kafka for good (`Lifeline`)."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, lambda: translated(lambda: ask(*arguments)))
        except KafkaUnavailable:
            self._admin = AdminClient(self._config)
            raise


def _results(asked: Mapping[str, Any], *may_fail: int) -> dict[str, Any]:
    """Each one's answer; those that failed as is allowed are left out. The error of another names whose it is."""
    found = {}
    for name, future in asked.items():
        try:
            found[name] = future.result()
        except KafkaException as error:
            if error.args[0].code() not in may_fail:
                raise KafkaException(KafkaError(error.args[0].code(), f"{name}: {error.args[0].str()}")) from error
    return found


class Tap:
    """Reads whole topics without being a member of any group: for whoever looks on. From now on, or from the beginning."""

    def __init__(self, settings: Settings, topics: Sequence[str], from_beginning: bool = False) -> None:
        self._thread: Final = ThreadPoolExecutor(1, thread_name_prefix="tap")
        self._consumer: Final = Consumer(
            client_config(settings)
            | {
                "group.id": "ordersaga-tap",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest" if from_beginning else "latest",
                "queued.max.messages.kbytes": 16_384,  # read ahead of whoever takes the records; 64 MiB by default
            }
        )
        ends = patiently(lambda: bounds_of(self._consumer, _partitions(self._consumer, topics)))
        self._consumer.assign([TopicPartition(*p, low if from_beginning else high) for p, (low, high) in ends.items()])
        self._unread: Final = {p: high for p, (low, high) in ends.items() if from_beginning and low < high}

    @classmethod
    async def open(cls, settings: Settings, topics: Sequence[str], from_beginning: bool = False) -> "Tap":
        """The same, without blocking."""
        with ThreadPoolExecutor(1, thread_name_prefix="tap-open") as opening:
            return await asyncio.get_running_loop().run_in_executor(opening, cls, settings, topics, from_beginning)

    async def fetch(self, records_max: int, wait_s: float) -> list[Record]:
        """What is there; waits up to `wait_s` for the first record."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._fetch, records_max, wait_s)

    def _fetch(self, records_max: int, wait_s: float) -> list[Record]:
        first = self._consumer.poll(wait_s)
        messages = [] if first is None else [first, *self._consumer.consume(records_max, 0)]
        for message in messages:
            self._note(message)
        return [record_of(message) for message in messages if message.error() is None]

    def _note(self, message: Message) -> None:
        """Markers, aborted records and what an open transaction holds back are never given: there only the end of a partition is said."""
        partition, problem = Partition(message.topic() or "", message.partition() or 0), message.error()
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
        """Whether everything was given that could be read when the tap was opened."""
        return not self._unread

    async def end(self) -> None:
        """Stop reading, without blocking."""
        await asyncio.get_running_loop().run_in_executor(self._thread, close_consumer, self._consumer)
        self._thread.shutdown(wait=False)

    def close(self) -> None:
        """Stop reading."""
        self._thread.submit(close_consumer, self._consumer).result()
        self._thread.shutdown()


def _partitions(consumer: Consumer, topics: Sequence[str]) -> list[Partition]:
    described = consumer.list_topics(timeout=CALL_TIMEOUT_S).topics
    return [Partition(name, number) for name in topics if name in described for number in described[name].partitions]


def watermarks(settings: Settings, partitions: Sequence[Partition]) -> dict[Partition, tuple[int, int]]:
    """The bounds of partitions' logs, for audits and tools. Blocks. Raises `KafkaUnavailable`."""
    with temporary_consumer(client_config(settings) | {"group.id": "ordersaga-audit"}) as consumer:
        return patiently(lambda: bounds_of(consumer, partitions))
