"""Commits offsets to Kafka for lag tools such as Burrow or `kafka-consumer-groups`. The runtime itself never reads them."""

import asyncio
from typing import Final

from ordersaga.messaging.assignment import Assignment
from ordersaga.messaging.kafka import PartitionConsumer

COMMIT_EVERY_S: Final = 1.0


class LagTools:
    """Commits the next offset of each of our partitions."""

    def __init__(self, consumer: PartitionConsumer, assignment: Assignment) -> None:
        self._consumer: Final = consumer
        self._assignment: Final = assignment
        self._committed_at_s = 0.0

    async def step(self) -> None:
        """Commit, every `COMMIT_EVERY_S`."""
        if asyncio.get_running_loop().time() - self._committed_at_s > COMMIT_EVERY_S:
            await self.commit()

    async def commit(self) -> None:
        """Commit now. A commit that fails is ignored."""
        self._committed_at_s = asyncio.get_running_loop().time()
        if self._assignment.positions:
            await self._consumer.commit({each: at.next_offset for each, at in self._assignment.positions.items()})
