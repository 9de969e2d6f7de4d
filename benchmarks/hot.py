"""hot: all orders on one product against orders spread over 1,000, the same way as `flow`; and nobody gets more than there is.

The last item: half as many pieces as orders, all wanted at once. Exactly the pieces that are there may be reserved.
"""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from benchmarks.flow import SERVICES, flow_round, stock_answers
from benchmarks.report import Bench, Goal, Report, Size
from benchmarks.shop import (
    PATIENCE,
    PRODUCTS,
    WORKERS,
    audit,
    place,
    record_payable,
    record_payments,
    stock_up,
    system_of,
)
from ordersaga.devstack.system import System


async def run(size: Size) -> Report:
    """Spread and hot in turn on one system, then the last item; the audit afterwards."""
    report = Report(
        settings=size.settings(products=PRODUCTS, workers=WORKERS),
        goals=[Goal("ratio_hot", 0.95), Goal("oversold_pieces", 0, most=True)],
    )
    with system_of(size, *SERVICES, workers=WORKERS, **PATIENCE) as system:
        shelf = await stock_up(system.settings)
        variants: dict[str, Sequence[UUID]] = {"one product": shelf[:1], "1,000 products": shelf}
        paid = [await flow_round(system, shelf, size.warm_up)]
        for n in range(size.rounds):
            for variant, products in variants.items():
                size.say(f"round {n + 1} of {size.rounds}, {variant}")
                paid.append(await flow_round(system, products, size.orders))
                report.add(variant, paid[-1][1])
        report.ratio("hot", over="one product", under="1,000 products")
        size.say("the last item")
        report.ratios["oversold_pieces"], broken = await _last_item(system, size.orders)
        size.say("audit")
        await record_payments(system.settings, (order.order_id for placed, _ in paid for order in placed))
        report.broken = broken + await audit(system.settings, gateway=False)
    return report


async def _last_item(system: System, orders: int) -> tuple[float, list[str]]:
    """Pieces reserved beyond those that there were, and what is wrong if that is not 0 or pieces are left."""
    pieces = max(orders // 2, 1)
    shelf = await stock_up(system.settings, products=1, pieces=pieces)
    db = await asyncpg.connect(system.settings.database_url("order"))
    placed = await place(db, shelf, orders)
    await db.close()
    if "payment" in system.processes:
        await record_payable(system.settings, placed)
    await stock_answers(system, placed)
    stock = await asyncpg.connect(system.settings.database_url("stock"))
    row = await stock.fetchrow("SELECT reserved, available FROM product WHERE product_id = $1", shelf[0])
    held = await stock.fetchval(
        "SELECT count(*) FROM reservation WHERE state = 'RESERVED' AND order_id = ANY ($1::uuid[])",
        [order.order_id for order in placed],
    )
    await stock.close()
    assert row is not None
    wrong = (row["reserved"], row["available"], held) != (pieces, 0, pieces)
    said = f"the last item: of {pieces} pieces {row['reserved']} are reserved, {row['available']} available, {held} orders hold one"
    return float(max(row["reserved"], held) - pieces), [said] if wrong else []


BENCH = Bench("hot", "all orders on one product against 1,000 products; no oversell at the last item", run)
