"""Sends webhooks as Toss does, unsigned: PAYMENT_STATUS_CHANGED, repeated until a 200, sometimes twice; other kinds on demand."""

import asyncio
import uuid
from datetime import UTC, datetime
from typing import Any, Final, Literal

import aiohttp
import msgspec
import structlog

from ordersaga.sandbox.books import TossPayment

log = structlog.get_logger(__name__)

REPEATS_MAX: Final = 7
ANSWER_TIMEOUT_S: Final = 10.0
WAITING_MAX: Final = 10_000
SENDING_MAX: Final = 100


Kind = Literal[
    "PAYMENT_STATUS_CHANGED", "DEPOSIT_CALLBACK", "CANCEL_STATUS_CHANGED", "METHOD_UPDATED", "CUSTOMER_STATUS_CHANGED"
]


def event(kind: Kind, payment: TossPayment, changes: dict[str, Any] | None = None) -> bytes:
    """The body of an event about a payment, with `changes` in place of its fields.

    DEPOSIT_CALLBACK has an older shape: no `eventType`, and its fields at the top level.
    """
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    data = _data(kind, payment) | (changes or {})
    if kind == "DEPOSIT_CALLBACK":
        return msgspec.json.encode({"createdAt": now} | data)
    return msgspec.json.encode({"eventType": kind, "createdAt": now, "data": data})


def _data(kind: Kind, payment: TossPayment) -> dict[str, Any]:
    whole: dict[str, Any] = msgspec.to_builtins(payment)
    match kind:
        case "PAYMENT_STATUS_CHANGED":
            return whole
        case "DEPOSIT_CALLBACK":
            secret = f"ps_{payment.payment_key}"
            told = {name: whole[name] for name in ("status", "orderId")}
            return told | {"secret": secret, "transactionKey": payment.last_transaction_key}
        case "CANCEL_STATUS_CHANGED":
            return whole["cancels"][-1] if payment.cancels else {"cancelStatus": "ABORTED", "cancelAmount": 0}
        case "METHOD_UPDATED":
            return {"customerKey": "customer", "methodKey": "method", "status": "ENABLED"}
        case "CUSTOMER_STATUS_CHANGED":
            return {"customerKey": "customer", "status": "CREATED"}


class Webhooks:
    """Sends each change of a payment to one URL. Without a URL nothing is sent.

    Promise: at least once while the sandbox lives, with up to 7 repeats after 1, 4, 16 ... times `first_repeat_s`. Beyond `WAITING_MAX`
    waiting events new ones are dropped with a warning. A kill loses the waiting events; Toss's may be lost too.
    """

    def __init__(self, url: str | None, first_repeat_s: float = 60.0) -> None:
        self._url = url
        self._first_repeat_s = first_repeat_s
        self._waiting: set[asyncio.Task[None]] = set()
        self._sending = asyncio.Semaphore(SENDING_MAX)
        self.session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the HTTP session. Needs a running loop."""
        if self._url is not None:
            self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S))

    async def stop(self) -> None:
        """Drop the waiting events and close the session."""
        waiting = list(self._waiting)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        if self.session is not None:
            await self.session.close()

    def tell(self, payment: TossPayment, twice: bool = False) -> None:
        """Send the payment's state in the background; with `twice` two times under one transmission id."""
        if self.session is None:
            return
        if len(self._waiting) >= WAITING_MAX:
            log.warning("webhook_dropped", order_id=payment.order_id)
            return
        body = event("PAYMENT_STATUS_CHANGED", payment)
        transmission_id = str(uuid.uuid4())
        for _ in range(2 if twice else 1):
            task = asyncio.create_task(self._deliver(self.session, body, transmission_id))
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)

    async def _deliver(self, session: aiohttp.ClientSession, body: bytes, transmission_id: str) -> None:
        for repeat in range(REPEATS_MAX + 1):
            if repeat:
                await asyncio.sleep(self._first_repeat_s * 4 ** (repeat - 1))
            async with self._sending:
                if await self.send(session, body, transmission_id, repeat) == 200:
                    return
        log.warning("webhook_given_up", transmission_id=transmission_id)

    async def send(
        self, session: aiohttp.ClientSession, body: bytes, transmission_id: str = "", repeat: int = 0
    ) -> int | None:
        """Send an event once. Returns the status of the answer; None: no answer came."""
        headers = {
            "Content-Type": "application/json",
            "tosspayments-webhook-transmission-id": transmission_id or str(uuid.uuid4()),
            "tosspayments-webhook-transmission-time": datetime.now(UTC).isoformat(timespec="seconds"),
            "tosspayments-webhook-transmission-retried-count": str(repeat),
        }
        try:
            async with session.post(self._url or "", data=body, headers=headers) as response:
                return response.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None
