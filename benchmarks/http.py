"""http: POST /api/v1/orders, answered at commit: many requests gathered in a transaction against one transaction per request.

One transaction each has what an ordinary service has: a pool of `POOL` connections, all of them in use at once. One worker of Order,
and nothing that consumes. Top rate in a closed loop; then latency in an open loop at half of each variant's own
top rate, counted from the intended time.
"""

from collections.abc import Sequence
from uuid import UUID

from benchmarks.customers import CustomerResult
from benchmarks.measure import per_order, percentiles, reading
from benchmarks.report import Bench, Figures, Goal, Report, Size
from benchmarks.shop import PRODUCTS, audit, customers, stock_up, system_of
from ordersaga.devstack.system import System

AT_ONCE = 256
NOBODY_ASKS_AGAIN_S = "3600"
POOL = "16"
VARIANTS = {
    "gathered": {},
    "one each": {
        "GATHER_MAX": "1",
        "GATHER_TRANSACTIONS_MAX": POOL,
        "DATABASE_CONNECTIONS_MAX": str(4 * int(POOL) + 4),
    },
}


async def run(size: Size) -> Report:
    """Variants in turn, Order started anew for each round; the audit afterwards."""
    report = Report(
        main="orders_per_s",
        settings=size.settings(at_once=AT_ONCE, products=PRODUCTS, warm_up_orders_after_restart=size.short_warm_up),
        goals=[Goal("ratio_gathered", 2.5), Goal("orders_per_s", 5_000)],
    )
    with system_of(size, "order", stock_deadline_s=NOBODY_ASKS_AGAIN_S) as system:
        shelf = await stock_up(system.settings)
        await _load(system, shelf, size.warm_up)
        for n in range(size.rounds):
            for variant, settings in VARIANTS.items():
                size.say(f"round {n + 1} of {size.rounds}, {variant}")
                _restart(system, settings)
                report.add(variant, await _round(system, shelf, size))
        report.ratio("gathered", over="gathered", under="one each")
        size.say("audit")
        report.broken = await audit(system.settings)
    return report


def _restart(system: System, settings: dict[str, str]) -> None:
    system.processes["order"].stop()
    for name in {name for variant in VARIANTS.values() for name in variant}:
        system.processes["order"].environment.pop(f"ORDERSAGA_{name}", None)
    system.processes["order"].environment |= {f"ORDERSAGA_{name}": value for name, value in settings.items()}
    system.start("order")


async def _round(system: System, shelf: Sequence[UUID], size: Size) -> Figures:
    await _load(system, shelf, size.short_warm_up)
    load = await customers(system, shelf, size.orders, at_once=AT_ONCE)
    before = reading(system)
    done = await load.go()
    used = per_order(reading(system), before, size.orders)
    rate = size.orders / done.seconds
    half = await _load(system, shelf, max(size.orders // 2, 1), rate / 2)
    return {"orders_per_s": rate, **used, **percentiles(half.answered_ms, prefix="latency_ms_at_half")}


async def _load(system: System, shelf: Sequence[UUID], orders: int, rate: float = 0.0) -> CustomerResult:
    return await (await customers(system, shelf, orders, at_once=AT_ONCE, rate=rate)).go()


BENCH = Bench("http", "POST /api/v1/orders, answered at commit: gathered against one transaction each", run)
