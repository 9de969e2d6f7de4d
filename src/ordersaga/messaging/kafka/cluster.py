"""What a cluster says of itself: its brokers, their limits, where logs begin and end, and the newest timestamp in them. All calls block."""

from collections.abc import Collection
from typing import Any, Final

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec  # type: ignore[attr-defined]
from msgspec import Struct

from ordersaga.messaging.kafka.client import CALL_TIMEOUT_S, Partition, client_config, translated
from ordersaga.settings import Settings

SESSION_MIN: Final = "group.min.session.timeout.ms"
SESSION_MAX: Final = "group.max.session.timeout.ms"
AUTO_CREATE: Final = "auto.create.topics.enable"
DEAD_AFTER: Final = "broker.session.timeout.ms"
CONTROLLER_TIMEOUT: Final = "controller.socket.timeout.ms"
BROKER_CONFIGS: Final = (SESSION_MIN, SESSION_MAX, AUTO_CREATE, DEAD_AFTER, CONTROLLER_TIMEOUT)


class Brokers(Struct, frozen=True):
    """How many brokers there are, and the `BROKER_CONFIGS` of one of them; None: we may not read them."""

    count: int
    config: dict[str, str] | None


class Log(Struct, frozen=True):
    """The offsets of a partition's first record and of its next one, and the newest timestamp in it; None: it has no record."""

    first: int
    end: int
    newest_ms: int | None


def brokers(settings: Settings) -> Brokers:
    """The brokers. Raises `KafkaUnavailable`."""
    admin = AdminClient(client_config(settings))
    found = translated(lambda: admin.list_topics(timeout=CALL_TIMEOUT_S)).brokers
    one = ConfigResource(ConfigResource.Type.BROKER, str(min(found)))
    try:
        config = admin.describe_configs([one], request_timeout=CALL_TIMEOUT_S)[one].result()
    except KafkaException:
        return Brokers(len(found), None)
    return Brokers(len(found), {name: config[name].value or "" for name in BROKER_CONFIGS if name in config})


def logs(settings: Settings, partitions: Collection[Partition]) -> dict[Partition, Log]:
    """The log of each partition that exists and has a leader. Raises `KafkaUnavailable`."""
    admin = AdminClient(client_config(settings))
    first = _listed(admin, partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
    end = _listed(admin, first, OffsetSpec.latest())  # type: ignore[no-untyped-call]
    newest = _listed(admin, end, OffsetSpec.max_timestamp())  # type: ignore[no-untyped-call]
    return {
        each: Log(
            first[each].offset,
            end[each].offset,
            newest[each].timestamp if each in newest and newest[each].offset >= 0 else None,
        )
        for each in end
    }


def _listed(admin: AdminClient, partitions: Collection[Partition], spec: Any) -> dict[Partition, Any]:
    asked = translated(
        lambda: (
            admin.list_offsets({TopicPartition(*each): spec for each in partitions}, request_timeout=CALL_TIMEOUT_S)
            if partitions
            else {}
        )
    )
    found = {}
    for each, future in asked.items():
        try:
            found[Partition(each.topic, each.partition)] = future.result()
        except KafkaException:
            continue  # `topics check` and the alarm `no leader` say why
    return found
