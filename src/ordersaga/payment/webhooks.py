"""Handles the gateway's webhooks. They are unsigned, so Payment does not use what they say: a webhook at most asks for a look-up.

Every kind of event is counted and answered 200, also an unknown one, since the gateway repeats an event that is not answered 200. Look-ups
are claimed after refunds, confirms and their recovery.

Promise: the look-up that a genuine webhook asks for is due within `settlement.LOOK_UP_PAUSE_S_MAX`, whatever strangers sent about the
same payment before or send after. The load on the gateway stays bounded: one look-up at a time of each payment, with a growing pause
while look-ups show no change; `recovery.LOOK_UPS_CLAIMED_AT_ONCE_MAX` for all; and few of payments that Payment does not know.
"""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog
from msgspec import Struct
from prometheus_client import Counter

from ordersaga.contracts.codec import NOT_JSON
from ordersaga.messaging.database import Connection
from ordersaga.messaging.gather import Write
from ordersaga.payment import approval, store
from ordersaga.payment.model import Intent, Payment
from ordersaga.service_context import metric

LOOK_UP_AFTER_S: Final = 2.0
LOOK_UPS_KEPT: Final = timedelta(hours=1)
UNKNOWN_LOOK_UPS_A_MINUTE: Final = 60
UNKNOWN_LOOK_UPS_OF_AN_ORDER: Final = 3
"""Limits of look-ups of payments without a row: for one order while its look-ups are kept, and for all orders in a minute."""
KINDS: Final = frozenset(
    {
        "PAYMENT_STATUS_CHANGED",
        "DEPOSIT_CALLBACK",
        "CANCEL_STATUS_CHANGED",
        "METHOD_UPDATED",
        "CUSTOMER_STATUS_CHANGED",
        "payout.changed",
        "seller.changed",
    }
)
"""The event kinds that the metric counts by name. Toss's main API and its other APIs send them, all to one address."""
UNREADABLE: Final = "unreadable"
OTHER: Final = "other"

EVENTS: Final = metric(
    Counter,
    "ordersaga_payment_webhooks",
    "Webhooks of the gateway, by kind",
    "kind",
    service="payment",
)
log: Final = structlog.get_logger()

_body: Final = msgspec.json.Decoder(dict[str, Any])
_payment_key: Final = re.compile(r"[A-Za-z0-9_=-]{1,200}")


class Hint(Struct, frozen=True):
    """What an unsigned webhook says: this payment, or the payment of this order, has this status. `id` becomes the look-up's."""

    id: UUID
    payment_key: str | None
    order_id: UUID | None
    status: str


def read(body: bytes, intent_id: UUID) -> Hint | None:
    """Count a webhook by its kind and return its hint. None: it names no payment of ours (our order ids are UUIDs)."""
    try:
        event = _body.decode(body)
    except NOT_JSON:
        EVENTS.labels(UNREADABLE).inc()
        return None
    data = event.get("data")
    about = data if isinstance(data, dict) else event
    kind = event.get("eventType") or ("DEPOSIT_CALLBACK" if "secret" in event else "")
    kind = kind if isinstance(kind, str) and kind in KINDS else OTHER
    EVENTS.labels(kind).inc()
    status = about.get("status")
    if kind == "CANCEL_STATUS_CHANGED" and about.get("cancelStatus") == "DONE":
        status = "PARTIAL_CANCELED"
    key, order_id = about.get("paymentKey"), _uuid(about.get("orderId"))
    log.info("a webhook", kind=kind, **({"order_id": str(order_id)} if order_id else {}))
    key = key if isinstance(key, str) and _payment_key.fullmatch(key) else None
    if not isinstance(status, str) or status not in approval.STATUSES or (key is None and order_id is None):
        return None
    return Hint(intent_id, key, order_id, status)


def _uuid(text: object) -> UUID | None:
    try:
        return UUID(text) if isinstance(text, str) else None
    except ValueError:
        return None


async def request_look_ups(db: Connection, hints: Sequence[Hint], now: datetime) -> Write[bool]:
    """Write a look-up for each hint that would change a payment's row. Answers False if the hint would not, or a limit is reached."""
    payments = await store.payments(db, {each.payment_key for each in hints if each.payment_key})
    by_order = await store.active_payments(db, {each.order_id for each in hints if each.order_id})
    payments_of = [
        payments.get(each.payment_key) if each.payment_key else by_order.get(each.order_id)  # type: ignore[arg-type]
        for each in hints
    ]
    pending = {each.payment_key for each in payments_of if each and each.status == "PENDING"}
    postponed = await store.postponed_confirms(db, pending)
    look_ups: dict[str, Intent] = {}
    for hint, payment in zip(hints, payments_of, strict=True):
        if payment is not None and _is_news(hint, payment, postponed):
            look_ups[payment.payment_key] = _look_up(hint, payment.payment_key, payment.order_id, now)
    look_ups |= await _of_unknown(
        db, [each for each, payment in zip(hints, payments_of, strict=True) if not payment], now
    )
    if look_ups:
        await store.begin_look_ups(db, list(look_ups.values()))
    keys = [
        payment.payment_key if payment else each.payment_key for each, payment in zip(hints, payments_of, strict=True)
    ]
    return Write([key in look_ups for key in keys])


def _is_news(hint: Hint, payment: Payment, postponed: set[str]) -> bool:
    """Whether a hint may say something that Payment does not know. A confirm in flight learns of its capture itself, not of a later
    refund."""
    under_way = payment.status == "PENDING" and payment.payment_key not in postponed
    if under_way and hint.status not in approval.REFUNDED_STATUSES:
        return False
    return approval.is_news(hint.status, payment, order_is_known=True)


def _look_up(hint: Hint, payment_key: str, order_id: UUID, now: datetime) -> Intent:
    due_at = now + timedelta(seconds=LOOK_UP_AFTER_S)
    return Intent(hint.id, "LOOK", payment_key, order_id, 0, hint.status, now, due_at, asked=False)


async def _of_unknown(db: Connection, hints: Sequence[Hint], now: datetime) -> dict[str, Intent]:
    """Look-ups of payments without a row, by payment key. Only for orders with a payable, and few: anybody can invent payment keys."""
    wanted = [each for each in hints if each.payment_key and approval.is_news(each.status, None, order_is_known=True)]
    known = await store.payables(db, {each.order_id for each in wanted if each.order_id}) if wanted else {}
    wanted = [each for each in wanted if each.order_id in known]
    if not wanted:
        return {}
    of_order, of_all = await store.unknown_look_ups(db, known, now - timedelta(minutes=1))
    look_ups: dict[str, Intent] = {}
    for each in wanted:
        if each.order_id is None or each.payment_key is None or each.payment_key in look_ups:
            continue
        if of_all < UNKNOWN_LOOK_UPS_A_MINUTE and of_order.get(each.order_id, 0) < UNKNOWN_LOOK_UPS_OF_AN_ORDER:
            of_all += 1
            of_order[each.order_id] = of_order.get(each.order_id, 0) + 1
            look_ups[each.payment_key] = _look_up(each, each.payment_key, each.order_id, now)
    return look_ups
