"""The load generator's customers: at which rate they come, how many wait at most, and what is told of them."""

import asyncio
import selectors
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import pytest

from ordersaga.cli import buyers as module
from ordersaga.cli.buyers import Buyers, told
from ordersaga.cli.shop import NotServed, Outcome, Shop
from ordersaga.operations.load_figures import Figures

Result = TypeVar("Result")


class Skipping(selectors.DefaultSelector):
    """Nobody waits: where the loop would, it is at once as late as it waits for."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.now_s += timeout or 0.0
        return super().select(0)


class Loop(asyncio.SelectorEventLoop):
    """Time passes here while all wait, and never else, so it is the same on any machine."""

    def __init__(self) -> None:
        self._clock = Skipping()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now_s


def run(work: Coroutine[Any, Any, Result]) -> Result:
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(work)


def now_s() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=now_s))


class QuickShop:
    """Serves each order after `took_s`; every `bad`-th is declined, every `away`-th not answered."""

    def __init__(self, took_s: float = 0.01, bad: int = 0, away: int = 0) -> None:
        self.took_s, self.bad, self.away = took_s, bad, away
        self.bought = 0
        self.at_once = self.at_once_max = 0

    async def buy(self, scenario: Any, customer: Any) -> Outcome:
        self.bought += 1
        n = self.bought
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        try:
            await asyncio.sleep(self.took_s)
        finally:
            self.at_once -= 1
        if self.away and n % self.away == 0:
            raise NotServed("place", "503")
        end = ("FAILED", "PAYMENT_DECLINED") if self.bad and n % self.bad == 0 else ("COMPLETED", None)
        return Outcome(scenario, customer, end, self.took_s * 1000)


def ran(shop: QuickShop, rate: float, seconds: float, in_flight_max: int = 500) -> Figures:
    async def shopping() -> Figures:
        buyers = Buyers(cast(Shop, shop), rate, in_flight_max)
        await buyers.run(seconds)
        return buyers.figures()

    return run(shopping())


def test_orders_come_at_the_rate_and_each_is_counted_once() -> None:
    shop = QuickShop(bad=10, away=10_000)
    figures = ran(shop, 200, 1.0)
    assert 195 <= shop.bought <= 200
    assert figures.completed + figures.failed == shop.bought
    assert figures.failures == {"PAYMENT_DECLINED": shop.bought // 10}
    assert (figures.in_flight, figures.held_back, figures.left_s) == (0, 0, 0.0)
    assert figures.p50_ms == pytest.approx(10)


def test_a_step_that_is_not_served_is_a_failure_with_its_reason() -> None:
    assert ran(QuickShop(away=2), 100, 0.3).failures.keys() == {"place: 503"}


def test_orders_beyond_those_in_flight_are_held_back() -> None:
    shop = QuickShop(took_s=0.5)
    figures = ran(shop, 200, 0.4, in_flight_max=7)
    assert shop.at_once_max == 7
    assert 65 <= figures.held_back <= 73


def test_the_rate_is_changed_and_an_end_is_waited_for() -> None:
    shop = QuickShop(took_s=0.2)

    async def shopping() -> tuple[list[Figures], float]:
        buyers = Buyers(cast(Shop, shop), 0.0)
        heard: list[Figures] = []
        running = asyncio.create_task(told(buyers, heard.append, buyers.run(60), 0.05))
        await asyncio.sleep(0.2)
        assert shop.bought == 0
        buyers.rate = 100
        await asyncio.sleep(0.5)
        buyers.stop()
        began = now_s()
        await running
        return heard, now_s() - began

    heard, ending_s = run(shopping())
    assert 45 <= shop.bought <= 50
    assert heard[-1].completed == shop.bought and heard[-1].left_s == 0
    assert 59 < heard[0].left_s < 60
    assert ending_s == pytest.approx(0.2, abs=0.1)


def test_whoever_stops_twice_waits_for_nothing() -> None:
    async def shopping() -> float:
        buyers = Buyers(cast(Shop, QuickShop(took_s=60)), 50)
        running = asyncio.create_task(buyers.run(60))
        await asyncio.sleep(0.3)
        buyers.stop()
        buyers.stop()
        began = now_s()
        await running
        return now_s() - began

    assert run(shopping()) < 0.1
