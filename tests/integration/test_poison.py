"""Poison among good orders: the good ones complete, each poison one is listed with its reason, and after mending a replay completes it.

All four services as processes; the payments' results are records. Delivery's database refuses some zipcodes until it is mended.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from confluent_kafka import Producer
from uuid_utils.compat import uuid7

from ordersaga.audit import verify
from ordersaga.contracts import codec
from ordersaga.contracts.address import Address
from ordersaga.contracts.messages import Message, PaymentSuccessMessage
from ordersaga.contracts.topics import BY_MESSAGE, key_of
from ordersaga.devstack.system import System
from ordersaga.order import store
from ordersaga.order.commands import PLACED
from ordersaga.order.model import Event, Facts, Line, Order
from ordersaga.order.outgoing import stock_request
from tests.integration.failing_depot import FAILING

ORDERS, POISON_EVERY = 1_000, 100
PRICE = 12_500
BAD_ZIPCODE, GOOD_ZIPCODE = "10666", "04524"
PAID_TOPIC = BY_MESSAGE[PaymentSuccessMessage].name
QUICK = {
    "ORDERSAGA_PARK_BACKOFF_MS": "100",
    "ORDERSAGA_PARK_ATTEMPTS_MAX": "3",
    "ORDERSAGA_DELIVERY_DEADLINE_S": "600",  # on a busy machine Order would ask again, and that record would be poison too
}
LIMIT_S = 120.0


@pytest.fixture(scope="module")
async def system() -> AsyncIterator[System]:
    with System(services=["order", "stock", "delivery"], extra=QUICK) as running:
        yield running


async def command(system: System, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """Type a command; its exit code and the rows that it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ordersaga", *arguments, "--json",
        env=os.environ | system.environment, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    return process.returncode or 0, [json.loads(line) for line in out.splitlines()]


async def stock_up(system: System) -> UUID:
    product = uuid4()
    db = await asyncpg.connect(system.settings.database_url("stock"))
    await db.execute(
        "INSERT INTO product (product_id, name, price, received) VALUES ($1, 'keyboard', $2, 10000)", product, PRICE
    )
    await db.execute(
        "INSERT INTO movement (product_id, kind, quantity, at) VALUES ($1, 'received', 10000, now())", product
    )
    await db.close()
    db = await asyncpg.connect(system.settings.database_url("order"))
    await db.execute("INSERT INTO price VALUES ($1, 'keyboard', $2, now())", product, PRICE)
    await db.close()
    return product


def order_of(product: UUID, zipcode: str) -> Order:
    now = datetime.now(UTC)
    recipient = Address("1 Sejong-daero, Jung-gu", "12F", zipcode, "010-0000-0000", "김하나", None)
    facts = Facts((Line(product, 1),), listed_total=PRICE, asked_at=now)
    return Order(uuid7(), uuid4(), "keyboard", PRICE, recipient, now, now + timedelta(hours=1), facts)


def write(producer: Producer, message: Message) -> None:
    producer.produce(BY_MESSAGE[type(message)].name, codec.encode(message), str(key_of(message)))


@pytest.mark.timeout(400)
async def test_good_orders_complete_poison_is_listed_with_its_reason_and_a_replay_after_mending_completes_it(
    system: System,
) -> None:
    product = await stock_up(system)
    orders = [order_of(product, GOOD_ZIPCODE if n % POISON_EVERY else BAD_ZIPCODE) for n in range(ORDERS)]
    poisoned = {str(order.order_id) for order in orders[::POISON_EVERY]}
    db = await asyncpg.connect(system.settings.database_url("order"))
    depot = await asyncpg.connect(system.settings.database_url("delivery"))
    await depot.execute(FAILING)
    await depot.execute("INSERT INTO failing VALUES ($1)", BAD_ZIPCODE)
    async with db.transaction():
        await store.insert_orders(db, orders)
        await store.insert_sagas(db, [store.saga_row(each) for each in orders])
        await store.add_events(
            db,
            [
                Event(each.order_id, each.placed_at, PLACED, ("StockDecreaseRequestMessage",), "PENDING", None, False)
                for each in orders
            ],
        )
    producer = Producer({"bootstrap.servers": system.settings.kafka_bootstrap_servers})
    for n, order in enumerate(orders):
        write(producer, stock_request(order))
        key = f"key-{order.order_id}"
        write(producer, PaymentSuccessMessage(order_id=order.order_id, payment_key=key, amount=PRICE, status="SUCCESS"))
        if n % POISON_EVERY == 0:
            producer.produce(PAID_TOPIC, b'{"orderId": "%s", "amount": NaN}' % str(order.order_id).encode())
    producer.flush()

    await all_completed(db, ORDERS - len(poisoned))
    letters = await listed(system, 2 * len(poisoned))
    assert Counter((row["topic"], row["cause"]) for row in letters) == {
        ("delivery-request-topic", "RaiseError"): len(poisoned),
        (PAID_TOPIC, "Undecodable"): len(poisoned),
    }
    for row in letters:
        assert row["order_key"] in poisoned
        assert ("carrier is away" if row["cause"] == "RaiseError" else "invalid character") in row["reason"]

    await depot.execute("DELETE FROM failing")
    topic = ("--topic", "delivery-request-topic")
    code, outcomes = await command(system, "dead-letters", "replay", *topic, "--rate", "1000", "--why", "mended")
    assert (code, len(outcomes)) == (0, len(poisoned)), outcomes
    await all_completed(db, ORDERS)
    code, _ = await command(system, "dead-letters", "discard", "--topic", PAID_TOPIC, "--why", "never was a payment")
    assert code == 0
    assert await listed(system, 0) == []
    # There is no Payment here: its results are records.
    findings = await verify(system.settings, only=("order", "stock", "delivery"))
    assert {finding.invariant: finding.broken + finding.unjudged for finding in findings if not finding.holds} == {}
    await db.close()
    await depot.close()


async def all_completed(db: "asyncpg.Connection[asyncpg.Record]", count: int) -> None:
    end = time.monotonic() + LIMIT_S
    while await db.fetchval("SELECT count(*) FROM saga WHERE status = 'COMPLETED'") < count:
        assert time.monotonic() < end, await db.fetch("SELECT status, reason, count(*) FROM saga GROUP BY 1, 2")
        await asyncio.sleep(0.2)


async def listed(system: System, count: int) -> list[dict[str, Any]]:
    """The open letters, once there are so many."""
    end = time.monotonic() + LIMIT_S
    while True:
        _, rows = await command(system, "dead-letters", "list", "--limit", "1000")
        if len(rows) >= count:
            return rows
        assert time.monotonic() < end, rows
        await asyncio.sleep(0.5)
