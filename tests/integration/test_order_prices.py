"""An order whose products' prices are not known yet, or come to another total than the customer's."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import httpx
import pytest

from ordersaga.contracts.messages import (
    ProductPriceMessage,
    StockResponseMessage,
)
from ordersaga.devstack import DevStack
from tests.integration.order_rig import ORDERS, ends, order_shop, paid, place
from tests.integration.service import OPERATOR, Bench, Wire

NOW = "2026-01-01T00:00:00Z"


@pytest.fixture(scope="module")
async def shop(stack: DevStack) -> AsyncIterator[Bench]:
    async with order_shop(stack) as one:
        yield one


async def unpriced(client: httpx.AsyncClient, wire: Wire, total: int) -> tuple[UUID, UUID]:
    """An order that was placed, reserved and paid (by a Payment that asks nobody) before its product's price was known."""
    product = uuid4()
    order_id = (await place(client, items=[{"productId": str(product), "quantity": 1}], totalAmount=total))["orderId"]
    await wire.send(StockResponseMessage(order_id=UUID(order_id), product_id=product, status="SUCCESS"))
    await wire.send(paid(order_id, total))
    return UUID(order_id), product


async def timeline(shop: Bench, order_id: UUID) -> list[tuple[str, list[str]]]:
    rows = await shop.pool.fetch("SELECT came_in, went_out FROM order_event WHERE order_id = $1 ORDER BY seq", order_id)
    return [(row["came_in"], row["went_out"]) for row in rows]


async def heard(shop: Bench, order_id: UUID, came_in: str) -> None:
    for _ in range(200):
        if came_in in [name for name, _ in await timeline(shop, order_id)]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(await timeline(shop, order_id))


async def test_an_order_never_goes_on_at_a_clients_total_that_is_not_what_the_product_costs(
    client: httpx.AsyncClient, wire: Wire, shop: Bench
) -> None:
    order_id, product = await unpriced(client, wire, total=1_000)
    await heard(shop, order_id, "StockResponseMessage")
    await heard(shop, order_id, "PaymentSuccessMessage")
    assert (await client.get(f"{ORDERS}/{order_id}", headers=OPERATOR)).json()["status"] == "PENDING"
    await wire.send(ProductPriceMessage(product_id=product, price=5_000, changed_at=NOW))  # type: ignore[arg-type]
    found = await ends(client, str(order_id), "FAILED")
    assert (found["reason"], found["detail"]) == ("AMOUNT_MISMATCH", "the products cost 5000 won")
    assert (await wire.receive("payment-cancel-requested-topic", order_id, 1))[0]["amount"] == 1_000
    sent = [name for _, went_out in await timeline(shop, order_id) for name in went_out]
    assert "DeliveryRequestMessage" not in sent
    assert sent.count("OrderPayableMessage") == 1  # that nobody may pay


async def test_an_order_waits_for_a_price_that_is_not_known_yet_and_is_payable_once_it_is(
    client: httpx.AsyncClient, wire: Wire, shop: Bench
) -> None:
    order_id, product = await unpriced(client, wire, total=5_000)
    await heard(shop, order_id, "PaymentSuccessMessage")
    waits = (await client.get(f"{ORDERS}/{order_id}", headers=OPERATOR)).json()["waitsFor"]
    assert "ProductPriceMessage" in [each["message"] for each in waits]
    assert ("Placed", ["StockDecreaseRequestMessage"]) in await timeline(shop, order_id)
    await wire.send(ProductPriceMessage(product_id=product, price=5_000, changed_at=NOW))  # type: ignore[arg-type]
    assert await wire.receive("delivery-request-topic", order_id, 1)
    assert ("Priced", ["OrderPayableMessage", "DeliveryRequestMessage"]) in await timeline(shop, order_id)
    assert (await wire.receive("order-payable-topic", order_id, 1))[0]["status"] == "ORD0001"


async def test_a_paid_order_whose_price_never_comes_ends_with_the_time_to_pay(
    client: httpx.AsyncClient, wire: Wire, shop: Bench
) -> None:
    order_id, _ = await unpriced(client, wire, total=5_000)
    await heard(shop, order_id, "PaymentSuccessMessage")
    await shop.pool.execute("UPDATE orders SET pay_before = placed_at WHERE order_id = $1", order_id)
    found = await ends(client, str(order_id), "FAILED")
    assert (found["reason"], found["detail"]) == ("AMOUNT_MISMATCH", "a price is not known")
    assert (await wire.receive("payment-cancel-requested-topic", order_id, 1))[0]["amount"] == 5_000
