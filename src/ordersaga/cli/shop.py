"""Acts as a customer of the shop, over HTTP alone: places an order, pays at the sandbox's checkout, confirms, and waits for the end."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, Self
from uuid import UUID, uuid4

import aiohttp
from msgspec import Struct

CARD_DECLINED: Final = "REJECT_CARD_COMPANY"
PRICE: Final = 12_500
STOCK: Final = 10_000
END_LIMIT_S: Final = 30.0
CALL_LIMIT_S: Final = 60.0
AGAIN_S: Final = 0.5
PRICE_KNOWN_S: Final = 0.5
NO_ANSWER: Final = "no answer"
NO_END: Final = "no end"

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


class NotServed(RuntimeError):
    """A step that was refused, or had no answer. `why`: the status, `NO_ANSWER` or `NO_END`."""

    def __init__(self, step: str, why: str, said: object = "") -> None:
        super().__init__(f"{step}: {why} {said}".rstrip())
        self.step: Final = step
        self.why: Final = why


class Shop:
    """Use with `async with`, then `open` it, or `offer` a product. `announce` gets each narrated order, `say` each step that its customer sees.

    The services must trust the headers of a gateway (`TRUST_GATEWAY_HEADERS`). An order that has not ended `patience_s` after its payment is a `NotServed`.
    """

    def __init__(
        self,
        urls: Mapping[str, str],
        announce: Callable[[str], None] = lambda _: None,
        say: Callable[[UUID, str], None] = lambda *_: None,
        patience_s: float = END_LIMIT_S,
    ) -> None:
        self._urls: Final = urls
        self._announce: Final = announce
        self._say: Final = say
        self._patience_s: Final = patience_s
        self._http: aiohttp.ClientSession
        self._product = ""

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=CALL_LIMIT_S)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def find_sandbox(self) -> None:
        """Raise `NotServed` where the gateway is no sandbox, such as one that takes real money."""
        await self._send("sandbox", "GET", f"{self._urls['sandbox']}/sandbox/faults", None, {})

    async def open(self) -> None:
        """Put a new product on the shelf, and wait until Order knows its price."""
        body = {"name": "keyboard", "price": PRICE, "quantity": STOCK}
        self._product = (await self._as_master("POST", "", body))["productId"]
        await asyncio.sleep(PRICE_KNOWN_S)

    async def offer(self, product: Mapping[str, Any]) -> None:
        """Sell this product, which may be there from an earlier time: with a full shelf, and once Order knows its price."""
        self._product = product["productId"]
        try:
            await self._as_master("POST", "", dict(product))
        except NotServed as error:
            if error.why != "409":
                raise
            there = (await self._as_master("GET", f"/{self._product}", None))["available"]
            if there < product["quantity"]:
                await self._as_master("POST", f"/{self._product}/stock", {"quantity": product["quantity"] - there})
            await self._as_master("PATCH", f"/{self._product}", {"active": True})
        await asyncio.sleep(PRICE_KNOWN_S)

    async def withdraw(self) -> None:
        """Sell the product no more: it is not in the shop, and new orders for it are refused."""
        await self._as_master("PATCH", f"/{self._product}", {"active": False})

    async def _as_master(self, method: str, path: str, body: Any) -> Any:
        url = f"{self._urls['stock']}/api/v1/products{path}"
        return await self._send("stock", method, url, body, {"User-Id": str(uuid4()), "User-Roles": "MASTER"})

    async def buy(self, scenario: Scenario, narrate: bool = False, customer: UUID | None = None) -> Outcome:
        """Place one order, pay it, and follow it to its end. Raises `NotServed`."""
        headers = {"User-Id": str(customer or uuid4()), "User-Roles": "CUSTOMER"}
        say = self._say if narrate else lambda *_: None
        if narrate:
            self._announce(scenario.name)
        began = time.monotonic()
        order = await self._place(scenario, headers, say, narrate)
        order_id = UUID(order["orderId"])
        end = order["status"], order["reason"]
        if end[0] == "PENDING":
            await self._pay(order, scenario, headers, say)
            end = await self._end_of(order_id, headers)
        took_ms = (time.monotonic() - began) * 1000
        if narrate:
            url = f"{self._urls['order']}/api/v1/orders/{order_id}"
            order = await self._send("look", "GET", url, None, headers)
            say(order_id, f"        the customer sees: {end[0]} {end[1] or ''} {order['detail'] or ''}")
        return Outcome(scenario, order_id, end, took_ms)

    async def _place(
        self, scenario: Scenario, customer: dict[str, str], say: Callable[[UUID, str], None], narrate: bool
    ) -> Any:
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
        headers, url = customer | {"Idempotency-Key": str(uuid4())}, f"{self._urls['order']}/api/v1/orders"
        if narrate:
            order = await self._send("place", "POST", url, body, headers | {"Prefer": "respond-async"})
            say(UUID(order["orderId"]), "step 1  client -> order: placed, PENDING")
        order = await self._send("place", "POST", url, body, headers | {"Prefer": "wait=10"})
        say(UUID(order["orderId"]), "step 4  order -> client: the order, its stock outcome known")
        return order

    async def _pay(
        self, order: Any, scenario: Scenario, customer: dict[str, str], say: Callable[[UUID, str], None]
    ) -> None:
        order_id = UUID(order["orderId"])
        payment_key = await self._check_out(order, scenario.card)
        say(order_id, "step 5  client -> payment: confirm  [dim](6 payment -> gateway, 7 gateway -> payment follow)[/]")
        body = {"paymentKey": payment_key, "orderId": order["orderId"], "amount": order["totalAmount"]}
        payment = await self._confirm(body, customer | {"Prefer": "wait=10"})
        say(
            order_id,
            f"step 7  gateway -> payment: {payment['status']} {(payment.get('failure') or {}).get('code', '')}",
        )

    async def _confirm(self, body: Any, headers: dict[str, str]) -> Any:
        """Confirm, and confirm again where Payment does not answer, or does not know the order yet: as the shop's page offers it."""
        url, end = f"{self._urls['payment']}/api/v1/payments/confirm", time.monotonic() + self._patience_s
        while True:
            try:
                return await self._send("confirm", "POST", url, body, headers)
            except NotServed as error:
                if error.why not in ("404", "503", NO_ANSWER) or time.monotonic() > end:
                    raise
            await asyncio.sleep(AGAIN_S)

    async def _check_out(self, order: Any, card: str) -> str:
        """Do what the checkout page does in a browser."""
        body = {
            "orderId": order["orderId"],
            "amount": order["totalAmount"],
            "orderName": order["orderName"],
            "card": card,
        }
        answer = await self._send("check out", "POST", f"{self._urls['sandbox']}/sandbox/payments", body, {})
        return str(answer["paymentKey"])

    async def _end_of(self, order_id: UUID, customer: dict[str, str]) -> End:
        """Follow the order's events until it has ended; where the stream breaks, again."""
        try:
            async with asyncio.timeout(self._patience_s):
                while True:
                    async for event in self._events(order_id, customer):
                        if event["status"] != "PENDING":
                            return event["status"], event["reason"]
                    await asyncio.sleep(AGAIN_S)
        except TimeoutError as error:
            raise NotServed("follow", NO_END) from error

    async def _events(self, order_id: UUID, customer: dict[str, str]) -> AsyncIterator[Any]:
        url = f"{self._urls['order']}/api/v1/orders/{order_id}/events"
        try:
            async with self._http.get(url, headers=customer) as stream:
                if stream.status == 200:
                    async for line in stream.content:
                        if line.startswith(b"data:"):
                            yield json.loads(line[5:])
        except (aiohttp.ClientError, OSError):
            return

    async def _send(self, step: str, method: str, url: str, body: Any, headers: dict[str, str]) -> Any:
        try:
            async with self._http.request(method, url, json=body, headers=headers) as response:
                answer = await response.json(content_type=None)
        except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            raise NotServed(step, NO_ANSWER, f"{method} {url}: {type(error).__name__} {error}") from error
        if response.status >= 400:
            raise NotServed(step, str(response.status), f"{method} {url}: {answer}")
        return answer
