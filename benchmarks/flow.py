"""flow: N orders through all topics, their payment results as records, until every one is completed.

The orders are in Order's database before; then a process of its own writes all stock requests and all payment results at once, which
is N orders waiting. The time runs from its first record to the last completion. Orders have one product each, of `PRODUCTS`.
"""

import asyncio
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
from confluent_kafka import Producer
from uuid_utils.compat import uuid7

from benchmarks.measure import cpu_s, difference, flat, processes, statements
from ordersaga.audit import verify
from ordersaga.contracts import codec
from ordersaga.contracts.messages import Message, PaymentSuccessMessage
from ordersaga.contracts.topics import BY_MESSAGE
from ordersaga.devstack.system import System
from ordersaga.order import store
from ordersaga.order.model import Facts, Line, Order, Recipient
from ordersaga.order.outgoing import stock_request

PRICE = 12_500
PRODUCTS = 1_000
STOCK = 1_000_000
INSERT_ROWS = 5_000
RECIPIENT = Recipient("1 Sejong-daero, Jung-gu", "12F", "04524", "010-0000-0000", "김하나", "문 앞에 두세요")


async def run(orders: int, rounds: int, products: int = PRODUCTS) -> dict[str, Any]:
    """Measure; returns flat figures, the median round's, with the spread of the rate."""
    with System(services=["order", "stock", "delivery"], extra={"ORDERSAGA_LOG_LEVEL": "error"}) as system:
        shelf = await _stock_up(system, products)
        await _round(system, shelf, max(orders // 5, 1_000))  # warm-up: JIT of the broker, caches, prepared statements
        measured = [await _round(system, shelf, orders) for _ in range(rounds)]
        broken = [finding.invariant for finding in await verify(system.settings) if not finding.holds]
    measured.sort(key=lambda figures: figures["orders_per_s"])
    median = measured[len(measured) // 2]
    rates = [figures["orders_per_s"] for figures in measured]
    # There is no payment service here: its results are records, so the audit has no payments to find.
    unexpected = [invariant for invariant in broken if "captured payment" not in invariant]
    return flat(
        {**median, "orders": orders, "rounds": rounds, "orders_per_s_min": rates[0], "orders_per_s_max": rates[-1]}
    ) | {"audit_broken": unexpected}


async def _stock_up(system: System, products: int) -> list[UUID]:
    shelf = [uuid4() for _ in range(products)]
    db = await asyncpg.connect(system.settings.database_url("stock"))
    await db.executemany(
        "INSERT INTO product (product_id, name, price, received) VALUES ($1, 'keyboard', $2, $3)",
        [(product, PRICE, STOCK) for product in shelf],
    )
    await db.executemany(
        "INSERT INTO movement (product_id, kind, quantity, at) VALUES ($1, 'received', $2, now())",
        [(product, STOCK) for product in shelf],
    )
    await db.close()
    return shelf


async def _round(system: System, shelf: list[UUID], orders: int) -> dict[str, float]:
    db = await asyncpg.connect(system.settings.database_url("order"))
    placed = await _place(db, shelf, orders)
    await asyncio.sleep(1.0)
    groups = processes(system)
    cpu, sql = cpu_s(groups), statements(system)
    loader = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.flow", system.settings.kafka_bootstrap_servers, stdin=subprocess.PIPE
    )
    loading = asyncio.create_task(loader.communicate(msgspec.msgpack.encode(placed)))
    began = await _until(db, placed[0][0], "first")
    ended = await _until(db, placed[0][0], "all", orders)
    await loading
    await asyncio.sleep(0.5)
    used, done = difference(cpu_s(processes(system)), cpu), difference(statements(system), sql)
    await db.close()
    seconds = ended - began
    return {
        "orders_per_s": orders / seconds,
        "seconds": seconds,
        "cpu_ms_per_order": sum(used.values()) * 1000 / orders,
        **{f"cpu_ms_per_order_{name}": value * 1000 / orders for name, value in used.items()},
        "statements_per_order": done["statements"] / orders,
        "transactions_per_order": done["transactions"] / orders,
        "wal_bytes_per_order": done["wal_bytes"] / orders,
    }


async def _place(db: Any, shelf: list[UUID], orders: int) -> list[tuple[UUID, bytes, bytes]]:
    """Put orders into Order's database; returns what is to be written to the topics for each."""
    records = []
    for first in range(0, orders, INSERT_ROWS):
        now = datetime.now(UTC)
        some = [_order(shelf[n % len(shelf)], now) for n in range(first, min(first + INSERT_ROWS, orders))]
        async with db.transaction():
            await store.insert(db, some)
        for order in some:
            paid = PaymentSuccessMessage(
                order_id=order.order_id, payment_key=f"key-{order.order_id}", amount=PRICE, status="SUCCESS"
            )
            records.append((order.order_id, codec.encode(stock_request(order)), codec.encode(paid)))
    return records


def _order(product: UUID, now: datetime) -> Order:
    facts = Facts((Line(product, 1),), listed_total=PRICE, asked_at=now)
    return Order(uuid7(), uuid4(), "keyboard", PRICE, RECIPIENT, now, now + timedelta(hours=1), facts)


async def _until(db: Any, first_id: UUID, what: str, count: int = 1) -> float:
    """The time of the first event, or of the last completion, of the orders from `first_id` on."""
    condition = "status = 'COMPLETED'" if what == "all" else "true"
    limit = time.monotonic() + 600
    while time.monotonic() < limit:
        row = await db.fetchrow(
            f"SELECT count(*), min(at), max(at) FROM order_event WHERE order_id >= $1 AND {condition}", first_id
        )
        if row[0] >= count:
            return float((row[1] if what == "first" else row[2]).timestamp())
        await asyncio.sleep(0.02 if what == "first" else 0.25)
    raise TimeoutError(f"not all of {count} orders were completed")


def load(bootstrap_servers: str) -> None:
    """The loading process: writes every stock request and every payment result as fast as the broker takes them."""
    records = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=list[tuple[UUID, bytes, bytes]])
    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "partitioner": "murmur2_random",
            "linger.ms": 5,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    created, paid = _topic(0), _topic(1)
    for order_id, request, payment in records:
        key = str(order_id).encode()
        producer.produce(created, request, key)
        producer.produce(paid, payment, key)
    producer.flush()


def _topic(which: int) -> str:
    from ordersaga.contracts.messages import StockDecreaseRequestMessage

    messages: tuple[type[Message], ...] = (StockDecreaseRequestMessage, PaymentSuccessMessage)
    return BY_MESSAGE[messages[which]].name


if __name__ == "__main__":
    load(sys.argv[1])
