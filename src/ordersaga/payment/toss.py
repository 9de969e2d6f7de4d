"""Toss Payments' core API behind the `PaymentGateway` port: HTTP calls out, the port's answers back.

Source of every rule: Toss's API and error reference (`/v1/payments`). Start with `error_answer`, the error table.
"""

import asyncio
import base64
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Final, Self

import aiohttp
import msgspec
import structlog
from prometheus_client import Histogram
from yarl import URL

from ordersaga.contracts.codec import NOT_JSON
from ordersaga.payment.breaker import Breaker, HealthSign, Pass
from ordersaga.payment.gateway import (
    CAPTURED_STATUSES,
    AlreadyProcessed,
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
    Unknown,
)
from ordersaga.payment.gateway_span import GatewayCall
from ordersaga.service_context import metric

log = structlog.get_logger(__name__)

CONFIRM: Final = "/v1/payments/confirm"
CANCEL: Final = "/v1/payments/{paymentKey}/cancel"
FIND: Final = "/v1/payments/{paymentKey}"
FIND_BY_ORDER: Final = "/v1/payments/orders/{orderId}"
RETRY_AFTER_S: Final = 1.0
RETRY_AFTER_S_MAX: Final = 60.0
ANSWER_BYTES_MAX: Final = 1_048_576

ALREADY_PROCESSED: Final = frozenset({"ALREADY_PROCESSED_PAYMENT", "ALREADY_CANCELED_PAYMENT"})
ASK_FIRST: Final = frozenset({"PROVIDER_ERROR", "FORBIDDEN_CONSECUTIVE_REQUEST"})
OUR_FAULT: Final = frozenset(
    {"UNAUTHORIZED_KEY", "INVALID_API_KEY", "INCORRECT_BASIC_AUTH_FORMAT", "INVALID_IDEMPOTENCY_KEY"}
)
"""Codes that mean a fault of our configuration, whatever the payment. FORBIDDEN_REQUEST is final instead: a client causes it by confirming
a payment key under another order's id, and one such client must not open the breaker for all."""

CALL_SECONDS: Final = metric(
    Histogram,
    "ordersaga_payment_gateway_call_seconds",
    "Time of a call to the gateway, by what its answer says of the gateway: alive, sick, our fault, nothing (the call was cancelled)",
    "method",
    "answer",
    service="payment",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)

ErrorAnswer = Declined | Unknown | Retry | AlreadyProcessed | OurFault


class _Error(msgspec.Struct):
    """Toss's error body. An answer without a code is not Toss's."""

    code: str
    message: str = ""


class _Reply(msgspec.Struct):
    """One HTTP answer with its whole body."""

    status: int
    body: bytes
    retry_after_s: float


_decode_error: Final = msgspec.json.Decoder(_Error)
# Not strict: a JSON writer with one number type may write 1,000 won as 1000.0.
_decode_payment: Final = msgspec.json.Decoder(GatewayPayment, strict=False)


@dataclass(frozen=True)
class TossSettings:
    """The gateway's address and the limits of calls. Raises ValueError for limits that contradict each other.

    `answer_timeout_s` begins when a connection is free: the wait for one in our own queue does not make the gateway look slow.
    """

    base_url: str
    secret_key: str = field(repr=False)
    connections_max: int = 1_000
    connection_wait_s: float = 10.0
    connect_timeout_s: float = 5.0
    answer_timeout_s: float = 30.0
    sick_max: int = 10
    open_s: float = 5.0
    sends_traceparent: bool = False

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
    """Use `async with`: one HTTP session with at most `connections_max` calls in flight; further calls wait.

    No call raises for what the gateway or the network does: each outcome is one of the port's answers.
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
            # The semaphore limits the connections: aiohttp's own limit would count the wait for one as part of the call's time-out.
            # Idle connections are closed before 5 s, a server's usual keep-alive: a POST on one that the server just closed has no answer.
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
        """Close the connections. A later call raises RuntimeError."""
        if self._session is not None:
            await self._session.close()

    @property
    def health(self) -> GatewayHealth:
        """The breaker's state, for the alarm."""
        return self._breaker.health

    async def confirm(self, payment_key: str, order_id: str, amount: int, idempotency_key: str) -> ConfirmAnswer:
        """Capture the payment. `Approved` only for DONE with this payment key, order, amount and KRW."""
        body = {"paymentKey": payment_key, "orderId": order_id, "amount": amount}
        reply = await self._call("POST", CONFIRM, body, idempotency_key)
        if not isinstance(reply, _Reply):
            return reply
        payment = read_payment(reply)
        if payment is None:
            return error_answer(reply)
        if payment.payment_key != payment_key:
            return Unknown("MISMATCHED_ANSWER", f"the answer is about payment {payment.payment_key}")
        match payment.standing(order_id, amount):
            case Standing.CAPTURED:
                return Approved(payment)
            case Standing.DEAD:
                failure = payment.failure
                return Declined(failure.code if failure else payment.status, failure.message if failure else "")
            case standing:
                # Money may be held, of another amount for example. The caller learns by a GET what it has to refund.
                return Unknown("MISMATCHED_ANSWER", f"the payment is {standing}, status {payment.status}")

    async def cancel(
        self,
        payment_key: str,
        reason: str,
        amount: int | None,
        idempotency_key: str,
        refundable_amount: int | None = None,
    ) -> CancelAnswer:
        """Refund `amount` won, or all that is held. `Cancelled` only if the answer lists a refund of that amount."""
        body: dict[str, object] = {"cancelReason": reason[:200]}
        if amount is not None:
            body["cancelAmount"] = amount
        if refundable_amount is not None:
            body["refundableAmount"] = refundable_amount
        reply = await self._call("POST", CANCEL, body, idempotency_key, payment_key)
        if not isinstance(reply, _Reply):
            return reply
        payment = read_payment(reply)
        if payment is None:
            return error_answer(reply)
        if payment.payment_key == payment_key and _shows_refund(payment, amount, reason[:200]):
            return Cancelled(payment)
        return Unknown("MISMATCHED_ANSWER", f"status {payment.status}, {payment.balance_amount} won left")

    async def find(self, payment_key: str) -> FindAnswer:
        """Read the payment. Every answer but a payment, Toss's own "not found" and a fault of ours is a `Retry`."""
        reply = await self._call("GET", FIND, named=payment_key)
        answer = _found(reply)
        if isinstance(answer, Found) and answer.payment.payment_key != payment_key:
            return Retry("MISMATCHED_ANSWER", RETRY_AFTER_S)
        return answer

    async def find_by_order(self, order_id: str) -> FindAnswer:
        """Read an order's payment."""
        reply = await self._call("GET", FIND_BY_ORDER, named=order_id)
        answer = _found(reply)
        if isinstance(answer, Found) and answer.payment.order_id != order_id:
            return Retry("MISMATCHED_ANSWER", RETRY_AFTER_S)
        return answer

    async def _call(
        self,
        method: str,
        template: str,
        body: dict[str, object] | None = None,
        idempotency_key: str | None = None,
        named: str = "",
    ) -> _Reply | Retry:
        """Send one request when a connection is free and the breaker admits it. `named`: what stands in the template's place. `Retry`: not
        sent, or no whole answer came."""
        try:
            async with asyncio.timeout(self._settings.connection_wait_s):
                await self._free_connections.acquire()
        except TimeoutError:
            return Retry("NO_FREE_CONNECTION", RETRY_AFTER_S)
        try:
            # After the wait for a connection: a breaker that opened meanwhile stops the whole queue at once.
            given = self._breaker.admit()
            if given is None:
                return Retry("BREAKER_OPEN", max(0.1, self._breaker.health.opens_again_in_s))
            call = GatewayCall(method, self._base_url, template, named, self._settings.sends_traceparent)
            return await self._send(given, call, body, idempotency_key)
        finally:
            self._free_connections.release()

    async def _send(
        self, given: Pass, call: GatewayCall, body: dict[str, object] | None, idempotency_key: str | None
    ) -> _Reply | Retry:
        """Send, read the whole answer, and hand the breaker its pass back, also when the call is cancelled.

        An open breaker admits one probe and waits for that pass, so a pass that is never handed back would keep it open for ever.
        """
        sign, reason = HealthSign.NOTHING, ""
        began_s = time.perf_counter()
        try:
            reply = await self._exchange(call, body, idempotency_key)
            sign, reason = judge(reply)
            return reply
        except TimeoutError as error:
            call.error = error
            sign, reason = HealthSign.SICK, "TIMEOUT"
            return Retry(reason, RETRY_AFTER_S)
        except (aiohttp.ClientError, OSError) as error:
            call.error = error
            sign, reason = HealthSign.SICK, "CONNECTION_LOST"
            log.info("gateway_connection_lost", error=type(error).__name__)
            return Retry(reason, RETRY_AFTER_S)
        finally:
            call.export()
            CALL_SECONDS.labels(call.method, sign.value).observe(time.perf_counter() - began_s)
            if self._breaker.hand_back(given, sign, reason):
                log.warning("gateway_breaker_opened", reason=reason, sign=sign.value)

    async def _exchange(self, call: GatewayCall, body: dict[str, object] | None, idempotency_key: str | None) -> _Reply:
        if self._session is None:
            raise RuntimeError("TossGateway is used before `async with`")
        headers = {**self._headers, **call.headers}
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        async with self._session.request(
            call.method,
            URL(call.url, encoded=True),
            data=None if body is None else msgspec.json.encode(body),
            headers=headers,
            allow_redirects=False,  # A redirect would send the payment, and perhaps our secret key, to another host.
        ) as response:
            call.status = response.status
            content = bytearray()
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) > ANSWER_BYTES_MAX:
                    raise aiohttp.ClientPayloadError(f"the answer is larger than {ANSWER_BYTES_MAX} bytes")
            return _Reply(response.status, bytes(content), _retry_after_s(response.headers.get("Retry-After")))


def error_answer(reply: _Reply) -> ErrorAnswer:
    """The error table: what an answer without a payment means. Total over status and code.

    An answer without Toss's error code comes from a proxy between us and Toss. Its status says nothing about the payment, except 401,
    408, 409 and 429: those mean that the request was not processed.
    """
    error = read_error(reply)
    code, message = (error.code, error.message) if error else (f"HTTP_{reply.status}", "not an answer of Toss")
    if reply.status >= 500 or reply.status < 400 or code in ASK_FIRST:
        return Unknown(code, message)
    if code in ALREADY_PROCESSED:
        return AlreadyProcessed(code)
    if code in OUR_FAULT or reply.status == 401:
        return OurFault(code, message)
    if reply.status in (408, 409, 429):
        return Retry(code, reply.retry_after_s)
    if error is None:
        return Unknown(code, message)
    return Declined(code, message)


def judge(reply: _Reply) -> tuple[HealthSign, str]:
    """What an answer says about the gateway's health, and the reason. A decline or a rate limit comes from a healthy gateway."""
    if 200 <= reply.status < 300 and read_payment(reply) is not None:
        return HealthSign.ALIVE, ""
    match error_answer(reply):
        case OurFault(code=code):
            return HealthSign.OUR_FAULT, code
        case Unknown(code=code) if reply.status >= 500 or code not in ASK_FIRST:
            return HealthSign.SICK, code
        case answer:
            return HealthSign.ALIVE, answer.code


def read_payment(reply: _Reply) -> GatewayPayment | None:
    """The payment in a 2xx answer; None if the body is no readable payment."""
    if not 200 <= reply.status < 300:
        return None
    try:
        return _decode_payment.decode(reply.body)
    except NOT_JSON:
        return None


def read_error(reply: _Reply) -> _Error | None:
    """Toss's error; None if the body is something else, such as HTML or a cut JSON document."""
    try:
        error = _decode_error.decode(reply.body)
    except NOT_JSON:
        return None
    return error if error.code else None


def _found(reply: _Reply | Retry) -> FindAnswer:
    """A GET changes nothing, so every unclear answer becomes a `Retry`."""
    if isinstance(reply, Retry):
        return reply
    payment = read_payment(reply)
    if payment is not None:
        return Found(payment)
    error = read_error(reply)
    if reply.status == 404 and error is not None and error.code == "NOT_FOUND_PAYMENT":
        return NotFound(error.code)
    answer = error_answer(reply)
    return answer if isinstance(answer, OurFault) else Retry(answer.code, reply.retry_after_s)


def _shows_refund(payment: GatewayPayment, amount: int | None, reason: str) -> bool:
    """Whether the payment lists this refund as done. The reason tells it from another refund of the same amount."""
    if payment.status not in CAPTURED_STATUSES:
        return False
    if amount is None:
        return payment.balance_amount == 0
    done = [refund for refund in payment.cancels or () if refund.is_done]
    return any(refund.cancel_amount == amount and refund.cancel_reason in (None, reason) for refund in done)


def _retry_after_s(header: str | None) -> float:
    """`Retry-After` in seconds or as a date (RFC 9110, 10.2.3), at most `RETRY_AFTER_S_MAX`, whatever the gateway wrote."""
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
