"""The sandbox on a free port, and a client of it: what the tests of the sandbox share."""

import asyncio
import base64
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import aiohttp
import uvicorn
from litestar import Litestar

from ordersaga.sandbox.app import SandboxSettings, serving

KEY = "test_sk_sandbox"
DEFAULTS = SandboxSettings(secret_key=KEY)


class Client:
    """Toss's API in as few words as a test needs."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url, self.http = url, http

    async def call(
        self, method: str, path: str, body: object = None, key: str | None = None, **headers: str
    ) -> tuple[int, dict[str, Any]]:
        sent = {"Authorization": basic(f"{KEY}:"), "Accept-Language": "en-US"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["Idempotency-Key"] = key
        async with self.http.request(method, path, json=body, headers=sent) as response:
            return response.status, await response.json()

    async def checkout(self, order_id: str = "order-1", amount: int = 5_000, card: str = "approve") -> str:
        status, opened = await self.call(
            "POST", "/sandbox/payments", {"orderId": order_id, "amount": amount, "card": card}
        )
        assert status == 201
        return str(opened["paymentKey"])

    async def confirm(
        self, payment_key: str, order_id: str = "order-1", amount: int = 5_000, key: str | None = None, **headers: str
    ) -> tuple[int, dict[str, Any]]:
        body = {"paymentKey": payment_key, "orderId": order_id, "amount": amount}
        return await self.call("POST", "/v1/payments/confirm", body, key, **headers)

    async def cancel(self, payment_key: str, key: str | None = None, **body: object) -> tuple[int, dict[str, Any]]:
        return await self.call("POST", f"/v1/payments/{payment_key}/cancel", {"cancelReason": "test", **body}, key)

    async def paid(self, order_id: str = "order-1", amount: int = 5_000) -> str:
        payment_key = await self.checkout(order_id, amount)
        status, _ = await self.confirm(payment_key, order_id, amount)
        assert status == 200
        return payment_key

    async def books(self, **query: str) -> dict[str, Any]:
        return (await self.call("GET", f"/sandbox/books?{urlencode(query)}"))[1]

    async def is_asked(self, call: str) -> None:
        """Wait until a call of this kind has come since the faults were last set."""
        async with asyncio.timeout(5):
            while True:
                if call in (await self.call("GET", "/sandbox/calls"))[1]:
                    return
                await asyncio.sleep(0.01)

    async def faults(self, **faults: object) -> None:
        status, answer = await self.call("PUT", "/sandbox/faults", faults)
        assert status == 200, answer


def basic(credentials: str) -> str:
    return "Basic " + base64.b64encode(credentials.encode()).decode()


@asynccontextmanager
async def client(settings: SandboxSettings = DEFAULTS) -> AsyncIterator[Client]:
    async with serving(settings) as url, aiohttp.ClientSession(url) as http:
        yield Client(url, http)


@asynccontextmanager
async def listening(app: Litestar) -> AsyncIterator[str]:
    """Any ASGI app on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, log_level="warning"))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


async def until(condition: Any, seconds: float = 3.0) -> None:
    deadline_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.01)
