"""Order on a real Kafka and a real PostgreSQL, a customer's order, and the answers of the partners."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx

from ordersaga import order
from ordersaga.contracts.messages import (
    DeliveryStartMessage,
    PaymentSuccessMessage,
    StockResponseMessage,
)
from ordersaga.devstack import DevStack
from ordersaga.order.handlers import handler
from tests.integration.service import OPERATOR, Bench, Wire, bench, customer

ORDERS = "/api/v1/orders"
PRICE = 12_500
WHO = customer(UUID(int=7))
PRODUCT = UUID("6937dc1c-5d67-4222-961c-cfa6421b26df")


@contextlib.asynccontextmanager
async def order_shop(stack: DevStack) -> AsyncIterator[Bench]:
    """Order as a service of its own, with short deadlines and one priced product."""
    async with bench(stack, "order", order, handler) as one:
        one.settings = one.settings.model_copy(
            update={
                "stock_deadline_s": 2.0,
                "stock_asks_max": 2,
                "compensation_deadline_s": 0.5,
                "delivery_deadline_s": 0.5,
            }
        )
        await one.pool.execute(
            "INSERT INTO price (product_id, name, price, changed_at) VALUES ($1, 'keyboard', $2, '2026-01-01')",
            PRODUCT,
            PRICE,
        )
        yield one


def body(**changed: Any) -> dict[str, Any]:
    return {
        "orderName": "keyboard",
        "totalAmount": PRICE,
        "address": "1 Sejong-daero",
        "addressDetail": None,
        "zipcode": "04524",
        "phone": "010-0000-0000",
        "name": "김하나",
        "deliveryMemo": None,
        "items": [{"productId": str(PRODUCT), "quantity": 1}],
        **changed,
    }


async def place(client: httpx.AsyncClient, prefer: str = "respond-async", who: Any = WHO, **changed: Any) -> Any:
    answer = await client.post(ORDERS, json=body(**changed), headers=who | {"Prefer": prefer})
    assert answer.status_code in (201, 202), answer.text
    return answer.json()


async def ends(client: httpx.AsyncClient, order_id: str, *statuses: str) -> Any:
    for _ in range(300):
        found = (await client.get(f"{ORDERS}/{order_id}", headers=OPERATOR)).json()
        if found["status"] in statuses:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"{found['status']} is none of {statuses}")


def reserved(order_id: str) -> StockResponseMessage:
    return StockResponseMessage(order_id=UUID(order_id), product_id=PRODUCT, status="SUCCESS")


def paid(order_id: str, amount: int = PRICE) -> PaymentSuccessMessage:
    return PaymentSuccessMessage(order_id=UUID(order_id), payment_key=f"k-{order_id}", amount=amount, status="SUCCESS")


async def completed(client: httpx.AsyncClient, wire: Wire) -> str:
    order_id: str = (await place(client))["orderId"]
    await wire.send(reserved(order_id), paid(order_id))
    await wire.receive("delivery-request-topic", UUID(order_id), 1)
    await wire.send(DeliveryStartMessage(order_id=UUID(order_id), delivery_id=uuid4(), status="STARTED"))
    await ends(client, order_id, "COMPLETED")
    return order_id
