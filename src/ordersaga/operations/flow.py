"""How far the service was in the last hours, for rates and curves: each topic's position and end, and the number of each call.

The service's database keeps it, so each process of the service, and each web process, tells the same. A process looks a few times a minute, and
whoever reads has it look again.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import msgspec

from ordersaga.contracts.topics import TOPICS
from ordersaga.messaging import calls
from ordersaga.messaging.queries import queries
from ordersaga.operations.desk import Desk
from ordersaga.operations.flow_resources import FlowMoment, PartitionMoment, TopicMoment
from ordersaga.operations.partitions import Partitions
from ordersaga.settings import SERVICES

sql: Final = queries(__file__)

LOOK_EVERY_S: Final = 15.0
FRESH: Final = timedelta(seconds=2)
"""A reader is told what was found so lately; otherwise the service is looked at again."""
KEPT: Final = timedelta(hours=3)
prune: Final = sql.prune_flow

_topics: Final = msgspec.json.Decoder(dict[str, TopicMoment])
_partitions: Final = msgspec.json.Decoder(dict[str, PartitionMoment])
_counts: Final = msgspec.json.Decoder(dict[str, int])
Stand = tuple[int | None, int | None]
"""The position of a partition, None if no service of ours reads it, and its end, None if Kafka does not answer."""


class Flow:
    """Looks at the service, and reads what was found."""

    def __init__(self, desk: Desk, partitions: Partitions) -> None:
        self._desk: Final = desk
        self._partitions: Final = partitions
        ours = [name for name in SERVICES if name not in desk.settings.foreign_partners]
        self._only_written: Final = [
            topic.name
            for topic in TOPICS
            if topic.producer == desk.service and not any(name in ours for name in topic.consumers)
        ] + [topic.dead_letters for topic in TOPICS if topic.consumer == desk.service]

    async def look(self, unless_within: timedelta = timedelta(seconds=LOOK_EVERY_S / 2)) -> None:
        """Find out how far the service is, and keep it, unless one of its processes has done so lately. Raises database errors."""
        now = self._desk.clock()
        async with self._desk.pool.acquire() as db:
            newest = await sql.newest_flow(db)
        if newest is not None and timedelta() <= now - newest < unless_within:
            return
        read, written = await asyncio.gather(self._partitions.find(), self._partitions.ends_of(self._only_written))
        found: dict[str, dict[int, Stand]] = {}
        for each in read:
            found.setdefault(each.partition.topic, {})[each.partition.partition] = (each.position, each.end)
        for partition, end in written.items():
            found.setdefault(partition.topic, {})[partition.partition] = (None, end)
        moment = {topic: _sum(list(several.values())) for topic, several in found.items()}
        single = {
            topic: {
                number: PartitionMoment(handled=position, written=end) for number, (position, end) in several.items()
            }
            for topic, several in found.items()
        }
        async with self._desk.pool.acquire() as db:
            counted = {each.name: each.total for each in await calls.counts(db, now)}
            topics, counts, partitions = (msgspec.json.encode(each).decode() for each in (moment, counted, single))
            await sql.add_flow(db, at=now, topics=topics, calls=counts, partitions=partitions)

    async def moments(self, seconds: int, every_s: float, topic: str | None = None) -> list[FlowMoment]:
        """The moments of the last `seconds`, one for each stretch of `every_s`, the oldest first. Raises database errors.

        With `topic` each has the partitions of that topic.
        """
        await self.look(FRESH)
        async with self._desk.pool.acquire() as db:
            rows = await sql.flow(
                db, since=self._desk.clock() - timedelta(seconds=seconds), every_s=every_s, topic=topic
            )
        return [
            FlowMoment(
                at=row["at"],
                topics=_topics.decode(row["topics"]),
                calls=_counts.decode(row["calls"]),
                partitions=_partitions.decode(row["partitions"] or "{}"),
            )
            for row in rows
        ]


def _sum(stands: Sequence[Stand]) -> TopicMoment:
    positions = [position for position, _ in stands if position is not None]
    ends = [end for _, end in stands if end is not None]
    is_read, is_known = len(positions) == len(stands), len(ends) == len(stands)
    return TopicMoment(
        handled=sum(positions) if is_read else None,
        written=sum(ends) if is_known else None,
        lag=sum(max(0, end - at) for end, at in zip(ends, positions, strict=True)) if is_read and is_known else None,
    )
