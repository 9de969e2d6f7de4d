"""Customers who change their minds while answers come in, on real servers: one of the two wins, and the other is told so."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx

from ordersaga.contracts.messages import DeliveryStartMessage
from tests.integration.operator_rig import until
from tests.integration.order_rig import ORDERS, paid, place, reserved
from tests.integration.service import OPERATOR, Bench, Wire
from tests.integration.test_obstacles import WHO, shop

__all__ = ["shop"]  # a fixture
ORDERS_RACING = 20


async def order_of(client: httpx.AsyncClient, order_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(f"{ORDERS}/{order_id}", headers=OPERATOR)).json()
    return found


async def has(client: httpx.AsyncClient, order_id: str, name: str, *values: str) -> dict[str, Any]:
    """The order once this field of it has one of these values."""

    async def there() -> dict[str, Any] | None:
        found = await order_of(client, order_id)
        return found if found[name] in values else None

    found: dict[str, Any] = await until(there)
    return found


async def test_of_a_cancel_and_a_payment_that_race_one_wins_and_no_money_is_kept_for_a_cancelled_order(
    client: httpx.AsyncClient, shop: Bench
) -> None:
    wire = Wire(shop.settings)
    ids = [(await place(client))["orderId"] for _ in range(ORDERS_RACING)]
    await wire.send(*map(reserved, ids))
    paying = asyncio.create_task(wire.send(*map(paid, ids)))
    cancels = (client.post(f"{ORDERS}/{order_id}/cancel/delivery-before", headers=WHO) for order_id in ids)
    answers = await asyncio.gather(*cancels)
    await paying
    for order_id, answer in zip(ids, answers, strict=True):
        if answer.status_code == 200:
            assert (await has(client, order_id, "delivery", "NOT_REQUESTED"))["reason"] == "CUSTOMER_CANCELLED"

            async def refund_asked(order_id: str = order_id) -> bool:
                payments = (await order_of(client, order_id))["payments"]
                return [payment["state"] for payment in payments] == ["REFUND_REQUESTED"]

            await until(refund_asked)
        else:
            assert answer.status_code == 409
            assert (await has(client, order_id, "delivery", "REQUESTED"))["status"] == "PENDING"


async def test_two_who_cancel_or_return_the_same_order_at_once_are_told_so_and_it_happens_once(
    client: httpx.AsyncClient, shop: Bench
) -> None:
    wire = Wire(shop.settings)
    completed = (await place(client))["orderId"]
    await wire.send(reserved(completed), paid(completed))
    await has(client, completed, "delivery", "REQUESTED")
    started = DeliveryStartMessage(order_id=UUID(completed), delivery_id=uuid4(), status="STARTED")
    await wire.send(started)
    await has(client, completed, "status", "COMPLETED")
    for order_id, wish in (((await place(client))["orderId"], "delivery-before"), (completed, "return")):
        twice = [client.post(f"{ORDERS}/{order_id}/cancel/{wish}", headers=WHO) for _ in range(2)]
        assert [answer.status_code for answer in await asyncio.gather(*twice)] == [200, 200]
        ends = "SELECT count(*) FROM order_event WHERE order_id = $1 AND status = 'CANCELLED' AND came_in = ANY ($2)"
        assert await shop.pool.fetchval(ends, UUID(order_id), ["CancelBeforeDelivery", "Return"]) == 1
