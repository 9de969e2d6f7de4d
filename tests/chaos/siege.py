"""Overload and hostile clients: `make siege MINUTES=30`, also `make siege ARGS="--orders-at-once 400"`.

Far more orders are placed than the system can take. Hostile clients exceed each limit of the services: request heads that never end, heads,
bodies and header lists beyond the maximum, event streams that are not read, webhooks of unknown payments, invalid values. Ordinary
customers shop meanwhile. Memory must stay bounded, each ordinary customer must be served, every accepted order must end, and the audit
must hold.
"""

import argparse
import asyncio
import contextlib
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
import psutil
from msgspec import Struct, field
from rich.console import Console

from ordersaga.audit import verify
from ordersaga.devstack.system import System
from ordersaga.settings import SERVICES
from tests.chaos.crowd import Crowd
from tests.chaos.run import EXTRA
from tests.chaos.struck import pid_of

MIB: Final = 1024 * 1024
ORDERS_AT_ONCE: Final = 300
CUSTOMERS_PER_S: Final = 2.0
STREAMS: Final = 300
HALF_OPEN: Final = 300
BAD_PER_KIND: Final = 4
HEAD_BYTES: Final = 40_000
HEADERS: Final = 400
BODY_BYTES: Final = 300_000
PAUSE_S: Final = 0.05
STREAM_S: Final = 60.0
LOOK_S: Final = 1.0
WARM_S: Final = 10.0
GROWTH_MIB_MAX: Final = 350.0
END_LIMIT_S: Final = 240.0
console = Console(highlight=False, soft_wrap=True)

Attack = Callable[["Besieger"], Awaitable[None]]


class Report(Struct):
    """The result of a siege. `wrong` names every broken promise. Memory in MiB per service: when warm, at most, at the end."""

    wrong: list[str] = field(default_factory=list)
    warm: dict[str, float] = field(default_factory=dict)
    most: dict[str, float] = field(default_factory=dict)
    end: dict[str, float] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)
    customers: int = 0


class Besieger:
    """Hostile clients of one running system; each goes on until it is cancelled."""

    def __init__(self, system: System, http: aiohttp.ClientSession, product: str, price: int, report: Report) -> None:
        self._system: Final = system
        self._http: Final = http
        self._product: Final = product
        self._price: Final = price
        self._report: Final = report
        self._random: Final = random.Random(1)

    def _any_url(self) -> str:
        return self._system.urls[self._random.choice(SERVICES)]

    @contextlib.asynccontextmanager
    async def _connection(self, url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        host, port = urlsplit(url).hostname, urlsplit(url).port
        reader, writer = await asyncio.open_connection(host, port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def _exchange(self, kind: str, url: str, request: bytes) -> None:
        """Send raw bytes and count the status that is answered."""
        try:
            async with asyncio.timeout(30), self._connection(url) as (reader, writer):
                writer.write(request)
                line = await reader.readline()
                self._report.answers[f"{kind}: {line.split()[1].decode() if line else 'closed'}"] += 1
        except (OSError, TimeoutError) as error:
            self._report.answers[f"{kind}: {type(error).__name__}"] += 1
        await asyncio.sleep(PAUSE_S)

    async def long_heads(self) -> None:
        await self._exchange(
            "long head", self._any_url(), b"GET /health/live HTTP/1.1\r\nHost: x\r\nX: " + b"a" * HEAD_BYTES
        )

    async def many_headers(self) -> None:
        lines = b"".join(b"X-%d: 1\r\n" % n for n in range(HEADERS))
        await self._exchange("many headers", self._any_url(), b"GET /health/live HTTP/1.1\r\n" + lines + b"\r\n")

    async def large_bodies(self) -> None:
        head = b"POST /api/v1/orders HTTP/1.1\r\nHost: x\r\nUser-Id: %s\r\nContent-Type: application/json\r\n"
        body = b"Content-Length: %d\r\n\r\n" % BODY_BYTES + b" " * BODY_BYTES
        await self._exchange("large body", self._system.urls["order"], head % str(uuid4()).encode() + body)

    async def no_http(self) -> None:
        await self._exchange("no HTTP", self._any_url(), b"\x16\x03\x01 this is no request\r\n\r\n")

    async def bad_values(self) -> None:
        path = self._random.choice(["?limit=9999999999999999999", "?cursor=none", "/none", f"/{uuid4()}", "?limit=-1"])
        head = f"GET /api/v1/orders{path} HTTP/1.1\r\nHost: x\r\nUser-Id: {uuid4()}\r\nLast-Event-ID: 99999999999999999999\r\n\r\n"
        await self._exchange("bad values", self._system.urls["order"], head.encode())

    async def webhooks_of_nobody(self) -> None:
        data = f'{{"paymentKey": "k{uuid4().hex}", "orderId": "{uuid4()}", "status": "DONE"}}'
        body = f'{{"eventType": "PAYMENT_STATUS_CHANGED", "createdAt": "2026-11-29T00:00:00", "data": {data}}}'.encode()
        head = f"POST /api/v1/payments/webhook HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        await self._exchange("webhook", self._system.urls["payment"], head.encode() + b"\r\n\r\n" + body)

    async def half_open(self) -> None:
        """Hold connections whose head never ends, one byte now and then."""
        try:
            async with self._connection(self._any_url()) as (reader, writer):
                writer.write(b"GET /health/live HTTP/1.1\r\nX: ")
                while not reader.at_eof():
                    writer.write(b"a")
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(1.0):
                            await reader.read(1000)
        except OSError:
            await asyncio.sleep(PAUSE_S)
        self._report.answers["half-open: ended by the server"] += 1

    async def unread_streams(self) -> None:
        """Open the event stream of an own order and never read it."""
        who = str(uuid4())
        try:
            order_id = await self._place(who)
            if order_id is not None:
                async with asyncio.timeout(STREAM_S), self._connection(self._system.urls["order"]) as (_, writer):
                    head = f"GET /api/v1/orders/{order_id}/events HTTP/1.1\r\nHost: x\r\nUser-Id: {who}\r\n\r\n"
                    writer.write(head.encode())
                    await asyncio.sleep(STREAM_S)
        except (aiohttp.ClientError, OSError, TimeoutError):
            await asyncio.sleep(PAUSE_S)

    async def overload(self) -> None:
        """Place orders as fast as they are answered, and never pay."""
        try:
            if await self._place(str(uuid4())) is None:
                await asyncio.sleep(PAUSE_S)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._report.answers[f"overload: {type(error).__name__}"] += 1
            await asyncio.sleep(PAUSE_S)

    async def _place(self, who: str) -> str | None:
        """Place an order that is never paid; None: it was refused."""
        body = {
            "orderName": "too much",
            "totalAmount": self._price,
            "address": "1 Sejong-daero",
            "zipcode": "04524",
            "phone": "010-0000-0000",
            "name": "someone",
            "items": [{"productId": self._product, "quantity": 1}],
        }
        headers = {"User-Id": who, "Prefer": "respond-async"}
        async with self._http.post(f"{self._system.urls['order']}/api/v1/orders", json=body, headers=headers) as answer:
            said = await answer.json(content_type=None)
            self._report.answers[f"overload: {answer.status}"] += 1
            if answer.status in (429, 503) and "Retry-After" not in answer.headers:
                self._report.answers["overload: refused without Retry-After"] += 1
            return said["orderId"] if answer.status < 400 else None

    async def forever(self, attack: Callable[[], Awaitable[None]]) -> None:
        while True:
            await attack()


class Memory:
    """Resident memory of each service, all its processes together, sampled every second."""

    def __init__(self, system: System) -> None:
        self._system: Final = system
        self.most: Final[dict[str, float]] = {}

    def look(self) -> dict[str, float]:
        """The memory now. MiB."""
        now: dict[str, float] = {name: self._of(pid_of(self._system.processes[name])) for name in SERVICES}
        for name, mib in now.items():
            self.most[name] = max(mib, self.most.get(name, 0.0))
        return now

    @staticmethod
    def _of(pid: int) -> float:
        service = psutil.Process(pid)
        return sum(each.memory_info().rss for each in [service, *service.children(recursive=True)]) / MIB

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()


async def run(system: System, seconds: float, orders_at_once: int, say: Callable[[str], None]) -> Report:
    """Attack a running system for so many seconds, and judge it."""
    report = Report()
    memory = Memory(system)
    crowd = Crowd({name: [url] for name, url in system.urls.items()}, 1)
    async with (
        crowd,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30), connector=aiohttp.TCPConnector(limit=0)) as http,
    ):
        await crowd.open()
        product, price = await _product(system, http)
        closing = asyncio.Event()
        shopping = asyncio.create_task(crowd.shop(CUSTOMERS_PER_S, closing))
        await asyncio.sleep(WARM_S)
        report.warm = memory.look()
        besieger = Besieger(system, http, product, price, report)
        bad = [
            besieger.long_heads, besieger.many_headers, besieger.large_bodies, besieger.no_http, besieger.bad_values,
            besieger.webhooks_of_nobody,
        ]  # fmt: skip
        attacks = [attack for attack in bad for _ in range(BAD_PER_KIND)]
        attacks += [besieger.half_open] * HALF_OPEN + [besieger.unread_streams] * STREAMS
        tasks = [asyncio.create_task(besieger.forever(attack)) for attack in attacks]
        tasks += [asyncio.create_task(besieger.forever(besieger.overload)) for _ in range(orders_at_once)]
        tasks.append(asyncio.create_task(memory.watch()))
        began_s = time.monotonic()
        while (left_s := began_s + seconds - time.monotonic()) > 0:
            await asyncio.sleep(min(15.0, left_s))
            now = ", ".join(f"{name} {mib:.0f}" for name, mib in memory.look().items())
            say(
                f"{time.monotonic() - began_s:6.0f} s  {crowd.ended} of {len(crowd.customers)} customers served; MiB: {now}"
            )
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        report.wrong += [f"the siege itself failed: {each!r}" for each in ended if isinstance(each, Exception)]
        closing.set()
        await shopping
        await crowd.leave(END_LIMIT_S)
        await _settle(system, report, say)
        report.customers, report.most, report.end = len(crowd.customers), memory.most, memory.look()
        report.wrong += [
            f"customer {each.order_id} ({each.kind}): {each.trouble}" for each in crowd.customers if each.trouble
        ]
        report.wrong += [
            f"customer {each.order_id} ({each.kind}) has not ended" for each in crowd.customers if not each.end
        ]
    _judge_memory(report)
    if report.answers["overload: refused without Retry-After"]:
        report.wrong.append(f"{report.answers['overload: refused without Retry-After']} refusals had no Retry-After")
    report.wrong += [f"an answer of 500: {kind}" for kind in report.answers if kind.endswith(": 500")]
    return report


async def _product(system: System, http: aiohttp.ClientSession) -> tuple[str, int]:
    async with http.get(f"{system.urls['stock']}/api/v1/products", params={"limit": "1"}) as answer:
        page: Any = await answer.json()
    (first,) = next(iter(value for value in page.values() if isinstance(value, list)))
    return first["productId"], first["price"]


async def _settle(system: System, report: Report, say: Callable[[str], None]) -> None:
    """Wait until the unpaid orders have ended, then audit the system at rest."""
    end_s = time.monotonic() + END_LIMIT_S
    while True:
        findings = await verify(system.settings)
        left = sum(each.in_flight_count + each.broken_count for each in findings)
        if not left or time.monotonic() > end_s:
            break
        say(f"{left:,} things are not at rest yet")
        await asyncio.sleep(5.0)
    report.wrong += [f"{each.invariant}: {what}" for each in findings for what in each.broken[:20]]
    report.wrong += [f"not at its end: {each.invariant}: {what}" for each in findings for what in each.in_flight[:20]]


def _judge_memory(report: Report) -> None:
    for name, most in report.most.items():
        if most > report.warm[name] + GROWTH_MIB_MAX:
            report.wrong.append(f"{name} grew from {report.warm[name]:.0f} to {most:.0f} MiB")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make siege", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument(
        "--orders-at-once", type=int, default=ORDERS_AT_ONCE, help="orders that are being placed at any moment"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes of each service")
    given = parser.parse_args()
    with System(extra=EXTRA, workers=given.workers, say=lambda step: console.print(f"{step} ...")) as system:
        report = asyncio.run(run(system, given.minutes * 60, given.orders_at_once, console.print))
    for answer, count in sorted(report.answers.items()):
        console.print(f"{count:10,}  {answer}")
    for name in report.warm:
        console.print(
            f"{name:10} {report.warm[name]:.0f} MiB when warm, {report.most[name]:.0f} at most, {report.end[name]:.0f} at the end"
        )
    for what in report.wrong[:50]:
        console.print(f"[red]wrong[/]  {what}")
    if report.wrong:
        return 1
    console.print(f"[bold green]{report.customers:,} customers were served, memory stayed bounded, the audit holds[/]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
