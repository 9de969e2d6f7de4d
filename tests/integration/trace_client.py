"""Clients whose orders are traced, and what their traces tell."""

import secrets
import time
from collections.abc import Callable
from typing import Any

import httpx

from ordersaga.devstack.system import System
from tests.integration.trace_collector import LIMIT_S, Collector, Span

OPERATOR = {"User-Id": "00000000-0000-4000-8000-000000000009", "User-Roles": "MASTER"}
CUSTOMER = {"User-Id": "00000000-0000-4000-8000-000000000002"}
FACE = "/api/v1/operations"
WHOLE = {
    "create order-completed-topic",
    "POST /api/v1/payments/confirm",
    "POST /api/v1/orders",
    "process order-created",
}


class Traced:
    """A client that does all for its order in one trace."""

    def __init__(self, system: System, sampled: bool = True) -> None:
        self.trace = secrets.token_hex(16)
        self.span = secrets.token_hex(8)
        self.traceparent = f"00-{self.trace}-{self.span}-0{int(sampled)}"
        self._urls = system.urls

    def send(self, service: str, path: str, body: dict[str, Any], **headers: str) -> Any:
        # A connection for each request, so that both workers get some.
        headers = {**CUSTOMER, "traceparent": self.traceparent, **headers}
        answer = httpx.post(f"{self._urls[service]}{path}", json=body, headers=headers, timeout=LIMIT_S)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def place(self, product: str, zipcode: str = "04524") -> "Traced":
        body = {"orderName": "a", "totalAmount": 1_000, "items": [{"productId": product, "quantity": 1}]}
        address = {"name": "Hana Kim", "phone": "010-0000-0000", "zipcode": zipcode, "address": "1 Sejong-daero"}
        self.order = self.send("order", "/api/v1/orders", body | address, Prefer="wait=30")["orderId"]
        return self

    def pay(self) -> "Traced":
        wanted = {"orderId": self.order, "amount": 1_000}
        key = self.send("sandbox", "/sandbox/payments", wanted | {"card": "approve"})["paymentKey"]
        self.send("payment", "/api/v1/payments/confirm", wanted | {"paymentKey": key})
        return self

    def until(self, collector: Collector, enough: Callable[[list[Span]], bool]) -> list[Span]:
        """The spans of the trace, when enough have come, and the parent of each, in any order. The first ones are below the client's own."""

        def is_whole(found: list[Span]) -> bool:
            known = {each.id for each in found} | {self.span}
            return enough(found) and all(each.parent in known for each in found)

        spans = collector.until(self.trace, is_whole)
        assert len({each.id for each in spans} | {self.span}) == len(spans) + 1
        return spans


def sold(system: System) -> str:
    """A new product whose price Order knows."""
    body = {"name": "a", "price": 1_000, "quantity": 10_000}
    added: str = httpx.post(f"{system.urls['stock']}/api/v1/products", json=body, headers=OPERATOR).json()["productId"]
    end = time.monotonic() + LIMIT_S
    while True:
        try:
            Traced(system, sampled=False).place(added)
            return added
        except AssertionError:
            assert time.monotonic() < end
            time.sleep(0.2)


def is_complete(spans: list[Span]) -> bool:
    return set(named(spans)) >= WHOLE


def spoil(system: System, service: str, **faults: int) -> None:
    url = f"{system.urls[service]}{FACE}/faults"
    version = httpx.get(url, headers=OPERATOR).json()["version"]
    httpx.post(url, json={"reason": "a test", "version": version, **faults}, headers=OPERATOR).raise_for_status()


def until_met(system: System, collector: Collector, product: str, outcome: str) -> tuple[Traced, list[Span]]:
    """An order whose delivery has this outcome. A worker has read of its faults within a second; orders before that are delivered."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        client = Traced(system).place(product).pay()
        spans = collector.until(client.trace, lambda found: is_complete(found) or outcome in outcomes(found))
        if outcome in outcomes(spans):
            return client, spans
    raise AssertionError(outcome)


def outcomes(spans: list[Span]) -> list[str]:
    """What became of an order's request for delivery, try by try."""
    return [each.attributes["ordersaga.outcome"] for each in spans if each.name == "process delivery-request-topic"]


def named(spans: list[Span]) -> dict[str, Span]:
    return {each.name: each for each in spans}
