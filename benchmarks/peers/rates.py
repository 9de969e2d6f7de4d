"""rates: what an order costs at the rates that shops have, and what a system costs that has no orders; ours and others in turn.

An order is placed by POST, its payment's result is a record, written as soon as the POST is answered, and it is completed when a consumer
outside has its completion record. Open loop: the times of the POSTs are fixed beforehand, and latencies count from them. One broker and one
database server for all; while one contender has its turn the others are frozen. A turn begins with a quarter of its orders that are only
counted in the broker's request log; that log is off when CPU is measured. Each turn ends with the contender's audit.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from benchmarks.broker import RequestLog, records
from benchmarks.customers import CustomerPlan, CustomerResult
from benchmarks.measure import per_order, per_second, percentiles, reading_of, rss_mib
from benchmarks.peers import engine_shops, maven, spring
from benchmarks.peers.compare import BATCH_MAX, servers, told
from benchmarks.peers.contender import Contender, Ours
from benchmarks.peers.engine_shops import DBOS, RESTATE
from benchmarks.peers.shop import Peer
from benchmarks.process import LoadProcess
from benchmarks.report import Bench, Figures, Goal, Report, Size, slug
from benchmarks.shop import PRICE, audit, record_all_payments, stock_up
from ordersaga.devstack.stack import DevStack
from ordersaga.devstack.system import TOGETHER, System
from ordersaga.settings import SERVICES

RATES: Final = (2, 10, 50, 100, 200)
OURS, APART, SPRING, ALONE = "ordersaga", "ordersaga-apart", "spring", "servers alone"
ALL: Final = (OURS, APART, SPRING, DBOS, RESTATE)
WARM_UP_AT_ONCE: Final = 16
LEAD_SHARE: Final = 0.25
TURN_S_MIN: Final = 1.0
SETTLE_S: Final = 1.0
BEHIND_MS: Final = 2_000.0
"""A peer with half of its orders later than this cannot keep up, and is not asked for more: its queues would only fail."""
CPU_GOALS: Final = (10, 50, 100)
LATENCY_GOALS: Final = {"p50": 11.0, "p99": 22.0}
LATENCY_RATES: Final = RATES[:-1]


class OurSystem(Ours):
    """All four services with the settings as shipped: in one process, as the peers are, or apart, in one each."""

    def __init__(self, name: str, system: System, shelf: Sequence[UUID]) -> None:
        super().__init__(name, system, shelf, BATCH_MAX, SERVICES, workers=1, one_process=name == OURS)
        self.settings: Final = system.settings

    async def check(self) -> list[str]:
        await record_all_payments(self.settings)
        return await audit(self.settings, gateway=False)


class Entry(NamedTuple):
    """A contender, the process at which orders are placed, its products, its settings in words, its part of the warm-up, and who its customers are."""

    contender: Contender
    door: str
    shelf: Sequence[UUID]
    about: str
    warm_up: float = 1.0
    customers: str = "benchmarks.customers"
    paths: tuple[str, str, str] = ("", "", "")

    @property
    def name(self) -> str:
        return self.contender.name


async def run(size: Size, names: Sequence[str] = ALL, rates: Sequence[int] = RATES) -> Report:
    """Ours, which `names` must begin with, and the others in turn, of whom each takes part only where it can be built."""
    settings: dict[str, Any] = {
        "orders_at_the_highest_rate": size.orders,
        "rounds": size.rounds,
    }
    report = Report(main="cores", charted=["cpu_ms_per_order"], settings=settings)
    for name in names[1:]:
        size.say(f"building {name}, unless it is built")
        if why := await asyncio.to_thread(_missing, name):
            size.say(f"{name} takes no part: {why}")
            settings[name] = why
    names = [name for name in names if name not in settings]
    with servers(size, long_lived=True) as system:
        entries = [entry for entry in _entries(system, await stock_up(system.settings)) if entry.name in names]
        settings |= {entry.name: entry.about for entry in entries}
        try:
            await _measure(report, entries, rates, size, system.stack)
        finally:
            for entry in entries:
                entry.contender.stop()
    report.grid = (names, [f"{rate}/s" for rate in rates])
    _compare(report, names[1:], rates)
    return report


def _missing(name: str) -> str | None:
    """Why a peer cannot take part; None: it is built."""
    if name == APART:
        return None
    if name != SPRING:
        return engine_shops.install(name)
    if why := maven.missing():
        return why
    spring.build()
    return None


def _entries(system: System, shelf: Sequence[UUID]) -> list[Entry]:
    one_jvm = {"concurrency": 1, "pool": 10}
    peer = Peer(SPRING, system, spring.one_jvm(**one_jvm), one_database=True)
    jvm = "Spring Boot 3.5.16, Spring Kafka, JPA, a message a transaction, outbox published at commit, one JVM, one database"
    found = [
        Entry(OurSystem(OURS, system, shelf), TOGETHER, shelf, "four services in one process, a database each"),
        Entry(OurSystem(APART, system, shelf), "order", shelf, "four services, a process and a database each"),
        Entry(peer, spring.DOOR, peer.shelf, f"{jvm}; {told(one_jvm)}", 3.0),
    ]
    for name in (DBOS, RESTATE):
        engine = engine_shops.make(name, system)
        about = f"a workflow an order, four transactions of SQLAlchemy, one process, one database, no Kafka; pool {engine_shops.POOL}"
        found.append(Entry(engine, engine.door, engine.shelf, about, 0.1, "benchmarks.peers.callers", engine.paths))
    return found


async def _measure(report: Report, entries: Sequence[Entry], rates: Sequence[int], size: Size, stack: DevStack) -> None:
    """Warm up, then idle and rate by rate, every contender in turn; its audit at the end of each turn."""
    for entry in entries:
        orders = max(int(size.warm_up * entry.warm_up), 1)
        report.settings[f"warm_up_orders_{slug(entry.name)}"] = orders
        size.say(f"{entry.name} warms up with {orders:,} orders")
        await entry.contender.prepare()
        entry.contender.wake()
        await _order(entry, orders, rate=0.0)
        report.broken += await entry.contender.check()
        entry.contender.rest()
    turn_s = max(size.orders / RATES[-1], TURN_S_MIN)
    behind: dict[str, int] = {}
    for n in range(size.rounds):
        said = f"round {n + 1} of {size.rounds}"
        report.add(f"{ALONE} idle", await _idle(stack, turn_s))
        for entry in entries:
            size.say(f"{said}, {entry.name} without orders")
            entry.contender.wake()
            report.add(f"{entry.name} idle", await _idle(stack, turn_s, entry.contender))
            entry.contender.rest()
        for rate in rates:
            for entry in entries:
                if rate > behind.get(entry.name, rate):
                    continue
                entry.contender.wake()
                figures = await _turn(entry, rate, turn_s)
                told = f"{figures['cpu_ms_per_order']:.1f} CPU-ms an order, p50 {figures['latency_ms_p50']:.0f} ms"
                size.say(f"{said}, {entry.name} at {rate} orders/s: {told}")
                report.add(f"{entry.name} {rate}/s", figures)
                if entry.name not in (OURS, APART) and figures["latency_ms_p50"] > BEHIND_MS:
                    behind[entry.name] = min(rate, behind.get(entry.name, rate))
                report.broken += [f"{entry.name} at {rate}/s: {line}" for line in await entry.contender.check()]
                entry.contender.rest()
    report.settings |= {f"{slug(name)}_falls_behind_at_orders_per_s": rate for name, rate in behind.items()}


async def _turn(entry: Entry, rate: int, turn_s: float) -> Figures:
    """Orders at one rate: first those for the request log, then those that are measured."""
    stack, orders = entry.contender.stack, max(round(rate * turn_s), 1)
    lead = max(round(orders * LEAD_SHARE), 1)
    with RequestLog(stack.kafka) as requests:
        await _order(entry, lead, rate)
    await asyncio.sleep(SETTLE_S)
    load = await _customers(entry, orders, rate)
    read = _reader(stack, entry.contender)
    before = read()
    began = time.monotonic()
    done = await load.go()
    await asyncio.sleep(SETTLE_S)  # what was used for these orders includes what is tidied up behind them
    used = per_order(read(), before, orders)
    seconds = time.monotonic() - began
    return {
        "cores": used["cpu_ms_per_order"] * orders / seconds / 1000,
        "orders_per_s": orders / done.seconds,
        **used,
        **percentiles(done.completed_ms),
        **percentiles(done.answered_ms, prefix="post_ms"),
        **requests.counted("order", lead),
        "rss_mib": _memory(entry.contender),
    }


async def _idle(stack: DevStack, turn_s: float, contender: Contender | None = None) -> Figures:
    """A contender that has no orders; without one, the servers with nobody."""
    await asyncio.sleep(SETTLE_S)  # what was frozen catches up
    lead_s = turn_s * LEAD_SHARE
    with RequestLog(stack.kafka) as requests:
        await asyncio.sleep(lead_s)
    await asyncio.sleep(SETTLE_S)
    read = _reader(stack, contender)
    before = read()
    began = time.monotonic()
    await asyncio.sleep(turn_s)
    used = per_second(read(), before, time.monotonic() - began)
    memory = {"rss_mib": _memory(contender)} if contender else {}
    return {**used, **requests.counted("s", lead_s), **memory}


def _reader(stack: DevStack, contender: Contender | None) -> Callable[[], Figures]:
    """Reads all counters, the broker's records with them."""

    def read() -> Figures:
        counters = contender.reading() if contender else reading_of(stack, {}, ["postgres"])
        return counters | records(stack.kafka)

    return read


def _memory(contender: Contender) -> float:
    return sum(rss_mib(contender.started).values())


async def _order(entry: Entry, orders: int, rate: float) -> CustomerResult:
    return await (await _customers(entry, orders, rate)).go()


async def _customers(entry: Entry, orders: int, rate: float) -> LoadProcess[CustomerResult]:
    """A loading process for one contender, ready to go. Rate 0: a closed loop."""
    contender = entry.contender
    contender.ordered(orders)
    plan = CustomerPlan(
        urls={"order": f"http://127.0.0.1:{contender.started[entry.door].port}"},
        bootstrap_servers=contender.stack.bootstrap_servers,
        topics=contender.topics,
        shelf=list(entry.shelf),
        price=PRICE,
        orders=orders,
        rate=rate,
        at_once=WARM_UP_AT_ONCE,
        pay="record",
        completed=not entry.paths[0],
        paths=entry.paths,
    )
    return await LoadProcess.ready(entry.customers, plan, CustomerResult)


def _compare(report: Report, others: Sequence[str], rates: Sequence[int]) -> None:
    """Ours over each of the others, and what is wanted."""
    for name in others:
        key = slug(name)
        report.ratio(f"cores_idle_{key}", f"{OURS} idle", f"{name} idle", "cores")
        report.ratio(f"memory_{key}", f"{OURS} idle", f"{name} idle", "rss_mib")
        for rate in rates:
            if f"{name} {rate}/s" in report.rounds:
                report.ratio(f"cpu_{key}_{rate}", f"{OURS} {rate}/s", f"{name} {rate}/s", "cpu_ms_per_order")
                if name == SPRING and APART in others:
                    report.ratio(f"cpu_apart_{key}_{rate}", f"{APART} {rate}/s", f"{name} {rate}/s", "cpu_ms_per_order")
    goals = [
        Goal(f"latency_ms_{rank}_{OURS}_{rate}_s", value, most=True)
        for rate in rates
        if rate in LATENCY_RATES
        for rank, value in LATENCY_GOALS.items()
    ]
    if SPRING in others:
        goals += [Goal(f"ratio_cpu_{SPRING}_{rate}", 0.8, most=True) for rate in rates if rate in CPU_GOALS]
        goals += [Goal(f"ratio_{what}_{SPRING}", 1.0, most=True) for what in ("cores_idle", "memory")]
    report.goals = goals


BENCH = Bench(
    "rates", "what an order costs at 2 to 200 orders/s, and a system without any, beside an ordinary Spring", run, 2_000
)
