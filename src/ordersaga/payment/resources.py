"""The JSON of Payment's API: bodies and payments, and what the OpenAPI document says of each route."""

import re
from datetime import UTC, datetime
from typing import Annotated, Final, NamedTuple
from uuid import UUID

from msgspec import Meta, Struct

from ordersaga.contracts.limits import INT32_MAX, PAYMENT_KEY_CHARS_MAX
from ordersaga.contracts.status import PAYMENT_CODES
from ordersaga.http.documents import described
from ordersaga.http.pages import Cursors, Page

AMOUNT_MIN: Final = 1_000
PAYMENT_KEY: Final = re.compile(rf"[A-Za-z0-9_=-]{{1,{PAYMENT_KEY_CHARS_MAX}}}")
PaymentKey = Annotated[str, Meta(min_length=1, max_length=PAYMENT_KEY_CHARS_MAX, pattern=r"^[A-Za-z0-9_=-]+$(?!\n)")]
"""Toss's keys have letters, digits, `_` and `-`. No other character may reach the path of a call to the gateway."""


class ConfirmPayment(Struct, rename="camel", kw_only=True):
    """The body of `POST /api/v1/payments/confirm`: the parameters of the checkout's success URL. Amounts in won."""

    payment_key: PaymentKey
    order_id: UUID
    amount: Annotated[int, Meta(ge=AMOUNT_MIN, le=INT32_MAX)]


class FailureResource(Struct):
    """Why a payment failed: the gateway's code and text."""

    code: str | None
    message: str | None


class PaymentResource(Struct, rename="camel", kw_only=True):
    """A payment as its customer sees it. Amounts in won. `statusCode` is the Java services' code, PAY0000 to PAY0005."""

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


cursors: Final[Cursors[PageKey]] = Cursors("payments", PageKey)
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
TAGS: Final = ("payments",)
CONFIRM: Final = {
    "tags": TAGS,
    "summary": "Confirm a payment (steps 5-8); 200 with status APPROVED or FAILED, 202 while the gateway has not answered",
    **described(
        "confirmPayment",
        {200: PaymentResource, 202: PaymentResource},
        refusals=(404, 409, 422),
        body=ConfirmPayment,
        headers=("Idempotency-Key", "Prefer"),
        examples={200: PAYMENT},
        body_example=ConfirmPayment(payment_key=PAYMENT.payment_key, order_id=PAYMENT.order_id, amount=PAYMENT.amount),
    ),
}
WEBHOOK: Final = {
    "tags": TAGS,
    "status_code": 200,
    "summary": "The gateway's webhook; every kind of event is answered 200",
    **described("receiveWebhook", {200: Noted}, access="anybody", examples={200: Noted(True)}),
}
LIST: Final = {
    "tags": TAGS,
    "summary": "An order's payments, the oldest first",
    **described("listPayments", {200: PaymentPage}, examples={200: PaymentPage([PAYMENT], None)}),
}
SHOW: Final = {
    "tags": TAGS,
    "summary": "One payment",
    **described("showPayment", {200: PaymentResource}, refusals=(404,), examples={200: PAYMENT}),
}
