"""What Order does with what comes from Kafka: load the orders of a batch, fold the messages through the saga, save them.

Order by order, from the row to the row: one order's parts are in the processor's cache then, those of a whole batch are not.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

from ordersaga.contracts import messages as m
from ordersaga.messaging import timers
from ordersaga.messaging.database import Connection
from ordersaga.messaging.handler import Batch, Handler, Incoming, Outgoing, consumes
from ordersaga.order import store
from ordersaga.order.deadlines import Deadlines
from ordersaga.order.model import Event, Order
from ordersaga.order.outgoing import sent
from ordersaga.order.saga import Answer, Decision, Priced, decide
from ordersaga.order.store import SagaRow
from ordersaga.settings import Settings

NO_SUCH_ORDER: Final = "no order has this id"
ROLLBACK_ANSWERS: Final = frozenset({m.StockRollbackCompletedMessage, m.StockRollbackFailedMessage})


async def handle(batch: Batch, db: Connection, deadlines: Deadlines) -> list[Outgoing]:
    """Load -> decide -> save. Rejects answers about orders nobody knows, and payments without key or amount."""
    prices: list[m.ProductPriceMessage] = []
    answers: dict[UUID, list[Incoming]] = {}
    for each in batch.incoming:
        if isinstance(each.message, m.ProductPriceMessage):
            prices.append(each.message)
        else:
            answers.setdefault(each.key, []).append(each)
    await store.save_prices(db, prices)
    changes = Changes(batch.now)
    outgoing: list[Outgoing] = []

    def fold(order: Order) -> None:
        for each in answers.pop(order.order_id):
            problem = _problem(each)
            if problem is not None:
                batch.reject(each, problem)
                continue
            decision = decide(order, _answer(each), batch.now, deadlines, _answered_rollback(each))
            changes.note(type(each.message).__name__, order, decision)
            outgoing.extend(sent(decision.order, decision.outgoing, each))
            order = decision.order

    unpriced = []
    for order in await store.lock(db, answers) if answers else ():
        if lacks_price(order):
            unpriced.append(order)
        else:
            fold(order)
    for order, decision in await price(db, unpriced, batch.now, deadlines):
        if decision is not None:
            changes.note(Priced.__name__, order, decision)
            outgoing.extend(sent(decision.order, decision.outgoing))
        fold(order if decision is None else decision.order)
    for unknown in answers.values():
        for each in unknown:
            batch.reject(each, NO_SUCH_ORDER)
    await changes.save(db)
    return outgoing


class Changes:
    """What a transaction makes of its orders: the last state of each, the timeline, the timers."""

    def __init__(self, now: datetime) -> None:
        self._now: Final = now
        self._changed: Final[dict[UUID, SagaRow]] = {}
        self._events: Final[list[Event]] = []
        self._timers: Final[dict[UUID, datetime | None]] = {}

    def note(self, came_in: str, before: Order, decision: Decision) -> None:
        """Take up a decision; it is written by `save`."""
        order = decision.order
        self.note_silently(before, decision)
        went_out = tuple([type(message).__name__ for message in decision.outgoing])
        self._events.append(
            Event(
                order.order_id,
                self._now,
                came_in,
                went_out,
                order.status,
                order.reason,
                order.stock_is_known,
                decision.note,
            )
        )

    def note_silently(self, before: Order, decision: Decision) -> None:
        """Take up a decision that says nothing for the timeline."""
        order = decision.order
        if order is before:
            return
        self._changed[order.order_id] = store.saga_row(order)
        if order.facts.look_at != before.facts.look_at:
            self._timers[order.order_id] = order.facts.look_at

    async def save(self, db: Connection, inserted: bool = False) -> None:
        """Write everything; `inserted`: the orders were placed in this transaction."""
        if inserted:
            await store.begin(db, self._changed.values())
        else:
            await store.save(db, self._changed.values())
        await store.add_events(db, self._events)
        await timers.put(db, self._timers)


def lacks_price(order: Order) -> bool:
    """Whether an order was placed before its products' prices were known, and still may go on."""
    return order.facts.listed_total is None and order.status == "PENDING"


async def price(
    db: Connection, orders: Sequence[Order], now: datetime, deadlines: Deadlines
) -> list[tuple[Order, Decision | None]]:
    """Orders that lack a price, each with what is decided now that it has come; None: it has not."""
    if not orders:
        return []
    known = await store.prices(db, (line.product_id for order in orders for line in order.facts.lines))
    totals = [(order, listed_total(order, known)) for order in orders]
    return [(order, None if total is None else decide(order, Priced(total), now, deadlines)) for order, total in totals]


def listed_total(order: Order, prices: dict[UUID, int]) -> int | None:
    """The sum of the products' own prices; None: one of them is not known. Won."""
    total = 0
    for line in order.facts.lines:
        price = prices.get(line.product_id)
        if price is None:
            return None
        total += price * line.quantity
    return total


def _problem(incoming: Incoming) -> str | None:
    message = incoming.message
    if isinstance(message, m.PaymentSuccessMessage) and message.status == "SUCCESS":
        if not message.payment_key:
            return "a successful payment without its paymentKey"
        if message.amount is None or message.amount <= 0:
            return "a successful payment without a positive amount"
    return None


def _answered_rollback(incoming: Incoming) -> str | None:
    """The `message-id` of the rollback that this answers, if its sender says so: the answer itself names only the order."""
    return incoming.causation_id if type(incoming.message) in ROLLBACK_ANSWERS else None


def _answer(incoming: Incoming) -> Answer:
    return incoming.message  # type: ignore[return-value]  # `consumes` lists exactly these


def deadlines_of(settings: Settings) -> Deadlines:
    """How long Order waits for its partners, and who of them may be asked again."""
    return Deadlines(
        settings.stock_deadline_s,
        settings.stock_asks_max,
        settings.delivery_deadline_s,
        settings.compensation_deadline_s,
        settings.asks_max,
        frozenset(settings.idempotent_partners),
    )


def handler(settings: Settings) -> Handler:
    """What Order consumes."""
    return consumes(
        m.StockResponseMessage,
        m.PaymentSuccessMessage,
        m.DeliveryStartMessage,
        m.StockRollbackCompletedMessage,
        m.StockRollbackFailedMessage,
        m.PaymentCancelledMessage,
        m.ProductPriceMessage,
    )(partial(handle, deadlines=deadlines_of(settings)))
