"""The real system with something of each kind in it, so that requests about real things reach further than a 404."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID, uuid4

import httpx
from confluent_kafka import Producer
from msgspec import Struct

from ordersaga.devstack.system import System
from ordersaga.settings import SERVICES, ServiceName
from ordersaga.web.shop import seeds

Served: TypeAlias = ServiceName | Literal["audit"]
SERVED: Final[tuple[Served, ...]] = (*SERVICES, "audit")
FACE: Final = "/api/v1/operations"
USERS: Final = {"CUSTOMER": UUID(int=0xC), "READER": UUID(int=0xD), "OPERATOR": UUID(int=0xE), "MASTER": UUID(int=0xF)}
SPOILED: Final[dict[ServiceName, str]] = {
    "order": "payment-success-topic",
    "stock": "order-created",
    "payment": "order-payable-topic",
    "delivery": "delivery-request-topic",
}
"""A topic that the service reads, where a record that is no JSON becomes a dead letter."""
LIMIT_S: Final = 30.0


class World(Struct):
    """`things`: real values of parameters by name, for each service and the audit."""

    system: System
    things: dict[Served, dict[str, Any]]


def headers(role: str | None) -> dict[str, str]:
    """The headers of a caller with this role; None: of nobody."""
    return {"User-Id": str(USERS[role]), "User-Roles": role} if role else {}


@contextlib.contextmanager
def world(say: Callable[[str], None] = lambda _: None) -> Iterator[World]:
    """The system with products, a paid order, in each service a dead letter and a job, and a run of the audit."""
    with System(web=True, say=say, extra={"ORDERSAGA_HTTP_ADDRESS_REQUESTS_PER_S": "0"}) as system:
        asyncio.run(seeds.seed(system.urls["stock"]))
        order = _ordered(system)
        things: dict[Served, dict[str, Any]] = {service: order | _trouble(system, service) for service in SERVICES}
        things["audit"] = _audited(system)
        yield World(system, things)


def _ordered(system: System) -> dict[str, Any]:
    with httpx.Client(headers=headers("CUSTOMER"), timeout=LIMIT_S) as http:
        product = http.get(f"{system.urls['stock']}/api/v1/products").json()["items"][0]
        body = {
            "orderName": product["name"],
            "totalAmount": product["price"],
            "address": "1 Sejong-daero",
            "zipcode": "04524",
            "phone": "010-0000-0000",
            "name": "Kim Hana",
            "items": [{"productId": product["productId"], "quantity": 1}],
        }
        placed = until(
            lambda: http.post(f"{system.urls['order']}/api/v1/orders", json=body, headers={"Prefer": "wait=20"}),
            lambda answer: answer.status_code == 201,
        ).json()
        checkout = {"orderId": placed["orderId"], "amount": placed["totalAmount"], "card": "approve"}
        key = http.post(f"{system.urls['sandbox']}/sandbox/payments", json=checkout).json()["paymentKey"]
        confirm = {"paymentKey": key, "orderId": placed["orderId"], "amount": placed["totalAmount"]}
        http.post(f"{system.urls['payment']}/api/v1/payments/confirm", json=confirm).raise_for_status()
    return {
        "order_id": placed["orderId"],
        "some_id": placed["orderId"],
        "orderId": placed["orderId"],
        "product_id": product["productId"],
        "payment_key": key,
        "paymentKey": key,
        "customerId": str(USERS["CUSTOMER"]),
    }


def _trouble(system: System, service: ServiceName) -> dict[str, Any]:
    topic, order_id = SPOILED[service], str(uuid4())
    producer = Producer({"bootstrap.servers": system.settings.kafka_bootstrap_servers})
    producer.produce(topic, b"{", order_id.encode())
    producer.flush()
    with httpx.Client(base_url=system.urls[service] + FACE, headers=headers("OPERATOR"), timeout=LIMIT_S) as http:
        letters = until(
            lambda: http.get("/dead-letters", params={"topic": topic}), lambda answer: bool(answer.json()["items"])
        ).json()["items"]
        job = {"act": "discard", "reason": "fuzz", "dryRun": True, "selection": {"all": True}}
        begun = http.post("/jobs", json=job)
        begun.raise_for_status()
    letter = letters[0]
    return {
        "letter_id": letter["id"],
        "job_id": begun.json()["id"],
        "topic": topic,
        "partition": letter["partition"],
        "offset": letter["offset"],
    }


def _audited(system: System) -> dict[str, Any]:
    with httpx.Client(base_url=system.urls["audit"] + FACE, headers=headers("OPERATOR"), timeout=LIMIT_S) as http:
        run = http.post("/audits", json={}).raise_for_status().json()
        done = until(
            lambda: http.get(f"/audits/{run['id']}"), lambda answer: answer.json()["run"]["state"] != "RUNNING"
        ).json()
    return {"run_id": run["id"], "code": done["invariants"][0]["code"]}


def until(ask: Callable[[], httpx.Response], is_right: Callable[[httpx.Response], bool]) -> httpx.Response:
    """Ask again and again until the answer is right."""
    end = time.monotonic() + LIMIT_S
    while not is_right(answer := ask()):
        assert time.monotonic() < end, answer.text
        time.sleep(0.2)
    return answer


def document(world: World, service: Served) -> dict[str, Any]:
    """The service's OpenAPI document, with real things as examples of its parameters."""
    found: dict[str, Any] = httpx.get(f"{world.system.urls[service]}/schema/openapi.json").json()
    for item in found["paths"].values():
        for operation in item.values():
            for parameter in operation.get("parameters", []):
                if parameter["name"] in world.things[service]:
                    parameter["example"] = world.things[service][parameter["name"]]
    return json.loads(json.dumps(found))


def errors_of(world: World) -> list[str]:
    """What the processes logged as an error: a request that failed for no known reason, or a page."""
    said = []
    for name, process in world.system.processes.items():
        for line in process.log_path.read_text().splitlines():
            if any(each in line for each in ('"a request failed"', '"a page failed"')):
                said.append(f"{name}: {line[:1_000]}")
    return said
