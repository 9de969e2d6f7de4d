"""Finds the start offsets of a service that replaces another consumer group: the offsets that the group has committed.

A group without a committed offset in a topic is refused if the topic has records: its name may be misspelt, and starting at the first
record would handle everything again. If the group has committed an offset in the topic, it has handled nothing of a partition without
one, and that partition starts at its first record.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from ordersaga.messaging.errors import CannotStart
from ordersaga.messaging.kafka.client import CALL_TIMEOUT_S, Partition, bounds_of, temporary_consumer

log: Final = structlog.get_logger()

PUBLISHED_WITHIN: Final = timedelta(minutes=1)
"""How long a record may have waited to be written: what Order has asked this long before the record's time may be that record."""
NEVER: Final = datetime.fromtimestamp(0, UTC)


def offsets_of_group(
    config: dict[str, Any], group: str, partitions: Sequence[Partition], begun: Collection[str]
) -> dict[Partition, int]:
    """The start offset of each partition. Blocks. Raises `CannotStart`.

    `begun`: topics with ledger rows. A partition of such a topic that has none was added later, so the topic is not refused.
    """
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
        names = ", ".join(f"{topic}/{number}" for topic, number in missing)
        log.warning(
            "the group has no committed offset here; these partitions start at their first record",
            group=group,
            at=names,
        )
    return {each: committed.get(each, bounds[each][0]) for each in partitions}


def handled_until(config: dict[str, Any], starts: Mapping[Partition, int], now: datetime) -> dict[Partition, datetime]:
    """Until when the group handled each partition, whose start offset is given: until `now`, or until `PUBLISHED_WITHIN` before the first
    record that it left. `NEVER` for a partition whose first record cannot be read in time. Blocks."""
    reading = {"enable.auto.commit": False, "auto.offset.reset": "error", "enable.partition.eof": True}
    with temporary_consumer(config | reading) as consumer:
        bounds = bounds_of(consumer, starts)
        left = {each: offset for each, offset in starts.items() if offset < bounds[each][1]}
        until = {each: NEVER if each in left else now for each in starts}
        consumer.assign([TopicPartition(*each, offset) for each, offset in left.items()])
        end = time.monotonic() + CALL_TIMEOUT_S
        while left and time.monotonic() < end:
            found = consumer.poll(0.1)
            error = found and found.error()
            if found is None or (error and error.code() != KafkaError._PARTITION_EOF):
                continue
            each = Partition(found.topic() or "", found.partition() or 0)
            if left.pop(each, None) is not None:
                # At the partition's end nothing was left but markers of transactions.
                began = (
                    datetime.fromtimestamp(found.timestamp()[1] / 1000, UTC) - PUBLISHED_WITHIN if not error else now
                )
                until[each] = min(now, began)
                consumer.incremental_unassign([TopicPartition(*each)])
        return until


def _committed(consumer: Consumer, partitions: Sequence[Partition]) -> dict[Partition, int]:
    found = consumer.committed([TopicPartition(*each) for each in partitions], timeout=CALL_TIMEOUT_S)
    for each in found:
        if each.error is not None:
            raise KafkaException(each.error)
    return {Partition(each.topic, each.partition): each.offset for each in found if each.offset >= 0}


def _refuse_unknown(
    group: str, silent: Collection[str], bounds: Mapping[Partition, tuple[int, int]], begun: Collection[str]
) -> None:
    """Raise `CannotStart` for topics with records in which the group has committed nothing. A topic without records is no risk."""
    used = {each.topic for each, (_, high) in bounds.items() if each.topic in silent and high > 0}
    unknown = sorted(used - set(begun))
    if unknown:
        raise CannotStart(
            f"ORDERSAGA_START_AT is group:{group}, but that group has committed no offset for {', '.join(unknown)}, which has records: "
            "it is not known whether the group has handled them. Is the name right (`kafka-consumer-groups.sh --list`)? If the group has "
            f"never read the topic, set where to start: `kafka-consumer-groups.sh --group {group} --topic {unknown[0]} "
            "--reset-offsets --to-earliest --execute`"
        )
