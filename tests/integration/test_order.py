"""Order over HTTP and Kafka on real servers: the guide's steps 1-4, bad input, customers' wishes, the timeline."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from ordersaga.contracts.messages import (
    StockResponseMessage,
)
from ordersaga.devstack import DevStack
from tests.integration.order_rig import ORDERS, PRICE, PRODUCT, WHO, body, completed, order_shop, place
from tests.integration.service import OPERATOR, Bench, Wire, customer


@pytest.fixture(scope="module")
async def shop(stack: DevStack) -> AsyncIterator[Bench]:
    async with order_shop(stack) as one:
        yield one


# Placing --------------------------------------------------------------------------------------------------------------


async def test_an_answer_waits_for_the_stock_outcome_as_the_guide_says(client: httpx.AsyncClient, wire: Wire) -> None:
    placing = asyncio.create_task(
        client.post(ORDERS, json=body(orderName="waits"), headers=WHO | {"Prefer": "wait=10"})
    )
    order_id = await newest(client)
    await wire.send(
        StockResponseMessage(order_id=UUID(order_id), product_id=PRODUCT, status="FAILED", message="sold out")
    )
    answer = await asyncio.wait_for(placing, 10)
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{ORDERS}/{order_id}"
    assert (answer.json()["status"], answer.json()["reason"], answer.json()["detail"]) == (
        "FAILED",
        "OUT_OF_STOCK",
        "sold out",
    )


async def newest(client: httpx.AsyncClient) -> str:
    for _ in range(200):
        found = (await client.get(ORDERS, headers=WHO)).json()["items"]
        if found and found[0]["orderName"] == "waits":
            return str(found[0]["orderId"])
        await asyncio.sleep(0.02)
    raise AssertionError("no order was placed")


async def test_a_wait_that_is_over_answers_with_the_order_as_it_is(client: httpx.AsyncClient) -> None:
    order = await place(client, prefer="wait=1")
    assert (order["status"], order["statusCode"], order["items"][0]["stock"]) == ("PENDING", "ORD0001", "REQUESTED")


async def test_a_repeat_with_the_same_key_is_the_same_order_and_another_body_is_refused(
    client: httpx.AsyncClient, shop: Bench
) -> None:
    headers = WHO | {"Idempotency-Key": str(uuid4()), "Prefer": "respond-async"}
    before = await shop.pool.fetchval("SELECT count(*) FROM orders")
    answers = await asyncio.gather(*(client.post(ORDERS, json=body(), headers=headers) for _ in range(20)))
    assert {answer.json()["orderId"] for answer in answers} == {answers[0].json()["orderId"]}
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [202]
    other = await client.post(ORDERS, json=body(orderName="other"), headers=headers)
    assert other.status_code == 422
    assert await shop.pool.fetchval("SELECT count(*) FROM orders") == before + 1
    someone = customer(uuid4()) | {"Idempotency-Key": headers["Idempotency-Key"], "Prefer": "respond-async"}
    assert (await client.post(ORDERS, json=body(), headers=someone)).json()["orderId"] != answers[0].json()["orderId"]


BAD = [
    ({"totalAmount": PRICE - 1}, "totalAmount"),
    ({"totalAmount": 999}, "totalAmount"),
    ({"totalAmount": 2**31}, "totalAmount"),
    ({"totalAmount": "12500"}, "totalAmount"),
    ({"totalAmount": 12500.5}, "totalAmount"),
    ({"orderName": ""}, "orderName"),
    ({"orderName": "x" * 201}, "orderName"),
    ({"orderName": "a\0b"}, "orderName"),
    ({"address": "x" * 301}, "address"),
    ({"zipcode": None}, "zipcode"),
    ({"name": 5}, "name"),
    ({"items": []}, "items"),
    ({"items": "none"}, "items"),
    ({"items": [{"productId": str(PRODUCT), "quantity": 0}]}, "items[0].quantity"),
    ({"items": [{"productId": str(PRODUCT), "quantity": -1}]}, "items[0].quantity"),
    ({"items": [{"productId": str(PRODUCT), "quantity": 2**31}]}, "items[0].quantity"),
    ({"items": [{"productId": "nonsense", "quantity": 1}]}, "items[0].productId"),
    ({"items": [{"productId": str(PRODUCT)}]}, "items[0].quantity"),
    ({"items": [{"productId": str(PRODUCT), "quantity": 1}] * 2}, "items[1].productId"),
    ({"items": [{"productId": str(uuid4()), "quantity": 1} for _ in range(101)]}, "items"),
]


@pytest.mark.parametrize(("changed", "field"), BAD)
async def test_bad_input_is_a_problem_that_names_the_field_and_nothing_is_written(
    client: httpx.AsyncClient, shop: Bench, changed: dict[str, Any], field: str
) -> None:
    before = await counts(shop)
    answer = await client.post(ORDERS, json=body(**changed), headers=WHO | {"Idempotency-Key": str(uuid4())})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert await counts(shop) == before


async def counts(shop: Bench) -> list[int]:
    # Of the events only those of placing: the deadline of an earlier test's order may pass meanwhile.
    tables = ("orders", "saga", "order_event WHERE came_in = 'Placed'", "idempotency_key")
    return [await shop.pool.fetchval(f"SELECT count(*) FROM {table}") for table in tables]


@pytest.mark.parametrize("missing", ["orderName", "totalAmount", "address", "zipcode", "phone", "name", "items"])
async def test_a_missing_field_is_named(client: httpx.AsyncClient, missing: str) -> None:
    incomplete = {name: value for name, value in body().items() if name != missing}
    answer = await client.post(ORDERS, json=incomplete, headers=WHO)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == missing


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b"null", b"[" * 50_000, b'{"a":' * 40_000])
async def test_what_is_no_json_object_is_a_problem(client: httpx.AsyncClient, raw: bytes) -> None:
    answer = await client.post(ORDERS, content=raw, headers=WHO | {"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


async def test_nobody_sees_anothers_order_and_nobody_unknown_sees_any(client: httpx.AsyncClient) -> None:
    order = await place(client)
    url = f"{ORDERS}/{order['orderId']}"
    assert (await client.get(url, headers=customer(uuid4()))).status_code == 404
    assert (await client.post(f"{url}/cancel/delivery-before", headers=customer(uuid4()))).status_code == 404
    assert (await client.get(f"{url}/events", headers=customer(uuid4()))).status_code == 404
    assert (await client.get(url)).status_code == 401
    assert (await client.get(url, headers={"User-Id": "me"})).status_code == 401
    assert (await client.get(f"{ORDERS}/{uuid4()}", headers=WHO)).status_code == 404
    assert (await client.get(url, headers=OPERATOR)).status_code == 200


# Customers' wishes ----------------------------------------------------------------------------------------------------


async def test_a_customer_cancels_before_delivery_and_returns_after(client: httpx.AsyncClient, wire: Wire) -> None:
    cancelled = await place(client)
    answer = await client.post(f"{ORDERS}/{cancelled['orderId']}/cancel/delivery-before", headers=WHO)
    assert (answer.status_code, answer.json()["status"], answer.json()["reason"]) == (
        200,
        "CANCELLED",
        "CUSTOMER_CANCELLED",
    )

    order_id = await completed(client, wire)
    late = await client.post(f"{ORDERS}/{order_id}/cancel/delivery-before", headers=WHO)
    assert late.status_code == 409
    returned = await client.post(f"{ORDERS}/{order_id}/cancel/return", headers=WHO)
    assert (returned.status_code, returned.json()["reason"]) == (200, "RETURNED")
    refund = await wire.receive("payment-cancel-requested-topic", UUID(order_id), 1)
    assert (refund[0]["amount"], refund[0]["reason"]) == (PRICE, "RETURNED")


# The timeline ---------------------------------------------------------------------------------------------------------


async def test_the_stream_tells_everything_from_where_the_client_left_off(
    client: httpx.AsyncClient, wire: Wire
) -> None:
    order_id = await completed(client, wire)
    lines = await stream_until(client, order_id, "COMPLETED", {})
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert [event["cameIn"] for event in events] == [
        "Placed",
        "StockResponseMessage",
        "PaymentSuccessMessage",
        "DeliveryStartMessage",
    ]
    assert "김하나" not in "".join(lines)
    second = [line.removeprefix("id: ") for line in lines if line.startswith("id: ")][1]
    rest = await stream_until(client, order_id, "COMPLETED", {"Last-Event-ID": second})
    assert sum(line.startswith("data: ") for line in rest) == 2


async def stream_until(client: httpx.AsyncClient, order_id: str, status: str, headers: dict[str, str]) -> list[str]:
    """The lines of the stream until one says this status. Read as ASGI: httpx's transport would wait for the stream's end."""
    lines: list[str] = []
    done = asyncio.Event()
    app = client._transport.app  # type: ignore[attr-defined]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": f"{ORDERS}/{order_id}/events",
        "raw_path": b"",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in (WHO | headers).items()],
        "client": ("127.0.0.1", 1),
        "server": ("service", 80),
        "scheme": "http",
        "root_path": "",
    }

    async def receive() -> dict[str, Any]:
        await done.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        lines.extend(message.get("body", b"").decode().splitlines())
        if any(f'"status":"{status}"' in line for line in lines):
            done.set()

    await asyncio.wait_for(app(scope, receive, send), 20)
    return lines
