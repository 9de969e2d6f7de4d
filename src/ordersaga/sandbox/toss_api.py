"""Toss's protocol under `/v1/payments`: auth, idempotency, confirm, get, cancel, with the faults in force.

A bare ASGI app, because benchmarks make thousands of these calls a second. A POST goes through auth, replay, fault, validation, books and
answer. No await stands between reading the books and recording the change.
"""

import asyncio
import base64
import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from litestar.types import Receive, Scope, Send

from ordersaga.contracts.codec import NOT_JSON
from ordersaga.sandbox import faults
from ordersaga.sandbox.books import Answer, Books, TossFailure, TossPayment
from ordersaga.sandbox.errors import DECLINES, NOT_TAKEN_UP, STATUS_BY_CODE, Call, message, speaks_korean

IDEMPOTENCY_KEY_LENGTH_MAX: Final = 300
BODY_BYTES_MAX: Final = 65_536
_ORDER_ID: Final = re.compile(r"[A-Za-z0-9_-]{6,64}")
_HTML: Final = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_JSON_TYPE: Final = (b"content-type", b"application/json;charset=utf-8")


class _Confirm(msgspec.Struct, rename="camel"):
    payment_key: str
    order_id: str
    amount: int


class _RefundAccount(msgspec.Struct, rename="camel"):
    bank: str
    account_number: str
    holder_name: str


class _Cancel(msgspec.Struct, rename="camel"):
    cancel_reason: str
    cancel_amount: int | None = None
    refundable_amount: int | None = None
    refund_receive_account: _RefundAccount | None = None


_decode_confirm: Final = msgspec.json.Decoder(_Confirm)
_decode_cancel: Final = msgspec.json.Decoder(_Cancel)
_encode: Final = msgspec.json.Encoder().encode


class TossApi:
    """The protocol over one set of books. `plan` may be replaced at any time. `tell` gets each payment whose status changed."""

    def __init__(
        self, books: Books, plan: faults.FaultPlan, secret_key: str, tell: Callable[[TossPayment], None]
    ) -> None:
        self.plan = plan
        self._books = books
        self._tell = tell
        self._secret_key = secret_key
        self._authorization = b"Basic " + base64.b64encode(f"{secret_key}:".encode())
        self._scopes_in_flight: set[str] = set()
        self._cancels_in_flight: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request to `/v1/payments/...`."""
        method = scope["method"]  # type: ignore[typeddict-item]
        path = scope["raw_path"].decode("ascii", "replace").partition("?")[0]
        headers = dict(scope["headers"])
        exchange = _Exchange(headers, receive, send)
        if code := self._auth_error(headers.get(b"authorization", b"")):
            return await exchange.refuse(STATUS_BY_CODE["confirm"][code], code)
        match method, *(unquote(part) for part in path.strip("/").split("/")[2:]):
            case "POST", "confirm":
                await self._write("confirm", path, exchange)
            case "POST", payment_key, "cancel":
                await self._write("cancel", path, exchange, payment_key)
            case "GET", "orders", order_id:
                await self._get(exchange, by_order=order_id)
            case "GET", payment_key:
                await self._get(exchange, payment_key)
            case _:
                await exchange.refuse(404, "NOT_FOUND")

    def _auth_error(self, authorization: bytes) -> str | None:
        if authorization == self._authorization:
            return None
        if not authorization.startswith(b"Basic "):
            return "UNAUTHORIZED_KEY"
        try:
            user, colon, password = base64.b64decode(authorization[6:], validate=True).partition(b":")
        except ValueError:
            return "INCORRECT_BASIC_AUTH_FORMAT"
        if not colon or password:
            return "INCORRECT_BASIC_AUTH_FORMAT"
        return "INVALID_API_KEY" if user.startswith((b"test_ck_", b"live_ck_")) else "UNAUTHORIZED_KEY"

    def _test_code(self, call: Call, exchange: "_Exchange") -> str | None:
        """The error that the header `TossPayments-Test-Code` asks for. Works with a test key only."""
        code = exchange.header(b"tosspayments-test-code")
        return code if code in STATUS_BY_CODE[call] and self._secret_key.startswith("test_") else None

    async def _get(self, exchange: "_Exchange", payment_key: str = "", by_order: str = "") -> None:
        outcome, latency_s = self.plan.draw("get", by_order or self._order_of(payment_key))
        outcome = self._test_code("get", exchange) or outcome
        entry = self._books.entry_of_order(by_order) if by_order else self._books.entry(payment_key)
        code = outcome.removeprefix(faults.DONE_BUT)
        if code not in STATUS_BY_CODE["get"]:
            code = "" if entry is not None else "NOT_FOUND_PAYMENT"
        payment = None if code or entry is None else entry.payment
        if latency_s:
            # After the books are read: a slow answer shows the payment at the time of the request.
            await asyncio.sleep(latency_s)
        answer = Answer(STATUS_BY_CODE["get"][code] if code else 200, code or None, payment, 0.0)
        await exchange.answer(answer, outcome)

    async def _write(self, call: Call, path: str, exchange: "_Exchange", payment_key: str = "") -> None:
        """A POST with its idempotency key: the stored answer, a refusal while the first request is in flight, or the work itself."""
        key = exchange.header(b"idempotency-key") if b"idempotency-key" in exchange.headers else None
        if key is None:
            return await self._do(call, None, exchange, payment_key)
        if not 0 < len(key) <= IDEMPOTENCY_KEY_LENGTH_MAX:
            return await exchange.refuse(400, "INVALID_IDEMPOTENCY_KEY")
        scope = f"{self._secret_key} POST {path} {key}"
        if scope in self._scopes_in_flight:
            return await exchange.refuse(409, "IDEMPOTENT_REQUEST_PROCESSING")
        if (answer := self._books.answered(scope)) is not None:
            return await exchange.answer(answer, faults.APPROVE)
        self._scopes_in_flight.add(scope)
        try:
            await self._do(call, scope, exchange, payment_key)
        finally:
            self._scopes_in_flight.discard(scope)

    async def _do(self, call: Call, scope: str | None, exchange: "_Exchange", payment_key: str) -> None:
        body = await exchange.body()
        if (code := self._test_code(call, exchange)) is not None:
            return await exchange.answer(self._refuse(call, scope, code), faults.APPROVE)
        if call == "confirm":
            await self._confirm(scope, exchange, body)
        elif payment_key in self._cancels_in_flight:
            await exchange.answer(self._refuse(call, scope, "FORBIDDEN_CONSECUTIVE_REQUEST"), faults.APPROVE)
        else:
            self._cancels_in_flight.add(payment_key)
            try:
                await self._cancel(scope, exchange, body, payment_key)
            finally:
                self._cancels_in_flight.discard(payment_key)

    async def _confirm(self, scope: str | None, exchange: "_Exchange", body: bytes) -> None:
        try:
            asked = _decode_confirm.decode(body)
        except NOT_JSON:
            return await exchange.answer(self._refuse("confirm", scope, "INVALID_REQUEST"), faults.APPROVE)
        if len(asked.payment_key) > 200 or not _ORDER_ID.fullmatch(asked.order_id):
            return await exchange.answer(self._refuse("confirm", scope, "INVALID_REQUEST"), faults.APPROVE)
        outcome, latency_s = self._fate(asked)
        if latency_s:
            await asyncio.sleep(latency_s)
        decline = TossFailure(outcome, message(outcome, exchange.korean)) if outcome in DECLINES else None
        await self._finish(
            "confirm",
            scope,
            exchange,
            outcome,
            lambda: self._books.confirm(asked.payment_key, asked.order_id, asked.amount, decline),
        )

    def _fate(self, asked: _Confirm) -> tuple[str, float]:
        """The outcome of a confirm: a fault if one is drawn, else the card's. A declining card declines each time, other cards act once."""
        outcome, latency_s = self.plan.draw("confirm", asked.order_id)
        entry = self._books.entry(asked.payment_key)
        if entry is None:
            return outcome, latency_s
        entry.confirms += 1
        if outcome == faults.APPROVE and (entry.confirms == 1 or entry.card in DECLINES):
            outcome = entry.card
            latency_s += self.plan.faults.slow_ms / 1_000 if outcome == faults.SLOW else 0.0
        return outcome, latency_s

    async def _cancel(self, scope: str | None, exchange: "_Exchange", body: bytes, payment_key: str) -> None:
        try:
            asked = _decode_cancel.decode(body)
        except NOT_JSON:
            return await exchange.answer(self._refuse("cancel", scope, "INVALID_REQUEST"), faults.APPROVE)
        amount, reason = asked.cancel_amount, asked.cancel_reason
        if not 0 < len(reason.strip()) <= 200 or (amount is not None and amount <= 0):
            return await exchange.answer(self._refuse("cancel", scope, "INVALID_REQUEST"), faults.APPROVE)
        outcome, latency_s = self.plan.draw("cancel", self._order_of(payment_key))
        if latency_s:
            await asyncio.sleep(latency_s)
        await self._finish(
            "cancel",
            scope,
            exchange,
            outcome,
            lambda: self._books.cancel(payment_key, reason, amount, asked.refundable_amount),
        )

    async def _finish(
        self, call: Call, scope: str | None, exchange: "_Exchange", outcome: str, act: Callable[[], TossPayment | str]
    ) -> None:
        """Act, or fail before acting, as the outcome says; then record and answer. A proxy's answer is not Toss's and is not stored."""
        if outcome == faults.DROPPED:
            return await exchange.drop()
        if outcome == faults.BAD_GATEWAY:
            return await exchange.send(502, _HTML, b"text/html")
        declines = call == "confirm" and outcome in DECLINES  # NOT_AVAILABLE_BANK is an error of both calls.
        if outcome in STATUS_BY_CODE[call] and not declines:
            return await exchange.answer(self._refuse(call, scope, outcome), outcome)
        result = act()
        if isinstance(result, str):
            return await exchange.answer(self._refuse(call, scope, result), outcome)
        code = result.failure.code if result.failure is not None else None
        if outcome.startswith(faults.DONE_BUT):
            code = outcome.removeprefix(faults.DONE_BUT)
        answer = self._books.record(result, scope, STATUS_BY_CODE[call][code] if code else 200, code)
        self._tell(result)
        await exchange.answer(answer, outcome)

    def _refuse(self, call: Call, scope: str | None, code: str) -> Answer:
        return self._books.record(None, None if code in NOT_TAKEN_UP else scope, STATUS_BY_CODE[call][code], code)

    def _order_of(self, payment_key: str) -> str:
        entry = self._books.entry(payment_key)
        return payment_key if entry is None else entry.payment.order_id


class _Exchange:
    """One request and its answer as ASGI messages."""

    def __init__(self, headers: dict[bytes, bytes], receive: Receive, send: Send) -> None:
        self.headers = headers
        self._receive = receive
        self._send = send

    def header(self, name: bytes) -> str:
        """The header's value, "" if absent. `name` in lower case."""
        return self.headers.get(name, b"").decode("latin-1")

    @property
    def korean(self) -> bool:
        """Whether error texts are Korean."""
        return speaks_korean(self.header(b"accept-language"))

    async def body(self) -> bytes:
        """The request's body. A body that is too large is cut, and then cannot be decoded."""
        received: Any = await self._receive()
        body: bytes = received.get("body", b"")
        while received.get("more_body") and len(body) <= BODY_BYTES_MAX:
            received = await self._receive()
            body += received.get("body", b"")
        return body

    async def refuse(self, status: int, code: str) -> None:
        """Answer with Toss's error body."""
        headers = ((b"retry-after", b"1"),) if status == 429 else ()
        text = message(code, self.korean)
        await self.send(status, _encode({"code": code, "message": text}), extra=headers)

    async def answer(self, answer: Answer, outcome: str) -> None:
        """Send the answer, or what the outcome makes of it: a cut connection, half the answer, a proxy's page."""
        if outcome in (faults.DROPPED, faults.ANSWER_LOST):
            await self.drop()
        elif outcome in (faults.BAD_GATEWAY, faults.ANSWER_LOST_BAD_GATEWAY):
            await self.send(502, _HTML, b"text/html")
        elif answer.code is not None:
            await self.refuse(answer.status, answer.code)
        elif outcome == faults.ANSWER_TRUNCATED:
            await self.send(200, _encode(answer.payment), truncated=True)
        else:
            await self.send(200, _encode(answer.payment))

    async def send(
        self,
        status: int,
        body: bytes,
        content_type: bytes = b"",
        extra: tuple[tuple[bytes, bytes], ...] = (),
        truncated: bool = False,
    ) -> None:
        """Send an answer. A truncated one announces its whole length, sends half and cuts the connection."""
        kind = (b"content-type", content_type) if content_type else _JSON_TYPE
        headers = [kind, (b"content-length", str(len(body)).encode()), *extra]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        sent = body[: len(body) // 2] if truncated else body
        await self._send({"type": "http.response.body", "body": sent, "more_body": truncated})
        if truncated:
            await self.drop(abort=False)

    async def drop(self, abort: bool = True) -> None:
        """Cut the TCP connection without an answer, as a dying gateway does.

        ASGI has no message for that. `receive` is a bound method of uvicorn's cycle, which has the transport.
        """
        transport: asyncio.Transport = self._receive.__self__.transport  # type: ignore[attr-defined]
        if abort:
            transport.abort()
        else:
            transport.close()  # Unlike abort(), close() sends the written half first.
        while (await self._receive())["type"] != "http.disconnect":
            pass
