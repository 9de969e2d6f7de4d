"""Payment's tables, read and written in batches. Rows that will change are locked: payments in key order, then intents in id order."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import astuple

from ordersaga.contracts.messages import OrderPayableMessage
from ordersaga.contracts.status import ORDER_CODES
from ordersaga.messaging.database import Connection
from ordersaga.messaging.queries import queries
from ordersaga.messaging.short_transaction import later
from ordersaga.payment.model import Account, Confirm, Intent, Payable, Payment

sql: Final = queries(__file__)


async def merge_payables(db: Connection, messages: Iterable[OrderPayableMessage]) -> None:
    """Keep the last payable of each order. An order that cannot be paid any more never becomes payable again, also if both messages are in this call."""
    last: dict[UUID, OrderPayableMessage] = {}
    for message in messages:
        known = last.get(message.order_id)
        if known is None or known.status == ORDER_CODES["PENDING"]:
            last[message.order_id] = message
    if last:
        await sql.merge_payables(
            later(db),
            order_ids=list(last),
            customer_ids=[each.customer_id for each in last.values()],
            total_amounts=[each.total_amount for each in last.values()],
            pay_befores=[_aware(each.pay_before) for each in last.values()],
            statuses=[each.status for each in last.values()],
            payable_status=ORDER_CODES["PENDING"],
        )


def _aware(moment: datetime) -> datetime:
    """Read a time without a zone (a Java LocalDateTime, say) as UTC: a timestamptz column needs a zone."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


async def payables(db: Connection, order_ids: Iterable[UUID]) -> dict[UUID, Payable]:
    """The payables of those of these orders that Order has published."""
    rows = await sql.payables(db, order_ids=list(order_ids))
    return {row["order_id"]: Payable(*row.values()) for row in rows}


async def payments(db: Connection, payment_keys: Iterable[str]) -> dict[str, Payment]:
    """Payments by key, without locks."""
    return _by_key(await sql.payments(db, payment_keys=list(payment_keys)))


async def settled_payments(db: Connection, payment_keys: Iterable[str]) -> dict[str, Payment]:
    """The payments among these whose confirm is settled."""
    return _by_key(await sql.settled_payments(db, payment_keys=list(payment_keys)))


async def payments_of_order(
    db: Connection, order_id: UUID, customer_id: UUID | None, after: tuple[datetime, str] | None, rows_max: int
) -> list[Payment]:
    """One page of an order's payments, the oldest first; with `customer_id` only that customer's. `after`: time and key of the last one before."""
    after_at, after_key = after or (None, None)
    rows = await sql.payments_of_order(
        db, order_id=order_id, customer_id=customer_id, after_at=after_at, after_key=after_key, rows_max=rows_max
    )
    return [_payment(row) for row in rows]


async def begin_payments(
    db: Connection, confirms: Sequence[Confirm], owners: dict[UUID, UUID], now: datetime
) -> set[str]:
    """Insert PENDING payments. Returns the inserted keys: new keys of orders without another open or captured payment."""
    begun = await sql.begin_payments(
        db,
        payment_keys=[each.payment_key for each in confirms],
        order_ids=[each.order_id for each in confirms],
        customer_ids=[owners.get(each.order_id, each.caller_id) for each in confirms],
        amounts=[each.amount for each in confirms],
        now=now,
    )
    return {row["payment_key"] for row in begun}


async def load_accounts(db: Connection, payment_keys: Iterable[str]) -> dict[str, Account]:
    """Load and lock payments with their intents."""
    keys = sorted(set(payment_keys))
    found = _by_key(await sql.lock_payments(db, payment_keys=keys))
    intents: dict[str, dict[UUID, Intent]] = {key: {} for key in keys}
    for row in await sql.lock_intents(db, payment_keys=keys):
        intent = _intent(row)
        intents[intent.payment_key][intent.id] = intent
    return {key: Account(found.get(key), intents[key]) for key in keys}


async def load_order_words(db: Connection, accounts: dict[str, Account], order_ids: dict[str, UUID]) -> None:
    """Add to each account the payable of its order, and whether the order has an open or captured payment."""
    wanted = sorted(set(order_ids.values()))
    known = await payables(db, wanted)
    taken = {row["order_id"] for row in await sql.taken_orders(db, order_ids=wanted)}
    for key, order_id in order_ids.items():
        accounts[key].payable = known.get(order_id)
        accounts[key].order_is_taken = order_id in taken


async def save_accounts(db: Connection, accounts: Iterable[Account], settled_by: str | None = None) -> None:
    """Save the changed payments and intents of these accounts. `settled_by` tells the processes in which a request waits who settled them."""
    changed = list(accounts)
    payments = [each.payment for each in changed if each.payment is not None and each.payment_changed]
    await put_payments(db, payments, settled_by)
    await put_intents(db, [each.intents[id] for each in changed for id in each.intents_changed])


async def put_payments(db: Connection, changed: Sequence[Payment], settled_by: str | None) -> None:
    """Save payments, and notify the processes in which a request waits, unless `settled_by` is None."""
    if changed:
        await sql.put_payments(db, **_columns(Payment, changed), settled_by=settled_by)


async def put_intents(db: Connection, changed: Sequence[Intent]) -> None:
    """Save intents."""
    if changed:
        # A settled look-up is saved before the open one that follows it: a unique index allows one open look-up of a payment.
        in_order = sorted(changed, key=lambda each: (each.status == "OPEN", each.id))
        await sql.put_intents(db, **_columns(Intent, in_order))


async def begin_look_ups(db: Connection, look_ups: Sequence[Intent]) -> None:
    """Write look-ups. A payment's open look-up is marked instead: if it is in flight, another one follows it."""
    payment_keys = [each.payment_key for each in look_ups]
    await sql.mark_look_ups(db, payment_keys=payment_keys)
    await sql.begin_look_ups(
        db,
        ids=[each.id for each in look_ups],
        payment_keys=payment_keys,
        order_ids=[each.order_id for each in look_ups],
        reasons=[each.reason for each in look_ups],
        created_ats=[each.created_at for each in look_ups],
        due_ats=[each.due_at for each in look_ups],
    )


async def unknown_look_ups(db: Connection, order_ids: Iterable[UUID], since: datetime) -> tuple[dict[UUID, int], int]:
    """How many look-ups there are of payments without a row: for each of these orders, and for all orders since a time."""
    rows = await sql.unknown_look_ups_of_orders(db, order_ids=list(order_ids))
    lately: int = await sql.unknown_look_ups_since(db, since=since)
    return {row["order_id"]: row["look_ups"] for row in rows}, lately


async def prune_look_ups(db: Connection, before: datetime, rows_max: int) -> int:
    """Delete settled look-ups that were written before `before`. Returns how many."""
    count: int = await sql.prune_look_ups(db, before=before, rows_max=rows_max)
    return count


async def active_payments(db: Connection, order_ids: Iterable[UUID]) -> dict[UUID, Payment]:
    """The open or captured payment of each order that has one."""
    wanted = list(order_ids)
    rows = await sql.active_payments(db, order_ids=wanted) if wanted else []
    return {row["order_id"]: _payment(row) for row in rows}


async def postponed_confirms(db: Connection, payment_keys: Iterable[str]) -> set[str]:
    """The payments among these whose confirm is postponed."""
    wanted = list(payment_keys)
    return {row["payment_key"] for row in await sql.postponed_confirms(db, payment_keys=wanted)} if wanted else set()


async def advance_intents(db: Connection, advances: Sequence[tuple[Intent, Intent]]) -> set[UUID]:
    """Advance open intents (before, after). Returns the ids of those that were still at the attempt of `before`."""
    after = [each for _, each in advances]
    rows = await sql.advance_intents(
        db,
        ids=[each.id for each in after],
        from_attempts=[before.attempt for before, _ in advances],
        attempts=[each.attempt for each in after],
        tries=[each.tries for each in after],
        due_ats=[each.due_at for each in after],
        messages=[each.message for each in after],
    )
    return {row["id"] for row in rows}


async def claim_due(
    db: Connection, now: datetime, lease_until: datetime, rows_max: int, look_ups_max: int
) -> list[Intent]:
    """Lease open intents that are due: up to `rows_max` confirms and refunds, and up to `look_ups_max` look-ups."""
    rows = await sql.claim_due(db, now=now, lease_until=lease_until, rows_max=rows_max, look_ups_max=look_ups_max)
    return [_intent(row) for row in rows]


async def extend_leases(db: Connection, ids: Sequence[UUID], lease_until: datetime) -> None:
    """Extend the leases of intents in flight here."""
    await sql.extend_leases(db, ids=ids, lease_until=lease_until)


async def open_intents(db: Connection, before: datetime) -> tuple[int, int, str | None]:
    """How many intents are open, how many of them are older than `before`, and the message of the oldest."""
    [row] = await sql.open_intents(db, before=before)
    return row["open"], row["late"], row["message"]


def _columns(kind: type[Struct], structs: Iterable[Any]) -> dict[str, list[Any]]:
    """Structs as one list for each field, by the field's name."""
    return {
        name: list(column)
        for name, column in zip(kind.__struct_fields__, zip(*map(astuple, structs), strict=True), strict=True)
    }


def _payment(row: Any) -> Payment:
    return Payment(*row.values())


def _by_key(rows: Iterable[Any]) -> dict[str, Payment]:
    return {row["payment_key"]: _payment(row) for row in rows}


def _intent(row: Any) -> Intent:
    return Intent(*row.values())
