"""Acts as a customer of the shop, over HTTP alone: places an order, pays at the gateway's checkout, confirms, and waits for the end."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, Final, Self
from uuid import UUID, uuid4

import aiohttp
from msgspec import Struct

CARD_DECLINED: Final = "REJECT_CARD_COMPANY"
PRICE: Final = 12_500
STOCK: Final = 10_000
END_LIMIT_S: Final = 30.0

End = tuple[str, str | None]


class Scenario(Struct, frozen=True, eq=False):
    """What the customer does, and how the order must end."""

    name: str
    expected: End
    quantity: int = 2
    card: str = "approve"
    zipcode: str = "04524"


class Outcome(Struct, frozen=True):
    """How an order ended, in milliseconds from placing it."""

    scenario: Scenario
    order_id: UUID
    end: End
    took_ms: float


class Shop:
    """Use with `async with`, then `open` it. `announce` gets each narrated order, `say` each step that its customer sees."""

    def __init__(self, urls: dict[str, str], announce: Callable[[str], None], say: Callable[[UUID, str], None]) -> None:
        self._urls: Final = urls
        self._announce: Final = announce
        self._say: Final = say
        self._http: aiohttp.ClientSession
        self._product = ""

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def open(self) -> None:
        """Put a product on the shelf, and wait until Order knows its price."""
        body = {"name": "keyboard", "price": PRICE, "quantity": STOCK}
        operator = {"User-Id": str(uuid4()), "User-Roles": "MASTER"}
        product = await self._send("POST", f"{self._urls['stock']}/api/v1/products", body, operator)
        self._product = product["productId"]
        await asyncio.sleep(0.5)

    async def buy(self, scenario: Scenario, narrate: bool = False) -> Outcome:
        """Place one order and follow it to its end."""
        customer = {"User-Id": str(uuid4()), "User-Roles": "CUSTOMER"}
        say = self._say if narrate else lambda *_: None
        if narrate:
            self._announce(scenario.name)
        began = time.monotonic()
        order = await self._place(scenario, customer, say)
        order_id = UUID(order["orderId"])
        if order["status"] == "PENDING":
            await self._pay(order, scenario, customer, say)
            order = await self._end_of(order_id, customer)
        say(order_id, f"        the customer sees: {order['status']} {order['reason'] or ''} {order['detail'] or ''}")
        return Outcome(scenario, order_id, (order["status"], order["reason"]), (time.monotonic() - began) * 1000)

    async def _place(self, scenario: Scenario, customer: dict[str, str], say: Callable[[UUID, str], None]) -> Any:
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
        headers = customer | {"Idempotency-Key": str(uuid4())}
        headers["Prefer"] = "respond-async"
        order = await self._send("POST", f"{self._urls['order']}/api/v1/orders", body, headers)
        say(UUID(order["orderId"]), "step 1  client -> order: placed, PENDING")
        headers["Prefer"] = "wait=10"
        order = await self._send("POST", f"{self._urls['order']}/api/v1/orders", body, headers)
        say(UUID(order["orderId"]), "step 4  order -> client: the order, its stock outcome known")
        return order

    async def _pay(
        self, order: Any, scenario: Scenario, customer: dict[str, str], say: Callable[[UUID, str], None]
    ) -> None:
        order_id = UUID(order["orderId"])
        payment_key = await self._check_out(order, scenario.card)
        say(order_id, "step 5  client -> payment: confirm  [dim](6 payment -> gateway, 7 gateway -> payment follow)[/]")
        body = {"paymentKey": payment_key, "orderId": order["orderId"], "amount": order["totalAmount"]}
        payment = await self._send(
            "POST", f"{self._urls['payment']}/api/v1/payments/confirm", body, customer | {"Prefer": "wait=10"}
        )
        say(
            order_id,
            f"step 7  gateway -> payment: {payment['status']} {(payment.get('failure') or {}).get('code', '')}",
        )

    async def _check_out(self, order: Any, card: str) -> str:
        """Do what the checkout page does in a browser."""
        body = {
            "orderId": order["orderId"],
            "amount": order["totalAmount"],
            "orderName": order["orderName"],
            "card": card,
        }
        answer = await self._send("POST", f"{self._urls['sandbox']}/sandbox/payments", body, {})
        return str(answer["paymentKey"])

    async def _end_of(self, order_id: UUID, customer: dict[str, str]) -> Any:
        """Follow the order's events until it has ended."""
        url = f"{self._urls['order']}/api/v1/orders/{order_id}"
        async with asyncio.timeout(END_LIMIT_S), self._http.get(f"{url}/events", headers=customer) as stream:
            async for line in stream.content:
                if line.startswith(b"data:") and json.loads(line[5:])["status"] != "PENDING":
                    break
        return await self._send("GET", url, None, customer)

    async def _send(self, method: str, url: str, body: Any, headers: dict[str, str]) -> Any:
        async with self._http.request(method, url, json=body, headers=headers) as response:
            answer = await response.json(content_type=None)
            if response.status >= 400:
                raise RuntimeError(f"{method} {url}: {response.status} {answer}")
            return answer
