"""The gateway's webhooks. They are unsigned, so Payment believes nothing of them: a webhook at most asks for a look-up.

Every kind of event is answered 200 and counted, unknown kinds too: the gateway repeats what is not answered 200. Look-ups are taken up
after refunds, confirms and their recovery.

Promise: the look-up that a genuine webhook asks for is due within `settlement.LOOK_PAUSE_S_MAX`, whatever strangers sent about the same
payment before or send after. The load on the gateway stays bounded: one look-up at a time of each payment, with a growing pause while
look-ups show no change; `recovery.LOOKS_TAKEN_AT_ONCE_MAX` for all; and few of payments that are not known here.
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

from ordersaga.messaging.database import Connection
from ordersaga.messaging.gather import Write
from ordersaga.payment import approval, store
from ordersaga.payment.model import Intent, Payment

LOOK_AFTER_S: Final = 2.0
LOOKS_KEPT: Final = timedelta(hours=1)
STRANGE_LOOKS_A_MINUTE: Final = 60
STRANGE_LOOKS_OF_AN_ORDER: Final = 3
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
"""Kinds that have a number of their own. Toss sends them by the main API and by its others, to the same address."""
UNREADABLE: Final = "unreadable"
OTHER: Final = "other"

EVENTS: Final = Counter("ordersaga_payment_webhooks", "Webhooks of the gateway, by kind", ["kind"])
log: Final = structlog.get_logger()

_body: Final = msgspec.json.Decoder(dict[str, Any])
_payment_key: Final = re.compile(r"[A-Za-z0-9_=-]{1,200}")


class Notice(Struct, frozen=True):
    """Somebody says that this payment, or the payment of this order, now has this status. `id` becomes the intent's."""

    id: UUID
    payment_key: str | None
    order_id: UUID | None
    status: str


def read(body: bytes, intent_id: UUID) -> Notice | None:
    """Note a webhook's kind, and take from it what may be looked up: our order ids are UUIDs, whatever else is not ours."""
    try:
        event = _body.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        EVENTS.labels(UNREADABLE).inc()
        return None
    data = event.get("data")
    about = data if isinstance(data, dict) else event
    kind = event.get("eventType") or ("DEPOSIT_CALLBACK" if "secret" in event else "")
    kind = kind if isinstance(kind, str) and kind in KINDS else OTHER
    EVENTS.labels(kind).inc()
    log.info("a webhook", kind=kind)
    status = about.get("status")
    if kind == "CANCEL_STATUS_CHANGED" and about.get("cancelStatus") == "DONE":
        status = "PARTIAL_CANCELED"
    key, order_id = about.get("paymentKey"), _uuid(about.get("orderId"))
    key = key if isinstance(key, str) and _payment_key.fullmatch(key) else None
    if not isinstance(status, str) or status not in approval.STATUSES or (key is None and order_id is None):
        return None
    return Notice(intent_id, key, order_id, status)


def _uuid(text: object) -> UUID | None:
    try:
        return UUID(text) if isinstance(text, str) else None
    except ValueError:
        return None


async def note(db: Connection, notices: Sequence[Notice], now: datetime) -> Write[bool]:
    """Ask for look-ups where a webhook, were it true, would be news; False: it would not, or it was one too many."""
    payments = await store.payments(db, {each.payment_key for each in notices if each.payment_key})
    by_order = await store.living_payments(db, {each.order_id for each in notices if each.order_id})
    meant = [
        payments.get(each.payment_key) if each.payment_key else by_order.get(each.order_id)  # type: ignore[arg-type]
        for each in notices
    ]
    asleep = await store.asleep_confirms(db, {each.payment_key for each in meant if each and each.status == "PENDING"})
    looks: dict[str, Intent] = {}
    for notice, payment in zip(notices, meant, strict=True):
        if payment is not None and _is_news(notice, payment, asleep):
            looks[payment.payment_key] = _look(notice, payment.payment_key, payment.order_id, now)
    looks |= await _strange(db, [each for each, known in zip(notices, meant, strict=True) if known is None], now)
    if looks:
        await store.begin_looks(db, list(looks.values()))
    heeded = {each.payment_key for each in looks.values()}
    keys = [known.payment_key if known else each.payment_key for each, known in zip(notices, meant, strict=True)]
    return Write([key in heeded for key in keys])


def _is_news(notice: Notice, payment: Payment, asleep: set[str]) -> bool:
    """A confirm that is under way asks the gateway by itself; one that was put off may go on earlier."""
    under_way = payment.status == "PENDING" and payment.payment_key not in asleep
    return not under_way and approval.is_news(notice.status, payment, order_is_known=True)


def _look(notice: Notice, payment_key: str, order_id: UUID, now: datetime) -> Intent:
    due_at = now + timedelta(seconds=LOOK_AFTER_S)
    return Intent(notice.id, "LOOK", payment_key, order_id, 0, notice.status, now, due_at, asked=False)


async def _strange(db: Connection, notices: Sequence[Notice], now: datetime) -> dict[str, Intent]:
    """Look-ups of payments that are not known here, of orders that Order told of. Anybody can name such payments without end."""
    wanted = [each for each in notices if each.payment_key and approval.is_news(each.status, None, order_is_known=True)]
    known = await store.payables(db, {each.order_id for each in wanted if each.order_id}) if wanted else {}
    wanted = [each for each in wanted if each.order_id in known]
    if not wanted:
        return {}
    of_order, lately = await store.strange_looks(db, known, now - timedelta(minutes=1))
    looks: dict[str, Intent] = {}
    for each in wanted:
        if each.order_id is None or each.payment_key is None or each.payment_key in looks:
            continue
        if lately < STRANGE_LOOKS_A_MINUTE and of_order.get(each.order_id, 0) < STRANGE_LOOKS_OF_AN_ORDER:
            lately += 1
            of_order[each.order_id] = of_order.get(each.order_id, 0) + 1
            looks[each.payment_key] = _look(each, each.payment_key, each.order_id, now)
    return looks
