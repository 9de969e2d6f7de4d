"""Offsets for lag tools."""

import asyncio
from types import SimpleNamespace
from typing import Any

from ordersaga.messaging.kafka import Partition
from ordersaga.messaging.lag import ASK_EVERY_S, COMMIT_EVERY_S, SILENT_S, LagTools
from ordersaga.messaging.ledger import Position

ZERO, ONE, TWO = (Partition("t", number) for number in range(3))


class Committed:
    """A consumer that keeps what it was told to commit."""

    def __init__(self) -> None:
        self.offsets: list[dict[Partition, int]] = []
        self.silent_s = 0.0

    async def commit(self, positions: dict[Partition, int]) -> None:
        self.offsets.append(positions)


def lag_tools_of() -> tuple[Any, dict[Partition, Position], LagTools]:
    """Lag tools over a consumer that keeps its commits, and the positions of partitions 0, 1 and 2."""
    consumer: Any = Committed()
    positions = {Partition("t", number): Position("id", 1, 7 + number) for number in range(3)}
    assignment: Any = SimpleNamespace(positions=positions)
    return consumer, positions, LagTools(consumer, assignment)


async def test_offsets_are_committed_every_few_seconds() -> None:
    consumer, _, lag_tools = lag_tools_of()
    lag_tools._committed_at_s = _ago(COMMIT_EVERY_S)
    for _ in range(5):
        await lag_tools.step()
    assert consumer.offsets == [{ZERO: 7, ONE: 8, TWO: 9}]
    await lag_tools.commit()
    assert len(consumer.offsets) == 2


async def test_while_nothing_comes_from_kafka_a_commit_asks_it_sooner() -> None:
    consumer, _, lag_tools = lag_tools_of()
    lag_tools._committed_at_s = _ago(ASK_EVERY_S)
    await lag_tools.step()
    assert not consumer.offsets
    consumer.silent_s = SILENT_S + 0.1
    for _ in range(5):
        await lag_tools.step()
    assert len(consumer.offsets) == 1


def _ago(seconds: float) -> float:
    return asyncio.get_running_loop().time() - seconds - 0.1


async def test_partitions_that_have_moved_are_committed_alone() -> None:
    consumer, positions, lag_tools = lag_tools_of()
    await lag_tools.commit()
    positions[ONE] = Position("id", 1, 20)
    positions[TWO] = Position("id", 1, 30)
    await lag_tools.commit()
    assert consumer.offsets[1:] == [{ONE: 20, TWO: 30}]


async def test_of_partitions_that_stand_still_one_after_the_other_is_committed_again() -> None:
    consumer, positions, lag_tools = lag_tools_of()
    await lag_tools.commit()
    positions[ZERO] = Position("id", 1, 10)
    for _ in range(5):
        await lag_tools.commit()
    assert consumer.offsets[1:] == [{ZERO: 10}, {ONE: 8}, {TWO: 9}, {ZERO: 10}, {ONE: 8}]


async def test_a_partition_that_comes_back_is_committed_again() -> None:
    consumer, positions, lag_tools = lag_tools_of()
    await lag_tools.commit()
    gone = positions.pop(ONE)
    await lag_tools.commit()
    positions[ONE] = gone
    await lag_tools.commit()
    assert consumer.offsets[1:] == [{ZERO: 7}, {ONE: 8}]


async def test_without_partitions_nothing_is_committed() -> None:
    consumer, positions, lag_tools = lag_tools_of()
    positions.clear()
    await lag_tools.commit()
    assert not consumer.offsets
