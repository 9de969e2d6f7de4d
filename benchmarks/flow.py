"""flow: N orders through all topics, their payment results as records, until the completion record of every one is in Kafka.

The orders are in Order's database before; then a process of its own writes all stock requests and all payment results at once, which
is N orders waiting. The time runs from its first record until Kafka has the last completion. One piece of one product each.
"""

import asyncio
from collections.abc import Iterator, Sequence
from uuid import UUID

import asyncpg

from benchmarks.measure import TopicEnd, per_order, reading
from benchmarks.process import LoadProcess
from benchmarks.records import LoadRecord, RecordPlan
from benchmarks.report import Bench, Figures, Goal, Report, Size
from benchmarks.shop import (
    PATIENCE,
    PRICE,
    PRODUCTS,
    WORKERS,
    audit,
    payment_key,
    place,
    record_payments,
    stock_up,
    system_of,
)
from ordersaga.contracts import codec
from ordersaga.contracts.messages import (
    OrderCompletedMessage,
    PaymentSuccessMessage,
    StockDecreaseRequestMessage,
    StockResponseMessage,
)
from ordersaga.contracts.topics import BY_MESSAGE
from ordersaga.devstack.system import System
from ordersaga.order.model import Order
from ordersaga.order.outgoing import stock_request

CREATED = BY_MESSAGE[StockDecreaseRequestMessage].name
PAID = BY_MESSAGE[PaymentSuccessMessage].name
COMPLETED = BY_MESSAGE[OrderCompletedMessage].name
SETTLE_S = 0.5
SERVICES = ("order", "stock", "delivery")


async def run(size: Size) -> Report:
    """Warm up, then measure round by round; the audit afterwards, with the payments that the records told of."""
    report = Report(
        settings=size.settings(products=PRODUCTS, workers=WORKERS),
        goals=[Goal("cpu_ms_per_order", 0.35, most=True), Goal("statements_per_order", 0.2, most=True)],
    )
    with system_of(size, *SERVICES, workers=WORKERS, **PATIENCE) as system:
        shelf = await stock_up(system.settings)
        done = [await flow_round(system, shelf, size.warm_up)]
        for n in range(size.rounds):
            size.say(f"round {n + 1} of {size.rounds}")
            done.append(await flow_round(system, shelf, size.orders))
            report.add("ordersaga", done[-1][1])
        size.say("audit")
        await record_payments(system.settings, (order.order_id for placed, _ in done for order in placed))
        report.broken = await audit(system.settings, gateway=False)
    return report


async def flow_round(system: System, shelf: Sequence[UUID], orders: int) -> tuple[list[Order], Figures]:
    """N orders, from the first record to the last completion; what was placed, and the figures."""
    db = await asyncpg.connect(system.settings.database_url("order"))
    placed = await place(db, shelf, orders)
    await db.close()
    bootstrap_servers = system.settings.kafka_bootstrap_servers
    completed = TopicEnd(bootstrap_servers, COMPLETED)
    plan = RecordPlan(bootstrap_servers, list(records_of(placed)))
    load = await LoadProcess.ready("benchmarks.records", plan, float)
    await asyncio.sleep(SETTLE_S)
    before = reading(system)
    loading = asyncio.create_task(load.go())
    ended = await asyncio.to_thread(completed.wait, orders)
    seconds = ended - await loading
    await asyncio.sleep(SETTLE_S)  # what was used for these orders includes what is tidied up behind them
    used = per_order(reading(system), before, orders)
    completed.close()
    return placed, {"orders_per_s": orders / seconds, "seconds": seconds, **used}


async def stock_answers(system: System, placed: Sequence[Order]) -> None:
    """Send the stock requests alone, and wait until Stock has answered each."""
    bootstrap_servers = system.settings.kafka_bootstrap_servers
    answers = TopicEnd(bootstrap_servers, BY_MESSAGE[StockResponseMessage].name)
    requests = [record for record in records_of(placed) if record[0] == CREATED]
    load = await LoadProcess.ready("benchmarks.records", RecordPlan(bootstrap_servers, requests), float)
    await load.go()
    await asyncio.to_thread(answers.wait, len(placed))
    answers.close()


def records_of(orders: Sequence[Order]) -> Iterator[LoadRecord]:
    """Step 2 and step 8 of each order."""
    for order in orders:
        key = str(order.order_id).encode()
        paid = PaymentSuccessMessage(
            order_id=order.order_id, payment_key=payment_key(order.order_id), amount=PRICE, status="SUCCESS"
        )
        yield CREATED, key, codec.encode(stock_request(order))
        yield PAID, key, codec.encode(paid)


BENCH = Bench("flow", "orders through all topics, payment results as records, until all are completed", run)
