"""An order over four services of two workers each is one trace, as a collector sees it: with others in its turns, parked, given up."""

import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from ordersaga.devstack.system import System
from tests.integration.trace_collector import LIMIT_S, Collector, Span, collecting

pytestmark = pytest.mark.processes
OPERATOR = {"User-Id": "00000000-0000-4000-8000-000000000009", "User-Roles": "MASTER"}
CUSTOMER = {"User-Id": "00000000-0000-4000-8000-000000000002"}
FACE = "/api/v1/operations"
TOGETHER = 8


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as one:
        yield one


@pytest.fixture(scope="module")
def system(collector: Collector) -> Iterator[System]:
    extra = {"ORDERSAGA_TRACES_URL": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200", "ORDERSAGA_TRACES_RATIO": "0"}
    extra["ORDERSAGA_CONSUMER_FAULTS"] = "true"
    with System(workers=2, extra=extra) as running:
        yield running


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

    def place(self, product: str) -> "Traced":
        body = {"orderName": "a", "totalAmount": 1_000, "items": [{"productId": product, "quantity": 1}]}
        address = {"name": "Hana Kim", "phone": "010-0000-0000", "zipcode": "04524", "address": "1 Sejong-daero"}
        self.order = self.send("order", "/api/v1/orders", body | address, Prefer="wait=30")["orderId"]
        return self

    def pay(self) -> "Traced":
        wanted = {"orderId": self.order, "amount": 1_000}
        key = self.send("sandbox", "/sandbox/payments", wanted | {"card": "approve"})["paymentKey"]
        self.send("payment", "/api/v1/payments/confirm", wanted | {"paymentKey": key})
        return self

    def is_above(self, spans: list[Span]) -> None:
        """Each span has its parent among the others, and the first ones have the client's."""
        known = {each.id for each in spans} | {self.span}
        assert len(known) == len(spans) + 1
        assert [each for each in spans if each.parent not in known] == []


@pytest.fixture(scope="module")
def product(system: System) -> str:
    body = {"name": "a", "price": 1_000, "quantity": 10_000}
    added: str = httpx.post(f"{system.urls['stock']}/api/v1/products", json=body, headers=OPERATOR).json()["productId"]
    end = time.monotonic() + LIMIT_S
    while True:  # until Order knows the price
        try:
            Traced(system, sampled=False).place(added)
            return added
        except AssertionError:
            assert time.monotonic() < end
            time.sleep(0.2)


def is_complete(spans: list[Span]) -> bool:
    return "create order-completed-topic" in {each.name for each in spans} and any(
        each.name == "POST /api/v1/payments/confirm" for each in spans
    )


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


def test_an_order_is_one_trace_from_its_request_to_its_completion_record(
    system: System, collector: Collector, product: str
) -> None:
    client = Traced(system).place(product).pay()
    spans = collector.until(client.trace, is_complete)
    client.is_above(spans)
    by_name = named(spans)
    path = ["create order-completed-topic"]
    while (parent := by_name[path[-1]].parent) != client.span:
        path.append(next(each.name for each in spans if each.id == parent))
    assert path[-1] in ("POST /api/v1/payments/confirm", "POST /api/v1/orders")
    assert path[:4] == [
        "create order-completed-topic",
        "process delivery-start-topic",
        "create delivery-start-topic",
        "process delivery-request-topic",
    ]
    assert by_name["process order-created"].parent == by_name["create order-created"].id
    assert by_name["create order-created"].parent == by_name["POST /api/v1/orders"].id
    assert {each.service for each in spans} == {"order", "stock", "payment", "delivery"}
    assert {each.attributes["ordersaga.key"] for each in spans if "ordersaga.key" in each.attributes} == {client.order}
    assert by_name["POST /api/v1/orders"].attributes["http.response.status_code"] == 201
    assert not any(each.failed for each in spans)


def test_each_record_of_a_turn_is_in_the_trace_of_its_own_order(
    system: System, collector: Collector, product: str
) -> None:
    spoil(system, "stock", turnDelayMs=500)
    end = time.monotonic() + LIMIT_S
    try:
        batches: set[int] = set()
        while max(batches, default=0) < 2:
            assert time.monotonic() < end
            with ThreadPoolExecutor(TOGETHER) as pool:
                clients = list(
                    pool.map(lambda client: client.place(product), [Traced(system) for _ in range(TOGETHER)])
                )
            for each in clients:
                spans = collector.until(each.trace, lambda found: "process stock-response-topic" in named(found))
                each.is_above(spans)
                [reserved] = [span for span in spans if span.name == "process order-created"]
                assert reserved.attributes["ordersaga.key"] == each.order
                batches.add(reserved.attributes["messaging.batch.message_count"])
    finally:
        spoil(system, "stock")


def test_a_parked_record_and_its_retry_are_in_the_trace_of_the_order(
    system: System, collector: Collector, product: str
) -> None:
    spoil(system, "delivery", passingPercent=100)
    client, parked = until_met(system, collector, product, "parked")
    spoil(system, "delivery")
    assert all(each.failed for each in parked if each.attributes.get("ordersaga.outcome") == "parked")
    spans = collector.until(client.trace, is_complete)
    client.is_above(spans)
    assert outcomes(spans)[-1] == "handled"
    last = [each for each in spans if each.name == "process delivery-request-topic"][-1]
    assert last.attributes["ordersaga.attempt"] > 1
    assert named(spans)["create delivery-start-topic"].parent == last.id


def test_a_dead_letter_is_in_the_trace_of_its_record(system: System, collector: Collector, product: str) -> None:
    spoil(system, "delivery", lastingPercent=100)
    client, _ = until_met(system, collector, product, "dead letter")
    spans = collector.until(client.trace, lambda found: "create delivery-request-topic-dlt" in named(found))
    spoil(system, "delivery")
    client.is_above(spans)
    [handled] = [each for each in spans if each.name == "process delivery-request-topic"]
    assert handled.failed
    assert handled.attributes["ordersaga.outcome"] == "dead letter"
    assert named(spans)["create delivery-request-topic-dlt"].parent == handled.id


def test_a_trace_that_nobody_samples_leaves_no_span(system: System, collector: Collector, product: str) -> None:
    """Neither one that its caller does not sample, nor, at a ratio of 0, one that begins here."""
    unsampled = Traced(system, sampled=False).place(product).pay()
    httpx.get(f"{system.urls['stock']}/api/v1/products", headers=CUSTOMER).raise_for_status()
    sampled = Traced(system).place(product).pay()
    collector.until(sampled.trace, is_complete)
    assert collector.of_trace(unsampled.trace) == []
    known = {each.trace for each in collector.spans if each.name == "GET /api/v1/products"}
    assert known == set()
