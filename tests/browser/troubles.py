"""Records that fail, and the staff of the console who see to them."""

import json
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
from confluent_kafka import Producer

from ordersaga.contracts import codec
from ordersaga.contracts.messages import DeliveryRequestMessage, StockResponseMessage
from ordersaga.contracts.topics import BY_MESSAGE
from ordersaga.devstack.system import System
from ordersaga.settings import ServiceName
from tests.browser.visitor import Visitor

FACE = "/api/v1/operations"
REQUESTS = "delivery-request-topic"
OPERATOR = {"User-Id": str(UUID(int=9)), "User-Roles": "OPERATOR"}
PHONE = "010-9876-5432"


def spoil(system: System, letters: int) -> list[UUID]:
    """Send Delivery requests that fit no schema, and wait until they are dead letters. Returns their order ids."""
    order_ids = [uuid4() for _ in range(letters)]
    producer = Producer({"bootstrap.servers": system.settings.kafka_bootstrap_servers})
    for order_id in order_ids:
        value = {"orderId": str(order_id), "customerId": "nobody", "address": "1 Sejong-daero", "phone": PHONE}
        producer.produce(REQUESTS, json.dumps(value).encode(), str(order_id).encode())
    producer.flush()
    for order_id in order_ids:
        letter_of(system, order_id)
    return order_ids


def letter_of(system: System, order_id: UUID, service: str = "delivery") -> str:
    """The id of an order's open dead letter, once it is there."""
    url = f"{system.urls[service]}{FACE}/dead-letters"
    for _ in range(200):
        found = httpx.get(url, params={"orderId": str(order_id)}, headers=OPERATOR).json()["items"]
        if found:
            return str(found[0]["id"])
        time.sleep(0.1)
    raise AssertionError("the record is no dead letter")


def enter(visitor: Callable[..., Visitor], role: str = "operator", **options: Any) -> Visitor:
    """Somebody of the staff before the overview."""
    one = visitor(**options)
    one.open("/console")
    one.page.locator(f"button[name=role][value={role}]").click()
    one.page.wait_for_url(one.url + "/console")
    return one


def place(system: System, zipcode: str = "04524", pieces: int = 1) -> tuple[str, dict[str, str], int]:
    """An order of one product, over HTTP: its id, its customer's headers, its total."""
    product = httpx.get(f"{system.urls['stock']}/api/v1/products").json()["items"][0]
    customer = {"User-Id": str(uuid4()), "User-Roles": "CUSTOMER", "Prefer": "wait=0"}
    order = {
        "orderName": product["name"],
        "totalAmount": product["price"] * pieces,
        "items": [{"productId": product["productId"], "quantity": pieces}],
        "name": "Hana Kim",
        "phone": PHONE,
        "address": "1 Sejong-daero",
        "zipcode": zipcode,
    }
    placed = httpx.post(f"{system.urls['order']}/api/v1/orders", json=order, headers=customer)
    placed.raise_for_status()
    return placed.json()["orderId"], customer, order["totalAmount"]


def pay(system: System, order_id: str, customer: dict[str, str], total: int) -> str:
    """What the customer does at the checkout, and the confirm. Returns the payment key."""
    checkout = {"orderId": order_id, "amount": total, "card": "approve"}
    key = httpx.post(f"{system.urls['sandbox']}/sandbox/payments", json=checkout).json()["paymentKey"]
    confirm = {"paymentKey": key, "orderId": order_id, "amount": total}
    url = f"{system.urls['payment']}/api/v1/payments/confirm"
    for _ in range(100):  # Payment hears of the order a moment after it was placed
        if httpx.post(url, json=confirm, headers=customer).status_code in (200, 202):
            return str(key)
        time.sleep(0.1)
    raise AssertionError("the order cannot be paid")


def orders_in_trouble(system: System) -> list[str]:
    """Orders whose pages have most to tell: out of stock, not deliverable, refunded at the gateway, with strange answers, cancelled by an operator, and
    one whose payment the gateway does not settle."""
    short, _, _ = place(system, pieces=9_999)
    strange, *_ = place(system)
    producer = Producer({"bootstrap.servers": system.settings.kafka_bootstrap_servers})
    for product in (uuid4(), None, None):
        answer = StockResponseMessage(order_id=UUID(strange), product_id=product, status="SUCCESS", message="reserved")
        producer.produce(BY_MESSAGE[StockResponseMessage].name, codec.encode(answer), strange.encode())
    producer.flush()
    far, customer, total = place(system, zipcode="63000")
    pay(system, far, customer, total)
    returned, customer, total = place(system)
    key = pay(system, returned, customer, total)
    _wait_until(lambda: _order(system, returned)["status"] == "COMPLETED")
    part = {"amount": total // 2}
    httpx.post(f"{system.urls['sandbox']}/sandbox/payments/{key}/cancel", json=part).raise_for_status()
    cancelled, *_ = place(system)
    url = f"{system.urls['order']}/api/v1/orders/{cancelled}/cancel/delivery-before"
    httpx.post(url, json={"why": "a test"}, headers=OPERATOR).raise_for_status()
    _wait_until(lambda: all(_order(system, each)["detail"] for each in (short, far)))
    _wait_until(lambda: _order(system, returned)["flag"])
    _wait_until(lambda: len([each for each in _notes(system, strange) if each]) >= 3)
    unsettled, customer, total = place(system)
    pay_unsettled(system, unsettled, customer, total)
    _wait_until(lambda: any(each["tries"] for each in _intents(system, unsettled)))
    return [short, strange, far, returned, cancelled, unsettled]


def pay_unsettled(system: System, order_id: str, customer: dict[str, str], total: int) -> None:
    """Pay an order whose payment the gateway does not settle while its faults last."""
    broken = {"confirm": {"outcome": "bad-gateway"}, "get": {"outcome": "bad-gateway"}}
    faults = {"orders": {order_id: broken}}
    httpx.put(f"{system.urls['sandbox']}/sandbox/faults", json=faults).raise_for_status()
    pay(system, order_id, customer, total)


def _order(system: System, order_id: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{system.urls['order']}/api/v1/orders/{order_id}", headers=OPERATOR).json()
    return found


def _intents(system: System, order_id: str) -> list[dict[str, Any]]:
    url, asked = f"{system.urls['payment']}{FACE}/intents", {"orderId": order_id}
    found: list[dict[str, Any]] = httpx.get(url, params=asked, headers=OPERATOR).json()["items"]
    return found


def _notes(system: System, order_id: str) -> list[str | None]:
    url = f"{system.urls['order']}/api/v1/orders/{order_id}/timeline"
    return [each["note"] for each in httpx.get(url, headers=OPERATOR).json()["items"]]


def execute(system: System, service: ServiceName, statement: str) -> None:
    """Change a service's database."""
    with psycopg.connect(system.settings.database_url(service), autocommit=True) as db:
        db.execute(statement.encode())


def ask_delivery(system: System, partition: int = -1) -> UUID:
    """Send Delivery a request that it can handle, of an order that Order does not know. Returns the order's id."""
    order_id = uuid4()
    request = DeliveryRequestMessage(
        order_id=order_id, customer_id=uuid4(), address="1 Sejong-daero", zipcode="04524", name="Hana"
    )
    producer = Producer({"bootstrap.servers": system.settings.kafka_bootstrap_servers})
    producer.produce(REQUESTS, codec.encode(request), str(order_id).encode(), partition=partition)
    producer.flush()
    return order_id


def set_faults(system: System, service: str, **faults: float) -> None:
    """Faults of a service's consumer, and no others."""
    url = f"{system.urls[service]}{FACE}/faults"
    version = httpx.get(url, headers=OPERATOR).json()["version"]
    httpx.post(url, json={"reason": "a test", "version": version, **faults}, headers=OPERATOR).raise_for_status()


def end_faults(system: System, service: str) -> None:
    """No more faults of a service's consumer."""
    set_faults(system, service)


def parked_of(system: System, order_id: UUID) -> dict[str, Any]:
    """Delivery's parked record of an order, once it is there."""
    for _ in range(200):
        found = httpx.get(
            f"{system.urls['delivery']}{FACE}/parked", params={"orderId": str(order_id)}, headers=OPERATOR
        ).json()["items"]
        if found:
            one: dict[str, Any] = found[0]
            return one
        time.sleep(0.1)
    raise AssertionError("the record is not parked")


def lose_position(system: System, partition: int) -> None:
    """Stop a partition, as after records were removed: Delivery's ledger stands where the log has nothing, which it notices at the next record."""
    with psycopg.connect(system.settings.database_url("delivery"), autocommit=True) as db:
        db.execute(
            "UPDATE ledger SET next_offset = 1000000, epoch = epoch + 1 WHERE topic = %s AND partition = %s",
            (REQUESTS, partition),
        )
    ask_delivery(system, partition)
    _wait_until(lambda: partition in [each["partition"] for each in _stopped(system)])


def accept_stopped(system: System) -> None:
    """Let Delivery's stopped partitions go on behind all that they have."""
    url = f"{system.urls['delivery']}{FACE}/partitions/{REQUESTS}"
    for each in _stopped(system):
        body = {"reason": "a test", "position": each["position"], "at": "latest"}
        httpx.post(f"{url}/{each['partition']}/accept", json=body, headers=OPERATOR).raise_for_status()
    _wait_until(lambda: not _stopped(system))


def _stopped(system: System) -> list[dict[str, Any]]:
    params = {"topic": REQUESTS, "limit": "200"}
    url = f"{system.urls['delivery']}{FACE}/partitions"
    found = httpx.get(url, params=params, headers=OPERATOR).raise_for_status().json()["items"]
    return [each for each in found if each["state"] == "STOPPED"]


def _wait_until(there: Callable[[], object]) -> None:
    until = time.monotonic() + 30
    while not there():
        assert time.monotonic() < until
        time.sleep(0.1)
