"""Open order streams on one web process: how long after an order's change each browser is told, and what idle streams cost.

`python -m benchmarks.streams --streams 1000`. Each stream shows an order of its own, placed here. Then every order is cancelled, one after the
other at a steady rate; a stream's delay is from sending the cancellation to the event that tells of it. Starts a system of its own.
"""

import argparse
import asyncio
import time
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import psutil

from benchmarks.measure import machine
from ordersaga.devstack.system import System
from ordersaga.web.accounts import User
from ordersaga.web.desk import SESSION
from ordersaga.web.shop.seeds import OPERATOR
from ordersaga.web.signing import Signer
from ordersaga.web.visit import Session

STREAMS = 1_000
RATE = 40
STREAMS_OF_ONE = 20
IDLE_S = 10.0
AT_ONCE = 40
PRICE = 12_500


class Streams:
    """The customers, their orders, and the streams that show them."""

    def __init__(self, system: System, http: aiohttp.ClientSession, count: int) -> None:
        self._urls = system.urls
        self._http = http
        secret = system.settings.web_session_secret
        assert secret is not None
        self._signer = Signer(secret.get_secret_value().encode())
        customers = [uuid4() for _ in range(-(-count // STREAMS_OF_ONE))]
        self._customers = [customers[n // STREAMS_OF_ONE] for n in range(count)]
        self._orders: list[str] = []
        self._product = ""
        self._cancelled_at: dict[str, float] = {}
        self.delays_ms: list[float] = []

    async def place(self) -> None:
        """One order for each stream."""
        async with self._http.post(
            f"{self._urls['stock']}/api/v1/products",
            json={"name": "keyboard", "price": PRICE, "quantity": 1_000_000},
            headers=OPERATOR,
        ) as answer:
            self._product = (await answer.json())["productId"]
        await asyncio.sleep(2)
        limit = asyncio.Semaphore(AT_ONCE)

        async def one(customer: UUID) -> str:
            async with limit:
                return await self._order(customer, self._product)

        self._orders = await asyncio.gather(*map(one, self._customers))

    async def _order(self, customer: UUID, product: str) -> str:
        body = {
            "orderName": "keyboard",
            "totalAmount": PRICE,
            "address": "1",
            "zipcode": "04524",
            "phone": "010",
            "name": "Hana",
            "items": [{"productId": product, "quantity": 1}],
        }
        headers = {"User-Id": str(customer), "Idempotency-Key": str(uuid4())}
        async with self._http.post(f"{self._urls['order']}/api/v1/orders", json=body, headers=headers) as answer:
            answer.raise_for_status()
            return str((await answer.json())["orderId"])

    async def open(self) -> list[asyncio.Task[None]]:
        """Open all streams; returns when each has its first event."""
        limit, opened = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(0)

        async def follow(order: str, customer: UUID) -> None:
            cookie = self._signer.sign(SESSION, Session(user=User(customer)))
            url = f"{self._urls['web']}/orders/{order}/stream"
            await limit.acquire()
            async with self._http.get(
                url, cookies={SESSION: cookie}, timeout=aiohttp.ClientTimeout(total=None)
            ) as answer:
                answer.raise_for_status()
                seen = 0
                async for line in answer.content:
                    if line.startswith(b"event: progress"):
                        seen += 1
                        if seen == 1:
                            limit.release()
                            opened.release()
                    if line.startswith(b"event: end"):
                        self.delays_ms.append((time.perf_counter() - self._cancelled_at[order]) * 1000)
                        return

        tasks = [asyncio.create_task(follow(*each)) for each in zip(self._orders, self._customers, strict=True)]
        for _ in tasks:
            await opened.acquire()
        return tasks

    async def cancel(self) -> None:
        """Cancel every order, `RATE` a second."""
        began = time.perf_counter()
        acts: list[asyncio.Task[Any]] = []
        for n, (order, customer) in enumerate(zip(self._orders, self._customers, strict=True)):
            await asyncio.sleep(max(0.0, began + n / RATE - time.perf_counter()))
            acts.append(asyncio.create_task(self._cancel(order, customer)))
        await asyncio.gather(*acts)

    async def _cancel(self, order: str, customer: UUID) -> None:
        url = f"{self._urls['order']}/api/v1/orders/{order}/cancel/delivery-before"
        self._cancelled_at[order] = time.perf_counter()
        async with self._http.post(url, headers={"User-Id": str(customer)}) as answer:
            answer.raise_for_status()


async def run(system: System, count: int) -> None:
    web = psutil.Process(system.processes["web"].pid)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        streams = Streams(system, http, count)
        await streams.place()
        before = web.memory_info().rss
        began = time.perf_counter()
        tasks = await streams.open()
        print(
            f"{count:,} streams opened in {time.perf_counter() - began:.1f} s, {(web.memory_info().rss - before) / count / 1024:.0f} KiB each"
        )
        busy = web.cpu_times()
        await asyncio.sleep(IDLE_S)
        now = web.cpu_times()
        used = now.user + now.system - busy.user - busy.system
        print(f"idle: {used / IDLE_S:.1%} of a core")
        page: list[float] = []
        cancelling = asyncio.create_task(streams.cancel())
        while not cancelling.done():
            asked = time.perf_counter()
            async with http.get(system.urls["web"]) as answer:
                await answer.read()
            page.append((time.perf_counter() - asked) * 1000)
            await asyncio.sleep(0.2)
        await cancelling
        await asyncio.wait_for(asyncio.gather(*tasks), 60)
        print(f"{RATE} changes a second, told after {_spread(streams.delays_ms)}")
        print(f"meanwhile the first page took {_spread(page)}")


def _spread(values: list[float]) -> str:
    values = sorted(values)
    return f"{values[len(values) // 2]:.0f} ms (median), {values[int(len(values) * 0.99)]:.0f} ms (99 %), {values[-1]:.0f} ms (longest)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=STREAMS)
    given = parser.parse_args()
    print(f"machine: {machine()}")
    with System(web=True, extra={"ORDERSAGA_LOG_LEVEL": "error"}) as system:
        asyncio.run(run(system, given.streams))


if __name__ == "__main__":
    main()
