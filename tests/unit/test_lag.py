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

        self.there: dict[Partition, int] = {}
        self.asked: list[Partition] = []
        self.answers = True

    async def commit(self, positions: dict[Partition, int]) -> None:
        self.offsets.append(positions)
        self.there |= positions

    async def committed(self, partition: Partition) -> int | None:
        self.asked.append(partition)
        return self.there.get(partition, -1001) if self.answers else None


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


async def test_an_idle_consumer_commits_nothing_and_asks_once_a_second() -> None:
    consumer, _, lag_tools = lag_tools_of()
    await lag_tools.commit()
    for n in range(4):
        lag_tools._asked_at_s = lag_tools._committed_at_s = _ago(COMMIT_EVERY_S)
        await silent_step(lag_tools, consumer)
        await silent_step(lag_tools, consumer)
        assert len(consumer.asked) == n + 1
    assert len(consumer.offsets) == 1
    assert consumer.asked == [ZERO, ONE, TWO, ZERO]


async def test_nothing_is_asked_while_records_come() -> None:
    consumer, _, lag_tools = lag_tools_of()
    await lag_tools.commit()
    lag_tools._asked_at_s = _ago(ASK_EVERY_S)
    await lag_tools.step()
    await asyncio.sleep(0)
    assert not consumer.asked


async def test_a_commit_that_was_lost_is_repeated() -> None:
    consumer, _, lag_tools = lag_tools_of()
    await lag_tools.commit()
    del consumer.there[ZERO]
    await silent_step(lag_tools, consumer)
    await lag_tools.commit()
    assert consumer.offsets[1:] == [{ZERO: 7}]


async def test_a_question_without_an_answer_is_asked_again() -> None:
    consumer, _, lag_tools = lag_tools_of()
    await lag_tools.commit()
    consumer.answers = False
    for _ in range(2):
        lag_tools._asked_at_s = _ago(ASK_EVERY_S)
        await silent_step(lag_tools, consumer)
    assert consumer.asked == [ZERO, ZERO]
    await lag_tools.commit()
    assert len(consumer.offsets) == 1


async def test_an_answer_that_an_own_commit_has_overtaken_changes_nothing() -> None:
    consumer, positions, lag_tools = lag_tools_of()
    await lag_tools.commit()
    consumer.silent_s = SILENT_S + 0.1
    await lag_tools.step()  # the question is under way
    positions[ZERO] = Position("id", 1, 20)
    await lag_tools.commit()
    await asyncio.sleep(0)
    await lag_tools.commit()
    assert consumer.offsets[1:] == [{ZERO: 20}]


async def silent_step(lag_tools: LagTools, consumer: Any) -> None:
    """A step while nothing comes from Kafka, and the answer to its question."""
    consumer.silent_s = SILENT_S + 0.1
    await lag_tools.step()
    await asyncio.sleep(0)


def _ago(seconds: float) -> float:
    return asyncio.get_running_loop().time() - seconds - 0.1


async def test_partitions_that_have_moved_are_committed_alone() -> None:
    consumer, positions, lag_tools = lag_tools_of()
    await lag_tools.commit()
    positions[ONE] = Position("id", 1, 20)
    positions[TWO] = Position("id", 1, 30)
    await lag_tools.commit()
    assert consumer.offsets[1:] == [{ONE: 20, TWO: 30}]


async def test_a_partition_that_comes_back_is_committed_again() -> None:
    consumer, positions, lag_tools = lag_tools_of()
    await lag_tools.commit()
    gone = positions.pop(ONE)
    await lag_tools.commit()
    positions[ONE] = gone
    await lag_tools.commit()
    assert consumer.offsets[1:] == [{ONE: 8}]


async def test_without_partitions_nothing_is_committed() -> None:
    consumer, positions, lag_tools = lag_tools_of()
    positions.clear()
    await lag_tools.commit()
    assert not consumer.offsets
