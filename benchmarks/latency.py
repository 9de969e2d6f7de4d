"""latency: from placing an order to its completion, on an idle system and at 25, 50 and 75 % of the top rate.

Placed: the moment at which the POST was meant to be sent, whenever it was. Completed: a consumer outside of the system has the record of
order-completed-topic. The payment's result is a record, written as soon as the POST is answered, at its commit. Open loop.
"""

from collections.abc import Sequence
from uuid import UUID

from benchmarks.measure import percentiles
from benchmarks.report import Bench, Figures, Goal, Report, Size
from benchmarks.shop import PRODUCTS, audit, customers, record_all_payments, stock_up, system_of
from ordersaga.devstack.system import System

IDLE_RATE = 20.0
IDLE_ORDERS_MAX = 300
AT_ONCE = 256
SHARES = (0.25, 0.5, 0.75)
SERVICES = ("order", "stock", "delivery")


async def run(size: Size) -> Report:
    """The top rate in a closed loop, then idle and each share in turn, round by round; the audit afterwards."""
    report = Report(
        main="latency_ms_p50",
        goals=[Goal("latency_ms_p50", 12, most=True), Goal("latency_ms_p99", 30, most=True)],
        charted=["latency_ms_p50", "latency_ms_p99", "latency_ms_p99_9"],
    )
    with system_of(size, *SERVICES, long_lived=True) as system:
        shelf = await stock_up(system.settings)
        await _completed(system, shelf, size.warm_up)
        size.say("top rate")
        top_rate = max([(await _completed(system, shelf, size.orders))[0] for _ in range(size.rounds)])
        report.settings = size.settings(
            products=PRODUCTS,
            top_orders_per_s=round(top_rate, 1),
            idle_orders_per_s=IDLE_RATE,
            idle_orders=min(IDLE_ORDERS_MAX, size.orders),
        )
        for n in range(size.rounds):
            size.say(f"round {n + 1} of {size.rounds}, idle")
            report.add("idle", await idle(system, shelf, size.orders))
            for share in SHARES:
                size.say(f"round {n + 1} of {size.rounds}, {share:.0%} of {top_rate:,.0f} orders/s")
                _, figures = await _completed(system, shelf, size.orders, top_rate * share)
                report.add(f"{share:.0%} load", figures)
        size.say("audit")
        await record_all_payments(system.settings)
        report.broken = await audit(system.settings, gateway=False)
    return report


async def idle(system: System, shelf: Sequence[UUID], orders: int) -> Figures:
    """Percentiles of a system that has nothing else to do, at most `IDLE_ORDERS_MAX` orders, one after the other."""
    _, figures = await _completed(system, shelf, min(IDLE_ORDERS_MAX, orders), IDLE_RATE)
    return figures


async def _completed(system: System, shelf: Sequence[UUID], orders: int, rate: float = 0.0) -> tuple[float, Figures]:
    """Orders completed per second, and their latencies. `rate` 0: a closed loop, as fast as it goes."""
    load = await customers(system, shelf, orders, at_once=AT_ONCE, rate=rate, pay="record", completed=True)
    done = await load.go()
    latencies = percentiles(done.completed_ms)
    return orders / done.seconds, {
        "orders_per_s": orders / done.seconds,
        **latencies,
        **percentiles(done.answered_ms, prefix="post_ms"),
    }


BENCH = Bench("latency", "placed by POST to completion record, idle and under open-loop load", run, 10_000)
