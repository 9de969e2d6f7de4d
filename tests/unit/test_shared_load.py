"""One load generator for several web processes: a real sandbox keeps it, and a small program stands in for `ordersaga load`."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ordersaga.operations.load_figures import LoadNow
from ordersaga.operations.sandbox import Sandbox
from ordersaga.sandbox.app import SandboxSettings, serving
from ordersaga.web.console import load as module
from ordersaga.web.console.audience import Audience
from ordersaga.web.console.load import Load

GENERATOR = """
import json, select, sys
rate, gone = float(sys.argv[sys.argv.index("--rate") + 1]), False
while not gone:
    if select.select([sys.stdin], [], [], 0.05)[0]:
        line = sys.stdin.readline()
        gone, rate = not line, float(line or rate)
    print(json.dumps({"rate": rate, "placed": 1, "completedASecond": 1, "completed": 1, "failed": 0, "inFlight": 0, "heldBack": 0,
                      "p50Ms": 1, "p99Ms": 1, "failures": {}, "leftS": 9}), flush=True)
"""
FAILING = "import sys; sys.exit('no order can be placed')"


class Web:
    """A web process: who looks at it, and its generator."""

    def __init__(self, url: str) -> None:
        self.audience = Audience()
        self.sandbox = Sandbox(url)
        self.load = Load(self.sandbox, self.audience)

    async def begin(self, rate: float) -> bool:
        """Have orders placed for a minute."""
        return await self.load.begin(rate, 60, lambda: self.sandbox.begin(rate))


@pytest_asyncio.fixture
async def webs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[list[Web]]:
    monkeypatch.setattr(module, "TELL_EVERY_S", 0.05)
    play(monkeypatch, tmp_path, GENERATOR)
    async with serving(SandboxSettings()) as url:
        both = [Web(url), Web(url)]
        async with both[0].load, both[1].load:
            yield both


def play(monkeypatch: pytest.MonkeyPatch, folder: Path, program: str) -> None:
    """Have this program run in the place of `ordersaga load`."""
    script = folder / "generator.py"
    script.write_text(program)
    start = asyncio.create_subprocess_exec

    async def instead(*command: str, **pipes: Any) -> asyncio.subprocess.Process:
        return await start(sys.executable, str(script), *command, **pipes)

    monkeypatch.setattr("asyncio.create_subprocess_exec", instead)


async def until(web: Web, what: Callable[[LoadNow], bool]) -> LoadNow:
    async with asyncio.timeout(10):
        while not what(now := await web.sandbox.load()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return now


async def test_a_generator_of_one_process_is_shown_steered_and_stopped_by_another(webs: list[Web]) -> None:
    one, other = webs
    one.audience.seen("kim")
    assert await one.begin(20)
    assert not await other.begin(30), "there is one already"
    assert (await until(other, lambda now: now.figures is not None)).rate == 20
    assert await other.sandbox.steer(35)
    await until(one, lambda now: now.figures is not None and now.figures.rate == 35)
    assert await other.sandbox.steer(None)
    ended = await until(one, lambda now: not now.is_running)
    assert ended.figures is not None and not await other.sandbox.steer(10)


async def test_it_ends_with_the_last_reader_of_all_processes(webs: list[Web]) -> None:
    one, other = webs
    one.audience.seen("kim")
    other.audience.seen("lee")
    assert await one.begin(20)
    await asyncio.sleep(0.3)
    one.audience.left("kim")
    await asyncio.sleep(0.3)
    assert (await one.sandbox.load()).is_running, "somebody looks at the other one"
    other.audience.left("lee")
    await until(one, lambda now: not now.is_running)


async def test_it_ends_with_its_process(webs: list[Web]) -> None:
    one, other = webs
    one.audience.seen("kim")
    assert await one.begin(20)
    await until(other, lambda now: now.figures is not None)
    await one.load.__aexit__()
    assert not (await other.sandbox.load()).is_running


async def test_one_that_can_place_no_order_says_why_to_every_process(
    webs: list[Web], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one, other = webs
    one.audience.seen("kim")
    (tmp_path / "generator.py").write_text(FAILING)
    assert await one.begin(20)
    now = await until(other, lambda now: bool(now.trouble))
    assert (now.trouble, now.is_running, now.figures) == ("no order can be placed", False, None)


async def test_without_a_sandbox_nothing_is_begun() -> None:
    alone = Web("http://127.0.0.1:9")
    assert not await alone.begin(20)
    assert await alone.sandbox.load() == LoadNow()


async def test_every_process_shows_the_same_moments_whoever_has_looked(
    webs: list[Web], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ordersaga.operations.moments.EVERY_S", 0.0)
    one, other = webs
    first = await one.sandbox.look({"stock": 3})
    second = await other.sandbox.look({"stock": 5, "order": 1})
    third = await one.sandbox.look({"stock": 7})
    assert first and second and third
    assert [each.lags["stock"] for each in third.moments] == [3, 5, 7]
    assert third.moments[:2] == second.moments and second.moments[:1] == first.moments
