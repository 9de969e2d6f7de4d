"""A chaos run: customers shop while parts of the system are killed and frozen. Then every order must end, and the audit must hold.

A seed gives the same blows in the same order. The work that a blow interrupts depends on the machine.
"""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from statistics import median
from typing import Final

import aiohttp
from msgspec import Struct, field

from ordersaga.audit import Finding, verify
from ordersaga.devstack.system import System
from ordersaga.messaging.database import DATABASE_ERRORS
from ordersaga.messaging.servers import Servers
from ordersaga.settings import SERVICES
from tests.chaos.blows import BLOWS
from tests.chaos.crowd import REQUEST_LIMIT_S, Crowd
from tests.chaos.ending import settled, wrong
from tests.chaos.ledgers import watch_ledgers
from tests.chaos.struck import BROKER_LIMIT_S, Blow, Struck

WORKERS: Final = 2
SLOW: Final = 0.5
WINDOW_S: Final = 2.0
LOOK_S: Final = 0.5
STEADY_S: Final = 6.0
ASKED_TIMES: Final = 4
NEW_CONNECTION: Final = {"Connection": "close"}
BACK_LIMIT_S: Final = 90.0
BEFORE_S: Final = 5.0
CALM_S: Final = (2.0, 5.0)
TWO_AT_ONCE: Final = 0.25
LIVE_AUDITS_S: Final = 16.0
LIVE_AUDIT_EVERY_S: Final = 4.0
UNCHANGED_S: Final = 10.0
END_LIMIT_S: Final = 240.0
EXTRA: Final = {"ORDERSAGA_PAYMENT_DEADLINE_S": "60", "ORDERSAGA_STOCK_DEADLINE_S": "5"}

Say = Callable[[str], None]


class Recovery(Struct):
    """What one blow cost: orders that ended per second, in the `BEFORE_S` before the blow and after the recovery. None: no recovery in time."""

    what: str
    kinds: Sequence[str]
    since_s: float
    limit_s: float | None
    before_per_s: float
    back_after_s: float | None
    after_per_s: float
    cut_s: float | None = None


class Result(Struct):
    """The result of a run. `wrong` names every broken promise."""

    findings: list[Finding]
    recoveries: list[Recovery]
    placed: int
    answers: dict[str, int]
    wrong: list[str] = field(default_factory=list)


class Chaos:
    """One run against a started system."""

    def __init__(
        self,
        system: System,
        seed: int,
        orders_per_s: float,
        say: Say,
        steady_s: float = STEADY_S,
        calm_s: tuple[float, float] = CALM_S,
        blows: Mapping[str, Blow] = BLOWS,
    ) -> None:
        self._system: Final = system
        self._order: Final = Servers(system.settings.database_url("order"))
        self._steady_s: Final = steady_s
        self._calm_s: Final = calm_s
        self._blows: Final = blows
        self._chance: Final = random.Random(seed)
        self._orders_per_s: Final = orders_per_s
        self._say: Final = say
        self._began_s: Final = time.time()
        self._crowd: Final = Crowd({name: [url] for name, url in system.urls.items()}, seed)
        self._recoveries: Final[list[Recovery]] = []
        self._false_alarms: Final[list[str]] = []

    async def run(self, kinds: Sequence[str]) -> Result:
        """Strike with these blows, one after the other or two at once, then judge."""
        async with self._crowd as crowd:
            await crowd.open()
            await watch_ledgers(self._system.settings)
            closing = asyncio.Event()
            shopping = asyncio.create_task(crowd.shop(self._orders_per_s, closing))
            await self._audit_live()
            left = list(kinds)
            while left:
                some = [left.pop(0)]
                targets = [self._blows[kind].target for kind in (*some, *left[:1])]
                if len(set(targets)) == 2 and None not in targets and self._chance.random() < TWO_AT_ONCE:
                    some.append(left.pop(0))
                await self._deal(some, len(kinds) - len(left))
                await asyncio.sleep(self._chance.uniform(*self._calm_s))
            closing.set()
            await shopping
            self._tell(f"no more customers; waiting for {len(crowd.customers) - crowd.ended} orders to end")
            await crowd.leave(END_LIMIT_S)
            findings = await settled(self._system.settings)
            result = Result(findings, self._recoveries, crowd.placed, dict(crowd.answers))
            result.wrong = self._false_alarms + await wrong(self._system.settings, crowd, findings)
            return result

    async def _audit_live(self) -> None:
        """Audit while customers shop, before the first blow: every finding is a false alarm."""
        end_s = time.time() + LIVE_AUDITS_S
        in_flight = 0
        while time.time() < end_s:
            await asyncio.sleep(LIVE_AUDIT_EVERY_S)
            findings = await verify(self._system.settings, UNCHANGED_S)
            in_flight += sum(each.in_flight_count for each in findings)
            self._false_alarms.extend(
                f"false alarm: {each.invariant}: {what}" for each in findings for what in [*each.broken, *each.unjudged]
            )
        if not in_flight:
            self._false_alarms.append("the live audits found nothing in flight, so they tested nothing")
        self._tell(f"audited while running: {in_flight} in flight, {len(self._false_alarms)} false alarms")

    async def _deal(self, kinds: Sequence[str], number: int) -> None:
        before = _count(await self._ends(time.time() - BEFORE_S), time.time() - BEFORE_S, BEFORE_S)
        async with AsyncExitStack() as stack:
            struck = await asyncio.gather(*(self._strike(stack, kind, n) for n, kind in enumerate(kinds)))
            since_s = max(each.since_s for each in struck)
            limits = [each.limit_s for each in struck if each.limit_s is not None]
            looking_on = asyncio.create_task(
                self._ask_why(since_s + max(limits, default=BROKER_LIMIT_S) + self._steady_s + 1)
            )
            back_s = await self._back(since_s)
            looking_on.cancel()
        after_s = since_s + (back_s or 0.0)
        after = _count(await self._ends(after_s), after_s, BEFORE_S)
        recovery = Recovery(
            "; ".join(each.what for each in struck),
            kinds,
            since_s,
            struck[0].limit_s if len(struck) == 1 else None,
            before / BEFORE_S,
            back_s,
            after / BEFORE_S,
            struck[0].cut_s,
        )
        self._recoveries.append(recovery)
        self._tell(f"{number:3}  {_in_words(recovery)}")

    async def _strike(self, stack: AsyncExitStack, kind: str, delays: int) -> Struck:
        await asyncio.sleep(self._chance.uniform(0, 3) * delays)
        return await stack.enter_async_context(self._blows[kind].strike(self._system, self._chance))

    async def _back(self, since_s: float) -> float | None:
        """Seconds from `since_s` to the end of the last `WINDOW_S` in which fewer orders ended than `SLOW` of those that came.

        It waits for `steady_s` without such a window, so a last burst before a standstill is not taken for the recovery.
        """
        back_s = 0.0
        while time.time() < since_s + BACK_LIMIT_S:
            await asyncio.sleep(LOOK_S)
            ends = await self._ends(since_s)
            slow_s = [
                start_s
                for start_s in _steps(0.0, time.time() - since_s - WINDOW_S - LOOK_S)
                if _count(ends, since_s + start_s, WINDOW_S) < SLOW * self._orders_per_s * WINDOW_S
            ]
            back_s = slow_s[-1] + WINDOW_S if slow_s else 0.0
            if time.time() - since_s > back_s + self._steady_s:
                return back_s
        return None

    async def _ask_why(self, at_s: float) -> None:
        """When a recovery is late, print the status of each service. It is asked several times, since the workers of a service share a port."""
        heard = set()
        await asyncio.sleep(max(0.0, at_s - time.time()))
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REQUEST_LIMIT_S)) as http:
            for _ in range(ASKED_TIMES):
                for name in SERVICES:
                    try:
                        async with http.get(
                            f"{self._system.urls[name]}/health/status", headers=NEW_CONNECTION
                        ) as answer:
                            said = await answer.text()
                    except (aiohttp.ClientError, TimeoutError) as error:
                        said = f"{type(error).__name__}: {error}"
                    heard.add(f"{name} says {said}")
                await asyncio.sleep(LOOK_S)
        for said in sorted(heard):
            self._tell(f"     late: {said}")

    async def _ends(self, since_s: float) -> list[float]:
        """The times at which orders ended since then; empty while the database does not answer."""
        try:
            db = await self._order.connect()
            try:
                rows = await db.fetch(
                    "SELECT min(at) AS at FROM order_event WHERE status <> 'PENDING' GROUP BY order_id HAVING min(at) >= $1",
                    datetime.fromtimestamp(since_s, UTC),
                )
                return [row["at"].timestamp() for row in rows]
            finally:
                db.terminate()
        except DATABASE_ERRORS:
            return []

    def _tell(self, text: str) -> None:
        self._say(f"{time.time() - self._began_s:6.1f} s  {self._crowd.ended:6,} orders ended  {text}")


def _count(ends: Sequence[float], from_s: float, seconds: float) -> int:
    return sum(from_s <= end < from_s + seconds for end in ends)


def _steps(from_s: float, to_s: float) -> list[float]:
    return [from_s + n * LOOK_S for n in range(max(0, int((to_s - from_s) / LOOK_S) + 1))]


def deck(seed: int, count: int) -> list[str]:
    """So many kinds of blows, each equally often, in an order that the seed decides."""
    chance = random.Random(f"deck {seed}")
    cards: list[str] = []
    while len(cards) < count:
        cards += chance.sample(list(BLOWS), len(BLOWS))
    return cards[:count]


def _in_words(recovery: Recovery) -> str:
    back = f"not back within {BACK_LIMIT_S:.0f} s"
    if recovery.back_after_s is not None:
        back = f"full speed after {recovery.back_after_s:.1f} s"
    limit = f" (promised: {recovery.limit_s:.0f})" if recovery.limit_s else ""
    return (
        f"{recovery.what}: {back}{limit}; {recovery.before_per_s:.0f} orders/s before, {recovery.after_per_s:.0f} after"
    )


def recovery_table(recoveries: Sequence[Recovery]) -> list[tuple[str, str, str, str]]:
    """Per kind of blow that came alone: its count, the median and worst recovery, and the promised one. Seconds."""
    kinds = defaultdict(list)
    for each in recoveries:
        if len(each.kinds) == 1:
            kinds[each.kinds[0]].append(each)
    rows = []
    for kind, found in sorted(kinds.items()):
        took = [BACK_LIMIT_S if each.back_after_s is None else each.back_after_s for each in found]
        limit = f"{found[0].limit_s:.0f}" if found[0].limit_s else "-"
        rows.append((kind, str(len(found)), f"{median(took):.1f} / {max(took):.1f}", limit))
    return rows
