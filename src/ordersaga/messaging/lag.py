"""Commits offsets to Kafka for lag tools such as Burrow or `kafka-consumer-groups`. The runtime itself never reads them."""

import asyncio
from typing import Final

from ordersaga.messaging.assignment import Assignment
from ordersaga.messaging.kafka import Partition, PartitionConsumer

COMMIT_EVERY_S: Final = 5.0
"""As often as Kafka's own clients commit by themselves."""
ASK_EVERY_S: Final = 1.0
SILENT_S: Final = 0.5


class LagTools:
    """Commits the next offsets of those of our partitions that have moved since their last commit.

    Each commit is a record in a topic of Kafka's own, so partitions that stand still are left out. While nothing comes from Kafka, each step asks
    instead for the committed offset of the partition that was asked for or committed the longest ago: the answer shows that Kafka is there, and
    what a lost commit has not written is committed again.
    """

    def __init__(self, consumer: PartitionConsumer, assignment: Assignment) -> None:
        self._consumer: Final = consumer
        self._assignment: Final = assignment
        self._committed_at_s = 0.0
        self._committed: dict[Partition, int] = {}
        """The last commit of each partition, the oldest first."""
        self._asked_at_s = 0.0
        self._asking: asyncio.Task[None] | None = None

    async def step(self) -> None:
        """Commit, every `COMMIT_EVERY_S`, and ask once a second while Kafka is silent."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._committed_at_s > COMMIT_EVERY_S:
            await self.commit()
        if now_s - self._asked_at_s > ASK_EVERY_S and self._consumer.silent_s > SILENT_S:
            self._ask(now_s)

    async def commit(self) -> None:
        """Commit now what has moved. A commit that fails is ignored."""
        self._committed_at_s = asyncio.get_running_loop().time()
        offsets = {each: at.next_offset for each, at in self._assignment.positions.items()}
        before = {each: offset for each, offset in self._committed.items() if each in offsets}
        now = {each: offset for each, offset in offsets.items() if before.get(each) != offset}
        self._committed = {each: offset for each, offset in before.items() if each not in now} | now
        if now:
            await self._consumer.commit(now)

    def _ask(self, now_s: float) -> None:
        if self._committed and (self._asking is None or self._asking.done()):
            self._asked_at_s = now_s
            self._asking = asyncio.create_task(self._compare(next(iter(self._committed))))

    async def _compare(self, partition: Partition) -> None:
        """Ask for the committed offset. If it is another one than ours, the partition counts as never committed."""
        ours = self._committed[partition]
        there = await self._consumer.committed(partition)
        if there is not None and self._committed.get(partition) == ours:
            del self._committed[partition]
            if there == ours:
                self._committed[partition] = ours  # as the last one

    def end(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
