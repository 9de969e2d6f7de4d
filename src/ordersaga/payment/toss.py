"""Toss Payments' core API behind the `PaymentGateway` port: HTTP out, the port's answers in. Nothing of Kafka or PostgreSQL here.

Source of every rule: Toss's API and error reference (`/v1/payments`). Read `refusal` first: it is the error table.
"""

import asyncio
import base64
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

import aiohttp
import msgspec
import structlog
from yarl import URL

from ordersaga.payment.breaker import Breaker, Pass, Verdict
from ordersaga.payment.gateway import (
    CAPTURED_STATUSES,
    Approved,
    CancelAnswer,
    Cancelled,
    ConfirmAnswer,
    Declined,
    FindAnswer,
    Found,
    GatewayHealth,
    GatewayPayment,
    NotFound,
    OurFault,
    Retry,
    Standing,
    TakeOver,
    Unknown,
)

log = structlog.get_logger(__name__)

RETRY_AFTER_S: Final = 1.0
RETRY_AFTER_S_MAX: Final = 60.0
ANSWER_BYTES_MAX: Final = 1_048_576

TAKE_OVER: Final = frozenset({"ALREADY_PROCESSED_PAYMENT", "ALREADY_CANCELED_PAYMENT"})
ASK_FIRST: Final = frozenset({"PROVIDER_ERROR", "FORBIDDEN_CONSECUTIVE_REQUEST"})
OUR_FAULT: Final = frozenset(
    {"UNAUTHORIZED_KEY", "INVALID_API_KEY", "INCORRECT_BASIC_AUTH_FORMAT", "INVALID_IDEMPOTENCY_KEY"}
)
"""Faults of our configuration, whatever the payment. FORBIDDEN_REQUEST is not among them: a client gets it too, by confirming a
payment key with an order id that is not its own, and one such client must not open the breaker for all. It is final."""

Refusal = Declined | Unknown | Retry | TakeOver | OurFault


class _Error(msgspec.Struct):
    """Toss's error body. Without a code it is not Toss that speaks."""

    code: str
    message: str = ""


class _Reply(msgspec.Struct):
    """One HTTP answer, read to its end."""

    status: int
    body: bytes
    retry_after_s: float


_decode_error: Final = msgspec.json.Decoder(_Error)
# Not strict: 1000.0 is 1,000 won to a JSON writer that has one kind of number.
_decode_payment: Final = msgspec.json.Decoder(GatewayPayment, strict=False)


@dataclass(frozen=True)
class TossSettings:
    """How to reach the gateway, and the limits of doing so. Checked against each other when made.

    `answer_timeout_s` begins when a connection is free, so that a queue of our own making is never mistaken for a slow gateway.
    """

    base_url: str
    secret_key: str = field(repr=False)
    connections_max: int = 1_000
    connection_wait_s: float = 10.0
    connect_timeout_s: float = 5.0
    answer_timeout_s: float = 30.0
    sick_max: int = 10
    open_s: float = 5.0

    def __post_init__(self) -> None:
        if URL(self.base_url).scheme not in ("http", "https"):
            raise ValueError("base_url must begin with http:// or https://")
        if not self.secret_key or ":" in self.secret_key:
            raise ValueError("secret_key must be set, without the colon: the adapter adds it")
        if not 0 < self.connect_timeout_s <= self.answer_timeout_s:
            raise ValueError("connect_timeout_s must be above 0 and not above answer_timeout_s")
        if min(self.connections_max, self.sick_max) < 1 or min(self.connection_wait_s, self.open_s) <= 0:
            raise ValueError("connections_max and sick_max must be at least 1; connection_wait_s and open_s above 0")


class TossGateway:
    """`async with TossGateway(settings) as gateway:` one session, at most `connections_max` calls out, the rest wait their turn.

    No call raises for what the gateway or the network does; each becomes one of the port's answers.
    """

    def __init__(self, settings: TossSettings) -> None:
        self._settings = settings
        self._base_url = settings.base_url.rstrip("/")
        self._breaker = Breaker(settings.sick_max, settings.open_s)
        self._free_connections = asyncio.Semaphore(settings.connections_max)
        credentials = base64.b64encode(f"{settings.secret_key}:".encode()).decode()
        self._headers = {
            "Authorization": f"Basic {credentials}",
            "Accept": "application/json",
            "Accept-Language": "en-US",
            "Content-Type": "application/json",
            "User-Agent": "ordersaga",
        }
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        settings = self._settings
        self._session = aiohttp.ClientSession(
            # No limit of its own: aiohttp counts the wait for a connection as part of the call's time-out. The semaphore limits.
            # Idle connections are left before a server's usual 5 s: a POST on one that it has just closed would be a lost answer.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4.0),
            timeout=aiohttp.ClientTimeout(total=settings.answer_timeout_s, sock_connect=settings.connect_timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. A call after this is the programmer's error and raises RuntimeError."""
        if self._session is not None:
            await self._session.close()

    @property
    def health(self) -> GatewayHealth:
        """The breaker's state, for the alarm."""
        return self._breaker.health

    async def confirm(self, payment_key: str, order_id: str, amount: int, idempotency_key: str) -> ConfirmAnswer:
        """Capture the payment. `Approved` only for DONE with this payment key, order, amount and KRW."""
        body = {"paymentKey": payment_key, "orderId": order_id, "amount": amount}
        reply = await self._call("POST", "/v1/payments/confirm", body, idempotency_key)
        if not isinstance(reply, _Reply):
            return reply
        payment = read_payment(reply)
        if payment is None:
            return refusal(reply)
        if payment.payment_key != payment_key:
            return Unknown("MISMATCHED_ANSWER", f"the answer is about payment {payment.payment_key}")
        match payment.standing(order_id, amount):
            case Standing.CAPTURED:
                return Approved(payment)
            case Standing.DEAD:
                failure = payment.failure
                return Declined(failure.code if failure else payment.status, failure.message if failure else "")
            case standing:
                # Money may be held, for another amount say: only a GET tells what the caller has to refund.
                return Unknown("MISMATCHED_ANSWER", f"the payment is {standing}, status {payment.status}")

    async def cancel(
        self,
        payment_key: str,
        reason: str,
        amount: int | None,
        idempotency_key: str,
        refundable_amount: int | None = None,
    ) -> CancelAnswer:
        """Return `amount` won, or all that is left. `Cancelled` only if the answer shows that amount among the payment's refunds."""
        body: dict[str, object] = {"cancelReason": reason[:200]}
        if amount is not None:
            body["cancelAmount"] = amount
        if refundable_amount is not None:
            body["refundableAmount"] = refundable_amount
        reply = await self._call("POST", f"/v1/payments/{quote(payment_key, safe='')}/cancel", body, idempotency_key)
        if not isinstance(reply, _Reply):
            return reply
        payment = read_payment(reply)
        if payment is None:
            return refusal(reply)
        if payment.payment_key == payment_key and _shows_refund(payment, amount, reason[:200]):
            return Cancelled(payment)
        return Unknown("MISMATCHED_ANSWER", f"status {payment.status}, {payment.balance_amount} won left")

    async def find(self, payment_key: str) -> FindAnswer:
        """What Toss knows of this payment. Anything but a payment or Toss's own "not found" is a `Retry`."""
        reply = await self._call("GET", f"/v1/payments/{quote(payment_key, safe='')}", None, None)
        answer = _found(reply)
        if isinstance(answer, Found) and answer.payment.payment_key != payment_key:
            return Retry("MISMATCHED_ANSWER", RETRY_AFTER_S)
        return answer

    async def find_by_order(self, order_id: str) -> FindAnswer:
        """The same by order id."""
        reply = await self._call("GET", f"/v1/payments/orders/{quote(order_id, safe='')}", None, None)
        answer = _found(reply)
        if isinstance(answer, Found) and answer.payment.order_id != order_id:
            return Retry("MISMATCHED_ANSWER", RETRY_AFTER_S)
        return answer

    async def _call(
        self, method: str, path: str, body: dict[str, object] | None, idempotency_key: str | None
    ) -> _Reply | Retry:
        """One request, if the breaker and the connections allow it. `Retry` for all that brought no whole answer."""
        try:
            async with asyncio.timeout(self._settings.connection_wait_s):
                await self._free_connections.acquire()
        except TimeoutError:
            return Retry("NO_FREE_CONNECTION", RETRY_AFTER_S)
        try:
            # Asked for after the wait: a breaker that opened meanwhile stops the whole queue at once.
            given = self._breaker.admit()
            if given is None:
                return Retry("BREAKER_OPEN", max(0.1, self._breaker.health.opens_again_in_s))
            return await self._send(given, method, path, body, idempotency_key)
        finally:
            self._free_connections.release()

    async def _send(
        self, given: Pass, method: str, path: str, body: dict[str, object] | None, idempotency_key: str | None
    ) -> _Reply | Retry:
        """Send, read to the end, and tell the breaker. A cancelled call hands its pass back too: a lost probe would bar it for ever."""
        verdict, reason = Verdict.NOTHING, ""
        try:
            reply = await self._exchange(method, path, body, idempotency_key)
            verdict, reason = judge(reply)
            return reply
        except TimeoutError:
            verdict, reason = Verdict.SICK, "TIMEOUT"
            return Retry(reason, RETRY_AFTER_S)
        except (aiohttp.ClientError, OSError) as error:
            verdict, reason = Verdict.SICK, "CONNECTION_LOST"
            log.info("gateway_connection_lost", error=type(error).__name__)
            return Retry(reason, RETRY_AFTER_S)
        finally:
            if self._breaker.hand_back(given, verdict, reason):
                log.warning("gateway_breaker_opened", reason=reason, verdict=verdict.value)

    async def _exchange(
        self, method: str, path: str, body: dict[str, object] | None, idempotency_key: str | None
    ) -> _Reply:
        if self._session is None:
            raise RuntimeError("TossGateway is used before `async with`")
        headers = self._headers if idempotency_key is None else {**self._headers, "Idempotency-Key": idempotency_key}
        async with self._session.request(
            method,
            URL(self._base_url + path, encoded=True),
            data=None if body is None else msgspec.json.encode(body),
            headers=headers,
            allow_redirects=False,  # A redirect would carry the payment, and perhaps our key, to somewhere else.
        ) as response:
            content = bytearray()
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) > ANSWER_BYTES_MAX:
                    raise aiohttp.ClientPayloadError("the answer is larger than any of Toss's")
            return _Reply(response.status, bytes(content), _retry_after_s(response.headers.get("Retry-After")))


def refusal(reply: _Reply) -> Refusal:
    """The error table: what to do with an answer that is not a payment. Total over status and code.

    An answer without Toss's error code comes from something between us and Toss. Its status says nothing about the payment, except
    401, 408, 409 and 429, which say that the request was not taken up.
    """
    error = read_error(reply)
    code, message = (error.code, error.message) if error else (f"HTTP_{reply.status}", "not an answer of Toss")
    if reply.status >= 500 or reply.status < 400 or code in ASK_FIRST:
        return Unknown(code, message)
    if code in TAKE_OVER:
        return TakeOver(code)
    if code in OUR_FAULT or reply.status == 401:
        return OurFault(code, message)
    if reply.status in (408, 409, 429):
        return Retry(code, reply.retry_after_s)
    if error is None:
        return Unknown(code, message)
    return Declined(code, message)


def judge(reply: _Reply) -> tuple[Verdict, str]:
    """What the answer says about the gateway's health, for the breaker. Declines and limits are signs of life."""
    if 200 <= reply.status < 300 and read_payment(reply) is not None:
        return Verdict.ALIVE, ""
    match refusal(reply):
        case OurFault(code=code):
            return Verdict.OUR_FAULT, code
        case Unknown(code=code) if reply.status >= 500 or code not in ASK_FIRST:
            return Verdict.SICK, code
        case answer:
            return Verdict.ALIVE, answer.code


def read_payment(reply: _Reply) -> GatewayPayment | None:
    """The payment in a 2xx answer; None if there is none that can be read."""
    if not 200 <= reply.status < 300:
        return None
    try:
        return _decode_payment.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def read_error(reply: _Reply) -> _Error | None:
    """Toss's error, or None if the body is not one: HTML, half a JSON document, nothing."""
    try:
        error = _decode_error.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return error if error.code else None


def _found(reply: _Reply | Retry) -> FindAnswer:
    """A GET changes nothing, so whatever is not clear is asked again."""
    if isinstance(reply, Retry):
        return reply
    payment = read_payment(reply)
    if payment is not None:
        return Found(payment)
    error = read_error(reply)
    if reply.status == 404 and error is not None and error.code == "NOT_FOUND_PAYMENT":
        return NotFound(error.code)
    answer = refusal(reply)
    return answer if isinstance(answer, OurFault) else Retry(answer.code, reply.retry_after_s)


def _shows_refund(payment: GatewayPayment, amount: int | None, reason: str) -> bool:
    """The reason tells this refund from another of the same amount; one that is still under way is not done."""
    if payment.status not in CAPTURED_STATUSES:
        return False
    if amount is None:
        return payment.balance_amount == 0
    done = [refund for refund in payment.cancels or () if refund.is_done]
    return any(refund.cancel_amount == amount and refund.cancel_reason in (None, reason) for refund in done)


def _retry_after_s(header: str | None) -> float:
    """`Retry-After` in seconds or as a date (RFC 9110, 10.2.3), kept within bounds: a gateway's typo must not park us for a year."""
    if header is None:
        return RETRY_AFTER_S
    try:
        wait_s = float(header) if header.strip().isdigit() else _until_s(header)
    except (ValueError, TypeError):
        return RETRY_AFTER_S
    return min(max(wait_s, 0.0), RETRY_AFTER_S_MAX)


def _until_s(date: str) -> float:
    moment = parsedate_to_datetime(date)
    return moment.timestamp() - time.time()
