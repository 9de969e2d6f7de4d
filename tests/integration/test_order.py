"""Order over HTTP and Kafka on real servers: the guide's steps 1-4, bad input, customer's wishes, deadlines, the timeline."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from ordersaga import order
from ordersaga.contracts import codec
from ordersaga.contracts.messages import (
    DeliveryStartMessage,
    PaymentCancelledMessage,
    PaymentSuccessMessage,
    ProductPriceMessage,
    StockResponseMessage,
    StockRollbackCompletedMessage,
)
from ordersaga.devstack import DevStack
from ordersaga.order.decision import DUPLICATE
from ordersaga.order.handlers import handler
from tests.integration.service import OPERATOR, Bench, Wire, bench, customer

ORDERS = "/api/v1/orders"
PRICE = 12_500
WHO = customer(UUID(int=7))
PRODUCT = UUID("6937dc1c-5d67-4222-961c-cfa6421b26df")
NOW = "2026-01-01T00:00:00Z"
HEARD = "SELECT note FROM order_event WHERE order_id = $1 AND came_in = 'StockRollbackCompletedMessage' ORDER BY at"


@pytest.fixture(scope="module")
async def shop(stack: DevStack) -> AsyncIterator[Bench]:
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


async def completed(client: httpx.AsyncClient, wire: Wire) -> str:
    order_id: str = (await place(client))["orderId"]
    await wire.send(reserved(order_id), paid(order_id))
    await wire.receive("delivery-request-topic", UUID(order_id), 1)
    await wire.send(DeliveryStartMessage(order_id=UUID(order_id), delivery_id=uuid4(), status="STARTED"))
    await ends(client, order_id, "COMPLETED")
    return order_id


# Deadlines ------------------------------------------------------------------------------------------------------------


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


async def test_a_silent_stock_is_asked_again_and_then_the_order_fails(client: httpx.AsyncClient, wire: Wire) -> None:
    order = await place(client)
    found = await ends(client, order["orderId"], "FAILED")
    assert found["reason"] == "STOCK_TIMEOUT"
    assert len(await wire.receive("order-created", UUID(order["orderId"]), 2)) == 2


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
