"""Finds out whether records are left between a position in a partition and the log's end.

The difference of the offsets is not the number of records left: transaction markers, aborted records and records that compaction removed
have offsets and are never delivered, and records after the start of an open transaction are not delivered until it ends.
"""

import contextlib
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from ordersaga.messaging.kafka.client import (
    CALL_TIMEOUT_S,
    READING_GROUP,
    KafkaUnavailable,
    Partition,
    client_config,
    temporary_consumer,
)
from ordersaga.settings import Settings

LIMIT_S: Final = 15.0
POLL_S: Final = 0.1
BATCH: Final = 1_000
FETCH_BYTES: Final = 64 * 1024
UNHEARD: Final = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT)


class Gap(NamedTuple):
    """The gap of one partition between `position` and the log's end, as Kafka has it now.

    `low`: the log's first offset. `stable`: the last stable offset, up to which consumers can read. `high`: the log's end. An open
    transaction starts at `stable`, before `high`. A partition that could not be read has only `position` and `why`.
    """

    position: int
    low: int = 0
    stable: int = 0
    high: int = 0
    first: int | None = None
    """Offset of the first record at or after the position that a consumer will get."""
    first_ms: int | None = None
    """Time stamp of that record in milliseconds; None: it has none."""
    open_ms: int | None = None
    """Time stamp of the first record of the open transaction, in milliseconds."""
    why: str | None = None
    """Why the partition could not be read."""

    @property
    def has_records(self) -> bool:
        return self.first is not None

    @property
    def is_open(self) -> bool:
        """Whether an open transaction makes the end of the log unreadable."""
        return self.why is None and self.stable < self.high

    @property
    def empty_until(self) -> int:
        """From the position to this offset there is no record that a consumer will ever get."""
        if self.why is not None:
            return self.position
        return max(self.position, self.stable) if self.first is None else self.first


def gaps_of(settings: Settings, positions: Mapping[Partition, int], limit_s: float = LIMIT_S) -> dict[Partition, Gap]:
    """The gap of each partition from its position. Blocks for `limit_s` and a few calls.

    A partition that Kafka does not have, refuses or does not answer for has the reason in `why`; the others are complete. Raises
    `KafkaUnavailable` when Kafka answers for no partition.
    """
    if not positions:
        return {}
    found = _bounds(settings, positions)
    wanted = {p: max(gap.position, gap.low) for p, gap in found.items() if gap.why is None}
    committed = {p: at for p, at in wanted.items() if at < found[p].stable}
    for partition, first in _first_records(settings, committed, "read_committed", limit_s).items():
        found[partition] = found[partition]._replace(**first)
    begun = {p: found[p].stable for p in wanted if found[p].is_open}
    for partition, first in _first_records(settings, begun, "read_uncommitted", limit_s).items():
        found[partition] = found[partition]._replace(open_ms=first.get("first_ms"))
    return found


def _bounds(settings: Settings, positions: Mapping[Partition, int]) -> dict[Partition, Gap]:
    """`low`, `stable` and `high` of each, read in this order: a log that grows meanwhile never has `stable` after `high`."""
    admin = AdminClient(client_config(settings))
    found = {partition: Gap(position) for partition, position in positions.items()}
    for name, spec, isolation in (
        ("low", OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED),  # type: ignore[no-untyped-call]
        ("stable", OffsetSpec.latest(), IsolationLevel.READ_COMMITTED),  # type: ignore[no-untyped-call]
        ("high", OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED),  # type: ignore[no-untyped-call]
    ):
        asked = [p for p, gap in found.items() if gap.why is None]
        for partition, answer in _listed(admin, asked, spec, isolation).items():
            change = {"why": answer} if isinstance(answer, str) else {name: answer}
            found[partition] = found[partition]._replace(**change)
    return found


def _listed(admin: AdminClient, asked: Iterable[Partition], spec: Any, isolation: Any) -> dict[Partition, int | str]:
    """The offset of each partition, or the reason why there is none."""
    request = {TopicPartition(*p): spec for p in asked}
    answers: dict[Partition, int | str] = {}
    if not request:
        return answers
    futures = admin.list_offsets(request, isolation_level=isolation, request_timeout=CALL_TIMEOUT_S)
    unheard = 0
    for asked_partition, future in futures.items():
        partition = Partition(asked_partition.topic, asked_partition.partition)
        try:
            answers[partition] = future.result().offset
        except KafkaException as error:
            answers[partition] = why = error.args[0].str()
            unheard += error.args[0].code() in UNHEARD
            if unheard == len(request):
                raise KafkaUnavailable(why) from error
    return answers


def _first_records(
    settings: Settings, positions: Mapping[Partition, int], isolation: str, limit_s: float
) -> dict[Partition, dict[str, Any]]:
    """Of each partition the first record from its position on, as fields of a `Gap`; no fields where the log's end comes first.

    Headers are not read: the client raises for a header name that it cannot decode.
    """
    if not positions:
        return {}
    waiting, found = dict(positions), dict[Partition, dict[str, Any]]()
    config = client_config(
        settings,
        {
            "group.id": READING_GROUP,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": isolation,
            "auto.offset.reset": "error",
            "fetch.message.max.bytes": FETCH_BYTES,
            "fetch.wait.max.ms": 100,
        },
    )
    with temporary_consumer(config) as consumer:
        consumer.assign([TopicPartition(*p, offset) for p, offset in positions.items()])
        until = time.monotonic() + limit_s
        while waiting and time.monotonic() < until:
            # `consume` alone would wait all of the time, though some of the partitions had answered.
            first = consumer.poll(POLL_S)
            for message in [] if first is None else [first, *consumer.consume(BATCH, 0)]:
                partition = Partition(message.topic() or "", message.partition() or 0)
                if partition in waiting:
                    del waiting[partition]
                    found[partition] = _seen(message)
                    with contextlib.suppress(KafkaException):
                        consumer.incremental_unassign([TopicPartition(*partition)])
    return found | {p: {"why": f"not read from {offset} on within {limit_s:g} s"} for p, offset in waiting.items()}


def _seen(message: Message) -> dict[str, Any]:
    """The fields of a `Gap` for the first message of a partition: a record, the end, or an error."""
    problem = message.error()
    if problem is None:
        at_ms = message.timestamp()[1]
        return {"first": message.offset(), "first_ms": at_ms if at_ms >= 0 else None}
    if problem.code() == KafkaError._PARTITION_EOF:
        return {}
    return {"why": problem.str()}
