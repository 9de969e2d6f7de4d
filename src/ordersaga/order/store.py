"""Reads and writes orders, saga rows, timelines and prices. Each function is one statement for any number of rows.

`Changes` is what one transaction changes of its orders: `add` takes up the saga's decisions, `save` writes all of them.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple
from uuid import UUID
from zlib import crc32

import msgspec
from msgspec.structs import astuple

from ordersaga.contracts.address import Address
from ordersaga.contracts.messages import Message, ProductPriceMessage, StockRollbackRequestedMessage
from ordersaga.contracts.status import ORDER_CODES, OrderStatus
from ordersaga.messaging import timers
from ordersaga.messaging.database import Connection, insert, insert_new
from ordersaga.messaging.handler import Incoming, Outgoing
from ordersaga.messaging.queries import queries
from ordersaga.messaging.short_transaction import (
    Known,
    ShortTransaction,
    after_commit,
    comparing,
    later,
    reading,
    unlocked,
)
from ordersaga.messaging.texts import stored_sayings
from ordersaga.order.decision import Decision
from ordersaga.order.model import ENDS, Event, Facts, Order, Reason
from ordersaga.order.outgoing import rollback_id
from ordersaga.order.search import EVERY_ORDER, OrderFilter

sql: Final = queries(__file__)

ORDER_COLUMNS: Final = (
    "order_id",
    "customer_id",
    "order_name",
    "total_amount",
    "recipient",
    "placed_at",
    "pay_before",
    "search_words",
    "traceparent",
)
EVENT_COLUMNS: Final = (
    "order_id",
    "at",
    "came_in",
    "went_out",
    "status",
    "reason",
    "stock_known",
    "note",
    "payment_hash",
    "said",
)

ORDERS_KNOWN_MAX: Final = 500

_json: Final = msgspec.json.Encoder()
_facts: Final = msgspec.json.Decoder(Facts)
_recipient: Final = msgspec.json.Decoder(Address)


class KnownOrders(Known[tuple[Order, str]]):
    """Orders, each with the version of its saga row.

    `tell` gets those that a short transaction has committed. `is_watched`: whether a request or a stream of this process waits for an order.
    """

    def __init__(self) -> None:
        super().__init__(ORDERS_KNOWN_MAX)
        self.tell: Callable[[Iterable[Order]], None] = lambda _: None
        self.is_watched: Callable[[UUID], bool] = lambda _: False


class SagaRow(NamedTuple):
    """A row of the table `saga`."""

    order_id: UUID
    status: str
    reason: str | None
    detail: str | None
    facts: str


def saga_row(order: Order) -> SagaRow:
    """The saga's row of an order."""
    return SagaRow(order.order_id, order.status, order.reason, order.detail, _json.encode(order.facts).decode())


async def insert_orders(db: Connection, orders: Sequence[Order]) -> None:
    """Insert orders, without their saga rows."""
    rows = [
        (
            order.order_id,
            order.customer_id,
            order.order_name,
            order.total_amount,
            _json.encode(order.recipient).decode(),
            order.placed_at,
            order.pay_before,
            order.search_words,
            order.traceparent,
        )
        for order in orders
    ]
    await insert_new(later(db), "orders", ORDER_COLUMNS, rows)


async def insert_sagas(db: Connection, rows: Collection[SagaRow]) -> None:
    """Insert the saga rows of orders that this transaction has inserted."""
    await insert_new(later(db), "saga", SagaRow._fields, rows)


async def lock(db: Connection, order_ids: Iterable[UUID], known: KnownOrders | None = None) -> Iterator[Order]:
    """Orders to change, their rows locked in id order, or compared at the end of a short transaction. An order is decoded only when the caller comes to it: a turn has thousands.

    `known`: orders that a short transaction need not read.
    """
    distinct = list(dict.fromkeys(order_ids))
    if not distinct:
        return iter(())
    if (short := comparing(db)) is None:
        if known is not None:
            known.forget(distinct)
        return map(order_of, await sql.lock_orders(db, order_ids=distinct))
    there = known.all_of(sorted(distinct), short) if known is not None else None
    if there is None:
        rows = await sql.orders_with_versions(short.connection, order_ids=distinct)
        there = [(order_of(row), row["version"]) for row in rows]
    orders, versions = [order for order, _ in there], [version for _, version in there]
    ids = [order.order_id for order in orders]
    await sql.sagas_as_read(short.compared(len(ids)), order_ids=ids, versions=versions)
    return iter(orders)


async def save(db: Connection, rows: Collection[SagaRow]) -> None:
    """Save saga rows, which must be locked, and notify the processes in which a request waits for an event."""
    if rows:
        order_ids, statuses, reasons, details, facts = map(list, zip(*rows, strict=True))
        await sql.save_sagas(
            later(db), order_ids=order_ids, statuses=statuses, reasons=reasons, details=details, facts=facts
        )


async def add_events(db: Connection, events: Sequence[Event]) -> None:
    """Append lines to timelines."""
    if events:
        await insert(later(db), "order_event", EVENT_COLUMNS, list(map(astuple, events)))


async def find(db: Connection, order_ids: Iterable[UUID]) -> dict[UUID, Order]:
    """Orders by id, without a lock."""
    return {row["order_id"]: order_of(row) for row in await sql.orders_by_id(db, order_ids=list(order_ids))}


async def page(db: Connection, before: UUID | None, rows_max: int, wanted: OrderFilter = EVERY_ORDER) -> list[Order]:
    """One page of orders, the newest first. `before`: the last order id of the page before."""
    rows = await sql.find_orders(
        db,
        order_id=wanted.order_id,
        ids_below=wanted.ids_below(before),
        ids_from=wanted.ids_from,
        customer_id=wanted.customer_id,
        payment_key=wanted.payment_key,
        payment_hash=payment_hash(wanted.payment_key) if wanted.payment_key is not None else None,
        status=wanted.status,
        reason=wanted.reason,
        placed_before=wanted.placed_before,
        placed_after=wanted.placed_after,
        search_words=wanted.search_words,
        rows_max=rows_max,
    )
    return list(map(order_of, rows))


async def counts(db: Connection, ids_from: UUID, counted_max: int) -> dict[OrderStatus, int]:
    """How many of the orders from this id on have each status, at most `counted_max` of each."""
    rows = await sql.count_orders(db, ids_from=ids_from, counted_max=counted_max, statuses=list(ORDER_CODES))
    return {row["status"]: row["orders"] for row in rows}


async def reasons(db: Connection, ids_from: UUID, counted_max: int) -> dict[Reason, int]:
    """How many of the orders from this id on have ended for each reason, at most `counted_max` for each."""
    rows = await sql.count_reasons(db, ids_from=ids_from, counted_max=counted_max, reasons=list(ENDS))
    return {row["reason"]: row["orders"] for row in rows}


async def oldest_pending(db: Connection) -> tuple[UUID, str, datetime] | None:
    """Id, name and time of the oldest order that has not ended."""
    for row in await sql.oldest_pending(db):
        return row["order_id"], row["order_name"], row["placed_at"]
    return None


async def events_after(db: Connection, seen: dict[UUID, int], each_max: int | None = None) -> list[tuple[int, Event]]:
    """The events of orders after the given sequence numbers, oldest first, each with its number. At most `each_max` of each order."""
    rows = await sql.events_after(db, order_ids=list(seen), after_seqs=list(seen.values()), each_max=each_max)
    return [
        (
            row["seq"],
            Event(
                row["order_id"],
                row["at"],
                row["came_in"],
                tuple(row["went_out"]),
                row["status"],
                row["reason"],
                row["stock_known"],
                row["note"],
                said=row["said"],
            ),
        )
        for row in rows
    ]


async def prices(
    db: Connection, product_ids: Iterable[UUID], known: "KnownPrices | None" = None
) -> tuple[dict[UUID, int], set[UUID]]:
    """Order's copy of the prices of products, and which of these products are inactive. Prices in won; a product whose price is not known is missing.

    `known`: forgets what may be old.
    """
    wanted = list(set(product_ids))
    if known is not None and reading(db) is None:
        known.forget(wanted)
    rows = await sql.prices(unlocked(db), product_ids=wanted)
    return {row["product_id"]: row["price"] for row in rows}, {row["product_id"] for row in rows if not row["active"]}


class KnownPrices(Known[int]):
    """The prices of products that are sold, in won."""


async def known_prices(db: Connection, product_ids: Iterable[UUID], known: KnownPrices) -> dict[UUID, int] | None:
    """The prices of products that are sold, as this process has read them last. None: not all are known, or they cannot be compared.

    Whoever uses them calls `compare_prices`.
    """
    wanted = list(set(product_ids))
    short = reading(db)
    there = known.all_of(wanted, short) if short is not None else None
    return dict(zip(wanted, there, strict=True)) if there is not None else None


async def compare_prices(db: Connection, prices: Mapping[UUID, int]) -> None:
    """Have the last statement of the short transaction write nothing unless the products have these prices and are sold."""
    short = reading(db)
    assert short is not None
    await sql.prices_as_read(short.compared(len(prices)), product_ids=list(prices), prices=list(prices.values()))


async def save_prices(db: Connection, messages: Iterable[ProductPriceMessage]) -> None:
    """Keep the last price of each product: the one with the highest version, or, without versions, the newest."""
    in_order = sorted(messages, key=lambda message: (message.version or 0, message.changed_at))
    last = {message.product_id: message for message in in_order}
    if last:
        ordered = [last[product_id] for product_id in sorted(last)]
        await sql.save_prices(
            db,
            product_ids=[message.product_id for message in ordered],
            names=[message.name for message in ordered],
            prices=[message.price for message in ordered],
            versions=[message.version or 0 for message in ordered],
            changed_ats=[message.changed_at for message in ordered],
            actives=[message.active is not False for message in ordered],
        )


async def prune_events(db: Connection, before: datetime, rows_max: int) -> int:
    """Shorten the timelines of ended orders by their events older than `before`; returns how many rows were deleted."""
    count: int = await sql.prune_events(db, before=before, rows_max=rows_max)
    return count


def order_of(row: Any) -> Order:
    """The order of a row of any query here whose columns begin with these twelve."""
    id, customer_id, name, total, recipient, placed_at, pay_before, status, reason, detail, facts, trace, *_ = row
    address, known = _recipient.decode(recipient), _facts.decode(facts)
    return Order(id, customer_id, name, total, address, placed_at, pay_before, known, status, reason, detail, trace)


class Changes:
    """The last row of each changed order, its timeline and its timer. `add` fills `outgoing`, the messages for the outbox.

    `known`: where the orders are noted once a short transaction has committed them.
    """

    def __init__(self, now: datetime, known: KnownOrders | None = None) -> None:
        self._now: Final = now
        self._known: Final = known
        self._orders: Final[dict[UUID, Order]] = {}
        self._rows: Final[dict[UUID, SagaRow]] = {}
        self._events: Final[list[Event]] = []
        self._timers: Final[dict[UUID, datetime | None]] = {}
        self.outgoing: Final[list[Outgoing]] = []

    def add(self, came_in: str | None, before: Order, decision: Decision, cause: Incoming | None = None) -> None:
        """Take up a decision about the order as it was `before`. `came_in` names the input in the timeline; None: no line there."""
        order = decision.order
        if order is not before:
            self._rows[order.order_id] = saga_row(order)
            self._orders[order.order_id] = order
            if order.facts.look_at != before.facts.look_at:
                self._timers[order.order_id] = order.facts.look_at
        if came_in is not None:
            went_out = tuple([type(message).__name__ for message in decision.outgoing])
            stock_known = order.stock_is_known
            new_hash = _new_payment_hash(order, before)
            note = decision.note
            line = Event(
                order.order_id,
                self._now,
                came_in,
                went_out,
                order.status,
                order.reason,
                stock_known,
                note and str(note),
                new_hash,
                stored_sayings(note) if note else None,
            )
            self._events.append(line)
        for message in decision.outgoing:
            self.outgoing.append(_outgoing(order, message, cause))

    async def save(self, db: Connection) -> None:
        """Write the orders, which are locked, their timelines and their timers."""
        await save(db, self._rows.values())
        await self._save_events_and_timers(db)

    async def save_placed(self, db: Connection, placed: Sequence[Order]) -> None:
        """Insert new orders, with their saga rows, timelines and timers."""
        await insert_orders(db, placed)
        await insert_sagas(db, self._rows.values())
        await self._save_events_and_timers(db)

    async def _save_events_and_timers(self, db: Connection) -> None:
        await add_events(db, self._events)
        await timers.put(db, self._timers)
        if self._known is not None and self._orders:
            after_commit(db, partial(_keep, self._known, self._orders))


def _keep(known: KnownOrders, orders: Mapping[UUID, Order], short: ShortTransaction) -> None:
    rows = {id: (order, short.version) if order.status == "PENDING" else None for id, order in orders.items()}
    known.keep(rows, short)
    known.tell(orders.values())


def payment_hash(payment_key: str) -> int:
    """The hash of a payment key, by which the index on the timelines finds orders. Two keys may have the same hash."""
    return crc32(payment_key.encode())


def _new_payment_hash(order: Order, before: Order) -> int | None:
    """The hash of the payment key that this decision has added to the order; None: it added none. One message names one key at most."""
    payments = order.facts.payments
    if len(payments) == len(before.facts.payments):
        return None
    key = payments[-1].payment_key
    return payment_hash(key) if key else None


def _outgoing(order: Order, message: Message, cause: Incoming | None) -> Outgoing:
    """A message for the outbox, caused by the record that was decided.

    A rollback's `message-id` is made from its number, so Order recognises the answer by its `causation-id`. A decision has at most one
    rollback, numbered `facts.rollbacks`.
    """
    if isinstance(message, StockRollbackRequestedMessage):
        return Outgoing(message, cause, rollback_id(order.order_id, order.facts.rollbacks))
    return Outgoing(message, cause)
