"""Payment's tables: whole batches in, whole batches out. What is loaded for a change is locked, payments first, each in key order."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import astuple

from ordersaga.contracts.messages import OrderPayableMessage
from ordersaga.contracts.status import ORDER_CODES
from ordersaga.messaging.database import Connection, queries
from ordersaga.payment.model import Account, Confirm, Intent, Payable, Payment

sql: Final = queries(__file__)


async def merge_payables(db: Connection, messages: Iterable[OrderPayableMessage]) -> None:
    """Keep the last word on each order; within one call, too, a dead order stays dead."""
    last: dict[UUID, OrderPayableMessage] = {}
    for message in messages:
        known = last.get(message.order_id)
        if known is None or known.status == ORDER_CODES["PENDING"]:
            last[message.order_id] = message
    if last:
        await sql.merge_payables(
            db,
            order_ids=list(last),
            customer_ids=[each.customer_id for each in last.values()],
            total_amounts=[each.total_amount for each in last.values()],
            pay_befores=[_aware(each.pay_before) for each in last.values()],
            statuses=[each.status for each in last.values()],
            payable_status=ORDER_CODES["PENDING"],
        )


def _aware(moment: datetime) -> datetime:
    """A time without a zone, as a Java LocalDateTime would be written, is taken as UTC: the database takes no other."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


async def payables(db: Connection, order_ids: Iterable[UUID]) -> dict[UUID, Payable]:
    """Order's word on these orders, where there is one."""
    rows = await sql.payables(db, order_ids=list(order_ids))
    return {row["order_id"]: Payable(*row.values()) for row in rows}


async def payments(db: Connection, payment_keys: Iterable[str]) -> dict[str, Payment]:
    """Payments by key, not locked."""
    return _by_key(await sql.payments(db, payment_keys=list(payment_keys)))


async def settled_payments(db: Connection, payment_keys: Iterable[str]) -> dict[str, Payment]:
    """Those of them that wait for no confirm any more."""
    return _by_key(await sql.settled_payments(db, payment_keys=list(payment_keys)))


async def payments_of_order(db: Connection, order_id: UUID, customer_id: UUID | None) -> list[Payment]:
    """An order's payments, the oldest first; `customer_id` None: whoever asked for them."""
    return [_payment(row) for row in await sql.payments_of_order(db, order_id=order_id, customer_id=customer_id)]


async def begin_payments(
    db: Connection, confirms: Sequence[Confirm], owners: dict[UUID, UUID], now: datetime
) -> set[str]:
    """Write the payments and their intents' first state; returns the keys that were new and whose order had no other payment."""
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
    """Payments and their intents, locked."""
    keys = sorted(set(payment_keys))
    found = _by_key(await sql.lock_payments(db, payment_keys=keys))
    intents: dict[str, dict[UUID, Intent]] = {key: {} for key in keys}
    for row in await sql.lock_intents(db, payment_keys=keys):
        intent = _intent(row)
        intents[intent.payment_key][intent.id] = intent
    return {key: Account(found.get(key), intents[key]) for key in keys}


async def load_order_words(db: Connection, accounts: dict[str, Account], order_ids: dict[str, UUID]) -> None:
    """Add to accounts what the order says: what Order told us of it, and whether it has an open or captured payment."""
    wanted = sorted(set(order_ids.values()))
    known = await payables(db, wanted)
    taken = {row["order_id"] for row in await sql.taken_orders(db, order_ids=wanted)}
    for key, order_id in order_ids.items():
        accounts[key].payable = known.get(order_id)
        accounts[key].order_is_taken = order_id in taken


async def save_accounts(db: Connection, accounts: Iterable[Account]) -> None:
    """Save what has changed in them."""
    changed = list(accounts)
    await put_payments(db, [each.payment for each in changed if each.payment is not None and each.payment_changed])
    await put_intents(db, [each.intents[id] for each in changed for id in each.intents_changed])


async def put_payments(db: Connection, changed: Sequence[Payment]) -> None:
    """Save payments."""
    if changed:
        await sql.put_payments(db, **_columns(Payment, changed))


async def put_intents(db: Connection, changed: Sequence[Intent]) -> None:
    """Save intents."""
    if changed:
        # A look-up that ends is saved before the one that follows it: of a payment at most one is open.
        in_order = sorted(changed, key=lambda each: (each.status == "OPEN", each.id))
        await sql.put_intents(db, **_columns(Intent, in_order))


async def begin_looks(db: Connection, looks: Sequence[Intent]) -> None:
    """Write look-ups. Where one of the payment is open, mark that one instead: another follows it if it is under way already."""
    payment_keys = [each.payment_key for each in looks]
    await sql.ask_looks_again(db, payment_keys=payment_keys)
    await sql.begin_looks(
        db,
        ids=[each.id for each in looks],
        payment_keys=payment_keys,
        order_ids=[each.order_id for each in looks],
        reasons=[each.reason for each in looks],
        created_ats=[each.created_at for each in looks],
        due_ats=[each.due_at for each in looks],
    )


async def strange_looks(db: Connection, order_ids: Iterable[UUID], since: datetime) -> tuple[dict[UUID, int], int]:
    """How often payments that are not known here were looked at: for each of these orders, and for all since a time."""
    rows = await sql.strange_looks_of_orders(db, order_ids=list(order_ids))
    lately: int = await sql.strange_looks_since(db, since=since)
    return {row["order_id"]: row["looks"] for row in rows}, lately


async def prune_looks(db: Connection, before: datetime, rows_max: int) -> int:
    """Forget look-ups that were settled before that; returns how many rows are gone."""
    count: int = await sql.prune_looks(db, before=before, rows_max=rows_max)
    return count


async def living_payments(db: Connection, order_ids: Iterable[UUID]) -> dict[UUID, Payment]:
    """The open or captured payment of each order that has one."""
    wanted = list(order_ids)
    rows = await sql.living_payments(db, order_ids=wanted) if wanted else []
    return {row["order_id"]: _payment(row) for row in rows}


async def asleep_confirms(db: Connection, payment_keys: Iterable[str]) -> set[str]:
    """Payments whose confirm was put off."""
    wanted = list(payment_keys)
    return {row["payment_key"] for row in await sql.asleep_confirms(db, payment_keys=wanted)} if wanted else set()


async def advance_intents(db: Connection, moves: Sequence[tuple[Intent, Intent]]) -> set[UUID]:
    """Move intents on, from what the caller believes to what shall be; returns those that were as believed."""
    after = [each for _, each in moves]
    rows = await sql.advance_intents(
        db,
        ids=[each.id for each in after],
        from_attempts=[before.attempt for before, _ in moves],
        attempts=[each.attempt for each in after],
        tries=[each.tries for each in after],
        due_ats=[each.due_at for each in after],
        messages=[each.message for each in after],
    )
    return {row["id"] for row in rows}


async def take_due(db: Connection, now: datetime, lease_until: datetime, rows_max: int, looks_max: int) -> list[Intent]:
    """Take up open intents whose time has come, look-ups apart from what moves money."""
    rows = await sql.take_due(db, now=now, lease_until=lease_until, rows_max=rows_max, looks_max=looks_max)
    return [_intent(row) for row in rows]


async def hold(db: Connection, ids: Sequence[UUID], lease_until: datetime) -> None:
    """Keep others from taking up what is being carried out here."""
    await sql.hold(db, ids=ids, lease_until=lease_until)


async def open_intents(db: Connection, before: datetime) -> tuple[int, int, str | None]:
    """How many intents are open, how many of them since before that time, and what the oldest says."""
    [row] = await sql.open_intents(db, before=before)
    return row["open"], row["late"], row["said"]


def _columns(kind: type[Struct], structs: Iterable[Any]) -> dict[str, list[Any]]:
    """The fields of structs as columns, under the fields' names."""
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
