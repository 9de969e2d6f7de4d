"""Money of an order that goes back at the gateway's own dashboard: what Order makes of it, and an operator's word, by HTTP and command."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from ordersaga import order
from ordersaga.contracts.messages import DeliveryStartMessage, PaymentCancelledMessage
from ordersaga.devstack import DevStack
from ordersaga.messaging import acts
from ordersaga.order.handlers import handler
from tests.integration.operator_rig import OperatorRig
from tests.integration.order_rig import ORDERS, PRICE, PRODUCT, WHO, ends, paid, place, reserved
from tests.integration.service import OPERATOR, Bench, Wire, bench

PART = 10_000


@pytest.fixture(scope="module")
async def shop(stack: DevStack) -> AsyncIterator[Bench]:
    async with bench(stack, "order", order, handler) as one:
        await one.pool.execute(
            "INSERT INTO price (product_id, name, price, changed_at) VALUES ($1, 'keyboard', $2, '2026-01-01')",
            PRODUCT,
            PRICE,
        )
        yield one


def gone(order_id: str, left: int) -> PaymentCancelledMessage:
    return PaymentCancelledMessage(
        order_id=UUID(order_id),
        payment_key=f"k-{order_id}",
        amount=PRICE - left,
        status="SUCCESS",
        balance_amount=left,
    )


async def flagged(client: httpx.AsyncClient, order_id: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            found: dict[str, Any] = (await client.get(f"{ORDERS}/{order_id}", headers=OPERATOR)).json()
            if found["flag"]:
                return found
            await asyncio.sleep(0.05)


async def accept(client: httpx.AsyncClient, order_id: str, who: Any = OPERATOR, why: str = "a discount") -> Any:
    return await client.post(f"{ORDERS}/{order_id}/refund/accept", json={"why": why}, headers=who)


async def test_all_money_gone_before_delivery_cancels_the_order_and_releases_its_stock(
    client: httpx.AsyncClient, wire: Wire
) -> None:
    order_id = (await place(client))["orderId"]
    await wire.send(paid(order_id))
    await wire.send(gone(order_id, 0))
    found = await ends(client, order_id, "CANCELLED")
    assert (found["reason"], found["payments"][0]["state"]) == ("PAYMENT_CANCELLED", "REFUNDED")
    await wire.send(reserved(order_id))
    assert len(await wire.receive("stock-rollback-requested-topic", UUID(order_id), 1)) == 1
    payables = await wire.receive("order-payable-topic", UUID(order_id), 2)
    assert [each["status"] for each in payables] == ["ORD0001", "ORD0003"]


async def test_a_part_gone_waits_for_an_operator_by_http_and_is_in_the_timeline(
    client: httpx.AsyncClient, wire: Wire, shop: Bench
) -> None:
    order_id = (await place(client))["orderId"]
    assert (await accept(client, order_id)).status_code == 409, "nothing went back"
    await wire.send(paid(order_id))
    await wire.send(gone(order_id, PART))
    found = await flagged(client, order_id)
    assert "2,500 of 12,500 won" in found["flag"]
    await wire.send(reserved(order_id))
    await stock_known(client, order_id)
    assert (await accept(client, order_id, WHO)).status_code == 404, "it is not the customer's to say"
    assert (await accept(client, order_id, why=" ")).status_code == 400
    assert (await accept(client, str(uuid4()))).status_code == 404
    assert (await client.get(f"{ORDERS}/{order_id}", headers=OPERATOR)).json()["delivery"] == "NOT_REQUESTED"
    for _ in range(2):
        answer = await accept(client, order_id)
        assert (answer.status_code, answer.json()["delivery"]) == (200, "REQUESTED")
    assert len(await wire.receive("delivery-request-topic", UUID(order_id), 1)) == 1
    async with shop.pool.acquire() as db:
        [act] = await acts.about(db, [order_id])
        notes = "SELECT note FROM order_event WHERE order_id = $1 AND came_in = 'AcceptRefund'"
        [event] = await db.fetch(notes, UUID(order_id))
    assert (act.what, act.who, act.why) == ("accept refund", OPERATOR["User-Id"], "a discount")
    assert act.after == {f"k-{order_id}": {"captured": PRICE, "held": PART, "meant": PRICE - PART}}
    assert event["note"] == f"{OPERATOR['User-Id']}: a discount"
    await wire.send(DeliveryStartMessage(order_id=UUID(order_id), delivery_id=uuid4(), status="STARTED"))
    await ends(client, order_id, "COMPLETED")
    back = f"{ORDERS}/{order_id}/cancel/return"
    assert (await client.post(back, headers=OPERATOR, json={"why": ""})).status_code == 400
    returned = await client.post(back, headers=OPERATOR, json={"why": "he called us"})
    assert returned.status_code == 200
    async with shop.pool.acquire() as db:
        act = (await acts.about(db, [order_id]))[-1]
        [event] = await db.fetch(
            "SELECT note FROM order_event WHERE order_id = $1 AND came_in = 'Return'", UUID(order_id)
        )
    assert (act.what, act.who, act.why) == ("return", OPERATOR["User-Id"], "he called us")
    assert (act.before["status"], act.after["status"]) == ("COMPLETED", "CANCELLED")
    assert event["note"] == f"operator {OPERATOR['User-Id']}: he called us"
    [refund] = await wire.receive("payment-cancel-requested-topic", UUID(order_id), 1)
    assert (refund["amount"], bool(refund["requestId"])) == (PART, True)


async def stock_known(client: httpx.AsyncClient, order_id: str) -> None:
    async with asyncio.timeout(20):
        while True:
            found = (await client.get(f"{ORDERS}/{order_id}", headers=OPERATOR)).json()
            if found["items"][0]["stock"] == "RESERVED":
                return
            await asyncio.sleep(0.05)


async def test_money_of_a_completed_order_gone_is_shown_until_the_command_accepts_it(
    client: httpx.AsyncClient, wire: Wire, shop: Bench
) -> None:
    order_id = (await place(client))["orderId"]
    await wire.send(reserved(order_id), paid(order_id))
    await wire.receive("delivery-request-topic", UUID(order_id), 1)
    await wire.send(DeliveryStartMessage(order_id=UUID(order_id), delivery_id=uuid4(), status="STARTED"))
    await ends(client, order_id, "COMPLETED")
    await wire.send(gone(order_id, 0), gone(order_id, 0))
    found = await flagged(client, order_id)
    assert (found["status"], found["payments"][0]["state"]) == ("COMPLETED", "REFUNDED")
    ordersaga = OperatorRig("order", shop)
    told = (await ordersaga("orders", "show", order_id, json=False, whole=True)).out
    assert "REFUNDED, 12,500 won went back" in told and "flagged   given back at the gateway" in told
    refused = await ordersaga("orders", "accept-refund", order_id, json=False, whole=True, code=2)
    assert "--why is required" in refused.err
    await ordersaga("orders", "accept-refund", order_id, "--why", "goodwill", "--who", "kim", json=False, whole=True)
    told = (await ordersaga("orders", "show", order_id, json=False, whole=True)).out
    assert "went back" not in told and "flagged" not in told and "kim: goodwill" in told
