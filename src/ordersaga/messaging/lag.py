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

    Each commit is a record in a topic of Kafka's own, so partitions that stand still are left out. While nothing comes from Kafka, each step
    commits what has moved, else the partition whose commit is the oldest: the answer shows that Kafka is there, and a commit that was lost is
    repeated. Asking for a committed offset instead would write nothing. But it costs more CPU: while one thread polls, the client has a second one
    wake up hundreds of times a second until the poll ends (findings/confluent-kafka-second-thread-spins.sh).
    """

    def __init__(self, consumer: PartitionConsumer, assignment: Assignment) -> None:
        self._consumer: Final = consumer
        self._assignment: Final = assignment
        self._committed_at_s = 0.0
        self._committed: dict[Partition, int] = {}
        """The last commit of each partition, the oldest first."""

    async def step(self) -> None:
        """Commit, every `COMMIT_EVERY_S`, and once a second while Kafka is silent."""
        since_s = asyncio.get_running_loop().time() - self._committed_at_s
        if since_s > COMMIT_EVERY_S or (since_s > ASK_EVERY_S and self._consumer.silent_s > SILENT_S):
            await self.commit()

    async def commit(self) -> None:
        """Commit now. A commit that fails is ignored."""
        self._committed_at_s = asyncio.get_running_loop().time()
        offsets = {each: at.next_offset for each, at in self._assignment.positions.items()}
        if not offsets:
            return
        before = {each: offset for each, offset in self._committed.items() if each in offsets}
        now = {each: offset for each, offset in offsets.items() if before.get(each) != offset}
        if not now:
            oldest = next(iter(before))
            now = {oldest: offsets[oldest]}
        self._committed = {each: offset for each, offset in before.items() if each not in now} | now
        await self._consumer.commit(now)
