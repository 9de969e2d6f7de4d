"""peers: the work of `flow` by others, in turn with ours on the same broker and database server.

Each warms up first, with as many orders as `warm_up_orders_...` says, so that a JIT has learnt; then each has its turn, round by round.
While one is measured the others are frozen (ours: stopped), and each turn begins with a tenth of its orders that are not counted. Slow
contenders get fewer orders a round: `orders` tells. What they do not do and ours does: timeline, stock ledger, compensations, deadlines.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from benchmarks.peers import maven, spring
from benchmarks.peers.contender import Contender, Ours
from benchmarks.peers.faststream import faststream
from benchmarks.peers.shop import Peer
from benchmarks.report import Bench, Goal, Report, Size, slug
from benchmarks.shop import PATIENCE, WORKERS, environment, stock_up
from ordersaga.devstack.system import System
from ordersaga.settings import SERVICES as ALL_OF_OURS
from ordersaga.settings import Settings

BATCH_MAX: Final[int] = Settings.model_fields["batch_max"].default
OURS, BATCH_1, FASTSTREAM = "ordersaga", "batch-1", "faststream"
SPRING, SPRING_BATCH, SPRING_JDBC = "spring", "spring-batch", "spring-jdbc"
JAVA: Final = (SPRING, SPRING_BATCH, SPRING_JDBC)
ALL: Final = (OURS, BATCH_1, *JAVA, FASTSTREAM)
GOALS: Final = {SPRING: 40, SPRING_BATCH: 1, SPRING_JDBC: 1, FASTSTREAM: 40}


class Entry(NamedTuple):
    """A contender, the part of the orders that it gets in a round, how many such parts it warms up with, and its settings in words."""

    contender: Contender
    share: float = 1.0
    warm_up: float = 1.0
    about: str = ""

    def orders(self, size: Size) -> int:
        """How many orders it gets in a round."""
        return max(int(size.orders * self.share), min(size.orders, 100))


async def run(size: Size, names: Sequence[str] = ALL) -> Report:
    """Ours, which `names` must begin with, and the others in turn; the Java peers only where Java and Maven are there."""
    report = Report(settings={"orders": size.orders, "rounds": size.rounds})
    if (why := maven.missing()) and set(JAVA) & set(names):
        size.say(f"the Java peers take no part: {why}")
        report.settings["java"] = why
        names = [name for name in names if name not in JAVA]
    if set(JAVA) & set(names):
        size.say("building the Java peers, unless they are built")
        await asyncio.to_thread(spring.build)
    report.goals = [Goal(f"ratio_{slug(name)}", GOALS[name]) for name in names if name in GOALS]
    with servers(size) as system:
        shelf = await stock_up(system.settings)
        entries = [entry for entry in _entries(system, shelf) if entry.contender.name in names]
        await measure(report, entries, size)
    for name in names[1:]:
        report.ratio(slug(name), names[0], name)
        report.ratio(f"cpu_{slug(name)}", name, names[0], "cpu_ms_per_order")
    return report


@contextlib.contextmanager
def servers(size: Size, *, long_lived: bool = False) -> Iterator[System]:
    """Kafka and PostgreSQL with our topics and databases; services that run there already rest meanwhile."""
    if size.system is None:
        extra = environment(**PATIENCE, foreign_partners="[]")
        with System(services=(), long_lived=long_lived, extra=extra) as system:
            yield system
        return
    resting = [name for name in ALL_OF_OURS if size.system.processes[name].is_running]
    for name in resting:
        size.system.processes[name].stop()
    try:
        yield size.system
    finally:
        for name in resting:
            size.system.start(name)


def _entries(system: System, shelf: Sequence[UUID]) -> list[Entry]:
    """The contenders, each with ordinary settings of its kind; what was set is in the report."""
    jpa = {"concurrency": 12, "pool": 12, "poll_records": 500, "outbox_batch": 500}
    batches = {"concurrency": 2, "pool": 8, "poll_records": 1000, "outbox_batch": 2000}
    python = {"concurrency": 12, "pool": 12, "outbox_batch": 500}
    versions = "Spring Boot 3.5.16, Spring Kafka"
    return [
        Entry(
            Ours(OURS, system, shelf, BATCH_MAX),
            warm_up=2,
            about=f"batches of {BATCH_MAX} at most, {WORKERS} processes a service",
        ),
        Entry(Ours(BATCH_1, system, shelf, 1), 0.1, about="the same with ORDERSAGA_BATCH_MAX=1"),
        Entry(
            Peer(SPRING, system, spring.spring("jpa", **jpa)),
            share=0.1,
            warm_up=3,
            about=f"{versions}, JPA, a message a transaction, outbox; {told(jpa)}",
        ),
        Entry(
            Peer(SPRING_BATCH, system, spring.spring("batch", **batches)),
            warm_up=2,
            about=f"{versions}, batch listeners, JDBC over arrays, outbox; {told(batches)}",
        ),
        Entry(
            Peer(SPRING_JDBC, system, spring.spring("jdbc", **batches)),
            warm_up=2,
            about=f"{versions}, batch listeners, JDBC batches of one statement a row, outbox; {told(batches)}",
        ),
        Entry(
            Peer(FASTSTREAM, system, faststream(**python)),
            share=0.1,
            about=f"FastStream, SQLAlchemy on asyncpg, uvloop, a message a transaction, outbox; {told(python)}",
        ),
    ]


def told(settings: dict[str, int]) -> str:
    """Settings in words."""
    return ", ".join(f"{name} {value}" for name, value in settings.items())


async def measure(report: Report, entries: Sequence[Entry], size: Size) -> None:
    """Warm all up, measure them in turn, then look whether each did all of the work."""
    try:
        for entry in entries:
            await _warm_up(report, entry, size)
        for n in range(size.rounds):
            for entry in entries:
                name, orders = entry.contender.name, entry.orders(size)
                entry.contender.wake()
                await entry.contender.round(max(orders // 10, 1))
                figures = await entry.contender.round(orders)
                entry.contender.rest()
                size.say(f"round {n + 1} of {size.rounds}: {name} {figures['orders_per_s']:,.0f} orders/s")
                report.add(name, figures)
        found = [line for entry in entries for line in await entry.contender.check()]
        report.broken = list(dict.fromkeys(found))  # contenders of ours share a system, and its audit
    finally:
        for entry in entries:
            entry.contender.stop()


async def _warm_up(report: Report, entry: Entry, size: Size) -> None:
    name, orders = entry.contender.name, int(entry.orders(size) * entry.warm_up)
    report.settings |= {f"warm_up_orders_{slug(name)}": orders, name: entry.about}
    size.say(f"{name} warms up with {orders:,} orders")
    await entry.contender.prepare()
    entry.contender.wake()
    await entry.contender.round(orders)
    entry.contender.rest()


BENCH = Bench("peers", "the work of flow by Spring, by FastStream, and by ourselves record by record", run)
