"""What one transaction changes of its orders. `add` takes up the saga's decisions, `save` writes all of them."""

from datetime import datetime
from typing import Final
from uuid import UUID

from ordersaga.contracts import messages as m
from ordersaga.messaging import timers
from ordersaga.messaging.database import Connection
from ordersaga.messaging.handler import Incoming, Outgoing
from ordersaga.order import store
from ordersaga.order.decision import Decision
from ordersaga.order.model import Event, Order
from ordersaga.order.outgoing import rollback_id
from ordersaga.order.store import SagaRow


class Changes:
    """The last row of each changed order, its timeline and its timer, and in `outgoing` the records for the outbox."""

    def __init__(self, now: datetime) -> None:
        self._now: Final = now
        self._rows: Final[dict[UUID, SagaRow]] = {}
        self._events: Final[list[Event]] = []
        self._timers: Final[dict[UUID, datetime | None]] = {}
        self.outgoing: Final[list[Outgoing]] = []

    def add(self, came_in: str | None, before: Order, decision: Decision, cause: Incoming | None = None) -> None:
        """Take up a decision about the order as it was `before`. `came_in` names the input in the timeline; None: no line there."""
        order = decision.order
        if order is not before:
            self._rows[order.order_id] = store.saga_row(order)
            if order.facts.look_at != before.facts.look_at:
                self._timers[order.order_id] = order.facts.look_at
        if came_in is not None:
            went_out = tuple([type(message).__name__ for message in decision.outgoing])
            is_known = order.stock_is_known
            line = Event(
                order.order_id, self._now, came_in, went_out, order.status, order.reason, is_known, decision.note
            )
            self._events.append(line)
        for message in decision.outgoing:
            self.outgoing.append(_outgoing(order, message, cause))

    async def save(self, db: Connection) -> None:
        """Write the orders, which are locked, their timelines and their timers."""
        await store.save(db, self._rows.values())
        await self._save_events_and_timers(db)

    async def save_placed(self, db: Connection) -> None:
        """Write the first saga rows of orders that were inserted in this transaction, their timelines and their timers."""
        await store.begin(db, self._rows.values())
        await self._save_events_and_timers(db)

    async def _save_events_and_timers(self, db: Connection) -> None:
        await store.add_events(db, self._events)
        await timers.put(db, self._timers)


def _outgoing(order: Order, message: m.Message, cause: Incoming | None) -> Outgoing:
    """A rollback gets an id of its own, by which its answer is known. At most one is among the messages of a decision: the order's last."""
    if isinstance(message, m.StockRollbackRequestedMessage):
        return Outgoing(message, cause, rollback_id(order.order_id, order.facts.rollbacks))
    return Outgoing(message, cause)
