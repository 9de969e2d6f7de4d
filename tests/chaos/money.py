"""Money under fire: `make money`, `make money ARGS="--orders 2000 --kills 5"`.

Orders of every kind go through the whole system. 30 % of the calls to the gateway fail, in every way that the sandbox knows; webhooks come
late or twice; the payment service is killed several times. Afterwards, with the faults still on, the sandbox's books, the payment table
and the orders must agree to the won: no customer is charged twice, and each payment without a delivery is refunded.
"""

import argparse
import asyncio
import functools
import itertools
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import msgspec

from ordersaga.audit import verify
from ordersaga.devstack.errors import DevStackError
from ordersaga.devstack.system import System
from ordersaga.sandbox.errors import STATUS_BY_CODE
from ordersaga.sandbox.faults import DONE_BUT

PRICE: Final = 12_500
STOCK: Final = 100_000
CUSTOMERS_AT_ONCE: Final = 60
SETTLE_S_MAX: Final = 600.0
FAULTY_PERCENT: Final = 30.0
OUR_FAULT_PERCENT: Final = 0.1
STARTS_MAX: Final = 5
HELD: Final = ("DONE", "CANCELED", "PARTIAL_CANCELED")
SETTINGS: Final = {
    "ORDERSAGA_LOG_LEVEL": "error",
    "ORDERSAGA_COMPENSATION_DEADLINE_S": "1",
    "ORDERSAGA_GATEWAY_TIMEOUT_S": "1",
    "ORDERSAGA_RECOVERY_AFTER_MS": "2000",
    "ORDERSAGA_SANDBOX_WEBHOOK_FIRST_REPEAT_S": "1",
}
KINDS: Final = {"plain": 50, "undeliverable": 12, "cancelled": 12, "returned": 12, "paid twice": 8, "never paid": 6}
"""The kinds of customers, in percent. A fault declines some of the plain ones."""

OPERATOR: Final = {"User-Id": str(UUID(int=99)), "User-Roles": "MASTER"}
OUR_FAULTS: Final = ("UNAUTHORIZED_KEY", "INVALID_API_KEY", "INCORRECT_BASIC_AUTH_FORMAT", "INVALID_IDEMPOTENCY_KEY")
LOST: Final = ("dropped", "answer-lost", "answer-truncated", "bad-gateway", "answer-lost-bad-gateway", "slow")


def faults(seed: int) -> dict[str, Any]:
    """Every fault of every call, in equal shares of three kinds: no answer, an error, done but answered with an error.

    Errors of our own configuration are rare, since each stops all calls for some seconds.
    """
    percent: dict[str, dict[str, float]] = {}
    for call, statuses in STATUS_BY_CODE.items():
        errors = [code for code in statuses if code not in OUR_FAULTS]
        done_but = [DONE_BUT + code for code in errors if statuses[code] >= 500 or code == "PROVIDER_ERROR"]
        kinds = [LOST, errors, done_but if call != "get" else ()]
        left = FAULTY_PERCENT - OUR_FAULT_PERCENT
        shares = {name: left / sum(map(bool, kinds)) / len(names) for names in kinds for name in names}
        mine = [code for code in OUR_FAULTS if code in statuses]
        percent[call] = shares | {code: OUR_FAULT_PERCENT / len(mine) for code in mine}
    latency = {"latencyMs": 5, "jitterMs": 60, "slowMs": 1_500}
    return {"seed": seed, **latency, "percent": percent, "duplicateWebhookPercent": 30}


class Customers:
    """Customers who order, pay, cancel and return over HTTP. A request without a usable answer is repeated."""

    def __init__(self, system: System, http: aiohttp.ClientSession, seed: int) -> None:
        self._urls: Final = system.urls
        self._http: Final = http
        self._random: Final = random.Random(seed)
        self._product = ""
        self._changed: Final = asyncio.Condition()
        self.placed = 0

    async def open(self) -> None:
        """Add the product, and wait a second for Order to learn its price."""
        body = {"name": "keyboard", "price": PRICE, "quantity": STOCK}
        _, product = await self._insist("POST", f"{self._urls['stock']}/api/v1/products", OPERATOR, body)
        self._product = product["productId"]
        await asyncio.sleep(1)

    async def one(self) -> None:
        """Place one order and take all further steps of its customer."""
        (kind,) = self._random.choices(list(KINDS), list(KINDS.values()))
        who = {"User-Id": str(uuid4()), "User-Roles": "CUSTOMER"}
        order = await self._place(kind, who)
        async with self._changed:
            self.placed += 1
            self._changed.notify_all()
        if kind == "never paid":
            return
        url = f"{self._urls['order']}/api/v1/orders/{order['orderId']}"
        steps: list[Awaitable[Any]] = [self._pay(order, who) for _ in range(2 if kind == "paid twice" else 1)]
        if kind == "cancelled":
            steps.append(self._soon(f"{url}/cancel/delivery-before", who))
        await asyncio.gather(*steps)
        if kind == "returned":
            await self._insist("POST", f"{url}/cancel/return", who)

    async def have_placed(self, orders: int) -> None:
        """Return once so many orders are placed."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.placed >= orders)

    async def _place(self, kind: str, who: dict[str, str]) -> Any:
        quantity = self._random.randint(1, 3)
        body = {
            "orderName": "keyboard",
            "totalAmount": PRICE * quantity,
            "address": "1 Sejong-daero",
            "zipcode": "63000" if kind == "undeliverable" else "04524",
            "phone": "010-0000-0000",
            "name": "김하나",
            "items": [{"productId": self._product, "quantity": quantity}],
        }
        headers = who | {"Idempotency-Key": str(uuid4()), "Prefer": "wait=5"}
        status, order = await self._insist("POST", f"{self._urls['order']}/api/v1/orders", headers, body)
        assert status in (200, 201), order
        return order

    async def _pay(self, order: Any, who: dict[str, str]) -> None:
        """Authorise at the checkout, then confirm until Payment answers with a final status."""
        opening = {"orderId": order["orderId"], "amount": order["totalAmount"]}
        _, opened = await self._insist("POST", f"{self._urls['sandbox']}/sandbox/payments", {}, opening)
        body = {"paymentKey": opened["paymentKey"], **opening}
        url = f"{self._urls['payment']}/api/v1/payments/confirm"
        while True:
            status, answer = await self._insist("POST", url, who | {"Prefer": "wait=5"}, body)
            if status != 202:
                assert status in (200, 404, 409, 410), answer
                return

    async def _soon(self, url: str, who: dict[str, str]) -> None:
        await asyncio.sleep(self._random.uniform(0, 0.5))
        status, answer = await self._insist("POST", url, who)
        assert status in (200, 409), answer

    async def _insist(
        self, method: str, url: str, headers: dict[str, str], body: Any = None
    ) -> tuple[int, dict[str, Any]]:
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                async with self._http.request(method, url, json=body, headers=headers) as response:
                    if response.status < 500:
                        return response.status, await response.json(content_type=None)
            await asyncio.sleep(0.3)


class Won(msgspec.Struct):
    """The money of one order by the gateway's books, by the payment table, and by the order."""

    gateway: int = 0
    payment: int = 0
    order: int = 0
    status: str = "no such order"
    delivered: bool = False
    captures: int = 0


async def compare(system: System, http: aiohttp.ClientSession) -> dict[UUID, Won]:
    """All orders with their three sums, read from the books and the databases, not from the services."""
    settings = system.settings
    found: dict[UUID, Won] = {}
    async for entry in _books(system, http):
        won = found.setdefault(UUID(entry["orderId"]), Won())
        if entry["status"] in HELD:
            won.gateway += entry["balanceAmount"]
            won.captures += 1
    for row in await _rows(
        settings.database_url("payment"), "SELECT order_id, captured - refunded AS held FROM payment"
    ):
        found.setdefault(row["order_id"], Won()).payment += row["held"]
    for row in await _rows(settings.database_url("order"), ORDERS):
        won = found.setdefault(row["order_id"], Won())
        won.status = row["status"]
        won.order = row["total_amount"] if row["status"] == "COMPLETED" else 0
    started = "SELECT order_id FROM delivery WHERE status = 'STARTED'"
    for row in await _rows(settings.database_url("delivery"), started):
        found.setdefault(row["order_id"], Won()).delivered = True
    return found


ORDERS: Final = "SELECT order_id, status, total_amount FROM saga JOIN orders USING (order_id)"
UNSETTLED: Final = """SELECT count(*) FROM saga WHERE status = 'PENDING'
    OR jsonb_path_exists(facts::jsonb, '$.lines[*].stock ? (@ == "RELEASE_REQUESTED" || @ == "RELEASE_FAILED")')
    OR jsonb_path_exists(facts::jsonb, '$.payments[*].state ? (@ == "REFUND_REQUESTED" || @ == "REFUND_FAILED")')"""


async def _books(system: System, http: aiohttp.ClientSession) -> Any:
    query: dict[str, str] = {}
    while True:
        async with http.get(f"{system.urls['sandbox']}/sandbox/books", params=query) as response:
            page = await response.json()
        for entry in page["items"]:
            yield entry
        if page["next"] is None:
            return
        query = {"cursor": page["next"]}


async def _rows(url: str, query: str) -> list[Any]:
    db = await asyncpg.connect(url)
    try:
        return list(await db.fetch(query))
    finally:
        await db.close()


async def _settled(system: System) -> bool:
    """Wait until every order has ended, every refund is made and no intent is open; False after `SETTLE_S_MAX`."""
    end = time.monotonic() + SETTLE_S_MAX
    while time.monotonic() < end:
        (unsettled,) = await _rows(system.settings.database_url("order"), UNSETTLED)
        opened = "SELECT count(*) FROM intent WHERE status = 'OPEN'"
        (intents,) = await _rows(system.settings.database_url("payment"), opened)
        if unsettled[0] == intents[0] == 0:
            return True
        await asyncio.sleep(1)
    return False


def judge(found: dict[UUID, Won]) -> list[str]:
    """Every disagreement about money, as a sentence."""
    wrong = []
    for order_id, won in found.items():
        if not won.gateway == won.payment == won.order:
            wrong.append(
                f"{order_id}, {won.status}: {won.gateway} won at the gateway, {won.payment} here, {won.order} due"
            )
        if won.gateway and not won.delivered:
            wrong.append(f"{order_id}, {won.status}: paid, not delivered, not refunded")
    return wrong


class Report(msgspec.Struct):
    """The figures of a run, and every broken promise."""

    figures: dict[str, Any]
    wrong: list[str]


async def run(
    orders: int,
    kills: int,
    seed: int,
    pay_within_s: int,
    say: Callable[[str], None] = lambda _: None,
    data: Path | None = None,
) -> Report:
    """Run customers, faults and kills, wait until all has settled, compare and audit. `data`: the folder to keep the data in."""
    began = time.monotonic()
    with System(data, extra=SETTINGS | {"ORDERSAGA_PAYMENT_DEADLINE_S": str(pay_within_s)}) as system:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as http:
            customers = Customers(system, http, seed)
            await customers.open()
            await _set_faults(system, http, faults(seed))
            say(f"{orders} orders, {kills} kills, seed {seed}")
            killing = asyncio.create_task(_kill(system, customers, orders, kills, say))
            tickets = itertools.repeat(None, orders)
            await asyncio.gather(*(_serve(tickets, customers) for _ in range(CUSTOMERS_AT_ONCE)), killing)
            say("all customers are done; waiting until every order has settled")
            settled = await _settled(system)
            async with http.get(f"{system.urls['sandbox']}/sandbox/calls") as response:
                calls = await response.json()
            found = await compare(system, http)
        findings = await verify(system.settings)
    wrong = judge(found) + [f"{each.invariant}: {what}" for each in findings for what in [*each.broken, *each.unjudged]]
    if not settled:
        wrong.append(f"not all has settled within {SETTLE_S_MAX:.0f} s")
    return Report(_figures(found, calls, orders, kills, time.monotonic() - began), wrong)


async def _set_faults(system: System, http: aiohttp.ClientSession, plan: dict[str, Any]) -> None:
    async with http.put(f"{system.urls['sandbox']}/sandbox/faults", json=plan) as response:
        assert response.status == 200, await response.text()


async def _serve(tickets: Iterator[None], customers: Customers) -> None:
    for _ in tickets:
        await customers.one()


async def _kill(system: System, customers: Customers, orders: int, kills: int, say: Callable[[str], None]) -> None:
    """Kill and start the payment service, evenly spread over the placed orders."""
    for n in range(1, kills + 1):
        await customers.have_placed(n * orders // (kills + 1))
        say(f"kill {n}, after {customers.placed} orders")
        await asyncio.to_thread(system.kill, "payment")
        await asyncio.to_thread(_start, system)


def _start(system: System) -> None:
    """Start payment again; on a busy machine it may need more than the usual limit."""
    for patience in range(STARTS_MAX):
        try:
            return system.start("payment")
        except DevStackError:
            if patience == STARTS_MAX - 1:
                raise


def _figures(found: dict[UUID, Won], calls: Any, orders: int, kills: int, seconds: float) -> dict[str, Any]:
    made = {call: sum(outcomes.values()) for call, outcomes in calls.items()}
    fine = sum(outcomes.get("approve", 0) for outcomes in calls.values())
    return {
        "orders": orders,
        "kills of payment": kills,
        **dict(sorted(Counter(won.status for won in found.values()).items())),
        "calls of the gateway": made,
        "faulty calls": sum(made.values()) - fine,
        "of them faulty, percent": round(100 * (1 - fine / max(1, sum(made.values()))), 1),
        "ways they went wrong": sum(len(outcomes) - ("approve" in outcomes) for outcomes in calls.values()),
        "won at the gateway": sum(won.gateway for won in found.values()),
        "won in the payment table": sum(won.payment for won in found.values()),
        "won of completed orders": sum(won.order for won in found.values()),
        "captures": sum(won.captures for won in found.values()),
        "captures refunded": sum(won.captures - bool(won.gateway) for won in found.values() if won.captures),
        "orders charged twice": sum(won.gateway > won.order for won in found.values()),
        "seconds": round(seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="make money", description=__doc__)
    parser.add_argument("--orders", type=int, default=2_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--pay-within", type=int, default=240, help="seconds until an order that is not paid is cancelled"
    )
    parser.add_argument("--data", type=Path, help="keep everything here; default: thrown away")
    given = parser.parse_args()
    say = functools.partial(print, flush=True)
    report = asyncio.run(run(given.orders, given.kills, given.seed, given.pay_within, say, given.data))
    for name, value in report.figures.items():
        print(f"  {name:28} {value}")
    for what in report.wrong[:50]:
        print(f"wrong: {what}")
    print("the books agree to the won" if not report.wrong else f"{len(report.wrong)} things are wrong")
    sys.exit(bool(report.wrong))


if __name__ == "__main__":
    main()
