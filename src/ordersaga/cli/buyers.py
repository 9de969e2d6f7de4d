"""Customers who place orders at a rate, pay them, and wait for each to end; and what they saw."""

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID, uuid5

from ordersaga.cli.shop import NotServed, Outcome, Scenario, Shop
from ordersaga.operations.load_figures import IN_FLIGHT_MAX, Figures

NAMESPACE: Final = UUID("7b1f2a50-6c0d-4d4e-9a35-1f0c2f6f4e20")
CUSTOMERS: Final = tuple(uuid5(NAMESPACE, f"customer {n}") for n in range(200))
"""So many, since Order lets one customer follow only 20 orders at once, and each buyer follows its order."""
PIECE: Final = Scenario("load", ("COMPLETED", None), quantity=1)
TICK_S: Final = 0.02
OVER_S: Final = 5.0
"""The rates and times of `Figures` are those of the last so many seconds."""
DRAIN_S: Final = 10.0


class Buyers:
    """Places orders while `run` runs. `rate`, orders a second, may be changed meanwhile."""

    def __init__(self, shop: Shop, rate: float, in_flight_max: int = IN_FLIGHT_MAX) -> None:
        self.rate = rate
        self._shop: Final = shop
        self._in_flight_max: Final = in_flight_max
        self._in_flight: Final[set[asyncio.Task[None]]] = set()
        self._began_at_s = self._ends_at_s = 0.0
        self._stopped = False
        self._hurried: Final = asyncio.Event()
        self._placed: Final[deque[float]] = deque()
        self._completed: Final[deque[tuple[float, float]]] = deque()
        self._failures: Final[Counter[str]] = Counter()
        self._completed_ever = self._held_back = 0

    def stop(self, at_once: bool = False) -> None:
        """Place no more orders. `at_once`, or called again: do not wait for those in flight."""
        if at_once or self._stopped:
            self._hurried.set()
        self._stopped = True

    async def run(self, seconds: float) -> None:
        """Place orders for `seconds`, or until `stop`; then wait up to `DRAIN_S` for those in flight."""
        self._began_at_s = time.monotonic()
        self._ends_at_s = self._began_at_s + seconds
        due, before = 0.0, self._began_at_s
        while (now := time.monotonic()) < self._ends_at_s and not self._stopped:
            due += self.rate * (now - before)
            before = now
            while due >= 1:
                due -= 1
                self._place(now)
            await asyncio.sleep(TICK_S)
        self._ends_at_s = 0.0
        await self._drain()
        for each in self._in_flight:
            each.cancel()
        await asyncio.gather(*self._in_flight, return_exceptions=True)

    async def _drain(self) -> None:
        """Wait for the orders in flight, within limits."""
        if self._in_flight:
            ended = asyncio.create_task(asyncio.wait(self._in_flight))
            hurried = asyncio.create_task(self._hurried.wait())
            either: set[asyncio.Task[Any]] = {ended, hurried}
            await asyncio.wait(either, timeout=DRAIN_S, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            hurried.cancel()

    def _place(self, now: float) -> None:
        if len(self._in_flight) >= self._in_flight_max:
            self._held_back += 1
            return
        self._placed.append(now)
        task = asyncio.create_task(self._buy())
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)

    async def _buy(self) -> None:
        try:
            outcome = await self._shop.buy(PIECE, customer=random.choice(CUSTOMERS))
        except NotServed as error:
            self._failures[f"{error.step}: {error.why}"] += 1
        except (LookupError, TypeError, ValueError) as error:
            self._failures[f"an answer that nobody understands: {type(error).__name__}: {error}"[:200]] += 1
        else:
            self._ended(outcome)

    def _ended(self, outcome: Outcome) -> None:
        status, reason = outcome.end
        if status == "COMPLETED":
            self._completed_ever += 1
            self._completed.append((time.monotonic(), outcome.took_ms))
        else:
            self._failures[reason or status] += 1

    def figures(self) -> Figures:
        """The figures of this moment."""
        now = time.monotonic()
        while self._placed and self._placed[0] < now - OVER_S:
            self._placed.popleft()
        while self._completed and self._completed[0][0] < now - OVER_S:
            self._completed.popleft()
        over_s = max(1.0, min(OVER_S, now - self._began_at_s))
        took = sorted(ms for _, ms in self._completed)
        return Figures(
            rate=self.rate,
            placed=len(self._placed) / over_s,
            completed_a_second=len(took) / over_s,
            completed=self._completed_ever,
            failed=self._failures.total(),
            in_flight=len(self._in_flight),
            held_back=self._held_back,
            p50_ms=took[len(took) // 2] if took else None,
            p99_ms=took[int(len(took) * 0.99)] if took else None,
            failures=dict(self._failures.most_common(5)),
            left_s=max(0.0, self._ends_at_s - now),
        )


async def told(buyers: Buyers, say: Callable[[Figures], None], running: Awaitable[None], every_s: float = 1.0) -> None:
    """Call `say` with the figures every `every_s` seconds while `running` runs, and once more at its end."""
    task = asyncio.ensure_future(running)
    while not task.done():
        await asyncio.wait([task], timeout=every_s)
        say(buyers.figures())
    task.result()
