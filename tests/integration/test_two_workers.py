"""Where all services share two workers, and the web process has two of its own, faults and the load generator are the same whichever worker answers,
and an order is one trace: with others in its turns, parked, given up."""

import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psutil
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Wire
from prometheus_client.parser import text_string_to_metric_families

from ordersaga.devstack.system import System
from ordersaga.messaging.consumer_faults import ON_PURPOSE
from ordersaga.settings import SERVICES
from tests.integration.trace_client import CUSTOMER, Traced, is_complete, named, sold, spoil, until_met
from tests.integration.trace_collector import LIMIT_S, Collector, collecting

pytestmark = pytest.mark.processes
FACE = "/api/v1/operations"
OPERATOR = {"User-Id": "00000000-0000-4000-8000-000000000009", "User-Roles": "OPERATOR"}
REQUESTED = "process delivery-request-topic"
NOT_DELIVERED = "63000"
TOGETHER = 8
LATE_S = 8.0
LOOKS = 12
"""So many new connections reach both workers, but for one case in two thousand."""


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as one:
        yield one


@pytest.fixture(scope="module")
def system(collector: Collector) -> Iterator[System]:
    traces = {
        "ORDERSAGA_TRACES_URL": collector.url,
        "ORDERSAGA_TRACES_RATIO": "0",  # what no client of this file samples is not exported
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    with System(web=True, workers=2, one_process=True, extra=traces) as running:
        yield running


@pytest.fixture(scope="module")
def product(system: System) -> str:
    return sold(system)


def looks(look: Callable[[], Any]) -> list[Any]:
    """What is seen over several new connections."""
    return [look() for _ in range(LOOKS)]


def until_all(look: Callable[[], Any], wanted: Any) -> None:
    end = time.monotonic() + LIMIT_S
    while (found := looks(look)) != [wanted] * LOOKS:
        assert time.monotonic() < end, found
        time.sleep(0.2)


def test_faults_are_those_of_every_worker(system: System) -> None:
    stock = system.urls["stock"]

    def alarms() -> int:
        found = httpx.get(f"{stock}/health/status").json()["alarms"]
        return sum(each["alarm"] == ON_PURPOSE and "250 ms late" in each["what"] for each in found)

    def delay() -> int:
        return int(httpx.get(f"{stock}{FACE}/faults", headers=OPERATOR).json()["turnDelayMs"])

    def spoil(delay_ms: int) -> None:
        version = httpx.get(f"{stock}{FACE}/faults", headers=OPERATOR).json()["version"]
        body = {"reason": "a test", "version": version, "turnDelayMs": delay_ms}
        httpx.post(f"{stock}{FACE}/faults", json=body, headers=OPERATOR).raise_for_status()

    spoil(250)
    assert looks(delay) == [250] * LOOKS
    until_all(alarms, 1)
    system.kill("stock")
    system.start("stock")
    until_all(alarms, 1)
    spoil(0)
    assert looks(delay) == [0] * LOOKS
    until_all(alarms, 0)


class Operator:
    """An operator of the console whose every request is a connection of its own."""

    def __init__(self, system: System) -> None:
        self._url = system.urls["web"]
        self._cookies = httpx.Cookies()
        self.send("/console/sign-in", "/console/sign-in", role="operator")

    def __call__(self, method: str, path: str, **more: Any) -> httpx.Response:
        with httpx.Client(base_url=self._url, cookies=self._cookies, timeout=LIMIT_S) as http:
            answer = http.request(method, path, **more)
            self._cookies = http.cookies
            return answer

    def send(self, page: str, path: str, **fields: str) -> None:
        found = dict(re.findall(r'name="(csrf)" value="([^"]*)"', self("GET", page).text))
        assert self("POST", path, data=found | fields).status_code == 303

    def load(self) -> str:
        """The state of the form that steers the load."""
        said = self("GET", "/console/faults/now").text
        state = re.search(r'id="load-control"[^>]* data-state="(\w+)"', said)
        return state[1] if state else said

    def moments(self) -> int:
        """How many moments the curve of Stock's lag has."""
        said = self("GET", "/console/faults/now").text
        return sum(len(each.split()) for each in re.findall(r'<polyline class="line of-stock" points="([^"]*)"', said))


def test_every_worker_draws_the_same_curves(system: System) -> None:
    one = Operator(system)
    counts = []
    for _ in range(LOOKS):
        time.sleep(1)
        counts.append(one.moments())
    assert counts == list(range(counts[0], counts[0] + LOOKS)), "each look adds one moment to those of all workers"


def test_one_load_generator_is_shown_steered_and_stopped_by_every_worker(system: System) -> None:
    one = Operator(system)
    assert looks(one.load) == ["idle"] * LOOKS
    one.send("/console/faults", "/console/faults/load", act="begin", rate="5", minutes="5")
    until_all(one.load, "running")
    kept = f"{system.urls['sandbox']}/sandbox/load"
    for rate in range(6, 6 + LOOKS):
        one.send("/console/faults", "/console/faults/load", act="steer", rate=str(rate))
        assert httpx.get(kept).json()["rate"] == rate
    for _ in range(LOOKS):
        one.send("/console/faults", "/console/faults/load", act="begin", rate="50", minutes="5")
    assert httpx.get(kept).json()["rate"] == 5 + LOOKS, "there is one already"
    end = time.monotonic() + LIMIT_S
    while (httpx.get(kept).json()["figures"] or {}).get("rate") != 5 + LOOKS:
        assert time.monotonic() < end
        time.sleep(0.2)
    one.send("/console/faults", "/console/faults/load", act="stop")
    until_all(one.load, "idle")


def test_an_order_is_one_trace_from_its_request_to_its_completion_record(
    system: System, collector: Collector, product: str
) -> None:
    client = Traced(system).place(product).pay()
    spans = client.until(collector, is_complete)
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
    assert {each.service for each in spans} >= {"order", "stock", "payment", "delivery"}
    assert {each.attributes["ordersaga.key"] for each in spans if "ordersaga.key" in each.attributes} == {client.order}
    assert by_name["POST /api/v1/orders"].attributes["http.response.status_code"] == 201
    assert not any(each.failed for each in spans)


def test_calls_to_the_gateway_are_in_the_trace_of_the_order(system: System, collector: Collector, product: str) -> None:
    """A refund is called for by another task, or process, than the one that took the request for it."""
    client = Traced(system).place(product, NOT_DELIVERED).pay()
    spans = client.until(collector, lambda found: "process payment-cancelled-topic" in named(found))
    by_name = named(spans)
    confirm, refund = by_name["POST /v1/payments/confirm"], by_name["POST /v1/payments/{paymentKey}/cancel"]
    assert confirm.parent == by_name["POST /api/v1/payments/confirm"].id
    assert refund.parent == by_name["create payment-cancel-requested-topic"].id
    assert {confirm.kind, refund.kind} == {Wire.SPAN_KIND_CLIENT}
    assert confirm.attributes["http.response.status_code"] == refund.attributes["http.response.status_code"] == 200
    assert not confirm.failed and not refund.failed
    assert by_name["create payment-cancelled-topic"].service == "payment"


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
                spans = each.until(collector, lambda found: "process stock-response-topic" in named(found))
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
    spans = client.until(collector, is_complete)
    [last] = [
        each for each in spans if each.attributes.get("ordersaga.outcome") == "handled" and each.name == REQUESTED
    ]
    assert last.attributes["ordersaga.attempt"] > 1
    assert named(spans)["create delivery-start-topic"].parent == last.id


def test_a_dead_letter_is_in_the_trace_of_its_record(system: System, collector: Collector, product: str) -> None:
    spoil(system, "delivery", lastingPercent=100)
    client, _ = until_met(system, collector, product, "dead letter")
    spans = client.until(collector, lambda found: "create delivery-request-topic-dlt" in named(found))
    spoil(system, "delivery")
    [handled] = [each for each in spans if each.name == REQUESTED]
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


def scraped(system: System, service: str) -> dict[str, dict[str, float]]:
    """A sample's value by its metric's name and its worker, added up over all other labels. A frozen worker's answer is not waited for."""
    end = time.monotonic() + LIMIT_S
    while True:
        try:
            text = httpx.get(f"{system.urls[service]}/metrics", timeout=LATE_S).text
            break
        except httpx.TimeoutException:
            assert time.monotonic() < end
    found: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name][sample.labels.get("worker", "")] += sample.value
    return found


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_a_scrape_has_the_metrics_of_both_workers_whichever_answers(system: System) -> None:
    def asked() -> dict[str, float]:
        return dict(scraped(system, "stock")["ordersaga_http_requests_total"])

    before = sum(asked().values())
    for _ in range(LOOKS):
        httpx.get(f"{system.urls['stock']}/api/v1/products", headers=CUSTOMER).raise_for_status()
    until(lambda: sum(asked().values()) == before + LOOKS)
    assert set(asked()) == {"0", "1"}
    assert len({frozenset(look.items()) for look in looks(asked)}) == 1
    assert set(scraped(system, "stock")["ordersaga_outbox_rows"]) == {""}
    turns = scraped(system, "stock")
    assert sum(turns["ordersaga_turn_records_sum"].values()) >= sum(turns["ordersaga_turn_records_count"].values()) > 0
    assert sum(scraped(system, "order")["ordersaga_records_published_total"].values()) > 0


def test_services_that_share_a_process_have_metrics_and_log_lines_of_their_own(system: System) -> None:
    handled = {
        service: {
            name for name in scraped(system, service) if name.startswith(("ordersaga_order_", "ordersaga_payment_"))
        }
        for service in SERVICES
    }
    assert handled["stock"] == handled["delivery"] == set()
    assert all(each.startswith("ordersaga_order_") for each in handled["order"]) and handled["order"]
    assert all(each.startswith("ordersaga_payment_") for each in handled["payment"]) and handled["payment"]
    of_process = {service for service in SERVICES if "process_start_time_seconds" in scraped(system, service)}
    assert of_process == {"order"}, "a sum over the services would count the process four times"
    lines = [
        json.loads(line) for line in system.process_of("stock").log_path.read_text().splitlines() if line[:1] == "{"
    ]
    began = {(each["service"], each["group"]) for each in lines if each["event"] == "started: records are consumed"}
    assert began == {(service, f"ordersaga-{service}") for service in SERVICES}


def test_a_worker_that_does_not_answer_has_no_samples_until_it_does(system: System) -> None:
    def told() -> tuple[float, float, bool]:
        found = scraped(system, "delivery")
        up = found["ordersaga_worker_up"]
        return up["0"], up["1"], "1" in found["ordersaga_build_info"]

    supervisor = psutil.Process(system.process_of("delivery").pid)
    [second] = [each for each in supervisor.children() if "--worker 1 " in " ".join(each.cmdline())]
    until(lambda: told() == (1, 1, True))
    second.suspend()
    try:
        until(lambda: told() == (1, 0, False))
    finally:
        second.resume()
    until(lambda: told() == (1, 1, True))
    began = scraped(system, "order")["process_start_time_seconds"]["1"]
    second.kill()
    until(lambda: scraped(system, "order")["process_start_time_seconds"].get("1", began) > began)
    until(lambda: told() == (1, 1, True))
    assert told() == (1, 1, True)
