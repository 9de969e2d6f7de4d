"""Payment over HTTP: the guide's step 5 (confirm), a payment's state, and the gateway's webhook."""

import asyncio
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, NamedTuple
from urllib.parse import quote
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, QueryParameter
from litestar.types import ControllerRouterHandler
from msgspec import Meta, Struct

from ordersaga.contracts.limits import INT32_MAX, PAYMENT_KEY_CHARS_MAX
from ordersaga.contracts.status import PAYMENT_CODES
from ordersaga.http.caller import Caller, Callers
from ordersaga.http.documents import described
from ordersaga.http.encoded import EncodedJson
from ordersaga.http.pages import LIMIT_DEFAULT, Cursor, Cursors, Limit, Page
from ordersaga.http.problems import not_found, unless_refused
from ordersaga.http.requests import body_of, idempotency_key, raw_body, wait_s
from ordersaga.messaging.gather import Gather
from ordersaga.messaging.refusal import Refusal
from ordersaga.messaging.runtime import Runtime
from ordersaga.payment import approval, store, webhooks
from ordersaga.payment.commands import Begun
from ordersaga.payment.intents import Intents
from ordersaga.payment.model import Confirm, Payment
from ordersaga.payment.waiting import Waiting
from ordersaga.payment.webhooks import Claim

AMOUNT_MIN: Final = 1_000
PAYABLE_WAIT_S: Final = 1.0
PAYABLE_POLL_EVERY_S: Final = 0.05
RETRY_AFTER_S: Final = "1"

Json = Response[bytes]
AnyRequest = Request[Any, Any, Any]
PAYMENT_KEY: Final = re.compile(rf"[A-Za-z0-9_=-]{{1,{PAYMENT_KEY_CHARS_MAX}}}")
PaymentKey = Annotated[str, Meta(min_length=1, max_length=PAYMENT_KEY_CHARS_MAX, pattern=r"^[A-Za-z0-9_=-]+$(?!\n)")]
"""Toss's keys have letters, digits, `_` and `-`. No other character may reach the path of a call to the gateway."""


class ConfirmPayment(Struct, rename="camel", kw_only=True):
    """The body of `POST /api/v1/payments/confirm`: the parameters of the checkout's success URL. Won."""

    payment_key: PaymentKey
    order_id: UUID
    amount: Annotated[int, Meta(ge=AMOUNT_MIN, le=INT32_MAX)]


class FailureResource(Struct):
    """Why a payment failed: the gateway's code and text."""

    code: str | None
    message: str | None


class PaymentResource(Struct, rename="camel", kw_only=True):
    """A payment as its customer sees it. Won. `statusCode` is the Java services' code, PAY0000 to PAY0005."""

    payment_key: str
    order_id: UUID
    amount: int
    status: str
    status_code: str
    captured_amount: int
    refunded_amount: int
    failure: FailureResource | None
    requested_at: datetime
    approved_at: datetime | None


class Noted(Struct):
    """The answer to a webhook: whether it asks for a look-up."""

    noted: bool


class PaymentPage(Page[PaymentResource]):
    """One page of an order's payments, the oldest first."""


class PageKey(NamedTuple):
    """The key of a page of an order's payments."""

    requested_at: Annotated[datetime, Meta(tz=True)]
    payment_key: PaymentKey


_confirm_body: Final = msgspec.json.Decoder(ConfirmPayment)
_cursors: Final[Cursors[PageKey]] = Cursors("payments", PageKey)
TAGS: Final = ("payments",)
PAYMENT: Final = PaymentResource(
    payment_key="tviva20260101",
    order_id=UUID("0193a8f0-0000-7000-8000-000000000002"),
    amount=24_000,
    status="APPROVED",
    status_code=PAYMENT_CODES["APPROVED"],
    captured_amount=24_000,
    refunded_amount=0,
    failure=None,
    requested_at=datetime(2026, 1, 1, 9, 29, tzinfo=UTC),
    approved_at=datetime(2026, 1, 1, 9, 30, tzinfo=UTC),
)
"""The example of the OpenAPI document."""
_json: Final = msgspec.json.Encoder()


class Payments:
    """The commands and queries behind the routes. `beginning` and `request_look_up` are set once the runtime runs."""

    def __init__(self, runtime: Runtime, callers: Callers, intents: Intents, waiting: Waiting) -> None:
        self.runtime: Final = runtime
        self.callers: Final = callers
        self._intents: Final = intents
        self._waiting: Final = waiting
        self.beginning: Gather[Confirm, Begun | Refusal]
        self.request_look_up: Gather[Claim, bool]

    async def _begun(self, confirm: Confirm) -> Begun:
        """Begin the payment. Raises `Problem`.

        A client may be faster than the record that tells Payment of its order. So `ORDER_NOT_PUBLISHED`, which the rule returns as that one
        object for this reason alone, is no refusal before `PAYABLE_WAIT_S` are over. Another process may handle the record and wakes no
        request, so this one begins the payment again every `PAYABLE_POLL_EVERY_S`.
        """
        end = asyncio.get_running_loop().time() + PAYABLE_WAIT_S
        while True:
            answer = await self.beginning(confirm)
            if answer is not approval.ORDER_NOT_PUBLISHED or asyncio.get_running_loop().time() > end:
                return unless_refused(answer)
            await asyncio.sleep(PAYABLE_POLL_EVERY_S)

    async def confirm(self, confirm: Confirm, seconds: float) -> Payment:
        """The payment when its confirm is settled, or its state after `seconds`. Raises `Problem`."""
        outcome = self._waiting.join(confirm.payment_key)
        try:
            begun = await self._begun(confirm)
            if begun.intent is not None:
                self._intents.start(begun.intent, taken_up=False)
            if begun.payment.status != "PENDING" or not seconds:
                return begun.payment
            try:
                await asyncio.wait([outcome], timeout=seconds)
            except asyncio.CancelledError:
                # The server stops. The confirm is committed, so the client still gets an answer.
                if task := asyncio.current_task():
                    task.uncancel()
            return outcome.result() if outcome.done() else begun.payment
        finally:
            self._waiting.leave(confirm.payment_key, outcome)

    async def visible_payment(self, payment_key: str, caller: Caller) -> Payment:
        """A payment that the caller may see. Raises `Problem` 404."""
        async with self.runtime.reading() as db:
            payment = (await store.payments(db, [payment_key])).get(payment_key)
        if payment is None or not (caller.sees_all or caller.user_id == payment.customer_id):
            raise not_found("payment")
        return payment


def routes(payments: Payments) -> list[ControllerRouterHandler]:
    """Every route of the service."""

    @post(
        "/api/v1/payments/confirm",
        tags=TAGS,
        **described(
            "confirmPayment",
            {200: PaymentResource, 202: PaymentResource},
            refusals=(404, 409, 422),
            body=ConfirmPayment,
            headers=("Idempotency-Key", "Prefer"),
            examples={200: PAYMENT},
            body_example=ConfirmPayment(
                payment_key=PAYMENT.payment_key, order_id=PAYMENT.order_id, amount=PAYMENT.amount
            ),
        ),
        summary="Confirm a payment (steps 5-8); 200 with status APPROVED or FAILED, 202 while the gateway has not answered",
    )
    async def confirm(request: AnyRequest) -> Json:
        caller = await payments.callers.of(request)
        seconds, intent_id = wait_s(request), payments.runtime.new_id()
        body, raw = await body_of(request, _confirm_body)
        key = idempotency_key(request, caller.user_id, "POST /api/v1/payments/confirm", raw, intent_id)
        wanted = Confirm(
            intent_id, body.payment_key, body.order_id, body.amount, caller.user_id, caller.is_operator, key
        )
        return _answer(await payments.confirm(wanted, seconds))

    @post(
        "/api/v1/payments/webhook",
        tags=TAGS,
        **described("receiveWebhook", {200: Noted}, access="anybody", examples={200: Noted(True)}),
        status_code=200,
        summary="The gateway's webhook; every kind of event is answered 200",
    )
    async def webhook(request: AnyRequest) -> Json:
        claim = webhooks.read(await raw_body(request), payments.runtime.new_id())
        noted = claim is not None and await payments.request_look_up(claim)
        return Response(_json.encode(Noted(noted)), media_type="application/json")

    @get(
        "/api/v1/payments",
        tags=TAGS,
        summary="An order's payments, the oldest first",
        **described("listPayments", {200: PaymentPage}, examples={200: PaymentPage([PAYMENT], None)}),
    )
    async def of_order(
        request: AnyRequest,
        order_id: Annotated[UUID, QueryParameter(name="orderId")],
        cursor: Cursor = None,
        limit: Limit = LIMIT_DEFAULT,
    ) -> Json:
        caller = await payments.callers.of(request)
        after = _cursors.key(cursor)
        customer_id = None if caller.sees_all else caller.user_id
        async with payments.runtime.searching() as db:
            found = await store.payments_of_order(db, order_id, customer_id, after, limit + 1)
        shown, following = _cursors.cut(
            found, limit, lambda payment: PageKey(payment.requested_at, payment.payment_key)
        )
        page = PaymentPage([resource(each) for each in shown], following)
        return Response(_json.encode(page), media_type="application/json")

    @get(
        "/api/v1/payments/{payment_key:str}",
        tags=TAGS,
        summary="One payment",
        **described("showPayment", {200: PaymentResource}, refusals=(404,), examples={200: PAYMENT}),
    )
    async def show(request: AnyRequest, payment_key: FromPath[str]) -> Json:
        caller = await payments.callers.of(request)
        if not PAYMENT_KEY.fullmatch(payment_key):
            raise not_found("payment")
        payment = await payments.visible_payment(payment_key, caller)
        return Response(_json.encode(resource(payment)), media_type="application/json")

    return [confirm, webhook, of_order, show]


def resource(payment: Payment) -> PaymentResource:
    """A payment as its JSON body."""
    return PaymentResource(
        payment_key=payment.payment_key,
        order_id=payment.order_id,
        amount=payment.amount,
        status=payment.status,
        status_code=PAYMENT_CODES[payment.status],
        captured_amount=payment.captured,
        refunded_amount=payment.refunded,
        failure=FailureResource(payment.code, payment.message) if payment.status == "FAILED" else None,
        requested_at=payment.requested_at,
        approved_at=payment.approved_at,
    )


def _answer(payment: Payment) -> Json:
    """202 for a pending payment, 200 for every other: a decline is the payment's outcome, not an error of the request."""
    pending = payment.status == "PENDING"
    headers = {"Location": f"/api/v1/payments/{quote(payment.payment_key, safe='')}"}
    if pending:
        headers["Retry-After"] = RETRY_AFTER_S
    body = _json.encode(resource(payment))
    return EncodedJson(body, status_code=202 if pending else 200, headers=headers)
