"""growth: the flow and its idle latency with 0, 1 and 5 million orders stored, and memory over a run of 1 million.

At the default size; `--orders` scales all of it: 0, 50 and 250 times as many are stored as one round has. The first million goes through
the services, which shows whether they need more memory the longer they run; the rest is history written straight into the tables.
"""

import asyncio
from collections.abc import Sequence
from uuid import UUID

from benchmarks.flow import SERVICES, SETTLE_S, flow_round
from benchmarks.history import History
from benchmarks.latency import idle
from benchmarks.measure import rss_mib
from benchmarks.report import Bench, Figures, Goal, Report, Size
from benchmarks.shop import PATIENCE, PRODUCTS, audit, record_all_payments, stock_up, system_of
from ordersaga.cli.serve import GIVE_BACK_EVERY_S
from ordersaga.devstack.system import System

RUN_ROUNDS = 50
STORED_ROUNDS = 250
CHUNKS = 4
WATCH_EVERY_S = 0.5


async def run(size: Size) -> Report:
    """Empty, after the long run, and with all that history; it is taken away before the audit."""
    report = Report(
        settings=size.settings(products=PRODUCTS),
        goals=[Goal("ratio_stored", 0.9), Goal("ratio_rss", 1.1, most=True), Goal("ratio_rss_most", 1.1, most=True)],
    )
    with system_of(size, *SERVICES, **PATIENCE) as system:
        shelf = await stock_up(system.settings)
        history = History(system.settings, shelf)
        await flow_round(system, shelf, size.warm_up)
        await _stage(system, shelf, size, history, report, "empty")
        report.ratios |= await _long_run(system, shelf, size)
        await _stage(system, shelf, size, history, report, _stored(size.orders * RUN_ROUNDS))
        await history.add(size.orders * (STORED_ROUNDS - RUN_ROUNDS), size.say)
        most = _stored(size.orders * STORED_ROUNDS)
        await _stage(system, shelf, size, history, report, most)
        report.ratio("stored", over=most, under="empty")
        _, indexes_mib = await history.sizes_mib()
        report.settings["indexes_mib"] = {name: round(mib, 1) for name, mib in indexes_mib.items()}
        size.say("audit")
        await history.remove()
        await record_all_payments(system.settings)
        report.broken = await audit(system.settings, gateway=False)
    return report


async def _stage(
    system: System, shelf: Sequence[UUID], size: Size, history: History, report: Report, variant: str
) -> None:
    tables_mib, indexes_mib = await history.sizes_mib()
    sizes = {"tables_mib": tables_mib, "indexes_mib": sum(indexes_mib.values())}
    for n in range(size.rounds):
        size.say(f"round {n + 1} of {size.rounds}, {variant}")
        _, figures = await flow_round(system, shelf, size.orders)
        latencies = await idle(system, shelf, size.orders)
        del latencies["orders_per_s"]
        report.add(variant, figures | latencies | sizes)


async def _long_run(system: System, shelf: Sequence[UUID], size: Size) -> Figures:
    """Resident memory of each service, MiB: the most during each part of the run, and what is left a while after it.

    The ratios are those of the last part to the first, of the service that has grown most.
    """
    most: list[Figures] = []
    left: list[Figures] = []
    for n in range(CHUNKS):
        size.say(f"memory over {size.orders * RUN_ROUNDS:,} orders, part {n + 1} of {CHUNKS}")
        most.append(rss_mib(system.processes))
        watching = asyncio.create_task(_watch(system, most[-1]))
        await flow_round(system, shelf, size.orders * RUN_ROUNDS // CHUNKS)
        if not watching.cancel():
            watching.result()  # it has ended by itself: an error, after which the most would be too little
        await asyncio.sleep(GIVE_BACK_EVERY_S + SETTLE_S)
        left.append(rss_mib(system.processes))
    found = {}
    for what, parts in ("rss", left), ("rss_most", most):
        found[f"ratio_{what}"] = max(parts[-1][name] / parts[0][name] for name in SERVICES)
        for n, part in enumerate(parts, 1):
            found |= {f"{what}_mib_{name}_part_{n}": part[name] for name in SERVICES}
    return found


async def _watch(system: System, most: Figures) -> None:
    """Keep the most of each service's memory until cancelled."""
    while True:
        for name, mib in rss_mib(system.processes).items():
            most[name] = max(most[name], mib)
        await asyncio.sleep(WATCH_EVERY_S)


def _stored(orders: int) -> str:
    return f"{orders:,} stored"


BENCH = Bench("growth", "the flow with 0, 1 and 5 million orders stored, and memory over 1 million", run)
