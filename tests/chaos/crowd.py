"""Concurrent customers over HTTP. Each places one order, and repeats a request as a real client does.

A request without an answer, or with 503, is sent again with the same Idempotency-Key, to the next address of the service.
"""

import asyncio
import random
import time
from collections import Counter
from typing import Any, Final
from uuid import UUID, uuid4

import aiohttp
from msgspec import Struct

from ordersaga.cli.shop import CARD_DECLINED

PRICE: Final = 12_500
PRODUCTS: Final = 5
STOCK: Final = 100_000
TOO_MANY: Final = 150_000
REQUEST_LIMIT_S: Final = 10.0
PATIENCE_S: Final = 240.0
AGAIN_AFTER_S: Final = 0.1
AGAIN_AFTER_S_MAX: Final = 2.0
LOOK_EVERY_S: Final = (0.7, 1.3)
LOOK_EVERY_S_MAX: Final = 5.0
CANCELS_AFTER_S: Final = (0.0, 0.06)
"""After the request to pay. Order hears of a payment about as late."""
UNTOLD: Final = " without Retry-After"
OPERATOR: Final = {"User-Id": str(UUID(int=99)), "User-Roles": "MASTER"}

KINDS: Final = {
    "pays": 62,
    "pays twice at once": 6,
    "pays and cancels at once": 6,
    "card declined": 5,
    "out of stock": 4,
    "undeliverable": 4,
    "cancels": 5,
    "returns": 4,
    "never pays": 4,
}


class Customer(Struct, eq=False):
    """One customer, and the end of the order that the customer was told."""

    kind: str
    user_id: UUID
    order_id: UUID | None = None
    end: str | None = None
    trouble: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {"User-Id": str(self.user_id), "User-Roles": "CUSTOMER"}


class Impatient(Exception):
    """A customer got no usable answer within `PATIENCE_S`."""


class Crowd:
    """Use with `async with`. `addresses`: the URLs of each service."""

    def __init__(self, addresses: dict[str, list[str]], seed: int) -> None:
        self._addresses: Final = addresses
        self._random: Final = random.Random(f"crowd {seed}")
        self._http: aiohttp.ClientSession
        self._products: list[str] = []
        self._shopping: Final[set[asyncio.Task[None]]] = set()
        self.customers: Final[list[Customer]] = []
        self.answers: Final[Counter[str]] = Counter()

    async def __aenter__(self) -> "Crowd":
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=REQUEST_LIMIT_S), connector=aiohttp.TCPConnector(limit=0)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._shopping:
            task.cancel()
        await asyncio.gather(*self._shopping, return_exceptions=True)
        await self._http.close()

    @property
    def placed(self) -> int:
        return sum(customer.order_id is not None for customer in self.customers)

    @property
    def ended(self) -> int:
        return sum(customer.end is not None for customer in self.customers)

    async def open(self) -> None:
        """Add products, and wait a second for Order to learn their prices."""
        for n in range(PRODUCTS):
            body = {"name": f"keyboard {n}", "price": PRICE, "quantity": STOCK}
            _, product = await self._ask("stock", "POST", "/api/v1/products", body, OPERATOR)
            self._products.append(product["productId"])
        await asyncio.sleep(1)

    async def shop(self, orders_per_s: float, until: asyncio.Event) -> None:
        """Start customers at random times, this many per second on average, whether or not the system can serve them."""
        while not until.is_set():
            kind = self._random.choices(list(KINDS), list(KINDS.values()))[0]
            customer = Customer(kind, uuid4())
            self.customers.append(customer)
            task = asyncio.create_task(self._visit(customer, self._random.choice(self._products)))
            self._shopping.add(task)
            task.add_done_callback(self._shopping.discard)
            await asyncio.sleep(self._random.expovariate(orders_per_s))

    async def leave(self, limit_s: float) -> None:
        """Wait until each customer's order has ended."""
        if self._shopping:
            await asyncio.wait(self._shopping, timeout=limit_s)

    async def _visit(self, customer: Customer, product: str) -> None:
        try:
            order = await self._place(customer, product)
            customer.order_id = UUID(order["orderId"])
            pays, cancels = 0, False
            if order["status"] == "PENDING":
                pays = {"cancels": 0, "never pays": 0, "pays twice at once": 2}.get(customer.kind, 1)
                cancels = customer.kind in ("cancels", "pays and cancels at once")
            paying = asyncio.gather(*(self._pay(customer, order) for _ in range(pays)))
            if cancels:
                await asyncio.sleep(random.uniform(*CANCELS_AFTER_S))
                end = await self._act(customer, "cancel/delivery-before")
            await paying
            if not cancels:
                end = await self._end_of(customer)
            if customer.kind == "returns" and end == "COMPLETED":
                end = await self._act(customer, "cancel/return")
            customer.end = end
        except Impatient as error:
            customer.trouble = str(error)
        except Exception as error:
            customer.trouble = f"{type(error).__name__}: {error}"

    async def _place(self, customer: Customer, product: str) -> Any:
        quantity = TOO_MANY if customer.kind == "out of stock" else 2
        body = {
            "orderName": "keyboard",
            "totalAmount": PRICE * quantity,
            "address": "1 Sejong-daero, Jung-gu",
            "addressDetail": "12F",
            "zipcode": "63000" if customer.kind == "undeliverable" else "04524",
            "phone": "010-0000-0000",
            "name": "김하나",
            "deliveryMemo": None,
            "items": [{"productId": product, "quantity": quantity}],
        }
        headers = customer.headers | {"Idempotency-Key": str(uuid4()), "Prefer": "wait=5"}
        _, order = await self._ask("order", "POST", "/api/v1/orders", body, headers)
        return order

    async def _pay(self, customer: Customer, order: Any) -> None:
        """Authorise at the checkout page, then confirm until Payment accepts or refuses."""
        card = CARD_DECLINED if customer.kind == "card declined" else "approve"
        amount = order["totalAmount"]
        checkout = {"orderId": order["orderId"], "amount": amount, "orderName": order["orderName"], "card": card}
        _, session = await self._ask("sandbox", "POST", "/sandbox/payments", checkout, {})
        body = {"paymentKey": session["paymentKey"], "orderId": order["orderId"], "amount": amount}
        headers = customer.headers | {"Idempotency-Key": str(uuid4()), "Prefer": "wait=5"}
        # 404: Payment has not heard of the order yet. 409: cancelled, over, or paid already.
        await self._ask("payment", "POST", "/api/v1/payments/confirm", body, headers, again=(404,), fine=(409,))

    async def _act(self, customer: Customer, what: str) -> str:
        """Cancel or return; 409 means that it is too late for that."""
        path = f"/api/v1/orders/{customer.order_id}/{what}"
        status, answer = await self._ask("order", "POST", path, None, customer.headers, fine=(409,))
        return str(answer["status"]) if status == 200 else await self._end_of(customer)

    async def _end_of(self, customer: Customer) -> str:
        wait_s = random.uniform(*LOOK_EVERY_S)
        while True:
            _, order = await self._ask("order", "GET", f"/api/v1/orders/{customer.order_id}", None, customer.headers)
            if order["status"] != "PENDING":
                return str(order["status"])
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 1.5, LOOK_EVERY_S_MAX)

    async def _ask(
        self,
        service: str,
        method: str,
        path: str,
        body: Any,
        headers: dict[str, str],
        again: tuple[int, ...] = (),
        fine: tuple[int, ...] = (),
    ) -> tuple[int, Any]:
        """Send the same request until it is answered. Raises `Impatient`, or RuntimeError for an unexpected status."""
        end = time.monotonic() + PATIENCE_S
        number, again_s = random.randrange(10), AGAIN_AFTER_S
        said = ""
        while time.monotonic() < end:
            addresses = self._addresses[service]
            url = addresses[number % len(addresses)] + path
            number += 1
            try:
                async with self._http.request(method, url, json=body, headers=headers) as response:
                    answer = await response.json(content_type=None)
                    status = response.status
                    again_is_told = "Retry-After" in response.headers
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                said = type(error).__name__
                self.answers[f"{service}: {said}"] += 1
            else:
                if status < 400 or status in fine:
                    return status, answer
                said = f"{status} {answer}"
                untold = "" if status != 503 or again_is_told else UNTOLD
                self.answers[f"{service}: {status}{untold}"] += 1
                if status < 500 and status not in again:
                    raise RuntimeError(f"{method} {path}: {said}")
            await asyncio.sleep(random.uniform(0.5, 1.0) * again_s)
            again_s = min(2 * again_s, AGAIN_AFTER_S_MAX)
        raise Impatient(f"{method} {path}: {said}")
