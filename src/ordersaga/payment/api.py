"""Payment over HTTP: what its routes share, the guide's step 5 (confirm), and the gateway's webhook. The rest is in `reading_routes.py`."""

import asyncio
from typing import Any, Final
from urllib.parse import quote

import msgspec
from litestar import Request, Response, post
from litestar.types import ControllerRouterHandler

from ordersaga import tracing
from ordersaga.contracts.status import PAYMENT_CODES
from ordersaga.http.caller import Caller, Callers
from ordersaga.http.encoded import EncodedJson
from ordersaga.http.problems import not_found, unless_refused
from ordersaga.http.requests import body_of, idempotency_key, raw_body, wait_s
from ordersaga.messaging.gather import Gather
from ordersaga.messaging.refusal import Refusal
from ordersaga.messaging.runtime import Runtime
from ordersaga.payment import approval, store, webhooks
from ordersaga.payment.commands import Begun
from ordersaga.payment.intents import Intents
from ordersaga.payment.model import Confirm, Payment
from ordersaga.payment.resources import CONFIRM, WEBHOOK, ConfirmPayment, FailureResource, Noted, PaymentResource
from ordersaga.payment.waiting import Waiting
from ordersaga.payment.webhooks import Hint

PAYABLE_WAIT_S: Final = 1.0
PAYABLE_POLL_EVERY_S: Final = 0.05
RETRY_AFTER_S: Final = "1"
CONFIRM_CALL: Final = "confirm-payment"
"""The guide's step 5, as operators see it counted."""

Json = Response[bytes]
AnyRequest = Request[Any, Any, Any]

_confirm_body: Final = msgspec.json.Decoder(ConfirmPayment)
_json: Final = msgspec.json.Encoder()


class Payments:
    """The commands and queries behind the routes. `beginning` and `request_look_up` are set once the runtime runs."""

    def __init__(self, runtime: Runtime, callers: Callers, intents: Intents, waiting: Waiting) -> None:
        self.runtime: Final = runtime
        self.callers: Final = callers
        self._intents: Final = intents
        self._waiting: Final = waiting
        self.beginning: Gather[Confirm, Begun | Refusal]
        self.request_look_up: Gather[Hint, bool]

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
                self._intents.start(begun.intent, claimed=False)
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
    """The routes of a confirm and of the gateway's events."""

    @post("/api/v1/payments/confirm", **CONFIRM)
    async def confirm(request: AnyRequest) -> Json:
        caller = await payments.callers.of(request)
        seconds, intent_id = wait_s(request), payments.runtime.new_id()
        body, raw = await body_of(request, _confirm_body)
        key = idempotency_key(request, caller.user_id, "POST /api/v1/payments/confirm", raw, intent_id)
        wanted = Confirm(
            intent_id,
            body.payment_key,
            body.order_id,
            body.amount,
            caller.user_id,
            caller.is_operator,
            key,
            tracing.current.get(),
        )
        with payments.runtime.calls.call(CONFIRM_CALL):
            return _answer(await payments.confirm(wanted, seconds))

    @post("/api/v1/payments/webhook", **WEBHOOK)
    async def webhook(request: AnyRequest) -> Json:
        hint = webhooks.read(await raw_body(request), payments.runtime.new_id())
        noted = hint is not None and await payments.request_look_up(hint)
        return Response(_json.encode(Noted(noted)), media_type="application/json")

    return [confirm, webhook]


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
