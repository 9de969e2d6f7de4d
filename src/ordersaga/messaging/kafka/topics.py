"""Topics: create, describe and change them."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
)
from msgspec import Struct

from ordersaga.messaging.kafka.client import (
    CALL_TIMEOUT_S,
    REPEATED_CALL_TIMEOUT_S,
    KafkaUnavailable,
    Partition,
    client_config,
    translated,
)
from ordersaga.messaging.kafka.lifeline import has_brokers
from ordersaga.messaging.kafka.members import assigned_in
from ordersaga.settings import Settings

T = TypeVar("T")

NO_TOPIC: Final = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_EXCEPTION)
METADATA_EVERY_MS: Final = 60_000
"""Each call asks anew what it wants to know, so nothing waits for this client's own refresh."""
SHOWN_CONFIGS: Final = ("cleanup.policy", "retention.ms", "retention.bytes", "max.message.bytes", "min.insync.replicas")


class TopicState(Struct, frozen=True):
    """A topic in Kafka. `replicas`: the fewest of any partition. `config`: `SHOWN_CONFIGS` with the broker's defaults; None: not asked for, or
    Kafka's ACLs do not let us read it."""

    topic_id: str
    partitions: int
    replicas: int
    leaderless: Sequence[int]
    config: dict[str, str] | None


class Access(Struct, frozen=True):
    """What we may do with a topic. `operations`: `READ`, `WRITE`, ...; None: Kafka does not say. Without `partitions`: not even describe it."""

    partitions: int
    operations: frozenset[str] | None

    def allows(self, operation: str) -> bool:
        """Whether nothing is known to forbid the operation."""
        return self.operations is None or operation in self.operations


class Topics:
    """Creates, describes and changes topics. The client's calls block, so they run in threads."""

    def __init__(self, settings: Settings) -> None:
        self._config: Final = client_config(settings, {"topic.metadata.refresh.interval.ms": METADATA_EVERY_MS})
        self._client: AdminClient | None = None
        self._threads: Final = ThreadPoolExecutor(2, thread_name_prefix="topics")

    @property
    def _admin(self) -> AdminClient:
        """The client, made by the first call: each one has threads and a connection of its own."""
        if self._client is None:
            self._client = AdminClient(self._config)
        return self._client

    async def names(self) -> list[str]:
        """The names of all topics that we may see, Kafka's own left out."""
        return await self._asked(self._names)

    def _names(self, client: AdminClient) -> list[str]:
        listed = client.list_topics(timeout=REPEATED_CALL_TIMEOUT_S).topics
        return sorted(name for name in listed if not name.startswith("__"))

    async def ids(self, names: Sequence[str]) -> dict[str, str]:
        """Kafka's id of each topic that exists. A topic that is deleted and created again gets another id."""
        return {name: str(found.topic_id) for name, found in (await self._asked(self._describe, names)).items()}

    async def partition_counts(self, names: Sequence[str]) -> dict[str, int]:
        """The number of partitions of each topic that exists."""
        return {name: len(found.partitions) for name, found in (await self._asked(self._describe, names)).items()}

    async def access(self, names: Sequence[str]) -> dict[str, Access]:
        """What we may do with each topic. Left out is one that does not exist; Kafka tells that only to a user who may describe it."""
        return await self._asked(self._access, names)

    def _access(self, client: AdminClient, names: Sequence[str]) -> dict[str, Access]:
        asked = client.describe_topics(
            TopicCollection(list(dict.fromkeys(names))),
            include_authorized_operations=True,
            request_timeout=REPEATED_CALL_TIMEOUT_S,
        )
        found = {}
        for name, future in asked.items() if names else ():
            try:
                described = future.result()
            except KafkaException as error:
                code = error.args[0].code()
                if code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    found[name] = Access(0, frozenset())
                elif code not in NO_TOPIC:
                    raise
            else:
                operations = frozenset(each.name for each in described.authorized_operations or ())
                found[name] = Access(len(described.partitions), operations or None)
        return found

    async def ends(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """The offset of the next record of each partition that exists and has a leader."""
        return await self._asked(self._ends, partitions)

    def _ends(self, client: AdminClient, partitions: Sequence[Partition]) -> dict[Partition, int]:
        wanted = {TopicPartition(*each): OffsetSpec.latest() for each in partitions}  # type: ignore[no-untyped-call]
        asked = client.list_offsets(wanted, request_timeout=REPEATED_CALL_TIMEOUT_S) if wanted else {}
        found = {}
        for each, future in asked.items():
            with contextlib.suppress(KafkaException):
                found[Partition(each.topic, each.partition)] = future.result().offset
        return found

    async def states(self, names: Sequence[str], configs: bool = False) -> dict[str, TopicState]:
        """The state of each topic that exists; with `configs` also its config, for which Kafka wants the right DescribeConfigs."""
        return await self._asked(self._states, names, configs)

    def _states(self, client: AdminClient, names: Sequence[str], with_configs: bool) -> dict[str, TopicState]:
        described = self._describe(client, names)
        configs = self._configs(client, list(described)) if with_configs else {}
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

    def _describe(self, client: AdminClient, names: Sequence[str]) -> dict[str, Any]:
        asked = client.describe_topics(TopicCollection(list(names)), request_timeout=REPEATED_CALL_TIMEOUT_S)
        return _results(asked, *NO_TOPIC) if names else {}

    def _configs(self, client: AdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
        resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
        asked = client.describe_configs(resources, request_timeout=REPEATED_CALL_TIMEOUT_S) if resources else {}
        may_fail = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED)
        found = _results({resource.name: future for resource, future in asked.items()}, *may_fail)
        return {name: {each: config[each].value or "" for each in SHOWN_CONFIGS} for name, config in found.items()}

    async def assigned(self, group: str) -> set[Partition] | None:
        """The partitions that a consumer group has assigned to its members. None: it rebalances, or we may not describe it."""
        return await self._asked(self._assigned, group)

    def _assigned(self, client: AdminClient, group: str) -> set[Partition] | None:
        # Deprecated in favour of `describe_consumer_groups`, by which librdkafka 2.16 may end this process with an assertion when the group's
        # broker dies meanwhile (its issue 4605).
        described = client.list_groups(group, timeout=REPEATED_CALL_TIMEOUT_S)
        found = next((each for each in described if each.id == group), None)
        if found is None or found.error is not None or found.state != "Stable":
            return None
        return {partition for member in found.members for partition in assigned_in(member.assignment or b"")}

    async def may_join(self, group: str) -> bool:
        """Whether nothing is known to forbid us to be members of a consumer group and to commit offsets in it."""
        return await self._asked(self._may_join, group)

    def _may_join(self, client: AdminClient, group: str) -> bool:
        # Only this call tells of rights. It is made once, at the start: a process that it ends is started again, and has handled nothing.
        asked = client.describe_consumer_groups(
            [group], include_authorized_operations=True, request_timeout=REPEATED_CALL_TIMEOUT_S
        )
        try:
            operations = asked[group].result().authorized_operations
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                return False
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return True
            raise
        return not operations or "READ" in {each.name for each in operations}

    async def create(
        self, wanted: Sequence[tuple[str, dict[str, str]]], partitions: int, replication_factor: int
    ) -> list[str]:
        """Create topics with their configs and return the names of those created. A topic that exists stays as it is."""
        new = [
            NewTopic(name, num_partitions=partitions, replication_factor=replication_factor, config=config)
            for name, config in wanted
        ]

        def ask(client: AdminClient) -> list[str]:
            asked = client.create_topics(new, request_timeout=CALL_TIMEOUT_S) if new else {}
            return list(_results(asked, KafkaError.TOPIC_ALREADY_EXISTS))

        return await self._asked(ask)

    async def widen(self, partitions: dict[str, int]) -> None:
        """Raise the number of partitions of topics."""
        new = [NewPartitions(name, count) for name, count in partitions.items()]

        def ask(client: AdminClient) -> None:
            if new:
                _results(client.create_partitions(new, request_timeout=CALL_TIMEOUT_S))

        await self._asked(ask)

    async def configure(self, configs: dict[str, dict[str, str]]) -> None:
        """Set these configs of topics; other configs stay as they are."""
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

        def ask(client: AdminClient) -> None:
            if changes:
                asked = client.incremental_alter_configs(changes, request_timeout=CALL_TIMEOUT_S)
                _results({resource.name: future for resource, future in asked.items()})

        await self._asked(ask)

    async def reachable(self) -> bool:
        """Whether Kafka answers and names a broker."""
        client = self._admin
        found = await asyncio.get_running_loop().run_in_executor(self._threads, has_brokers, client)
        if not found:
            self._replace(client)
        return found

    async def _asked(self, ask: Callable[..., T], *arguments: Any) -> T:
        """Call in a thread, with the client, which the thread keeps: one that nobody keeps ends without resolving its futures, and whoever
        waits for one waits for ever. A client without an answer is replaced."""
        loop, client = asyncio.get_running_loop(), self._admin
        try:
            return await loop.run_in_executor(self._threads, lambda: translated(lambda: ask(client, *arguments)))
        except KafkaUnavailable:
            self._replace(client)
            raise

    def _replace(self, client: AdminClient) -> None:
        """Have the next call make a new client: this one may have lost Kafka for good (`Lifeline`). Another call may have replaced it already."""
        if self._client is client:
            self._client = None


def _results(asked: Mapping[str, Any], *may_fail: int) -> dict[str, Any]:
    """The results by name, without those that failed with one of the codes `may_fail`. Another error is raised with the name in its text."""
    found = {}
    for name, future in asked.items():
        try:
            found[name] = future.result()
        except KafkaException as error:
            if error.args[0].code() not in may_fail:
                raise KafkaException(KafkaError(error.args[0].code(), f"{name}: {error.args[0].str()}")) from error
    return found
