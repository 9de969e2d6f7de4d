"""Order by order: what the order says against what stock, payment, delivery and Kafka have.

The databases and the completion records are read as streams in id order and merged, so memory stays flat however many orders there are.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from ordersaga.audit.agreement import (
    GRACE,
    One,
    Unheard,
    contradictions,
    held_items,
    other_delivery,
    other_payments,
    other_stock,
)
from ordersaga.audit.completions import Log
from ordersaga.audit.finding import Finding, Moment, ago
from ordersaga.contracts.status import ORDER_CODES


async def by_order(
    streams: Sequence[AsyncIterator[Any] | None],
) -> AsyncIterator[tuple[UUID, list[list[Any] | None]]]:
    """Merge streams of rows that are each in `order_id` order: each id once, with its rows of every stream; None for one that is missing."""
    heads = [None if stream is None else await anext(stream, None) for stream in streams]
    while any(head is not None for head in heads):
        order_id = min(head["order_id"] for head in heads if head is not None)
        groups: list[list[Any] | None] = []
        for n, stream in enumerate(streams):
            if stream is None:
                groups.append(None)
                continue
            group = []
            while (head := heads[n]) is not None and head["order_id"] == order_id:
                group.append(head)
                heads[n] = await anext(stream, None)
            groups.append(group)
        yield order_id, groups


class OrderAudit:
    """Judges one order after the other. Orders changed after the moment's cutoff are in flight."""

    def __init__(self, moment: Moment, log: Log | None, unheard: Unheard) -> None:
        self._moment: Final = moment
        self._log: Final = log
        self._unheard: Final = unheard
        self.completed: Final = Finding(
            "a completed order has its stock, one captured payment of its total, one started delivery"
        )
        self.recorded: Final = Finding("an order that was ever completed has one completion record")
        self.given_back: Final = Finding("a failed or cancelled order holds no stock and no money")
        self.in_time: Final = Finding("no pending order is older than its deadlines")
        self.timed: Final = Finding("an order that waits for something has a timer that will wake it")
        self.told: Final = Finding("an order's facts and timeline say what its status says")
        self.agreed: Final = Finding(
            "what Order believes of stock, payments and delivery is what the others have", unit="rows"
        )
        self.known: Final = Finding("no stock, payment or delivery without its order", unit="rows")
        self._removed = 0
        self._unknown_records = 0

    @property
    def findings(self) -> list[Finding]:
        return [
            self.completed,
            self.recorded,
            self.given_back,
            self.in_time,
            self.timed,
            self.told,
            self.agreed,
            self.known,
        ]

    def judge(self, order_id: UUID, groups: Sequence[list[Any] | None]) -> None:
        """One order with its rows of Order, Stock, Payment and Delivery, its completion records, and whether one is in the outbox."""
        orders, reservations, payments, deliveries, records, unpublished = groups
        others = sum(len(rows) for rows in (reservations, payments, deliveries) if rows)
        self.known.count += others
        if not orders:
            if others:
                self.known.breaks(f"{order_id}: no order has this id, but stock, payment or delivery know it")
            self._unknown_records += bool(records)
            return
        try:
            one = One(order_id, orders[0], self._moment)
        except msgspec.MsgspecError as error:
            self.told.count += 1
            self.told.breaks(f"{order_id}: its saga cannot be read: {error}")
            return
        self._judge_record(one, records, bool(unpublished))
        self._judge_told(one)
        self._judge_timer(one)
        self._judge_end(one, reservations, payments, deliveries)
        self._judge_agreed(one, reservations, payments, deliveries)

    def finish(self) -> None:
        """What is to be said once all orders are judged."""
        if self._removed:
            self.recorded.notes.append(
                f"the records of {self._removed:,} of them are older than Kafka keeps; the outbox alone says that they were published"
            )
        if self._unknown_records:
            self.recorded.notes.append(f"{self._unknown_records:,} orders have records and are not in this database")
        if self._log is not None and self._log.unreadable:
            self.recorded.notes.append(f"{self._log.unreadable:,} records of the topic are no completion records")

    def _judge_record(self, one: One, records: list[Any] | None, is_unpublished: bool) -> None:
        completed_at: datetime | None = one.row["completed_at"]
        if completed_at is None:
            for record in records or ():
                what = f"{one}: a completion record, and the order was never completed"
                is_recent = record["at"] > self._moment.cutoff and not self._moment.at_rest
                (self.recorded.waits if is_recent else self.recorded.breaks)(what)
            return
        self.recorded.count += 1
        if not one.row["completion_sent"]:
            self.recorded.breaks(f"{one}: completed, and its timeline has no completion record going out")
        elif self._log is None or records is None:
            return  # said once, for all of them
        elif len(records) > 1:
            self.recorded.breaks(f"{one}: {len(records)} records")
        elif not records:
            self._judge_missing_record(one, completed_at, self._log, is_unpublished)
        for record in records or ():
            for problem in _other_words(one.row, record):
                self.recorded.breaks(f"{one}: its completion record {problem}")

    def _judge_missing_record(self, one: One, completed_at: datetime, log: Log, is_unpublished: bool) -> None:
        if is_unpublished or one.is_recent:
            self.recorded.waits(f"{one}: 0 records so far")
        elif (why := log.is_hidden(one.order_id, completed_at)) is not None:
            self.recorded.unknown(f"{one}: 0 records, and {why}")
        elif log.was_removed(one.order_id, completed_at):
            self._removed += 1
        else:
            self.recorded.breaks(f"{one}: 0 records")

    def _judge_told(self, one: One) -> None:
        self.told.count += 1
        for problem in contradictions(one):
            self.told.breaks(f"{one}: {problem}")

    def _judge_timer(self, one: One) -> None:
        look_at, due_at = one.facts.look_at, one.row["timer_due_at"]
        if look_at is None and one.status != "PENDING" and not one.facts.is_owed:
            return
        self.timed.count += 1
        if due_at is None:
            says = "nobody" if look_at is None else f"at {look_at:%Y-%m-%d %H:%M:%S}"
            what = f"{one}: {one.status} and without a timer; its facts say it is looked at by {says}"
        elif due_at < self._moment.cutoff - GRACE:
            what = f"{one}: its timer was due {ago(self._moment.now, due_at)} ago and has not fired"
        else:
            return
        (self.timed.waits if one.is_recent else self.timed.breaks)(what)

    def _judge_end(
        self, one: One, reservations: list[Any] | None, payments: list[Any] | None, deliveries: list[Any] | None
    ) -> None:
        finding = {"COMPLETED": self.completed, "PENDING": self.in_time}.get(one.status, self.given_back)
        finding.count += 1
        if one.status == "PENDING":
            self._judge_pending(one)
            return
        judge = _completed if one.status == "COMPLETED" else _given_back
        held = None if reservations is None else held_items(reservations)
        for problem in judge(one, held, payments, deliveries):
            (finding.waits if one.is_moving else finding.breaks)(f"{one}: {problem}")

    def _judge_pending(self, one: One) -> None:
        pay_before, last_at = one.row["pay_before"], one.row["last_at"]
        since = "" if last_at is None else f" since {last_at:%H:%M:%S}"
        if one.facts.flag is not None and not one.is_recent:
            self.in_time.breaks(f"{one}: pending{since}, {one.facts.flag}")
        elif self._moment.now > pay_before + GRACE and not one.is_recent:
            self.in_time.breaks(f"{one}: pending, and was to be paid before {pay_before:%Y-%m-%d %H:%M:%S}")
        else:
            self.in_time.waits(f"{one}: pending{since}")

    def _judge_agreed(
        self, one: One, reservations: list[Any] | None, payments: list[Any] | None, deliveries: list[Any] | None
    ) -> None:
        if reservations is not None:
            self.agreed.count += len(one.facts.lines)
            self._note(one, other_stock(one, reservations))
        if payments is not None:
            self.agreed.count += len(one.facts.payments)
            problems = other_payments(one, payments, self._unheard)
            self._note(one, [what for what, is_unheard in problems if not is_unheard])
            for what in [what for what, is_unheard in problems if is_unheard]:
                self.agreed.waits(f"{one}: {what}")
        if deliveries is not None:
            self._note(one, other_delivery(one, deliveries))

    def _note(self, one: One, problems: Sequence[str]) -> None:
        for what in problems:
            (self.agreed.waits if one.is_recent else self.agreed.breaks)(f"{one}: {what}")


# What each says of an order -----------------------------------------------------------------------------------------------


def _completed(
    one: One, held: dict[str, int] | None, payments: list[Any] | None, deliveries: list[Any] | None
) -> list[str]:
    problems = []
    wanted = {line.product_id: line.quantity for line in one.facts.lines}
    if held is not None and held != wanted:
        problems.append(f"stock holds {held} of {wanted}")
    if payments is not None:
        amounts = [row["captured"] - row["refunded"] for row in payments if row["captured"] > row["refunded"]]
        total, first = one.row["total_amount"], one.facts.captured[:1]
        meant = sum(min(each.given_back, each.meant) for each in first)
        if amounts != ([total - meant] if total > meant else []):
            back = f", of which {meant} went back as meant" if meant else ""
            problems.append(f"payments of {amounts} won are held for a total of {total}{back}")
        problems += [
            f"{each.given_back} of {each.amount} won of payment {each.payment_key} went back at the gateway, and nobody has said that it was "
            f"meant; if it was: ordersaga orders accept-refund {one} --why ..."
            for each in one.facts.captured
            if each.given_back > each.meant and each.state not in ("REFUND_REQUESTED", "REFUND_FAILED")
        ]
    if deliveries is not None and [row["status"] for row in deliveries] != ["STARTED"]:
        problems.append(f"deliveries: {[row['status'] for row in deliveries]}")
    return problems


def _given_back(
    one: One, held: dict[str, int] | None, payments: list[Any] | None, deliveries: list[Any] | None
) -> list[str]:
    problems = []
    if held:
        problems.append(f"{one.status}, and stock still holds {held}")
    for row in payments or ():
        if row["captured"] > row["refunded"]:
            amount = row["captured"] - row["refunded"]
            problems.append(f"{one.status}, and {amount} won of payment {row['payment_key']} are not refunded")
    if one.row["reason"] != "RETURNED" and any(row["status"] == "STARTED" for row in deliveries or ()):
        problems.append(f"{one.status}, and its delivery was started")
    return problems


def _other_words(order: Any, record: Any) -> list[str]:
    """What a completion record says that is not so."""
    problems = []
    if record["status"] != ORDER_CODES["COMPLETED"]:
        problems.append(f"says {record['status']}")
    if record["total_amount"] != order["total_amount"]:
        problems.append(f"says {record['total_amount']} won for a total of {order['total_amount']}")
    if record["customer_id"] != order["customer_id"]:
        problems.append(f"names customer {record['customer_id']}")
    if record["versions"] > 1:
        problems.append("is there with the same message-id and other words")
    return problems
