"""payments: confirms against a gateway that takes 300 ms, many in flight; each is answered when the gateway has spoken.

The orders are in Order's database and checked out at the sandbox before; then customers confirm in a closed loop, `at_once` of them.
One process of Payment, and nothing that consumes its results. Calls in flight at the gateway: confirmations/s times its latency.
"""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import aiohttp
import asyncpg

from benchmarks.measure import per_order, percentiles, reading, rss_mib
from benchmarks.report import Bench, Figures, Report, Size
from benchmarks.shop import audit, customers, place, stock_up, system_of
from ordersaga.devstack.system import System

LATENCY_MS = 300
AT_ONCE = (100, 1_000)
LOOK_S = 0.2


async def run(size: Size) -> Report:
    """Few and many in flight, in turn; the audit afterwards compares with the gateway's books to the won."""
    report = Report(
        main="confirmations_per_s",
        settings={
            "orders": size.orders,
            "rounds": size.rounds,
            "warm_up_orders": min(size.warm_up, 1_000),
            "gateway_latency_ms": LATENCY_MS,
        },
    )
    with system_of(size, "payment") as system:
        shelf = await stock_up(system.settings)
        await _set_latency(system, LATENCY_MS)
        await _round(system, shelf, min(size.warm_up, 1_000), max(AT_ONCE))
        for n in range(size.rounds):
            for at_once in reversed(AT_ONCE):
                size.say(f"round {n + 1} of {size.rounds}, {at_once} in flight")
                report.add(f"{at_once:,} at once", await _round(system, shelf, size.orders, at_once))
        size.say("audit")
        report.broken = await audit(system.settings)
    return report


async def _round(system: System, shelf: Sequence[UUID], orders: int, at_once: int) -> Figures:
    db = await asyncpg.connect(system.settings.database_url("order"))
    placed = [(order.order_id, order.customer_id) for order in await place(db, shelf, orders)]
    await db.close()
    load = await customers(system, shelf, orders, placed=placed, at_once=at_once, pay="confirm", prefer="wait=30")
    sizes_mib = [rss_mib(system.processes)["payment"]]
    before = reading(system)
    going = asyncio.create_task(load.go())
    while not going.done():
        await asyncio.wait([going], timeout=LOOK_S)
        sizes_mib.append(rss_mib(system.processes)["payment"])
    done = await going
    used = per_order(reading(system), before, orders)
    rate = len(done.answered_ms) / done.seconds
    return {
        "confirmations_per_s": rate,
        "calls_in_flight": rate * LATENCY_MS / 1000,
        "payment_rss_mib_before": sizes_mib[0],
        "payment_rss_mib_highest": max(sizes_mib),
        **percentiles(done.answered_ms),
        **used,
    }


async def _set_latency(system: System, latency_ms: float) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.put(f"{system.urls['sandbox']}/sandbox/faults", json={"latencyMs": latency_ms}) as answer,
    ):
        answer.raise_for_status()


BENCH = Bench("payments", "confirms in flight against a gateway that takes 300 ms", run, 10_000)
