"""Order by order: what the order says against what stock, payment and delivery have.

The four databases are read as streams in id order and merged, so memory stays flat however many orders there are.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from ordersaga.audit.finding import Finding
from ordersaga.messaging.database import Connection

DEADLINE_GRACE: Final = timedelta(seconds=60)
PREFETCH_ROWS: Final = 1_000


class _Payment(msgspec.Struct, rename="camel"):
    """What Order believes of a payment. `held` is there once it was told; `meant` is how much may have gone back."""

    payment_key: str
    amount: int
    state: str
    held: int | None = None
    meant: int = 0

    @property
    def given_back(self) -> int:
        return 0 if self.held is None else self.amount - self.held

    @property
    def left(self) -> int:
        if self.held is not None:
            return self.held
        return 0 if self.state == "REFUNDED" else self.amount


class _Facts(msgspec.Struct, rename="camel"):
    lines: list[dict[str, Any]]
    payments: list[_Payment] = []
    flag: str | None = None


_facts: Final = msgspec.json.Decoder(_Facts)


async def by_order(streams: Sequence[AsyncIterator[Any]]) -> AsyncIterator[tuple[UUID, list[list[Any]]]]:
    """Merge streams of rows that are each in `order_id` order: each id once, with its rows of every stream."""
    heads = [await anext(stream, None) for stream in streams]
    while any(head is not None for head in heads):
        order_id = min(head["order_id"] for head in heads if head is not None)
        groups: list[list[Any]] = []
        for n, stream in enumerate(streams):
            group = []
            while (head := heads[n]) is not None and head["order_id"] == order_id:
                group.append(head)
                heads[n] = await anext(stream, None)
            groups.append(group)
        yield order_id, groups


def stream(db: Connection, query: Any) -> AsyncIterator[Any]:
    """A query's rows through a cursor; needs an open transaction."""
    return aiter(db.cursor(query.sql, prefetch=PREFETCH_ROWS))


class OrderAudit:
    """Judges one order after the other. Orders changed after `cutoff` are in flight."""

    def __init__(self, now: datetime, cutoff: datetime, completion_records: dict[UUID, int]) -> None:
        self._now: Final = now
        self._cutoff: Final = cutoff
        self._records: Final = completion_records
        self.completed: Final = Finding(
            "a completed order has its stock, one captured payment of its total, one started delivery"
        )
        self.recorded: Final = Finding("an order that was ever completed has one completion record")
        self.given_back: Final = Finding("a failed or cancelled order holds no stock and no money")
        self.in_time: Final = Finding("no pending order is older than its deadlines")
        self.known: Final = Finding("no stock, payment or delivery without its order", unit="rows")

    @property
    def findings(self) -> list[Finding]:
        return [self.completed, self.recorded, self.given_back, self.in_time, self.known]

    def judge(
        self, order_id: UUID, orders: list[Any], reservations: list[Any], payments: list[Any], deliveries: list[Any]
    ) -> None:
        """One order with its rows of the four databases."""
        self.known.count += len(reservations) + len(payments) + len(deliveries)
        if not orders:
            self.known.breaks(f"{order_id}: no order has this id, but stock, payment or delivery know it")
            return
        order = orders[0]
        status = order["status"]
        finding = {"COMPLETED": self.completed, "PENDING": self.in_time}.get(status, self.given_back)
        finding.count += 1
        if order["was_completed"]:
            self._judge_record(order_id, order)
        if status == "PENDING":
            self._judge_pending(order_id, order)
        elif order["last_at"] > self._cutoff:
            finding.waits(f"{order_id}: changed at {order['last_at']:%H:%M:%S}")
        else:
            judge = _completed if status == "COMPLETED" else _given_back
            for problem in judge(order, _held_items(reservations), payments, deliveries):
                finding.breaks(f"{order_id}: {problem}")

    def _judge_record(self, order_id: UUID, order: Any) -> None:
        self.recorded.count += 1
        found = self._records.get(order_id, 0)
        if found == 1:
            return
        if order["last_at"] > self._cutoff:
            self.recorded.waits(f"{order_id}: {found} records so far")
        else:
            self.recorded.breaks(f"{order_id}: {found} records")

    def _judge_pending(self, order_id: UUID, order: Any) -> None:
        if self._now > order["pay_before"] + DEADLINE_GRACE and order["last_at"] < self._cutoff:
            self.in_time.breaks(
                f"{order_id}: pending, and was to be paid before {order['pay_before']:%Y-%m-%d %H:%M:%S}"
            )
        else:
            self.in_time.waits(f"{order_id}: pending since {order['last_at']:%H:%M:%S}")


def _held_items(reservations: list[Any]) -> dict[str, int]:
    held = {}
    for row in reservations:
        for item in msgspec.json.decode(row["items"]):
            if item["state"] == "RESERVED":
                held[item["productId"]] = item["quantity"]
    return held


def _completed(order: Any, held: dict[str, int], payments: list[Any], deliveries: list[Any]) -> list[str]:
    problems = []
    facts = _facts.decode(order["facts"])
    captured = _captured(facts)
    wanted = {line["productId"]: line["quantity"] for line in facts.lines}
    if held != wanted:
        problems.append(f"stock holds {held} of {wanted}")
    for each in captured:
        if each.given_back > each.meant:
            problems.append(
                f"{each.given_back} of {each.amount} won of payment {each.payment_key} went back at the gateway, and nobody has said that "
                f"it was meant; if it was: ordersaga orders accept-refund {order['order_id']} --why ..."
            )
    problems += _disagreements(captured, payments)
    amounts = [row["captured"] - row["refunded"] for row in payments if row["captured"] > row["refunded"]]
    # The first payment pays the order; any further one goes back whole.
    meant = min(captured[0].given_back, captured[0].meant) if captured else 0
    left = order["total_amount"] - meant
    if amounts != ([left] if left else []):
        given = f", of which {meant} went back as meant" if meant else ""
        problems.append(f"payments of {amounts} won are held for a total of {order['total_amount']}{given}")
    if [row["status"] for row in deliveries] != ["STARTED"]:
        problems.append(f"deliveries: {[row['status'] for row in deliveries]}")
    return problems


def _captured(facts: _Facts) -> list[_Payment]:
    return [each for each in facts.payments if each.state not in ("AWAITING", "DECLINED")]


def _disagreements(captured: list[_Payment], payments: list[Any]) -> list[str]:
    """Where Order believes that another amount is held than Payment says."""
    held = {row["payment_key"]: row["captured"] - row["refunded"] for row in payments}
    return [
        f"Order believes that {each.left} won of payment {each.payment_key} are held, Payment says {held[each.payment_key]}"
        for each in captured
        if held.get(each.payment_key, each.left) != each.left
    ]


def _given_back(order: Any, held: dict[str, int], payments: list[Any], deliveries: list[Any]) -> list[str]:
    problems = []
    if held:
        problems.append(f"{order['status']}, and stock still holds {held}")
    problems += _disagreements(_captured(_facts.decode(order["facts"])), payments)
    for row in payments:
        if row["captured"] > row["refunded"]:
            problems.append(
                f"{order['status']}, and {row['captured'] - row['refunded']} won of payment {row['payment_key']} are not refunded"
            )
    if order["reason"] != "RETURNED" and any(row["status"] == "STARTED" for row in deliveries):
        problems.append(f"{order['status']}, and its delivery was started")
    return problems
