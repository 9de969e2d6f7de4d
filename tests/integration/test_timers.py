"""Timers on a real PostgreSQL: very many due at once fire some at a time, and one that fires while its order is answered holds nobody up."""

import asyncio
import functools
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from ordersaga import order
from ordersaga.devstack import DevStack
from ordersaga.messaging import timers
from ordersaga.messaging.database import Connection
from ordersaga.messaging.handler import Outgoing
from ordersaga.messaging.timers import KEYS_MAX
from ordersaga.order import store
from ordersaga.order.app import create_app
from ordersaga.order.handlers import handler
from ordersaga.order.waking import Waking
from tests.integration.operator_rig import until
from tests.integration.order_rig import ORDERS, PRICE, PRODUCT, paid, place, reserved
from tests.integration.service import OPERATOR, Bench, Wire, bench, running

DUE = 100_000
UNPAID = f"""
    WITH placed AS (
        INSERT INTO orders (order_id, customer_id, order_name, total_amount, recipient, placed_at, pay_before)
        SELECT gen_random_uuid(), gen_random_uuid(), 'keyboard', {PRICE},
               '{{"address": "1", "addressDetail": null, "zipcode": "1", "phone": "1", "name": "1", "deliveryMemo": null}}',
               now() - interval '2 hours', now() - interval '1 hour'
        FROM generate_series(1, $1) RETURNING order_id
    ), sagas AS (
        INSERT INTO saga (order_id, status, facts)
        SELECT order_id, 'PENDING',
               '{{"lines": [{{"productId": "{PRODUCT}", "quantity": 1, "stock": "RESERVED"}}], "listedTotal": {PRICE}}}'
        FROM placed
    )
    INSERT INTO timer (key, due_at) SELECT order_id, now() FROM placed"""


UNANSWERED = (
    UNPAID.replace("interval '1 hour'", "interval '-1 hour'").replace("RESERVED", "REQUESTED").replace("$1", "1")
)
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@pytest.fixture
async def shop(stack: DevStack) -> AsyncIterator[Bench]:
    async with bench(stack, "order", order, handler) as one:
        await one.pool.execute(
            "INSERT INTO price (product_id, name, price, changed_at) VALUES ($1, 'keyboard', $2, now())", PRODUCT, PRICE
        )
        # Nobody answers the releases here: they are not to be asked for again meanwhile.
        one.settings = one.settings.model_copy(update={"compensation_deadline_s": 3_600.0})
        yield one


async def fired(shop: Bench) -> list[int]:
    """How many timers each batch has fired so far."""
    query = "SELECT count(*) FROM order_event WHERE came_in = 'TimePassed' AND status = 'CANCELLED' GROUP BY at"
    return [row["count"] for row in await shop.pool.fetch(query)]


@pytest.mark.timeout(300)
async def test_100_000_timers_due_at_once_fire_in_batches_while_orders_are_placed_and_answered(shop: Bench) -> None:
    await shop.pool.execute(UNPAID, DUE, timeout=120)
    async with running(shop.settings, create_app) as client:
        await until(functools.partial(fired, shop))
        await an_order_goes_through(client, Wire(shop.settings))
        await until(functools.partial(fired, shop))
        batches = await fired(shop)
    assert sum(batches) < DUE, "they must still be firing, or this shows nothing"
    assert 0 < max(batches) <= KEYS_MAX


@pytest.mark.timeout(600)
async def test_each_of_many_timers_due_at_once_fires_once(shop: Bench) -> None:
    await shop.pool.execute(UNPAID, DUE // 20, timeout=120)

    async def all_fired() -> bool:
        return not await shop.pool.fetchval("SELECT count(*) FROM saga WHERE status = 'PENDING'")

    async with running(shop.settings, create_app), running(shop.settings, create_app):
        await until(all_fired, 300)
    assert sum(await fired(shop)) == DUE // 20


async def test_a_timer_that_fails_is_found_by_halving_and_postponed_while_the_others_fire(shop: Bench) -> None:
    await shop.pool.execute(UNPAID, 200, timeout=120)
    bad = await shop.pool.fetchval("SELECT max(key::text)::uuid FROM timer")
    sizes: list[int] = []
    fired_keys: list[UUID] = []

    async def work(_: Connection, keys: Sequence[UUID], __: datetime) -> list[Outgoing]:
        sizes.append(len(keys))
        if bad in keys:
            raise ValueError("poison")
        fired_keys.extend(keys)
        return []

    parts = {"pool": shop.pool, "settings": shop.settings, "new_id": uuid4, "clock": lambda: datetime.now(UTC)}
    outbox = SimpleNamespace(publish_soon=lambda *_: None)
    runtime: Any = SimpleNamespace(outbox=outbox, **parts)
    await timers.Timers(runtime, work).fire()
    assert len(fired_keys) == len(set(fired_keys)) == 199
    assert sizes[0] == 200 and len(sizes) <= 1 + 2 * 8
    [left] = await shop.pool.fetch("SELECT key, due_at FROM timer")
    assert left["key"] == bad
    assert left["due_at"] > datetime.now(UTC) + timers.POSTPONE / 2


async def an_order_goes_through(client: httpx.AsyncClient, wire: Wire) -> None:
    """Placed by HTTP, reserved and paid by Kafka, and so asked to be delivered."""
    order_id = (await place(client))["orderId"]
    await wire.send(reserved(order_id), paid(order_id))

    async def delivery_asked() -> bool:
        found = (await client.get(f"{ORDERS}/{order_id}", headers=OPERATOR)).json()
        return bool(found["delivery"] == "REQUESTED")

    await until(delivery_asked)


async def test_an_answer_and_the_timer_of_its_order_that_fires_meanwhile_do_not_wait_for_each_other(
    shop: Bench,
) -> None:
    """Each has locked what the other wants: the timer's row, which the answer would set, and the order's. The order knows of no timer,
    as where it had come to its end while the timer was firing."""
    await shop.pool.execute(UNANSWERED)
    async with shop.pool.acquire() as answering, shop.pool.acquire() as firing, firing.transaction():
        [row] = await timers.sql.claim_timers(firing, now=datetime.now(UTC), rows_max=1)
        async with answering.transaction():
            await store.lock(answering, [row["key"]])
            waking = asyncio.create_task(Waking(shop.settings)(firing, [row["key"]], datetime.now(UTC)))
            await until(functools.partial(shop.pool.fetchval, WAITING))
            await shop.handle(answering, [reserved(str(row["key"]))])
        await waking
    due_at = await shop.pool.fetchval("SELECT due_at FROM timer")
    assert due_at == await shop.pool.fetchval("SELECT pay_before FROM orders"), "nobody would look at the order again"
