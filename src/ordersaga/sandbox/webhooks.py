"""Webhooks as Toss sends them: PAYMENT_STATUS_CHANGED, unsigned, repeated until a 200, sometimes twice."""

import asyncio
import uuid
from datetime import UTC, datetime
from typing import Final

import aiohttp
import msgspec
import structlog

from ordersaga.sandbox.books import Payment

log = structlog.get_logger(__name__)

REPEATS_MAX: Final = 7
ANSWER_TIMEOUT_S: Final = 10.0
WAITING_MAX: Final = 10_000
SENDING_MAX: Final = 100


class _Event(msgspec.Struct, rename="camel"):
    event_type: str
    created_at: str
    data: Payment


class Webhooks:
    """Sends each change of a payment to one URL; no URL, no webhooks.

    Promise: at least once while the sandbox lives, up to 7 repeats after 1, 4, 16 ... times `first_repeat_s`. Above
    `WAITING_MAX` waiting events new ones are dropped with a warning; a kill loses what waits, as the receiver must expect anyway.
    """

    def __init__(self, url: str | None, first_repeat_s: float = 60.0) -> None:
        self._url = url
        self._first_repeat_s = first_repeat_s
        self._waiting: set[asyncio.Task[None]] = set()
        self._sending = asyncio.Semaphore(SENDING_MAX)
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the session. Needs a running loop."""
        if self._url is not None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S))

    async def stop(self) -> None:
        """Drop what waits and close."""
        waiting = list(self._waiting)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def tell(self, payment: Payment, twice: bool = False) -> None:
        """Send the payment as it is now; twice with the same transmission id if asked."""
        if self._session is None:
            return
        if len(self._waiting) >= WAITING_MAX:
            log.warning("webhook_dropped", order_id=payment.order_id)
            return
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        body = msgspec.json.encode(_Event("PAYMENT_STATUS_CHANGED", now, payment))
        transmission_id = str(uuid.uuid4())
        for _ in range(2 if twice else 1):
            task = asyncio.create_task(self._deliver(self._session, body, transmission_id))
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)

    async def _deliver(self, session: aiohttp.ClientSession, body: bytes, transmission_id: str) -> None:
        for repeat in range(REPEATS_MAX + 1):
            if repeat:
                await asyncio.sleep(self._first_repeat_s * 4 ** (repeat - 1))
            async with self._sending:
                if await self._arrives(session, body, transmission_id, repeat):
                    return
        log.warning("webhook_given_up", transmission_id=transmission_id)

    async def _arrives(self, session: aiohttp.ClientSession, body: bytes, transmission_id: str, repeat: int) -> bool:
        headers = {
            "Content-Type": "application/json",
            "tosspayments-webhook-transmission-id": transmission_id,
            "tosspayments-webhook-transmission-time": datetime.now(UTC).isoformat(timespec="seconds"),
            "tosspayments-webhook-transmission-retried-count": str(repeat),
        }
        try:
            async with session.post(self._url or "", data=body, headers=headers) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False
