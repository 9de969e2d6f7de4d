"""Gateways to test the adapter against: the sandbox, and servers that misbehave."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp

from ordersaga.payment.toss import TossGateway, TossSettings

KEY = "test_sk_sandbox"


def settings(url: str, **changes: float) -> TossSettings:
    return replace(TossSettings(url, KEY, answer_timeout_s=5.0), **changes)  # type: ignore[arg-type]


class Shop:
    """What a test needs of the sandbox beside the adapter."""

    def __init__(self, url: str, http: aiohttp.ClientSession, gateway: TossGateway) -> None:
        self.url, self.http, self.gateway = url, http, gateway

    async def checkout(self, order_id: str = "order-1", card: str = "approve", amount: int = 5_000) -> str:
        body = {"orderId": order_id, "amount": amount, "card": card}
        async with self.http.post("/sandbox/payments", json=body) as response:
            assert response.status == 201
            return str((await response.json())["paymentKey"])

    async def faults(self, **faults: object) -> None:
        async with self.http.put("/sandbox/faults", json=faults) as response:
            assert response.status == 200, await response.text()

    async def is_asked(self, call: str) -> None:
        """Wait until a call of this kind has come since the faults were last set."""
        async with asyncio.timeout(5):
            while True:
                async with self.http.get("/sandbox/calls") as response:
                    if call in await response.json():
                        return
                await asyncio.sleep(0.01)

    async def held(self) -> int:
        async with self.http.get("/sandbox/books") as response:
            return int((await response.json())["totals"]["heldAmount"])


@asynccontextmanager
async def raw_server(answer: bytes | Callable[[bytes], Awaitable[bytes]]) -> AsyncIterator[str]:
    """A server that answers each request with these bytes and closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
            )
            request = head + await reader.readexactly(length)
            writer.write(answer if isinstance(answer, bytes) else await answer(request))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def http_answer(status: int, body: bytes | dict[str, object], *headers: str) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def payment_json(**changes: object) -> dict[str, object]:
    payment: dict[str, object] = {
        "paymentKey": "pk-1",
        "orderId": "order-1",
        "status": "DONE",
        "totalAmount": 5_000,
        "balanceAmount": 5_000,
        "currency": "KRW",
    }
    return {**payment, **changes}
