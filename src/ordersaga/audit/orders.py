"""Compares each order's rows with those of Stock, Payment and Delivery, and with Kafka's completion records.

The databases and the completion records are read as streams in id order and merged. Memory stays flat, however many orders there are.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from ordersaga.audit.agreement import (
    Contradiction,
    Item,
    Unheard,
    delivery_differences,
    in_words,
    items_of,
    payable_differences,
    payment_differences,
    reserved_items,
    stock_differences,
)
from ordersaga.audit.completions import Log
from ordersaga.audit.contradictions import contradictions
from ordersaga.audit.facts import GRACE, UNREFUNDED, AuditedOrder
from ordersaga.audit.finding import CLOCKS_APART, Finding, Moment
from ordersaga.audit.predecessors import Predecessor, note
from ordersaga.contracts.messages import OrderCompletedMessage
from ordersaga.contracts.status import ORDER_CODES
from ordersaga.said import say
from ordersaga.settings import ServiceName

COMPLETION: Final = OrderCompletedMessage.__name__
STREAMS: Final[dict[ServiceName, str]] = {"stock": "reservations", "payment": "payments", "delivery": "deliveries"}
"""The field of `OrderRows` that has a service's decisions."""


class OrderRows(msgspec.Struct, frozen=True):
    """The rows of one order id, by stream. None: the stream is missing, because its database or topic could not be read, or does not count."""

    orders: list[Any] | None
    reservations: list[Any] | None
    payments: list[Any] | None
    payables: list[Any] | None
    deliveries: list[Any] | None
    records: list[Any] | None
    unpublished: list[Any] | None


async def by_order(streams: Sequence[AsyncIterator[Any] | None]) -> AsyncIterator[tuple[UUID, OrderRows]]:
    """Merge streams of rows, one for each field of `OrderRows`, each in `order_id` order. Yields every order id once, with its rows."""
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
        yield order_id, OrderRows(*groups)


class OrderAudit:
    """Judges one order after the other. An order that changed after `moment.cutoff` is in flight."""

    def __init__(
        self,
        moment: Moment,
        log: Log | None,
        unheard: Unheard,
        whole_since: datetime,
        predecessors: dict[ServiceName, Predecessor],
    ) -> None:
        """`whole_since`: pruning has not touched the timelines of orders placed after it. `predecessors`: of services that took over."""
        self._moment: Final = moment
        self._whole_since: Final = whole_since
        self._log: Final = log
        self._unheard: Final = unheard
        self._predecessors: Final = predecessors
        self.completed: Final = Finding(
            "a completed order has its stock, one captured payment of its total, one started delivery",
            "completed",
        )
        self.recorded: Final = Finding("an order that was ever completed has one completion record", "recorded")
        self.given_back: Final = Finding("a failed or cancelled order holds no stock and no money", "given_back")
        self.in_time: Final = Finding("no pending order is older than its deadlines", "in_time")
        self.timed: Final = Finding("an order that waits for something has a timer that will wake it", "timed")
        self.told: Final = Finding("an order's facts and timeline say what its status says", "told")
        self.agreed: Final = Finding(
            "what Order believes of stock, payments and delivery is what the others have", "agreed", unit="rows"
        )
        self.known: Final = Finding("no stock, payment or delivery without its order", "known", unit="rows")
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

    def judge(self, order_id: UUID, rows: OrderRows) -> None:
        """Judge one order."""
        others = sum(len(each) for each in (rows.reservations, rows.payments, rows.deliveries) if each)
        self.known.count += others
        if not rows.orders:
            if others:
                self.known.breaks(
                    f"{order_id}: "
                    + say("audit.known.no_order", "no order has this id, but stock, payment or delivery know it")
                )
            self._unknown_records += bool(rows.records)
            return
        try:
            order = AuditedOrder(order_id, rows.orders[0], self._moment)
        except msgspec.MsgspecError as error:
            self.told.count += 1
            self.told.breaks(
                f"{order_id}: " + say("audit.told.no_saga", "its saga cannot be read: {error}", error=str(error))
            )
            return
        rows = self._without_what_was_decided_before(order, rows)
        items = None if rows.reservations is None else items_of(rows.reservations)
        self._judge_record(order, rows)
        self._judge_told(order)
        self._judge_timer(order)
        self._judge_end(order, rows, items)
        self._judge_agreed(order, rows, items)

    def _without_what_was_decided_before(self, order: AuditedOrder, rows: OrderRows) -> OrderRows:
        """The rows, with None for those of a service that has none of this order, which its predecessor decided."""
        for service, predecessor in self._predecessors.items():
            stream = STREAMS[service]
            if getattr(rows, stream) == [] and predecessor.decided(service, order.row):
                predecessor.orders += 1
                rows = msgspec.structs.replace(rows, **{stream: None})
        return rows

    def finish(self) -> None:
        """Write the notes that count something over all orders."""
        for finding in (self.completed, self.given_back, self.agreed):
            note(finding, self._predecessors)
        if self._removed:
            self.recorded.notes_that(
                say(
                    "audit.recorded.removed",
                    "the records of {count} of them are older than Kafka keeps; the outbox alone says that they were published",
                    count=f"{self._removed:,}",
                )
            )
        if self._unknown_records:
            self.recorded.notes_that(
                say(
                    "audit.recorded.unknown_orders",
                    "{count} {count:order has|orders have} completion records and {count:is|are} not in Order's database",
                    count=f"{self._unknown_records:,}",
                )
            )
        if self._log is not None and self._log.unreadable:
            self.recorded.notes_that(
                say(
                    "audit.recorded.unreadable",
                    "{count} {count:record of the topic is no completion record|records of the topic are no completion records}",
                    count=f"{self._log.unreadable:,}",
                )
            )

    def _judge_record(self, order: AuditedOrder, rows: OrderRows) -> None:
        completed_at: datetime | None = order.row["completed_at"]
        records = rows.records
        if completed_at is None:
            for record in records or ():
                what = f"{order}: " + say(
                    "audit.recorded.too_early", "a completion record, and the order was never completed"
                )
                (self.recorded.waits if self._moment.is_recent(record["at"]) else self.recorded.breaks)(what)
            return
        self.recorded.count += 1
        if COMPLETION not in order.went_out:
            self.recorded.breaks(
                f"{order}: "
                + say("audit.recorded.not_sent", "completed, and its timeline has no completion record going out")
            )
        elif self._log is None or records is None:
            return  # the finding says once that the topic cannot be read
        elif len(records) > 1:
            self.recorded.breaks(
                f"{order}: " + say("audit.recorded.count", "{count} {count:record|records}", count=len(records))
            )
        elif not records:
            self._judge_missing_record(order, completed_at, self._log, bool(rows.unpublished))
        for record in records or ():
            for problem in _wrong_record(order.row, record):
                self.recorded.breaks(f"{order}: its completion record " + problem)

    def _judge_missing_record(
        self, order: AuditedOrder, completed_at: datetime, log: Log, is_unpublished: bool
    ) -> None:
        if is_unpublished or order.is_recent:
            self.recorded.waits(f"{order}: " + say("audit.recorded.none_yet", "0 records so far"))
        elif (why := log.is_hidden(order.order_id, completed_at)) is not None:
            self.recorded.unknown(f"{order}: " + say("audit.recorded.none", "0 records") + ", and " + why)
        elif log.was_removed(order.order_id, completed_at):
            self._removed += 1
        else:
            self.recorded.breaks(f"{order}: " + say("audit.recorded.none", "0 records"))

    def _judge_told(self, order: AuditedOrder) -> None:
        self.told.count += 1
        for problem in contradictions(order, self._moment, self._whole_since):
            self.told.breaks(f"{order}: " + problem)

    def _judge_timer(self, order: AuditedOrder) -> None:
        look_at, due_at = order.facts.look_at, order.row["timer_due_at"]
        if look_at is None and order.status != "PENDING" and not order.facts.is_owed:
            return
        self.timed.count += 1
        says = (
            say("audit.timed.saga_none", "its saga sets none")
            if look_at is None
            else say("audit.timed.saga", "its saga sets it for {at}", at=look_at)
        )
        if due_at is None:
            what = f"{order}: " + say("audit.timed.none", "{status} and without a timer; ", status=order.status) + says
        elif due_at < self._moment.cutoff - GRACE:
            what = f"{order}: " + say(
                "audit.timed.late", "its timer was due {age} ago and has not fired", age=self._moment.now - due_at
            )
        elif due_at > max(look_at or due_at, self._moment.now + CLOCKS_APART):
            what = f"{order}: " + say("audit.timed.other", "its timer is due at {at}; ", at=due_at) + says
        else:
            return
        (self.timed.waits if order.is_recent else self.timed.breaks)(what)

    def _judge_end(self, order: AuditedOrder, rows: OrderRows, items: list[Item] | None) -> None:
        finding = {"COMPLETED": self.completed, "PENDING": self.in_time}.get(order.status, self.given_back)
        finding.count += 1
        if order.status == "PENDING":
            self._judge_pending(order)
            return
        judge = _completed if order.status == "COMPLETED" else _given_back
        for problem in judge(order, None if items is None else reserved_items(items), rows):
            (finding.waits if order.is_moving else finding.breaks)(f"{order}: " + problem)

    def _judge_pending(self, order: AuditedOrder) -> None:
        pay_before, last_at = order.row["pay_before"], order.row["last_at"]
        pending = (
            say("audit.in_time.pending", "pending")
            if last_at is None
            else say("audit.in_time.pending_since", "pending since {time}", time=f"{last_at:%H:%M:%S}")
        )
        if order.facts.flag is not None and not order.is_recent:
            self.in_time.breaks(f"{order}: " + pending + say("audit.in_time.flag", ", ") + order.facts.flag_words)
        elif self._moment.now > pay_before + GRACE and not order.is_recent:
            self.in_time.breaks(
                f"{order}: " + say("audit.in_time.unpaid", "pending, and was to be paid before {at}", at=pay_before)
            )
        else:
            self.in_time.waits(f"{order}: " + pending)

    def _judge_agreed(self, order: AuditedOrder, rows: OrderRows, items: list[Item] | None) -> None:
        found: list[Contradiction] = []
        if rows.reservations is not None and items is not None:
            self.agreed.count += len(order.facts.lines)
            found += stock_differences(order, rows.reservations, items)
        if rows.payments is not None:
            self.agreed.count += len(order.facts.payments)
            found += payment_differences(order, rows.payments, self._unheard, self._moment)
        if rows.payables is not None:
            found += payable_differences(order, rows.payables, self._unheard)
        if rows.deliveries is not None:
            found += delivery_differences(order, rows.deliveries)
        for each in found:
            waits = order.is_recent or each.is_unheard
            (self.agreed.waits if waits else self.agreed.breaks)(f"{order}: " + each.what)


# What an order must and must not hold at its end -----------------------------------------------------------------------------


def _completed(order: AuditedOrder, held: dict[str, int] | None, rows: OrderRows) -> list[str]:
    problems: list[str] = []
    facts, total = order.facts, order.row["total_amount"]
    if held is not None and held != facts.pieces:
        problems.append(
            say(
                "audit.completed.stock",
                "Stock holds {held}, and the order has {wanted}",
                held=in_words(held),
                wanted=in_words(facts.pieces),
            )
        )
    if rows.payments is not None:
        amounts = [row["captured"] - row["refunded"] for row in rows.payments if row["captured"] > row["refunded"]]
        meant = sum(min(each.given_back, each.meant) for each in facts.captured[:1])
        if amounts != ([total - meant] if total > meant else []):
            what = say(
                "audit.completed.money",
                "Payment holds {held} for a total of {total} won",
                held=_amounts(amounts),
                total=total,
            )
            if meant:
                what += say(
                    "audit.completed.meant",
                    ", of which {meant} won were refunded, as Order asked or an operator accepted",
                    meant=meant,
                )
            problems.append(what)
        problems += [
            say(
                "audit.completed.refunded",
                "{back} of {amount} won of payment {payment} were refunded at the gateway, and no operator has "
                "accepted that; to accept it: {command}",
                back=each.given_back,
                amount=each.amount,
                payment=each.payment_key,
                command=f"ordersaga orders accept-refund {order} --why ...",
            )
            for each in facts.captured
            if each.given_back > each.meant and each.state not in UNREFUNDED
        ]
    if rows.deliveries is not None and [row["status"] for row in rows.deliveries] != ["STARTED"]:
        states = ", ".join(row["status"] for row in rows.deliveries)
        problems.append(
            say(
                "audit.completed.deliveries",
                "Delivery has deliveries that are {states}; one STARTED is right",
                states=states,
            )
            if states
            else say("audit.completed.no_delivery", "Delivery has none")
        )
    return problems


def _given_back(order: AuditedOrder, held: dict[str, int] | None, rows: OrderRows) -> list[str]:
    problems: list[str] = []
    if held:
        problems.append(
            say(
                "audit.given_back.stock",
                "{status}, and Stock still holds {held}",
                status=order.status,
                held=in_words(held),
            )
        )
    for row in rows.payments or ():
        if row["captured"] > row["refunded"]:
            amount = row["captured"] - row["refunded"]
            problems.append(
                say(
                    "audit.given_back.money",
                    "{status}, and {amount} won of payment {payment} are not refunded",
                    status=order.status,
                    amount=amount,
                    payment=row["payment_key"],
                )
            )
    if order.row["reason"] != "RETURNED" and any(row["status"] == "STARTED" for row in rows.deliveries or ()):
        problems.append(say("audit.given_back.delivery", "{status}, and its delivery was started", status=order.status))
    return problems


def _amounts(amounts: Sequence[int]) -> str:
    return f"{' and '.join(map(str, amounts))} won" if amounts else "no money"


def _wrong_record(order: Any, record: Any) -> list[str]:
    """Where a completion record differs from its order."""
    problems: list[str] = []
    if record["status"] != ORDER_CODES["COMPLETED"]:
        problems.append(say("audit.record.status", "says {status}", status=record["status"]))
    if record["total_amount"] != order["total_amount"]:
        problems.append(
            say(
                "audit.record.total",
                "says {said} won for a total of {total}",
                said=record["total_amount"],
                total=order["total_amount"],
            )
        )
    if record["customer_id"] != order["customer_id"]:
        problems.append(say("audit.record.customer", "names customer {customer}", customer=record["customer_id"]))
    if record["versions"] > 1:
        problems.append(say("audit.record.versions", "is there with the same message-id and another content"))
    return problems
