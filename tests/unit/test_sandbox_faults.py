"""The sandbox fails on demand, and tells the shop by webhook."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from litestar import Litestar, Request, Response, post

from ordersaga.sandbox.books import Books
from ordersaga.sandbox.faults import FaultPlan, Faults, OrderFault
from ordersaga.sandbox.webhooks import Webhooks
from tests.unit.sandbox_client import DEFAULTS, KEY, Client, basic, client, listening, until


@pytest.fixture
async def toss() -> AsyncIterator[Client]:
    async with client() as toss:
        yield toss


# Faults


async def raw_exchange(url: str, payment_key: str) -> bytes:
    """What comes back over the bare socket until the server closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
    body = f'{{"paymentKey":"{payment_key}","orderId":"order-1","amount":5000}}'
    writer.write(
        f"POST /v1/payments/confirm HTTP/1.1\r\nHost: x\r\nAuthorization: {basic(KEY + ':')}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    received = b""
    try:
        async with asyncio.timeout(2):
            while chunk := await reader.read(65_536):
                received += chunk
    except ConnectionResetError:
        pass
    finally:
        writer.close()
    return received


@pytest.mark.parametrize("card,held", [("dropped", 0), ("answer-lost", 5_000)])
async def test_a_dropped_connection_brings_not_one_byte(toss: Client, card: str, held: int) -> None:
    assert await raw_exchange(toss.url, await toss.checkout(card=card)) == b""
    assert (await toss.books())["totals"]["heldAmount"] == held


async def test_a_truncated_answer_promises_more_than_it_sends(toss: Client) -> None:
    answer = await raw_exchange(toss.url, await toss.checkout(card="answer-truncated"))
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    assert head.startswith(b"HTTP/1.1 200") and length is not None and 0 < len(body) < int(length[1])
    assert (await toss.books())["totals"]["heldAmount"] == 5_000


async def test_the_process_survives_its_dropped_connections(toss: Client) -> None:
    await asyncio.gather(*[raw_exchange(toss.url, await toss.checkout(card="dropped")) for _ in range(50)])
    assert (await toss.call("GET", "/health/ready"))[0] == 200


async def test_latency_is_fixed_plus_jitter(toss: Client) -> None:
    await toss.faults(latencyMs=200, jitterMs=200)
    started_s = time.monotonic()
    await toss.paid()
    assert 0.2 <= time.monotonic() - started_s < 10


async def test_an_orders_fault_strikes_as_often_as_asked_and_no_other_order(toss: Client) -> None:
    fault = {"outcome": "FAILED_INTERNAL_SYSTEM_PROCESSING", "times": 2}
    await toss.faults(orders={"order-1": {"confirm": fault}})
    payment_key = await toss.checkout()
    assert [(await toss.confirm(payment_key))[0] for _ in range(3)] == [500, 500, 200]
    assert (await toss.confirm(await toss.checkout("order-2"), "order-2"))[0] == 200


async def test_faults_can_be_read_back_and_ended(toss: Client) -> None:
    await toss.faults(seed=7, percent={"confirm": {"dropped": 2.5}})
    assert (await toss.call("GET", "/sandbox/faults"))[1]["percent"] == {"confirm": {"dropped": 2.5}}
    await toss.faults()
    assert (await toss.call("GET", "/sandbox/faults"))[1]["percent"] == {}


async def test_calls_are_counted_by_what_became_of_them_since_faults_were_set(toss: Client) -> None:
    await toss.faults(orders={"order-1": {"confirm": {"outcome": "PROVIDER_ERROR", "times": 1}}})
    payment_key = await toss.checkout()
    for _ in range(3):
        await toss.confirm(payment_key)
    assert (await toss.call("GET", "/sandbox/calls"))[1] == {"confirm": {"PROVIDER_ERROR": 1, "approve": 2}}
    await toss.faults()
    assert (await toss.call("GET", "/sandbox/calls"))[1] == {}


@pytest.mark.parametrize(
    "faults",
    [
        {"percent": {"confirm": {"NO_SUCH_CODE": 1}}},
        {"percent": {"confirm": {"dropped": 60, "answer-lost": 60}}},
        {"percent": {"confirm": {"dropped": -1}}},
        {"percent": {"pay": {"dropped": 1}}},
        {"orders": {"order-1": {"cancel": {"outcome": "REJECT_CARD_COMPANY"}}}},
        {"latency": 5},
        {"latencyMs": -5},
    ],
)
async def test_faults_that_mean_nothing_are_refused(toss: Client, faults: object) -> None:
    assert (await toss.call("PUT", "/sandbox/faults", faults))[0] == 400


def test_a_seed_gives_each_order_the_same_fate_however_calls_interleave() -> None:
    faults = Faults(seed=42, jitter_ms=10, percent={"confirm": {"dropped": 30, "REJECT_CARD_COMPANY": 30}})
    orders = [f"order-{n}" for n in range(200)]
    one, two = FaultPlan(faults), FaultPlan(faults)
    forward = {order_id: [one.draw("confirm", order_id) for _ in range(2)] for order_id in orders}
    backward = {order_id: [two.draw("confirm", order_id) for _ in range(2)] for order_id in reversed(orders)}
    assert forward == backward
    dropped = sum(fates[0][0] == "dropped" for fates in forward.values())
    assert 30 < dropped < 90
    other = FaultPlan(Faults(seed=43, jitter_ms=10, percent=faults.percent))
    assert [other.draw("confirm", order_id) for order_id in orders] != [fates[0] for fates in forward.values()]


def test_an_orders_fault_goes_before_the_percentages() -> None:
    plan = FaultPlan(
        Faults(
            percent={"confirm": {"dropped": 100}},
            orders={"order-1": {"confirm": OrderFault("slow", latency_ms=5)}},
            slow_ms=100,
        )
    )
    outcome, latency_s = plan.draw("confirm", "order-1")
    assert outcome == "slow" and latency_s == pytest.approx(0.105)
    assert plan.draw("confirm", "order-2") == ("dropped", 0.0)


# Webhooks


@asynccontextmanager
async def receiver(answers: list[int]) -> AsyncIterator[tuple[str, list[tuple[dict[str, str], Any]]]]:
    """A shop's webhook endpoint that answers these statuses in turn, then 200."""
    received: list[tuple[dict[str, str], Any]] = []

    @post("/hook")
    async def hook(request: Request[Any, Any, Any]) -> Response[None]:
        received.append((dict(request.headers), await request.json()))
        return Response(None, status_code=answers.pop(0) if answers else 200)

    async with listening(Litestar([hook], openapi_config=None, logging_config=None)) as url:
        yield f"{url}/hook", received


async def test_each_change_of_status_is_told() -> None:
    async with receiver([]) as (url, received), client(replace(DEFAULTS, webhook_url=url)) as toss:
        payment_key = await toss.paid()
        await toss.cancel(payment_key)
        await toss.confirm(await toss.checkout("order-2", card="REJECT_CARD_COMPANY"), "order-2")
        await until(lambda: len(received) == 3)
    assert {body["eventType"] for _, body in received} == {"PAYMENT_STATUS_CHANGED"}
    assert sorted(body["data"]["status"] for _, body in received) == ["ABORTED", "CANCELED", "DONE"]
    assert len({headers["tosspayments-webhook-transmission-id"] for headers, _ in received}) == 3
    assert all("authorization" not in headers for headers, _ in received)


async def test_a_webhook_is_repeated_until_a_200_with_the_same_id() -> None:
    async with receiver([500, 204]) as (url, received):
        webhooks = Webhooks(url, first_repeat_s=0.01)
        await webhooks.start()
        webhooks.tell(Books().open("order-1", 5_000, "", "approve"))
        await until(lambda: not webhooks._waiting)  # it is done with this one, and sends it no more
        await webhooks.stop()
    assert len(received) == 3
    assert len({headers["tosspayments-webhook-transmission-id"] for headers, _ in received}) == 1
    assert [headers["tosspayments-webhook-transmission-retried-count"] for headers, _ in received] == ["0", "1", "2"]


async def test_webhooks_come_twice_on_demand() -> None:
    async with receiver([]) as (url, received), client(replace(DEFAULTS, webhook_url=url)) as toss:
        await toss.faults(duplicateWebhookPercent=100)
        await toss.paid()
        await until(lambda: len(received) == 2)
    assert len({headers["tosspayments-webhook-transmission-id"] for headers, _ in received}) == 1


async def test_a_dead_receiver_holds_no_payment_up() -> None:
    async with client(replace(DEFAULTS, webhook_url="http://127.0.0.1:1/hook")) as toss:
        async with asyncio.timeout(5):
            payment_key = await toss.paid()
        assert (await toss.call("GET", f"/v1/payments/{payment_key}"))[1]["status"] == "DONE"


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("PAYMENT_STATUS_CHANGED", {"paymentKey", "orderId", "status", "balanceAmount"}),
        ("CANCEL_STATUS_CHANGED", {"transactionKey", "cancelAmount", "cancelStatus"}),
        ("METHOD_UPDATED", {"customerKey", "methodKey", "status"}),
        ("CUSTOMER_STATUS_CHANGED", {"customerKey", "status"}),
    ],
)
async def test_a_webhook_of_any_kind_is_sent_on_demand_and_its_answer_is_told(kind: str, fields: set[str]) -> None:
    async with receiver([200, 200, 503]) as (url, received), client(replace(DEFAULTS, webhook_url=url)) as toss:
        payment_key = await toss.paid()
        await toss.cancel(payment_key)
        await until(lambda: len(received) == 2)
        asked = {"eventType": kind, "paymentKey": payment_key, "data": {"status": "of my own"}}
        _, said = await toss.call("POST", "/sandbox/webhooks", asked)
    (_, body) = received[2]
    assert said == {"status": 503, "event": body}
    assert body["eventType"] == kind and fields <= set(body["data"]) and body["data"]["status"] == "of my own"


async def test_a_deposit_callback_has_its_old_shape() -> None:
    async with receiver([]) as (url, received), client(replace(DEFAULTS, webhook_url=url)) as toss:
        asked = {"eventType": "DEPOSIT_CALLBACK", "paymentKey": await toss.checkout()}
        assert (await toss.call("POST", "/sandbox/webhooks", asked))[1]["status"] == 200
    [(_, body)] = received
    assert set(body) == {"createdAt", "secret", "status", "transactionKey", "orderId"}


async def test_a_webhook_that_cannot_be_sent_is_refused_or_has_no_status(toss: Client) -> None:
    asked = {"eventType": "METHOD_UPDATED", "paymentKey": await toss.checkout()}
    for wrong in ({"eventType": "OF_NEXT_YEAR"}, {"paymentKey": "unknown"}, {}):
        status, error = await toss.call("POST", "/sandbox/webhooks", asked | wrong)
        assert status == 400 and error["code"] in ("INVALID_REQUEST", "NOT_FOUND_PAYMENT")
    async with client(replace(DEFAULTS, webhook_url="http://127.0.0.1:1/hook")) as toss:
        asked["paymentKey"] = await toss.checkout()
        assert (await toss.call("POST", "/sandbox/webhooks", asked))[1]["status"] is None


async def test_a_cancel_at_the_dashboard_is_in_the_books_and_told_by_webhook() -> None:
    async with receiver([]) as (url, received), client(replace(DEFAULTS, webhook_url=url)) as toss:
        payment_key = await toss.paid()
        path = f"/sandbox/payments/{payment_key}/cancel"
        assert (await toss.call("POST", path, {"amount": 2_000}))[1]["balanceAmount"] == 3_000
        assert (await toss.call("POST", path, {"amount": 3_001}))[0] == 400
        assert (await toss.call("POST", path, {"amount": 0}))[0] == 400
        assert (await toss.call("POST", path, {}))[1]["status"] == "CANCELED"
        assert (await toss.call("POST", "/sandbox/payments/unknown/cancel", {}))[0] == 400
        assert (await toss.books())["totals"]["heldAmount"] == 0
        await until(lambda: len(received) == 3)
    assert {body["data"]["status"] for _, body in received} == {"DONE", "PARTIAL_CANCELED", "CANCELED"}
