"""What the benchmarks share: a system of ours, a shelf of products, orders as they are placed, and the audit at the end."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from uuid_utils.compat import uuid7

from benchmarks.customers import CustomerPlan, CustomerResult
from benchmarks.process import LoadProcess
from benchmarks.report import Size
from ordersaga.audit import verify
from ordersaga.contracts.address import Address
from ordersaga.devstack.system import System
from ordersaga.messaging import timers
from ordersaga.order import saga, store
from ordersaga.order.commands import PLACED
from ordersaga.order.deadlines import Deadlines
from ordersaga.order.model import Event, Facts, Line, Order
from ordersaga.settings import SERVICES, Settings

WORKERS = 2
"""Processes of each service where throughput is measured: one for each core of the machine that the goals are for."""
PRICE = 12_500
PRODUCTS = 1_000
PIECES = 10_000_000
INSERT_ROWS = 5_000
AUDIT_TRIES = 60
PAYABLE = "ORD0001"
LET_WAIT_S = 600
"""Thousands of orders are let wait on purpose, and longer than a customer would: their partners must not be asked again meanwhile."""
PATIENCE: dict[str, Any] = {"stock_deadline_s": str(LET_WAIT_S), "delivery_deadline_s": str(LET_WAIT_S)}
SENT = ("StockDecreaseRequestMessage", "OrderPayableMessage")
RECIPIENT = Address("1 Sejong-daero, Jung-gu", "12F", "04524", "010-0000-0000", "김하나", "문 앞에 두세요")


def system_of(
    size: Size, *services: str, workers: int = 1, long_lived: bool = False, **extra: str
) -> AbstractContextManager[System]:
    """A system on free ports with durability as it is shipped: fsync on, acks=all. `extra` are settings, without their prefix.

    `long_lived` where few records are under way at once: then the broker's code counts, and it is compiled as a production broker's is.
    """
    if size.system is not None:
        return nullcontext(size.system)
    return System(services=services or SERVICES, workers=workers, long_lived=long_lived, extra=environment(**extra))


def environment(**settings: str) -> dict[str, str]:
    """Settings as a system's processes take them, and no more in their logs than errors."""
    return {f"ORDERSAGA_{name.upper()}": value for name, value in {"log_level": "error", **settings}.items()}


async def stock_up(settings: Settings, products: int = PRODUCTS, pieces: int = PIECES) -> list[UUID]:
    """Put products on the shelf, and tell Order what they cost, straight into the tables."""
    shelf = [uuid4() for _ in range(products)]
    now = datetime.now(UTC)
    stock = await asyncpg.connect(settings.database_url("stock"))
    async with stock.transaction():
        rows = [(product, "keyboard", PRICE, pieces) for product in shelf]
        await stock.copy_records_to_table("product", columns=("product_id", "name", "price", "received"), records=rows)
        moved = [(product, "received", pieces, now) for product in shelf]
        await stock.copy_records_to_table("movement", columns=("product_id", "kind", "quantity", "at"), records=moved)
    await stock.close()
    order = await asyncpg.connect(settings.database_url("order"))
    prices = [(product, "keyboard", PRICE, now) for product in shelf]
    await order.copy_records_to_table("price", columns=("product_id", "name", "price", "changed_at"), records=prices)
    await order.close()
    return shelf


async def place(db: Any, shelf: Sequence[UUID], orders: int) -> list[Order]:
    """Put orders of one piece each into Order's tables, with event and timer as `POST` does, product after product of the shelf.

    Nothing is sent. The services' settings must be those of `PATIENCE`.
    """
    placed: list[Order] = []
    for first in range(0, orders, INSERT_ROWS):
        now = datetime.now(UTC)
        some = [_order(shelf[n % len(shelf)], now) for n in range(first, min(first + INSERT_ROWS, orders))]
        async with db.transaction():
            await store.insert_orders(db, some)
            await store.insert_sagas(db, [store.saga_row(each) for each in some])
            await store.add_events(
                db, [Event(order.order_id, now, PLACED, SENT, "PENDING", None, False) for order in some]
            )
            await timers.put(db, {order.order_id: order.facts.look_at for order in some})
        placed += some
    return placed


def _order(product: UUID, now: datetime) -> Order:
    facts = Facts((Line(product, 1),), listed_total=PRICE, asked_at=now)
    order = Order(uuid7(), uuid4(), "keyboard", PRICE, RECIPIENT, now, now + timedelta(hours=1), facts)
    return saga.decide_placed(order, Deadlines(stock_s=LET_WAIT_S)).order


async def record_all_payments(settings: Settings) -> None:
    """The same for all orders that were told of a payment and that Payment has nothing of."""
    order = await asyncpg.connect(settings.database_url("order"))
    ids = {row[0] for row in await order.fetch("SELECT order_id FROM saga WHERE facts -> 'payments' IS NOT NULL")}
    await order.close()
    payment = await asyncpg.connect(settings.database_url("payment"))
    ids -= {row[0] for row in await payment.fetch("SELECT order_id FROM payment")}
    await payment.close()
    await record_payments(settings, ids)


async def record_payments(settings: Settings, order_ids: Iterable[UUID]) -> None:
    """What a Payment service would have in its table, where the payment results came as records and no such service ran."""
    now = datetime.now(UTC)
    rows = [(payment_key(order_id), order_id, None, PRICE, "APPROVED", PRICE, 0, now, now) for order_id in order_ids]
    columns = "payment_key order_id customer_id amount status captured refunded requested_at approved_at"
    db = await asyncpg.connect(settings.database_url("payment"))
    await db.copy_records_to_table("payment", columns=columns.split(), records=rows)
    await db.close()


async def record_payable(settings: Settings, orders: Iterable[Order]) -> None:
    """What Payment would know of orders that were put into Order's tables: that they may be paid."""
    rows = [(each.order_id, each.customer_id, each.total_amount, each.pay_before, PAYABLE) for each in orders]
    db = await asyncpg.connect(settings.database_url("payment"))
    await db.copy_records_to_table(
        "payable", columns=["order_id", "customer_id", "total_amount", "pay_before", "status"], records=rows
    )
    await db.close()


async def customers(system: System, shelf: Sequence[UUID], orders: int, **plan: Any) -> LoadProcess[CustomerResult]:
    """A loading process of customers, ready to go; `plan` as in `CustomerPlan`."""
    made = CustomerPlan(
        urls=system.urls,
        bootstrap_servers=system.settings.kafka_bootstrap_servers,
        shelf=list(shelf),
        price=PRICE,
        orders=orders,
        **plan,
    )
    return await LoadProcess.ready("benchmarks.customers", made, CustomerResult)


def payment_key(order_id: UUID) -> str:
    """The key of the one payment of an order, where it comes as a record."""
    return f"key-{order_id}"


async def audit(settings: Settings, *, gateway: bool = True) -> list[str]:
    """What `ordersaga verify --live 0` finds broken or cannot judge; empty: every invariant holds. Waits some seconds for the system to come to rest.

    Without `gateway`, the sandbox's books are left out: payment results came as records, and no gateway was asked.
    """
    if not gateway:
        settings = settings.model_copy(update={"gateway_books": False})
    for patience in reversed(range(AUDIT_TRIES)):
        broken = [finding for finding in await verify(settings) if not finding.holds]
        if not broken or not patience:
            break
        await asyncio.sleep(1.0)
    return [
        f"{finding.invariant}: {finding.outcome}, such as {[*finding.broken, *finding.unjudged][0]}"
        for finding in broken
    ]
