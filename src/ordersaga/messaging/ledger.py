"""The ledger: one row for each input partition, with the next offset to handle and the epoch of the partition's current owner.

The fence advances rows in the turn's own transaction. So a record's effect and the ledger's step past it are one commit, and a process
that no longer owns a partition cannot commit.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from msgspec import Struct

from ordersaga.messaging.database import Connection
from ordersaga.messaging.kafka import Partition
from ordersaga.messaging.queries import queries

sql: Final = queries(__file__)


class Fenced(Exception):
    """Another process has taken a partition, or an operator has changed its offset: the ledger's row is not as expected. Roll back."""


class Position(Struct):
    """The ledger's row of a partition that this process owns: Kafka's id of its topic, our epoch, the next offset to handle."""

    topic_id: str
    epoch: int
    next_offset: int


class OffsetRange(Struct, frozen=True):
    """The offsets of one partition that a transaction advances the ledger over: from `expected_offset` to the last one before `next_offset`."""

    partition: Partition
    epoch: int
    expected_offset: int
    next_offset: int


async def fence(db: Connection, ranges: Sequence[OffsetRange]) -> int:
    """Advance the ledger, as the first statement of a turn's transaction. Returns the first id for the transaction's outbox rows.

    Raises `Fenced` if the row of one of the partitions has another epoch or offset than `ranges` expect.
    """
    rows = await sql.fence(db, **_columns(ranges))
    if len(rows) != len(ranges):
        raise Fenced
    block: int = rows[0]["block"]
    return block


async def fence_at_end(last: Any, ranges: Sequence[OffsetRange]) -> int:
    """Advance the ledger in the statement that ends a short transaction (`ShortTransaction.last`), and send its kept writes with it.

    Returns the first id for its outbox rows. Raises `NotAsRead` where `fence` raises `Fenced`; the statement then has had no effect.
    """
    block: int
    block, transaction_id = await sql.fence_at_end(last, **_columns(ranges))
    last.written_by(transaction_id)
    return block


def _columns(ranges: Sequence[OffsetRange]) -> dict[str, list[Any]]:
    return {
        "topics": [each.partition.topic for each in ranges],
        "partitions": [each.partition.partition for each in ranges],
        "epochs": [each.epoch for each in ranges],
        "expected_offsets": [each.expected_offset for each in ranges],
        "next_offsets": [each.next_offset for each in ranges],
    }


async def take(db: Connection, partitions: Iterable[Partition]) -> dict[Partition, Position]:
    """Raise the epochs of these partitions: waits for an open transaction of the former owner, and fences the owner off from then on.

    Partitions without a row are left out.
    """
    wanted = list(partitions)
    rows = await sql.take_partitions(db, topics=[p.topic for p in wanted], partitions=[p.partition for p in wanted])
    return {
        Partition(row["topic"], row["partition"]): Position(row["topic_id"], row["epoch"], row["next_offset"])
        for row in rows
    }


async def taken_by_others(db: Connection, positions: Mapping[Partition, Position]) -> list[Partition]:
    """The partitions among these whose row has another epoch than their position."""
    rows = await sql.taken_by_others(
        db,
        topics=[each.topic for each in positions],
        partitions=[each.partition for each in positions],
        epochs=[at.epoch for at in positions.values()],
    )
    return [Partition(row["topic"], row["partition"]) for row in rows]


async def begin(db: Connection, starts: Mapping[Partition, int], topic_ids: Mapping[str, str]) -> None:
    """Insert the first row of partitions, at these offsets. A row that another process has inserted meanwhile stays."""
    new = list(starts)
    await sql.begin_partitions(
        db,
        topics=[partition.topic for partition in new],
        partitions=[partition.partition for partition in new],
        topic_ids=[topic_ids[partition.topic] for partition in new],
        epochs=[0] * len(new),
        next_offsets=[starts[partition] for partition in new],
    )


async def note_predecessor(db: Connection, name: str, handled_until: Mapping[Partition, datetime]) -> None:
    """Note until when another consumer group handled partitions. What is noted already stays."""
    if handled_until:
        await sql.note_predecessor(
            db,
            name=name,
            topics=[partition.topic for partition in handled_until],
            partitions=[partition.partition for partition in handled_until],
            handled_until=list(handled_until.values()),
        )


async def topics_begun(db: Connection, topics: Sequence[str]) -> list[str]:
    """The topics among these that have a row for at least one partition."""
    return [row["topic"] for row in await sql.topics_begun(db, topics=topics)]


async def positions_of_topic(db: Connection, topic: str) -> dict[int, tuple[str, int]]:
    """By partition number: the topic's id in the row, and the next offset."""
    rows = await sql.positions_of_topic(db, topic=topic)
    return {row["partition"]: (row["topic_id"], row["next_offset"]) for row in rows}


async def lock_position(db: Connection, topic: str, partition: int | None) -> int | None:
    """The partition's next offset, its ledger row locked: no turn of the partition begins before this transaction ends.

    None: this service has never read the partition.
    """
    next_offset: int | None = await sql.lock_position(db, topic=topic, partition=partition)
    return next_offset


async def accept(db: Connection, topic: str, topic_id: str, next_offsets: dict[int, int]) -> int:
    """Let partitions of a topic go on from other offsets, as an operator has decided. Returns how many of them have a row.

    Raises their epochs, so that the owner is fenced off and takes the partitions again.
    """
    count: int = await sql.accept_partitions(
        db, topic=topic, topic_id=topic_id, partitions=list(next_offsets), next_offsets=list(next_offsets.values())
    )
    return count


async def forget(db: Connection, topic: str, partition: int) -> int:
    """Delete the row of a partition that Kafka does not have any more, in the caller's transaction. Returns how many of its records are parked.

    While records are parked the row stays: the partition's owner alone retries them, so an operator discards them first. Output that
    the partition's turns have left is published by adoption.
    """
    await lock_position(db, topic, partition)
    parked: int = await sql.parked_of_partition(db, topic=topic, partition=partition)
    if not parked:
        await sql.forget_partition(db, topic=topic, partition=partition)
    return parked
