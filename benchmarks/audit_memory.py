"""Memory and time of the audit over many orders: `python -m benchmarks.audit_memory [ORDERS ...]`.

The orders are made by SQL on a development stack, completed, paid and delivered, with a completion record each in Kafka; each audit runs
in a process of its own, whose peak of resident memory is what counts.
"""

import asyncio
import importlib
import resource
import sys
import time
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from uuid import UUID

import asyncpg
from confluent_kafka import Producer

from ordersaga.audit import verify
from ordersaga.contracts.codec import encode
from ordersaga.contracts.messages import OrderCompletedMessage
from ordersaga.devstack import DevStack
from ordersaga.messaging.kafka import create_missing_topics
from ordersaga.messaging.migrating import migrate
from ordersaga.settings import SERVICES, Settings

SIZES = (50_000, 1_000_000)
PRICE = 12_500
PRODUCT = UUID(int=1)
TABLES = {
    "order": [
        """INSERT INTO orders (order_id, customer_id, order_name, total_amount, recipient, placed_at, pay_before)
           SELECT id, id, 'keyboard', 12500, '{}', at, at FROM made""",
        """INSERT INTO saga (order_id, status, facts) SELECT id, 'COMPLETED', json_build_object(
               'lines', json_build_array(json_build_object('productId', $1::text, 'quantity', 1, 'stock', 'RESERVED')),
               'payments', json_build_array(json_build_object('paymentKey', 'key-' || id, 'amount', 12500, 'state', 'PAID')),
               'delivery', 'STARTED', 'deliveryId', id, 'listedTotal', 12500) FROM made""",
        """INSERT INTO order_event (order_id, at, came_in, went_out, status, stock_known)
           SELECT id, at + e.later, e.came_in, e.went_out::text[], e.status, e.stock_known
           FROM made, (VALUES ('0 s'::interval, 'Placed', '{StockDecreaseRequestMessage,OrderPayableMessage}', 'PENDING', false),
                              ('1 s', 'StockResponseMessage', '{}', 'PENDING', true),
                              ('2 s', 'PaymentSuccessMessage', '{DeliveryRequestMessage}', 'PENDING', true),
                              ('3 s', 'DeliveryStartMessage', '{OrderCompletedMessage}', 'COMPLETED', true))
                       AS e (later, came_in, went_out, status, stock_known)""",
        "INSERT INTO price (product_id, name, price, changed_at) VALUES ($1::uuid, 'keyboard', 12500, now())",
    ],
    "stock": [
        """INSERT INTO reservation (order_id, state, items, at) SELECT id, 'RESERVED', json_build_array(
               json_build_object('productId', $1::text, 'quantity', 1, 'state', 'RESERVED')), at FROM made""",
        """INSERT INTO movement (product_id, order_id, kind, quantity, at) SELECT $1::uuid, id, 'reserved', 1, at FROM made
           UNION ALL SELECT $1::uuid, NULL, 'received', count(*), now() FROM made""",
        """INSERT INTO product (product_id, name, price, received, reserved)
           SELECT $1::uuid, 'keyboard', 12500, count(*), count(*) FROM made""",
    ],
    "payment": [
        """INSERT INTO payment (payment_key, order_id, amount, status, captured, refunded, requested_at, approved_at)
           SELECT 'key-' || id, id, 12500, 'APPROVED', 12500, 0, at, at FROM made""",
        "INSERT INTO payable (order_id, customer_id, total_amount, pay_before, status) SELECT id, id, 12500, at, 'ORD0001' FROM made",
    ],
    "delivery": [
        """INSERT INTO delivery (order_id, delivery_id, customer_id, status, tracking_number, at)
           SELECT id, id, id, 'STARTED', 'T', at FROM made""",
    ],
}


async def furnish(settings: Settings, orders: int) -> None:
    """So many sound orders, with ids 1, 2, 3, ..."""
    placed_at = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    made = f"SELECT lpad(to_hex(n), 32, '0')::uuid AS id, '{placed_at}'::timestamptz AS at FROM generate_series(1, {orders}) AS n"
    for service in SERVICES:
        db = await asyncpg.connect(settings.database_url(service))
        await db.execute(f"CREATE TEMP TABLE made AS {made}")
        for statement in TABLES[service]:
            await db.execute(
                statement, *([str(PRODUCT)] if "$1::text" in statement else [PRODUCT] if "$1" in statement else [])
            )
        await db.execute("ANALYZE")
        await db.close()
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers, "partitioner": "murmur2_random"})
    for n in range(1, orders + 1):
        order_id = UUID(int=n)
        message = OrderCompletedMessage(order_id=order_id, customer_id=order_id, status="ORD0002", total_amount=PRICE)
        producer.produce("order-completed-topic", encode(message), str(order_id))
        producer.poll(0) if n % 1_000 else producer.flush()
    producer.flush()


def audit(settings: Settings) -> tuple[float, int, list[str]]:
    """Seconds, peak memory in MiB, and what does not hold."""
    began = time.monotonic()
    findings = asyncio.run(verify(settings, tell=lambda said: print(f"    {said}")))
    wrong = [f"{each.invariant}: {each.broken[:2] + each.unjudged[:2]}" for each in findings if not each.holds]
    return time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, wrong


def main() -> None:
    sizes = [int(argument) for argument in sys.argv[1:]] or SIZES
    for orders in sizes:
        with DevStack.start() as stack:
            stack.create_databases([f"m_{service}" for service in SERVICES])
            urls = {f"{service}_database_url": stack.database_url(f"m_{service}") for service in SERVICES}
            base = {"kafka_bootstrap_servers": stack.bootstrap_servers, "gateway_books": False}
            settings = Settings.model_validate(base | urls)
            asyncio.run(create_missing_topics(settings))
            for service in SERVICES:
                migrate(settings.database_url(service), importlib.import_module(f"ordersaga.{service}"))
            asyncio.run(furnish(settings, orders))
            with get_context("spawn").Pool(1) as pool:
                seconds, peak_mib, wrong = pool.apply(audit, [settings])
        print(f"{orders:>9,} orders: {seconds:6.1f} s, {peak_mib} MiB at most, {wrong or 'every invariant holds'}")


if __name__ == "__main__":
    main()
