"""What an order does when an answer does not come in time, comes late, or comes twice."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from uuid import UUID, uuid4

import httpx
import pytest
import structlog

from ordersaga.contracts import codec
from ordersaga.contracts.messages import (
    PaymentCancelledMessage,
    StockResponseMessage,
    StockRollbackCompletedMessage,
)
from ordersaga.devstack import DevStack
from ordersaga.messaging.handler import Record
from ordersaga.order.decision import DUPLICATE
from tests.integration.order_rig import ORDERS, PRICE, PRODUCT, WHO, completed, ends, order_shop, paid, place, reserved
from tests.integration.service import OPERATOR, Bench, Wire

TRACE = "0af7651916cd43dd8448eb211c80319c"
HEARD = "SELECT note FROM order_event WHERE order_id = $1 AND came_in = 'StockRollbackCompletedMessage' ORDER BY at"


@pytest.fixture(scope="module")
async def shop(stack: DevStack) -> AsyncIterator[Bench]:
    async with order_shop(stack) as one:
        yield one


async def test_an_order_has_a_timer_for_as_long_as_it_waits_for_something(
    client: httpx.AsyncClient, wire: Wire, shop: Bench
) -> None:
    async def timers(order_id: str) -> int:
        count: int = await shop.pool.fetchval("SELECT count(*) FROM timer WHERE key = $1", UUID(order_id))
        return count

    assert await timers((await place(client))["orderId"]) == 1
    order_id = await completed(client, wire)
    assert await timers(order_id) == 0
    await client.post(f"{ORDERS}/{order_id}/cancel/return", headers=WHO)
    assert await timers(order_id) == 1


async def test_a_timer_that_fires_early_is_set_again(client: httpx.AsyncClient, wire: Wire, shop: Bench) -> None:
    order = await place(client)
    id, pay_before = UUID(order["orderId"]), datetime.fromisoformat(order["payBefore"])
    await wire.send(reserved(order["orderId"]))

    async def is_set_for_the_payment() -> None:
        for _ in range(300):
            due_at = await shop.pool.fetchval("SELECT due_at FROM timer WHERE key = $1", id)
            if due_at == pay_before:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"the timer is set for {due_at}, not for {pay_before}")

    await is_set_for_the_payment()
    await shop.pool.execute("UPDATE timer SET due_at = placed_at FROM orders WHERE order_id = key AND key = $1", id)
    await is_set_for_the_payment()


@pytest.mark.parametrize("traceparent", [None, f"00-{TRACE}-b7ad6b7169203331-01"])
async def test_a_silent_stock_is_asked_again_and_then_the_order_fails_all_in_the_order_s_trace(
    client: httpx.AsyncClient, wire: Wire, traceparent: str | None
) -> None:
    with structlog.testing.capture_logs() as lines:
        order = await place(client, who=WHO | ({"traceparent": traceparent} if traceparent else {}))
        found = await ends(client, order["orderId"], "FAILED")
    assert found["reason"] == "STOCK_TIMEOUT"
    order_id = UUID(order["orderId"])
    trace = TRACE if traceparent else order_id.hex
    records = await wire.receive_records("order-created", order_id, 2)
    assert [(each.header("traceparent") or b"")[3:35].decode() for each in records] == [trace] * 2
    [ended] = [
        each for each in lines if each["event"] == "an order ended by a deadline" and each["order_id"] == str(order_id)
    ]
    assert ended["trace_id"] == trace
    [asked] = [
        each for each in lines if each["event"] == "a partner does not answer" and str(order_id) in each["order_ids"]
    ][:1]
    assert asked["trace_ids"][asked["order_ids"].index(str(order_id))] == trace


async def test_stock_that_answers_after_the_deadline_gets_its_products_back(
    client: httpx.AsyncClient, wire: Wire
) -> None:
    order_id = (await place(client))["orderId"]
    await ends(client, order_id, "FAILED")
    await wire.send(reserved(order_id))
    asked = await wire.receive("stock-rollback-requested-topic", UUID(order_id), 2)
    assert asked[0] == asked[1] == {"orderId": order_id, "items": [{"productId": str(PRODUCT), "quantity": 1}]}
    await wire.send(StockRollbackCompletedMessage(order_id=UUID(order_id)))
    for _ in range(100):
        found = (await client.get(f"{ORDERS}/{order_id}", headers=OPERATOR)).json()
        if found["items"][0]["stock"] == "RELEASED":
            return
        await asyncio.sleep(0.05)
    raise AssertionError(found)


async def test_a_second_answer_to_a_rollback_says_nothing_of_the_next_one(
    client: httpx.AsyncClient, wire: Wire, shop: Bench
) -> None:
    other = uuid4()
    await shop.pool.execute(
        "INSERT INTO price (product_id, name, price, changed_at) VALUES ($1, 'mouse', $2, '2026-01-01')", other, PRICE
    )
    lines = [{"productId": str(PRODUCT), "quantity": 1}, {"productId": str(other), "quantity": 1}]
    id = UUID((await place(client, items=lines, totalAmount=2 * PRICE))["orderId"])
    topic, done = "stock-rollback-completed-topic", codec.encode(StockRollbackCompletedMessage(order_id=id))

    async def rollbacks(count: int) -> list[bytes]:
        records = await wire.receive_records("stock-rollback-requested-topic", id, count)
        return [record.header("message-id") or b"" for record in records]

    async def answer(rollback: bytes) -> None:
        await wire.send_raw(topic, str(id).encode(), done, {"causation-id": rollback})

    async def stock() -> list[str]:
        found = (await client.get(f"{ORDERS}/{id}", headers=OPERATOR)).json()
        return [line["stock"] for line in found["items"]]

    async def becomes(*wanted: str) -> None:
        for _ in range(100):
            if await stock() == list(wanted):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(await stock())

    await client.post(f"{ORDERS}/{id}/cancel/delivery-before", headers=WHO)
    await wire.send(reserved(str(id)))
    first, again = await rollbacks(2)
    assert first != again
    await answer(first)
    await becomes("RELEASED", "REQUESTED")
    await wire.send(StockResponseMessage(order_id=id, product_id=other, status="SUCCESS"))
    await becomes("RELEASED", "RELEASE_REQUESTED")
    await answer(again)
    for _ in range(100):
        heard = [row["note"] for row in await shop.pool.fetch(HEARD, id)]
        if len(heard) == 2:
            break
        await asyncio.sleep(0.05)
    assert heard == [None, DUPLICATE]
    assert await stock() == ["RELEASED", "RELEASE_REQUESTED"]
    await answer((await rollbacks(3))[2])
    await becomes("RELEASED", "RELEASED")


async def test_answers_with_the_copied_headers_of_their_rollbacks_are_each_taken_for_their_own_rollback(
    client: httpx.AsyncClient, wire: Wire, shop: Bench
) -> None:
    """Kafka Streams, and functions of Spring Cloud Stream, copy a request's headers to its answer."""
    others = [uuid4(), uuid4()]
    await shop.pool.executemany(
        "INSERT INTO price (product_id, name, price, changed_at) VALUES ($1, 'mouse', $2, '2026-01-01')",
        [(each, PRICE) for each in others],
    )
    lines = [{"productId": str(each), "quantity": 1} for each in (PRODUCT, *others)]
    id = UUID((await place(client, items=lines, totalAmount=3 * PRICE))["orderId"])
    topic, done = "stock-rollback-completed-topic", codec.encode(StockRollbackCompletedMessage(order_id=id))

    async def rollback(number: int) -> Record:
        """The n-th different rollback: one that is not answered soon is sent again, with a number of its own."""
        return (await wire.receive_records("stock-rollback-requested-topic", id, number))[number - 1]

    async def answer(record: Record) -> None:
        copied = {name: value for name, value in record.headers or () if value is not None}
        await wire.send_raw(topic, str(id).encode(), done, copied)

    async def becomes(*wanted: str) -> None:
        for _ in range(100):
            found = (await client.get(f"{ORDERS}/{id}", headers=OPERATOR)).json()
            if (stock := [line["stock"] for line in found["items"]]) == list(wanted):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(stock)

    await client.post(f"{ORDERS}/{id}/cancel/delivery-before", headers=WHO)
    await wire.send(reserved(str(id)))
    first, again = await rollback(1), await rollback(2)
    await wire.send(StockResponseMessage(order_id=id, product_id=others[0], status="SUCCESS"))
    await becomes("RELEASE_REQUESTED", "RESERVED", "REQUESTED")
    await answer(first)
    await becomes("RELEASED", "RELEASE_REQUESTED", "REQUESTED")
    await answer(again)
    await wire.send(StockResponseMessage(order_id=id, product_id=others[1], status="SUCCESS"))
    await becomes(
        "RELEASED", "RELEASE_REQUESTED", "RESERVED"
    )  # so the first rollback's second answer said nothing of this one
    second = await rollback(3)
    assert second.header("causation-id") == first.header("message-id")
    await answer(second)
    await becomes("RELEASED", "RELEASED", "RELEASE_REQUESTED")


async def test_an_order_that_is_not_paid_in_time_is_cancelled_and_a_late_payment_refunded(
    client: httpx.AsyncClient, wire: Wire, shop: Bench
) -> None:
    order_id = (await place(client))["orderId"]
    await shop.pool.execute("UPDATE orders SET pay_before = placed_at WHERE order_id = $1", UUID(order_id))
    await wire.send(reserved(order_id))
    found = await ends(client, order_id, "CANCELLED")
    assert found["reason"] == "PAYMENT_EXPIRED"
    await wire.send(paid(order_id))
    assert (await wire.receive("payment-cancel-requested-topic", UUID(order_id), 1))[0]["amount"] == PRICE
    await wire.send(
        PaymentCancelledMessage(order_id=UUID(order_id), payment_key=f"k-{order_id}", amount=PRICE, status="SUCCESS")
    )


async def test_a_silent_delivery_is_asked_again(client: httpx.AsyncClient, wire: Wire) -> None:
    order_id = (await place(client))["orderId"]
    await wire.send(reserved(order_id), paid(order_id))
    requests = await wire.receive("delivery-request-topic", UUID(order_id), 2)
    assert requests[0] == requests[1]
