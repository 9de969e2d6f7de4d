"""whole: all of it over HTTP, as customers do it: POST of the order, the sandbox's checkout, POST of the confirm, no latency at the gateway.

`customers` in a closed loop; the time runs from the first POST until a consumer has the last completion record. All five processes run:
the checkout and the gateway, which are not ours in production, are paid for out of the same two cores.
"""

from collections.abc import Sequence
from uuid import UUID

from benchmarks.measure import per_order, percentiles, reading
from benchmarks.report import Bench, Figures, Report, Size
from benchmarks.shop import PRODUCTS, audit, customers, stock_up, system_of
from ordersaga.devstack.system import System

AT_ONCE = 128
PREFER = {"answered at commit": "respond-async", "answered with the outcome": ""}


async def run(size: Size) -> Report:
    """Variants in turn on one system; the audit afterwards, the gateway's books included."""
    settings = {"customers_at_once": AT_ONCE, "products": PRODUCTS, "gateway_latency_ms": 0}
    report = Report(settings=size.settings(**settings, warm_up_orders=size.short_warm_up))
    with system_of(size, long_lived=True) as system:
        shelf = await stock_up(system.settings)
        for prefer in PREFER.values():
            await _round(system, shelf, size.short_warm_up, prefer)
        for n in range(size.rounds):
            for variant, prefer in PREFER.items():
                size.say(f"round {n + 1} of {size.rounds}, {variant}")
                report.add(variant, await _round(system, shelf, size.orders, prefer))
        size.say("audit")
        report.broken = await audit(system.settings)
    return report


async def _round(system: System, shelf: Sequence[UUID], orders: int, prefer: str) -> Figures:
    load = await customers(system, shelf, orders, at_once=AT_ONCE, pay="confirm", prefer=prefer, completed=True)
    before = reading(system)
    done = await load.go()
    used = per_order(reading(system), before, orders)
    return {
        "orders_per_s": orders / done.seconds,
        **used,
        **percentiles(done.completed_ms),
        "confirms_repeated": float(done.confirms_repeated),
    }


BENCH = Bench("whole", "placed by HTTP, checked out and confirmed by HTTP at the sandbox, until completed", run, 10_000)
