"""Why does this order wait: what operators are told, by HTTP and by `orders show`."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest

from ordersaga import order
from ordersaga.contracts.messages import PaymentSuccessMessage
from ordersaga.devstack import DevStack
from ordersaga.order.handlers import handler
from tests.integration.operations_face import FACE, READER
from tests.integration.operator_rig import OperatorRig
from tests.integration.order_rig import ORDERS, PRICE, PRODUCT, place
from tests.integration.service import OPERATOR, Bench, Wire, bench, customer

WHO = customer(UUID(int=7))
FAR = datetime(2100, 1, 1, tzinfo=UTC)  # nobody tries again meanwhile


@pytest.fixture(scope="module")
async def shop(stack: DevStack) -> AsyncIterator[Bench]:
    async with bench(stack, "order", order, handler) as one:
        await one.pool.execute(
            "INSERT INTO price (product_id, name, price, changed_at) VALUES ($1, 'keyboard', $2, now())", PRODUCT, PRICE
        )
        yield one


async def seen_by(client: httpx.AsyncClient, order_id: str, who: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(f"{ORDERS}/{order_id}", headers=who)).json()
    return found


async def test_an_operator_is_told_for_what_an_order_waits_since_when_and_what_comes_next(
    client: httpx.AsyncClient,
) -> None:
    placed = await place(client)
    found = await seen_by(client, placed["orderId"], OPERATOR)
    stock, payment = found["waitsFor"]
    assert (stock["message"], stock["topic"]) == ("StockResponseMessage", "stock-response-topic")
    assert (stock["about"], stock["attempts"], stock["endsAt"]) == ([str(PRODUCT)], 1, None)
    assert stock["since"] == placed["placedAt"] < stock["nextAttemptAt"]
    assert (payment["message"], payment["attempts"], payment["nextAttemptAt"]) == ("PaymentSuccessMessage", 0, None)
    assert payment["endsAt"] == placed["payBefore"]
    assert (found["flag"], found["heldRecords"]) == (None, [])


async def test_a_customer_is_not_told(client: httpx.AsyncClient) -> None:
    placed = await place(client)
    found = await seen_by(client, placed["orderId"], WHO)
    assert found["status"] == "PENDING"
    assert not {"flag", "waitsFor", "heldRecords"} & set(found)


async def test_a_dead_order_waits_for_no_payment_but_still_for_what_may_hold_its_products(
    client: httpx.AsyncClient, shop: Bench
) -> None:
    wire = Wire(shop.settings)
    order_id = (await place(client))["orderId"]
    await wire.send(PaymentSuccessMessage(order_id=UUID(order_id), payment_key="k", amount=0, status="FAILED"))
    for _ in range(200):
        found = await seen_by(client, order_id, OPERATOR)
        if found["status"] == "FAILED":
            break
        await asyncio.sleep(0.05)
    assert [each["message"] for each in found["waitsFor"]] == ["StockResponseMessage"]  # its products may be held


async def test_what_was_not_handled_is_named_by_http_and_by_the_command(client: httpx.AsyncClient, shop: Bench) -> None:
    order_id = (await place(client))["orderId"]
    await shop.pool.execute(
        "INSERT INTO parked VALUES ('stock-response-topic', 2, 7, $1, NULL, '{}', '{}', '{}', 0, 2, 0, $2, 'Broken', 'by test', $2)",
        UUID(order_id),
        FAR,
    )
    await shop.pool.execute(
        "INSERT INTO dead_letter (id, topic, partition, record_offset, order_key, header_names, header_values, cause, reason, "
        "attempts, at) VALUES ($1, 'delivery-start-topic', 1, 9, $1, '{}', '{}', 'Undecodable', 'no JSON', 1, $2)",
        UUID(order_id),
        FAR,
    )
    held = (await seen_by(client, order_id, OPERATOR))["heldRecords"]
    states = {each["state"]: (each["topic"], each["partition"], each["offset"], each["attempts"]) for each in held}
    assert states == {"PARKED": ("stock-response-topic", 2, 7, 2), "OPEN": ("delivery-start-topic", 1, 9, 1)}

    await shop.pool.execute(
        "UPDATE parked SET reason = 'no such place: name=김주문, zipcode=1' WHERE order_key = $1", UUID(order_id)
    )
    for url in (f"{ORDERS}/{order_id}", f"{FACE}/orders/{order_id}"):
        told = [(await client.get(url, headers=who)).text for who in (OPERATOR, READER)]
        assert ["name=김주문" in each for each in told] == [True, False], url
        assert "no such place: name=***" in told[1]

    said = (await OperatorRig("order", shop)("orders", "show", order_id, json=False, whole=True)).out
    assert f"waits for StockResponseMessage about {PRODUCT}, since" in said
    assert "asked 1 time, next attempt" in said
    assert "waits for PaymentSuccessMessage, since" in said
    assert "not handled by order: stock-response-topic/2/7, parked since" in said
    assert "not handled by order: delivery-start-topic/1/9, dead letter, OPEN since" in said
    assert "the database of stock does not answer" in said
