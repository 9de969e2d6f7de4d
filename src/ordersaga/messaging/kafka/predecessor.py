"""Where to begin when this service takes over from another consumer group, by the offsets which that has committed.

Beginning at the first record where a group has said nothing would take all again that it has handled: a name with a typing error is a
group that has said nothing. So a topic that has records and of which the group has committed nothing at all is refused. Of a topic of
which it has committed something, a partition without an offset is one whose records it has not handled, so that begins at its first.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from ordersaga.messaging.errors import CannotStart
from ordersaga.messaging.kafka.client import CALL_TIMEOUT_S, Partition, bounds_of, temporary_consumer

log: Final = structlog.get_logger()


def offsets_of_group(
    config: dict[str, Any], group: str, partitions: Sequence[Partition], begun: Collection[str]
) -> dict[Partition, int]:
    """The offset of each partition. `begun`: topics of which this service has positions already, so that a partition is new to it only
    because it is new. Blocks. Raises `CannotStart`."""
    with temporary_consumer(config | {"group.id": group}) as consumer:
        topics = {partition.topic for partition in partitions}
        described = consumer.list_topics(timeout=CALL_TIMEOUT_S).topics
        every = [Partition(topic, number) for topic in sorted(topics) for number in described[topic].partitions]
        committed = _committed(consumer, every)
        silent = topics - {partition.topic for partition in committed}
        bounds = bounds_of(consumer, [each for each in every if each in set(partitions) or each.topic in silent])
    _refuse_unknown(group, silent, bounds, begun)
    missing = sorted(each for each in partitions if each not in committed and bounds[each][1] > bounds[each][0])
    if missing:
        places = ", ".join(f"{topic}/{number}" for topic, number in missing)
        log.warning(
            "the group has committed nothing here, so these begin at their first record", group=group, at=places
        )
    return {each: committed.get(each, bounds[each][0]) for each in partitions}


def _committed(consumer: Consumer, partitions: Sequence[Partition]) -> dict[Partition, int]:
    found = consumer.committed([TopicPartition(*each) for each in partitions], timeout=CALL_TIMEOUT_S)
    for each in found:
        if each.error is not None:
            raise KafkaException(each.error)
    return {Partition(each.topic, each.partition): each.offset for each in found if each.offset >= 0}


def _refuse_unknown(
    group: str, silent: Collection[str], bounds: Mapping[Partition, tuple[int, int]], begun: Collection[str]
) -> None:
    """A topic without a record has nothing that could be taken twice."""
    used = {each.topic for each, (_, high) in bounds.items() if each.topic in silent and high > 0}
    unknown = sorted(used - set(begun))
    if unknown:
        raise CannotStart(
            f"ORDERSAGA_START_AT is group:{group}, but that group has committed no offset for {', '.join(unknown)}, which has records: "
            "whether somebody has handled them cannot be known. Is the name right (`kafka-consumer-groups.sh --list`)? If the group has "
            f"never read the topic, say where to begin: `kafka-consumer-groups.sh --group {group} --topic {unknown[0]} "
            "--reset-offsets --to-earliest --execute`"
        )
