"""A client that has lost an answer asks Order again: with an Idempotency-Key, whatever has changed since; without one, where the state says it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from ordersaga import order
from ordersaga.cli.serve import application
from ordersaga.contracts.address import Address
from ordersaga.contracts.messages import DeliveryStartMessage, PaymentSuccessMessage, StockResponseMessage
from ordersaga.devstack import DevStack
from ordersaga.messaging.idempotency import IdempotencyKey, body_hash
from ordersaga.messaging.refusal import Refusal
from ordersaga.order.commands import Placed, Placement, Placing
from ordersaga.order.handlers import handler
from ordersaga.order.model import Facts, Line, Order
from tests.integration.order_rig import ORDERS, body, ends, paid, place
from tests.integration.service import OPERATOR, Bench, Wire, bench, customer, running

WHO = customer(UUID(int=8))
NOW = datetime.now(UTC)
REPRICE = "UPDATE price SET price = $2 WHERE product_id = $1"


@pytest.fixture(scope="module")
async def shop(stack: DevStack) -> AsyncIterator[Bench]:
    async with bench(stack, "order", order, handler) as one:
        yield one


async def priced(shop: Bench, price: int) -> UUID:
    product = uuid4()
    await shop.pool.execute(
        "INSERT INTO price (product_id, name, price, changed_at) VALUES ($1, 'x', $2, now())", product, price
    )
    return product


def order_for(product: UUID, total: int) -> dict[str, Any]:
    return body(totalAmount=total, items=[{"productId": str(product), "quantity": 1}])


def keyed() -> dict[str, str]:
    return WHO | {"Idempotency-Key": uuid4().hex, "Prefer": "respond-async"}


async def events(shop: Bench, order_id: str) -> list[str]:
    rows = await shop.pool.fetch("SELECT came_in FROM order_event WHERE order_id = $1 ORDER BY seq", UUID(order_id))
    return [row["came_in"] for row in rows]


# Placing --------------------------------------------------------------------------------------------------------------


async def test_a_repeat_is_the_same_order_whatever_the_products_cost_by_now(
    client: httpx.AsyncClient, shop: Bench
) -> None:
    product, headers = await priced(shop, 5_000), keyed()
    first = await client.post(ORDERS, json=order_for(product, 5_000), headers=headers)
    await shop.pool.execute(REPRICE, product, 6_000)
    again = await client.post(ORDERS, json=order_for(product, 5_000), headers=headers)
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json()["orderId"] == first.json()["orderId"]
    assert again.headers["location"] == first.headers["location"]
    assert (await client.post(ORDERS, json=order_for(product, 6_000), headers=headers)).status_code == 422
    assert (await client.post(ORDERS, json=order_for(product, 5_000), headers=keyed())).status_code == 400


async def test_a_repeat_is_the_same_order_though_its_body_would_be_refused_now(
    client: httpx.AsyncClient, shop: Bench
) -> None:
    """As after a change of the limits: the key's row says what a body that is not valid now has once made."""
    as_json = {"Content-Type": "application/json"}
    headers, raw = keyed() | as_json, b'{"totalAmount": 1}'
    placed = await place(client, who=WHO, **order_for(await priced(shop, 5_000), 5_000))
    await shop.pool.execute(
        "INSERT INTO idempotency_key VALUES ($1, $2, $3, $4, now())",
        f"{UUID(int=8)} POST {ORDERS}",
        headers["Idempotency-Key"],
        body_hash(raw),
        UUID(placed["orderId"]),
    )
    again = await client.post(ORDERS, content=raw, headers=headers)
    assert (again.status_code, again.json()["orderId"]) == (200, placed["orderId"])
    assert again.headers["location"] == f"{ORDERS}/{placed['orderId']}"
    assert (await client.post(ORDERS, content=b"{}", headers=headers)).status_code == 422
    assert (await client.post(ORDERS, content=raw, headers=keyed() | as_json)).status_code == 400


async def test_a_refused_order_leaves_its_key_free_and_two_keys_are_two_orders(
    client: httpx.AsyncClient, shop: Bench
) -> None:
    product, headers = await priced(shop, 5_000), keyed()
    assert (await client.post(ORDERS, json=order_for(product, 4_000), headers=headers)).status_code == 400
    first = await client.post(ORDERS, json=order_for(product, 5_000), headers=headers)
    other = await client.post(ORDERS, json=order_for(product, 5_000), headers=keyed())
    assert (first.status_code, other.status_code) == (202, 202)
    assert first.json()["orderId"] != other.json()["orderId"]


@pytest.mark.parametrize(
    ("totals", "told"),
    [
        ((4_000, 5_000), ["INVALID", Placed]),
        ((5_000, 4_000), [Placed, "KEY_REUSED"]),
        ((4_000, 4_000, 5_000, 5_000), ["INVALID", "INVALID", Placed, Placed]),
        ((4_000, 3_000), ["INVALID", "INVALID"]),
    ],
)
async def test_of_one_key_in_one_set_a_refused_use_does_not_spoil_the_others(
    shop: Bench, totals: tuple[int, ...], told: list[type | str]
) -> None:
    product, name = await priced(shop, 5_000), uuid4().hex
    recipient = Address("1 Sejong-daero", None, "04524", "010", "Kim", None)

    def placement(total: int) -> Placement:
        order = Order(uuid4(), uuid4(), "x", total, recipient, NOW, NOW, Facts((Line(product, 1),)))
        return Placement(order, IdempotencyKey("test", name, str(total).encode(), order.order_id))

    async with shop.pool.acquire() as db, db.transaction():
        written = await Placing(shop.settings)(db, [placement(total) for total in totals], NOW)
    assert [each.kind if isinstance(each, Refusal) else type(each) for each in written.answers] == told
    assert len({answer.order.order_id for answer in written.answers if isinstance(answer, Placed)}) <= 1
    kept = await shop.pool.fetchval("SELECT count(*) FROM idempotency_key WHERE key = $1", name)
    assert kept == int(Placed in told)


async def test_first_uses_in_two_processes_at_once_place_one_order(client: httpx.AsyncClient, shop: Bench) -> None:
    product, headers = await priced(shop, 5_000), keyed()
    wrong, right = order_for(product, 4_000), order_for(product, 5_000)
    async with running(shop.settings, application("order")) as other:
        bodies = [wrong, right, right, wrong] * 5
        posts = [(client, other)[n % 2].post(ORDERS, json=each, headers=headers) for n, each in enumerate(bodies)]
        answers = await asyncio.gather(*posts)
    assert len({answer.json()["orderId"] for answer in answers if answer.is_success}) == 1
    said = [(each is right, answer.status_code) for each, answer in zip(bodies, answers, strict=True)]
    assert said.count((True, 202)) == 1
    assert said.count((True, 200)) == 9
    assert {status for is_right, status in said if not is_right} <= {400, 422}


# Customers' wishes ----------------------------------------------------------------------------------------------------


async def completed(client: httpx.AsyncClient, shop: Bench) -> str:
    product, wire = await priced(shop, 12_500), Wire(shop.settings)
    order_id: str = (await place(client, who=WHO, **order_for(product, 12_500)))["orderId"]
    reserved = StockResponseMessage(order_id=UUID(order_id), product_id=product, status="SUCCESS")
    await wire.send(reserved, paid(order_id))
    await wire.receive("delivery-request-topic", UUID(order_id), 1)
    await wire.send(DeliveryStartMessage(order_id=UUID(order_id), delivery_id=uuid4(), status="STARTED"))
    await ends(client, order_id, "COMPLETED")
    return order_id


@pytest.mark.parametrize("key", [True, False])
async def test_a_second_cancel_tells_the_first_ones_outcome_and_does_nothing(
    client: httpx.AsyncClient, shop: Bench, key: bool
) -> None:
    headers = keyed() if key else WHO
    order_id = (await place(client, who=WHO, **order_for(await priced(shop, 5_000), 5_000)))["orderId"]
    url = f"{ORDERS}/{order_id}/cancel/delivery-before"
    first = await client.post(url, headers=headers)
    before = await events(shop, order_id)
    again = await client.post(url, headers=headers)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json()
    assert again.json()["reason"] == "CUSTOMER_CANCELLED"
    assert await events(shop, order_id) == before == ["Placed", "CancelBeforeDelivery"]


@pytest.mark.parametrize("key", [True, False])
async def test_a_second_return_tells_the_first_ones_outcome_and_does_nothing(
    client: httpx.AsyncClient, shop: Bench, key: bool
) -> None:
    headers = keyed() if key else WHO
    order_id = await completed(client, shop)
    url = f"{ORDERS}/{order_id}/cancel/return"
    assert (await client.post(f"{ORDERS}/{order_id}/cancel/delivery-before", headers=headers)).status_code == 409
    first = await client.post(url, headers=headers)
    again = await client.post(url, headers=headers)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json()["reason"] == first.json()["reason"] == "RETURNED"
    assert (await events(shop, order_id)).count("Return") == 1
    assert (await client.post(f"{ORDERS}/{order_id}/cancel/delivery-before", headers=WHO)).status_code == 409


async def test_an_order_that_ended_otherwise_cannot_be_cancelled(client: httpx.AsyncClient, shop: Bench) -> None:
    order_id = (await place(client, who=WHO, **order_for(await priced(shop, 5_000), 5_000)))["orderId"]
    declined = PaymentSuccessMessage(order_id=UUID(order_id), payment_key="k", amount=5_000, status="FAILED")
    await Wire(shop.settings).send(declined)
    await ends(client, order_id, "FAILED")
    for wish in ("delivery-before", "return"):
        assert (await client.post(f"{ORDERS}/{order_id}/cancel/{wish}", headers=keyed())).status_code == 409


async def test_a_repeated_cancel_under_a_key_is_answered_whatever_has_become_of_the_order(
    client: httpx.AsyncClient, shop: Bench
) -> None:
    """A wish refused at first leaves its key free; one that was done is told as done, also with a state that would refuse it."""
    headers, order_id = (
        keyed(),
        (await place(client, who=WHO, **order_for(await priced(shop, 5_000), 5_000)))["orderId"],
    )
    url = f"{ORDERS}/{order_id}/cancel/return"
    assert (await client.post(url, headers=headers)).status_code == 409
    assert not await shop.pool.fetchval(
        "SELECT count(*) FROM idempotency_key WHERE key = $1", headers["Idempotency-Key"]
    )
    cancel = f"{ORDERS}/{order_id}/cancel/delivery-before"
    assert (await client.post(cancel, headers=headers)).status_code == 200
    await shop.pool.execute("UPDATE saga SET reason = 'PAYMENT_EXPIRED' WHERE order_id = $1", UUID(order_id))
    again = await client.post(cancel, headers=headers)
    assert (again.status_code, again.json()["reason"]) == (200, "PAYMENT_EXPIRED")
    assert (await client.post(cancel, headers=keyed())).status_code == 409
    assert (await client.post(cancel, content=b"another body", headers=headers)).status_code == 422
    assert (await client.post(cancel, headers=headers | customer(uuid4()))).status_code == 404
    assert (await client.post(cancel, headers=OPERATOR | {"Idempotency-Key": uuid4().hex})).status_code == 409


async def test_twenty_cancels_at_once_are_one(client: httpx.AsyncClient, shop: Bench) -> None:
    order_id = (await place(client, who=WHO, **order_for(await priced(shop, 5_000), 5_000)))["orderId"]
    headers = keyed()
    posts = (
        client.post(f"{ORDERS}/{order_id}/cancel/delivery-before", headers=headers if n % 2 else WHO) for n in range(20)
    )
    assert {answer.status_code for answer in await asyncio.gather(*posts)} == {200}
    assert await events(shop, order_id) == ["Placed", "CancelBeforeDelivery"]
