"""A service that is frozen costs its part of a page, which says so within seconds; the rest of the page is there."""

import asyncio
import contextlib
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import psutil
import pytest

from ordersaga.devstack.system import System
from ordersaga.settings import SERVICES
from ordersaga.web.shop import seeds
from tests.chaos.struck import pid_of, send_signals

TOLD_WITHIN_S = 3.0
OVERVIEW_WITHIN_S = 15.0
PAYING_WITHIN_S = 3.5
"""The web waits two seconds for an answer of Payment, and then says that none came; with twice the time this fails."""
OPERATOR = {"User-Id": str(uuid4()), "User-Roles": "OPERATOR"}
AT_ONCE = 4
ADDRESS = {"name": "Hana Kim", "phone": "010-0000-0000", "zipcode": "04524", "address": "1 Sejong-daero"}


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with System(web=True) as running:
        asyncio.run(seeds.seed(running.urls["stock"]))
        yield running


class Person:
    """Somebody who uses the pages without script, and how long each page took."""

    def __init__(self, system: System) -> None:
        self.http = httpx.Client(
            base_url=system.urls["web"], timeout=30, follow_redirects=True, headers={"Accept-Language": "en"}
        )
        self.took_s: dict[str, float] = {}

    def get(self, path: str) -> httpx.Response:
        began = time.monotonic()
        answer = self.http.get(path)
        self.took_s[path] = time.monotonic() - began
        return answer

    def send(self, page: str, path: str, **fields: str) -> httpx.Response:
        """Fill in a form of a page, and send it."""
        found = dict(re.findall(r'name="(csrf|draft)" value="([^"]*)"', self.http.get(page).text))
        return self.http.post(path, data=found | fields)

    def order(self, product: str) -> httpx.Response:
        self.send(f"/products/{product}", "/cart/add", product=product, pieces="1")
        return self.send("/checkout", "/checkout", **ADDRESS)


@pytest.fixture(scope="module")
def product(system: System) -> str:
    found = httpx.get(f"{system.urls['stock']}/api/v1/products").json()["items"][0]["productId"]
    return str(found)


@pytest.fixture
def customer(system: System) -> Person:
    one = Person(system)
    one.send("/sign-in", "/sign-in", customer="hana")
    return one


@pytest.fixture(scope="module")
def operator(system: System) -> Person:
    one = Person(system)
    assert one.send("/console/sign-in", "/console/sign-in", role="operator").url.path == "/console"
    return one


@contextlib.contextmanager
def frozen(system: System, *names: str) -> Iterator[None]:
    processes = [psutil.Process(pid_of(system.processes[name])) for name in names]
    send_signals(processes, "SIGSTOP")
    try:
        yield
    finally:
        send_signals(processes, "SIGCONT")


def test_an_order_is_placed_soon_though_stock_and_payment_are_frozen(
    system: System, customer: Person, product: str
) -> None:
    customer.send(f"/products/{product}", "/cart/add", product=product, pieces="1")
    found = dict(re.findall(r'name="(csrf|draft)" value="([^"]*)"', customer.http.get("/checkout").text))
    with frozen(system, "stock", "payment"):
        began = time.monotonic()
        answer = customer.http.post("/checkout", data=found | ADDRESS)
        took_s = time.monotonic() - began
    assert re.search("/orders/[0-9a-f-]{36}$", answer.url.path) and answer.status_code == 200
    assert took_s < TOLD_WITHIN_S


def test_a_customer_who_has_paid_is_told_soon_that_payment_is_frozen_and_pays_once(
    system: System, customer: Person, product: str
) -> None:
    path = customer.order(product).url.path
    shown = httpx.get(f"{system.urls['stock']}/api/v1/products/{product}").json()
    checkout = {"orderId": path.removeprefix("/orders/"), "amount": shown["price"], "card": "approve"}
    key = httpx.post(f"{system.urls['sandbox']}/sandbox/payments", json=checkout).json()["paymentKey"]
    paid = f"{path}/paid?paymentKey={key}&orderId={checkout['orderId']}&amount={checkout['amount']}"
    with frozen(system, "payment"):
        for _ in range(2):
            answer = customer.get(paid)
            assert (answer.status_code, answer.url.path) == (503, f"{path}/paid")
            assert "asking again is safe" in answer.text
            assert customer.took_s[paid] < PAYING_WITHIN_S
    assert customer.get(paid).url.path == path
    for _ in range(100):
        if "Your parcel is on its way" in customer.get(path).text:
            break
        time.sleep(0.1)
    asked = {"orderId": checkout["orderId"]}
    payments = httpx.get(f"{system.urls['payment']}/api/v1/payments", params=asked, headers=OPERATOR).json()["items"]
    assert [(each["paymentKey"], each["capturedAmount"]) for each in payments] == [(key, shown["price"])]


@pytest.mark.parametrize("service", [*SERVICES, "audit", "sandbox"])
def test_each_page_of_the_console_tells_soon_that_a_service_is_frozen(
    system: System, operator: Person, customer: Person, product: str, service: str
) -> None:
    order = customer.order(product).url.path.removeprefix("/orders/")
    operator.took_s.clear()
    paths = [
        "/console",
        "/console/now",
        "/console/orders",
        f"/console/orders/{order}",
        f"/console/orders/{order}/now",
        "/console/letters",
        f"/console/letters?id={uuid4()}",
        f"/console/letters?service={service}",
        f"/console/letters/{service}/{uuid4()}",
        "/console/parked",
        f"/console/parked/{service}/order-created/0/1",
        "/console/topics",
        "/console/topics/order-created",
        "/console/topics/now",
        "/console/jobs",
        f"/console/jobs/new?service={service}",
        "/console/trail",
        "/console/audit",
        "/console/faults",
        "/console/faults/now",
    ]
    customers = ["/", "/orders", f"/orders/{order}", "/cart", "/checkout"]
    with frozen(system, service), ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(operator.get, paths))
        list(threads.map(customer.get, customers))
        took_s = operator.took_s | customer.took_s
        if service in SERVICES:
            until_told(operator, f"{service.capitalize()} is not answering")
    assert {path: took for path, took in took_s.items() if took > TOLD_WITHIN_S} == {}
    assert "a page failed" not in system.processes["web"].log_path.read_text()


def until_told(operator: Person, words: str) -> None:
    """Wait until the overview says this. For a moment it shows what was read before."""
    end = time.monotonic() + OVERVIEW_WITHIN_S
    while words not in (told := " ".join(re.sub("<[^>]*>", " ", operator.get("/console").text).split())):
        assert time.monotonic() < end, told
        time.sleep(0.2)
