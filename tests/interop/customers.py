"""Two hundred customers over HTTP alone, whoever runs the services: they place, pay at the gateway's checkout, confirm, and see the end."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, Self
from uuid import UUID, uuid4

import httpx
from msgspec import Struct

from ordersaga.cli.demo import SCENARIOS
from ordersaga.cli.shop import PRICE, Scenario

ORDERS: Final = 200
AT_ONCE: Final = 25
END_LIMIT_S: Final = 60.0
STOCK: Final = 10_000
SUCCEEDS: Final = SCENARIOS[0]


class Ended(Struct, frozen=True):
    """An order that a customer has seen ending."""

    scenario: Scenario
    order_id: UUID
    end: tuple[str, str | None]


class Customers:
    """Use with `async with`. `urls` are the addresses of order, stock, payment and the sandbox."""

    def __init__(self, urls: Mapping[str, str], gateway_key: str) -> None:
        self._urls: Final = urls
        self._gateway: Final = httpx.BasicAuth(gateway_key, "")
        self._http: httpx.AsyncClient
        self._product = ""

    async def __aenter__(self) -> Self:
        self._http = httpx.AsyncClient(timeout=END_LIMIT_S)
        body = {"name": "keyboard", "price": PRICE, "quantity": STOCK}
        operator = {"User-Id": str(uuid4()), "User-Roles": "MASTER"}
        self._product = (await self._send("POST", "stock", "/api/v1/products", body, operator))["productId"]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def shop(self, orders: int = ORDERS) -> list[Ended]:
        """Most orders succeed; a tenth fails in each of the three ways."""
        kinds = [SCENARIOS[n % 10] if n % 10 < len(SCENARIOS) else SUCCEEDS for n in range(orders)]
        at_once = asyncio.Semaphore(AT_ONCE)

        async def one(scenario: Scenario) -> Ended:
            async with at_once:
                return await self.buy(scenario)

        return await asyncio.gather(*(one(scenario) for scenario in kinds))

    async def buy(self, scenario: Scenario = SUCCEEDS) -> Ended:
        """Place one order, pay it, and wait for its end."""
        order = await self.place(scenario)
        if order["status"] == "PENDING":
            await self.pay(order, scenario.card)
        return await self.ended(order, scenario)

    async def place(self, scenario: Scenario = SUCCEEDS, wait_s: int = 10) -> Any:
        """The order, as Order answers when Stock has answered or `wait_s` is over."""
        body = {
            "orderName": "keyboard",
            "totalAmount": PRICE * scenario.quantity,
            "address": "1 Sejong-daero, Jung-gu",
            "addressDetail": "12F",
            "zipcode": scenario.zipcode,
            "phone": "010-0000-0000",
            "name": "김하나",
            "deliveryMemo": "문 앞에 두세요",
            "items": [{"productId": self._product, "quantity": scenario.quantity}],
        }
        customer = {"User-Id": str(uuid4()), "User-Roles": "CUSTOMER"}
        order = await self._send("POST", "order", "/api/v1/orders", body, customer | {"Prefer": f"wait={wait_s}"})
        return order | {"customer": customer}

    async def pay(self, order: Any, card: str = "approve") -> None:
        """Do what the checkout page does, and confirm."""
        checkout = {"orderId": order["orderId"], "amount": order["totalAmount"], "card": card}
        key = (await self._send("POST", "sandbox", "/sandbox/payments", checkout))["paymentKey"]
        confirm = {"paymentKey": key, "orderId": order["orderId"], "amount": order["totalAmount"]}
        await self._send(
            "POST", "payment", "/api/v1/payments/confirm", confirm, order["customer"] | {"Prefer": "wait=10"}
        )

    async def shown(self, order: Any) -> Any:
        """The order as its customer sees it now."""
        return await self._send("GET", "order", f"/api/v1/orders/{order['orderId']}", None, order["customer"])

    async def ended(self, order: Any, scenario: Scenario = SUCCEEDS) -> Ended:
        """Wait until the order is no longer PENDING. Raises TimeoutError."""
        end = time.monotonic() + END_LIMIT_S
        while True:
            shown = await self.shown(order)
            if shown["status"] != "PENDING":
                return Ended(scenario, UUID(order["orderId"]), (shown["status"], shown["reason"]))
            if time.monotonic() > end:
                raise TimeoutError(f"after {END_LIMIT_S:.0f} s the order of {scenario.name!r} is {shown}")
            await asyncio.sleep(0.2)

    async def pieces_left(self) -> int:
        """How many pieces Stock says it has."""
        shown = await self._send("GET", "stock", f"/api/v1/products/{self._product}")
        return int(shown["available"])

    async def money(self, orders: list[Ended]) -> Counter[int]:
        """How many of these orders have how much money at the gateway; 0: all was given back, or none was taken."""
        held: Counter[int] = Counter()
        for each in orders:
            answer = await self._http.get(
                f"{self._urls['sandbox']}/v1/payments/orders/{each.order_id}", auth=self._gateway
            )
            paid = answer.status_code == 200 and answer.json()["status"] in ("DONE", "PARTIAL_CANCELED")
            held[answer.json()["balanceAmount"] if paid else 0] += 1
        return held

    async def _send(
        self, method: str, service: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        answer = await self._http.request(method, self._urls[service] + path, json=body, headers=headers)
        if answer.is_error:
            raise RuntimeError(f"{method} {service}{path}: {answer.status_code} {answer.text}")
        return answer.json()
