"""Order's handler: load the orders of a batch, decide each message by the saga, save them.

Orders are handled one after the other: each is decoded, decided and encoded before the next, so that its objects stay in the processor's cache.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

from ordersaga.contracts import messages as m
from ordersaga.contracts.topics import BY_MESSAGE
from ordersaga.messaging.database import Connection
from ordersaga.messaging.handler import Batch, Handler, Incoming, Outgoing, Record, consumes
from ordersaga.order import store
from ordersaga.order.answers import rollback_named
from ordersaga.order.deadlines import Deadlines
from ordersaga.order.model import Order
from ordersaga.order.saga import Answer, Priced, decide
from ordersaga.order.store import Changes, KnownOrders
from ordersaga.said import say
from ordersaga.settings import Settings

UNKNOWN_ORDER: Final = say("letter.no_order", "no order has this id")
PAID: Final = BY_MESSAGE[m.PaymentSuccessMessage].name
FIRST_OF_TWO: Final = (PAID, BY_MESSAGE[m.StockResponseMessage].name)
ROLLBACK_ANSWERS: Final = frozenset({m.StockRollbackCompletedMessage, m.StockRollbackFailedMessage})


async def handle(batch: Batch, db: Connection, deadlines: Deadlines, known: KnownOrders) -> list[Outgoing]:
    """Load -> decide -> save. Rejects answers about unknown orders, and captured payments without key or amount."""
    prices, answers = _split(batch)
    await store.save_prices(db, prices)
    orders = await store.lock(db, answers, known)

    changes = Changes(batch.now, known)
    unpriced = []
    for order in orders:
        if order.lacks_price:
            unpriced.append(order)
        else:
            _decide(order, answers.pop(order.order_id), batch, deadlines, changes)
    for order in await with_prices(db, unpriced, batch.now, deadlines, changes):
        _decide(order, answers.pop(order.order_id), batch, deadlines, changes)
    for unknown in answers.values():
        for each in unknown:
            batch.reject(each, UNKNOWN_ORDER)

    await changes.save(db)
    return changes.outgoing


async def with_prices(
    db: Connection, orders: Sequence[Order], now: datetime, deadlines: Deadlines, changes: Changes
) -> list[Order]:
    """The orders, which lacked a price. One whose prices are all known now is priced, and `changes` gets that decision; others are as they were."""
    if not orders:
        return []
    prices, _ = await store.prices(db, (line.product_id for order in orders for line in order.facts.lines))
    after = []
    for order in orders:
        total = order.total_by(prices)
        if total is not None:
            decision = decide(order, Priced(total), now, deadlines)
            changes.add(Priced.__name__, order, decision)
            order = decision.order
        after.append(order)
    return after


def can_wait(record: Record, known: KnownOrders) -> bool:
    """Whether nothing follows from a record yet: of payment and stock, the one that is there first only waits for the other."""
    if record.topic not in FIRST_OF_TWO or record.key is None:
        return False
    try:
        order_id = UUID(record.key.decode())
    except ValueError:
        return False
    order = known.last(order_id)
    if order is None or known.is_watched(order_id):
        return False
    return not (order[0].stock_is_known if record.topic == PAID else order[0].is_paid)


def _split(batch: Batch) -> tuple[list[m.ProductPriceMessage], dict[UUID, list[Incoming]]]:
    """The prices of the batch, and the answers of each order in their order."""
    prices: list[m.ProductPriceMessage] = []
    answers: dict[UUID, list[Incoming]] = {}
    for each in batch.incoming:
        if isinstance(each.message, m.ProductPriceMessage):
            prices.append(each.message)
        else:
            answers.setdefault(each.key, []).append(each)
    return prices, answers


def _decide(order: Order, answers: list[Incoming], batch: Batch, deadlines: Deadlines, changes: Changes) -> None:
    """Fold the answers of one order through the saga."""
    for each in answers:
        if problem := _problem(each):
            batch.reject(each, problem)
            continue
        decision = decide(order, _answer(each), batch.now, deadlines, _answered_rollback(order, each))
        changes.add(type(each.message).__name__, order, decision, each)
        order = decision.order


def _problem(incoming: Incoming) -> str | None:
    message = incoming.message
    if isinstance(message, m.PaymentSuccessMessage) and message.status == "SUCCESS":
        if not message.payment_key:
            return say("letter.no_payment_key", "a successful payment without its paymentKey")
        if message.amount is None or message.amount <= 0:
            return say("letter.no_amount", "a successful payment without a positive amount")
    return None


def _answered_rollback(order: Order, incoming: Incoming) -> str | None:
    """The `message-id` of the rollback that this message answers; None: another message, or its sender does not say.

    A framework that copies headers sends the rollback's `message-id` as the answer's own, and its `causation-id` then names what led to the
    rollback, which may be the answer to an earlier one. So the `message-id` counts first.
    """
    if type(incoming.message) not in ROLLBACK_ANSWERS:
        return None
    return rollback_named(order, (incoming.message_id, incoming.causation_id))


def _answer(incoming: Incoming) -> Answer:
    return incoming.message  # type: ignore[return-value]  # `handler` consumes these messages and the prices


def handler(settings: Settings, known: KnownOrders | None = None) -> Handler:
    """Order's handler, with the messages that it consumes. `known`: the orders of which this process knows the rows."""
    known = known or KnownOrders()
    return consumes(
        m.StockResponseMessage,
        m.PaymentSuccessMessage,
        m.DeliveryStartMessage,
        m.StockRollbackCompletedMessage,
        m.StockRollbackFailedMessage,
        m.PaymentCancelledMessage,
        m.ProductPriceMessage,
        short=True,
        can_wait=partial(can_wait, known=known),
    )(partial(handle, deadlines=Deadlines.of(settings), known=known))
