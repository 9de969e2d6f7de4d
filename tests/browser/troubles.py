"""Records that fail, and the staff of the console who see to them."""

import json
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
from confluent_kafka import Producer

from ordersaga.devstack.system import System
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
