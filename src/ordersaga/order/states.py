"""How many orders have each status, and the oldest that has not ended: for operators, and as metrics."""

from datetime import timedelta
from functools import partial
from typing import Final

from prometheus_client import Gauge

from ordersaga.messaging.ids import first_id_at
from ordersaga.messaging.runtime import Runtime
from ordersaga.order import store
from ordersaga.order.model import ENDS
from ordersaga.order.resources import OrderStates, Waiting
from ordersaga.service_context import metric

COUNTED_FOR: Final = timedelta(hours=24)
COUNTED_MAX: Final = 10_000
"""How far back orders are counted, and where a count ends."""
ENDED_FOR: Final = timedelta(hours=1)
"""How far back the orders are counted whose ends are told: a share of them changes soon."""
MEASURE_EVERY_S: Final = 30.0

ORDERS: Final = metric(
    Gauge,
    "ordersaga_order_orders",
    f"Orders of the last 24 hours with this status; no number is above {COUNTED_MAX}",
    "status",
    service="order",
    of_service=True,
)
ENDED: Final = metric(
    Gauge,
    "ordersaga_order_ended_orders",
    "Orders of the last hour that have ended, by how and why; a completed one has no reason. "
    f"No number is above {COUNTED_MAX}",
    "status",
    "reason",
    service="order",
    of_service=True,
)
OLDEST_PENDING_SECONDS: Final = metric(
    Gauge,
    "ordersaga_order_oldest_pending_seconds",
    "Age of the oldest order that has not ended",
    service="order",
    of_service=True,
)


async def counted(runtime: Runtime) -> OrderStates:
    """How many orders have each status, and the oldest order that has not ended."""
    now = runtime.clock()
    async with runtime.searching() as db:
        counts = await store.counts(db, first_id_at(now - COUNTED_FOR), COUNTED_MAX)
        oldest = await store.oldest_pending(db)
    return OrderStates(COUNTED_FOR // timedelta(hours=1), COUNTED_MAX, counts, oldest and Waiting(*oldest))


async def measure(runtime: Runtime) -> None:
    """Set the gauges."""
    found = await counted(runtime)
    for status, number in found.counts.items():
        ORDERS.labels(status).set(number)
    age = runtime.clock() - found.oldest.placed_at if found.oldest else timedelta()
    async with runtime.searching() as db:
        since = first_id_at(runtime.clock() - ENDED_FOR)
        completed = (await store.counts(db, since, COUNTED_MAX))["COMPLETED"]
        reasons = await store.reasons(db, since, COUNTED_MAX)
    ENDED.labels("COMPLETED", "").set(completed)
    for reason, number in reasons.items():
        ENDED.labels(ENDS[reason], reason).set(number)
    OLDEST_PENDING_SECONDS.set(max(0.0, age.total_seconds()))


def start(runtime: Runtime) -> None:
    """Measure from now on."""
    runtime.every(MEASURE_EVERY_S, partial(measure, runtime), "counting orders")
