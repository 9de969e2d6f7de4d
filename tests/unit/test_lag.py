"""Offsets for lag tools."""

from types import SimpleNamespace
from typing import Any

from ordersaga.messaging.kafka import Partition
from ordersaga.messaging.lag import LagTools
from ordersaga.messaging.ledger import Position


class Committed:
    """A consumer that keeps what it was told to commit."""

    def __init__(self) -> None:
        self.offsets: list[dict[Partition, int]] = []

    async def commit(self, positions: dict[Partition, int]) -> None:
        self.offsets.append(positions)


async def test_the_next_offset_of_each_partition_is_committed_once_a_second() -> None:
    consumer: Any = Committed()
    assignment: Any = SimpleNamespace(positions={Partition("t", 0): Position("id", 1, 7)})
    lag_tools = LagTools(consumer, assignment)
    lag_tools._committed_at_s = -10.0
    for _ in range(5):
        await lag_tools.step()
    assert consumer.offsets == [{Partition("t", 0): 7}]
    await lag_tools.commit()
    assert len(consumer.offsets) == 2


async def test_without_partitions_nothing_is_committed() -> None:
    consumer: Any = Committed()
    assignment: Any = SimpleNamespace(positions={})
    await LagTools(consumer, assignment).commit()
    assert not consumer.offsets
