"""Each call to the payment gateway is a client's span in the trace of its task. The gateway is not told of it, unless the settings say so."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest

from ordersaga import service_context, tracing
from ordersaga.payment.toss import TossGateway
from tests.unit.gateway_servers import http_answer, payment_json, raw_server, settings

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


class Exported:
    """Takes what is exported, in place of the exporter."""

    def __init__(self) -> None:
        self.spans: list[tuple[Any, ...]] = []

    def span(self, *of_span: Any) -> None:
        self.spans.append(of_span)


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[Exported]:
    found = Exported()
    monkeypatch.setattr(service_context.ALONE, "exporter", found)
    token = tracing.current.set(PARENT)
    yield found
    tracing.current.reset(token)


async def test_a_confirm_is_a_span_below_the_current_one(exported: Exported) -> None:
    async with raw_server(http_answer(200, payment_json())) as url, TossGateway(settings(url)) as gateway:
        await gateway.confirm("a-key", "order-1", 5_000, "1")
    [(name, own, parent, kind, began, ended, attributes, failure)] = exported.spans
    assert name == "POST /v1/payments/confirm" and kind is tracing.Kind.CLIENT
    assert parent == PARENT and own.startswith(f"00-{TRACE}-") and own != PARENT
    assert began <= ended and failure is None
    assert attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": int(url.rpartition(":")[2]),
        "url.full": f"{url}/v1/payments/confirm",
        "url.template": "/v1/payments/confirm",
        "error.type": None,
    }


async def test_the_name_of_a_span_has_no_payment_key(exported: Exported) -> None:
    async with raw_server(http_answer(200, payment_json())) as url, TossGateway(settings(url)) as gateway:
        await gateway.find("a/key {x}")
        await gateway.find_by_order("order-1")
        await gateway.cancel("a-key", "why", 1, "1")
    assert [each[0] for each in exported.spans] == [
        "GET /v1/payments/{paymentKey}",
        "GET /v1/payments/orders/{orderId}",
        "POST /v1/payments/{paymentKey}/cancel",
    ]
    assert exported.spans[0][6]["url.full"] == f"{url}/v1/payments/a%2Fkey%20%7Bx%7D"


@pytest.mark.parametrize("status", [403, 500])
async def test_an_answer_with_an_error_is_a_failed_span(exported: Exported, status: int) -> None:
    async with raw_server(http_answer(status, {"code": "X"})) as url, TossGateway(settings(url)) as gateway:
        await gateway.confirm("a-key", "order-1", 5_000, "1")
    [(*_, attributes, failure)] = exported.spans
    assert failure == "" and attributes["error.type"] == str(status) == str(attributes["http.response.status_code"])


async def test_a_call_without_an_answer_is_a_failed_span(exported: Exported) -> None:
    async with raw_server(b"") as url, TossGateway(settings(url)) as gateway:
        await gateway.confirm("a-key", "order-1", 5_000, "1")
    [(*_, attributes, failure)] = exported.spans
    assert failure == "" and attributes["error.type"] == "ServerDisconnectedError"
    assert attributes["http.response.status_code"] is None


async def test_a_cancelled_call_is_a_failed_span(exported: Exported) -> None:
    asked, never = asyncio.Event(), asyncio.Event()

    async def answer(_: bytes) -> bytes:
        asked.set()
        await never.wait()
        return b""

    async with raw_server(answer) as url, TossGateway(settings(url)) as gateway:
        call = asyncio.create_task(gateway.confirm("a-key", "order-1", 5_000, "1"))
        await asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        never.set()
    [(*_, attributes, failure)] = exported.spans
    assert failure == "" and attributes["error.type"] == "cancelled"


@pytest.mark.parametrize("sends", [False, True])
async def test_the_gateway_is_told_of_the_trace_where_the_settings_say_so(exported: Exported, sends: bool) -> None:
    heads: list[bytes] = []

    async def answer(request: bytes) -> bytes:
        heads.append(request)
        return http_answer(200, payment_json())

    async with raw_server(answer) as url, TossGateway(settings(url, sends_traceparent=sends)) as gateway:
        await gateway.confirm("a-key", "order-1", 5_000, "1")
    [head] = heads
    sent = re.findall(rb"(?i)^traceparent: (\S+)", head, re.MULTILINE)
    assert sent == ([exported.spans[0][1].encode()] if sends else [])


async def test_without_an_exporter_there_is_no_span_and_nothing_fails() -> None:
    async with raw_server(http_answer(200, payment_json())) as url, TossGateway(settings(url)) as gateway:
        await gateway.confirm("a-key", "order-1", 5_000, "1")
