"""Supervised loops: a loop that fails, ends or hangs is an alarm, and is restarted."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from unittest.mock import Mock

import pytest

from ordersaga.messaging import loops as loops_module
from ordersaga.messaging.health import Alarms
from ordersaga.messaging.kafka import KafkaUnavailable
from ordersaga.messaging.loops import Beat, Loops, every


class Process:
    """The loops of a process that is not stopping."""

    def __init__(self) -> None:
        self.alarms = Alarms(lambda: datetime.now(UTC))
        self.stopping = asyncio.Event()
        self.loops = Loops(self.alarms, self.stopping)

    def alarm(self) -> str | None:
        return next((each.what for each in self.alarms.now()), None)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Mock:
    monkeypatch.setattr(loops_module, "log", logged := Mock())
    return logged


@pytest.fixture
async def process(log: Mock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Process]:
    monkeypatch.setattr(loops_module, "CHECK_EVERY_S", 0.02)
    process = Process()
    yield process
    process.stopping.set()
    process.loops.kill()


async def until(condition: Callable[[], object]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not come within 5 s")


def failing(errors: list[Exception]) -> Callable[[], Awaitable[None]]:
    async def work() -> None:
        if errors:
            raise errors.pop()

    return work


async def test_a_loop_that_fails_is_an_alarm_until_its_next_good_round(process: Process) -> None:
    process.loops.start("pruning", every(0.01, failing([ValueError("a bug")])), again_s=0.05)
    await until(process.alarm)
    assert process.alarm() == "pruning fails: ValueError: a bug"
    await until(lambda: process.alarm() is None)
    assert not process.loops.problems and not process.loops.dead


async def test_a_loop_that_ends_is_an_alarm(process: Process) -> None:
    async def ends(_: Beat) -> None:
        return

    process.loops.start("pruning", ends, again_s=5)
    await until(process.alarm)
    assert "ended" in (process.alarm() or "")


async def test_a_loop_that_hangs_is_cancelled_and_restarted(process: Process) -> None:
    rounds: list[int] = []

    async def work() -> None:
        rounds.append(1)
        if len(rounds) == 1:
            await asyncio.Event().wait()

    process.loops.start("pruning", every(0.01, work), limit_s=0.05, again_s=0.01)
    await until(lambda: len(rounds) > 3)
    assert not process.loops.dead


async def test_a_loop_that_does_not_even_end_is_dead(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops_module, "ENDS_WITHIN_S", 0.05)
    over = False

    async def stubborn(_: Beat) -> None:
        while not over:
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    process.loops.start("stubborn", stubborn, limit_s=0.02, again_s=0.01, needed_for_http=True)
    await until(lambda: process.loops.dead)
    assert process.loops.dead == ["stubborn is dead"]
    assert process.loops.problems == ["stubborn: the loop is dead"]
    over = True


async def test_only_a_loop_that_http_needs_is_a_problem(process: Process) -> None:
    process.loops.start("pruning", every(0.01, failing([ValueError()] * 1000)), again_s=0.01)
    await until(process.alarm)
    assert not process.loops.problems
    process.loops.start("watch", every(0.01, failing([ValueError("a bug")] * 1000)), again_s=0.01, needed_for_http=True)
    await until(lambda: process.loops.problems)
    assert process.loops.problems == ["watch: ValueError: a bug"]


async def test_what_fails_many_loops_is_logged_once(process: Process, log: Mock) -> None:
    for name in ("one", "two", "three"):
        process.loops.start(name, every(0.01, failing([KafkaUnavailable("away")] * 1000)), again_s=0.01)
    await until(lambda: len(process.alarms.now()) == 3)
    assert log.warning.call_count == 1


async def test_the_last_loop_may_end_by_itself(process: Process) -> None:
    ended = asyncio.Event()

    async def ends_slowly(beat: Beat) -> None:
        await process.stopping.wait()
        await asyncio.sleep(0.05)
        ended.set()

    last = process.loops.start("last", ends_slowly)
    other = process.loops.start("other", every(60, failing([])))
    await asyncio.sleep(0)
    process.stopping.set()
    await process.loops.stop(last, within_s=5)
    assert ended.is_set() and other.task.cancelled()
