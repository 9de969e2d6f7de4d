"""Does the work of an order's timer: sends an overdue request again, or ends the order."""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog
from msgspec.structs import replace

from ordersaga.contracts.topics import BY_MESSAGE, key_of
from ordersaga.messaging.database import Connection
from ordersaga.messaging.handler import Outgoing
from ordersaga.order import store
from ordersaga.order.deadlines import PARTNERS, Deadlines, TimePassed, Wait, waits
from ordersaga.order.decision import Decision
from ordersaga.order.explanation import ANSWERS
from ordersaga.order.handlers import with_prices
from ordersaga.order.model import Awaited, Order
from ordersaga.order.saga import decide
from ordersaga.order.store import Changes
from ordersaga.settings import Settings
from ordersaga.tracing import trace_id_of

log: Final = structlog.get_logger()

ORDERS_NAMED_MAX: Final = 3


class Waking:
    """Decides orders whose timer has fired: the work that `Timers` does. Logs what a person on call has to know."""

    def __init__(self, settings: Settings) -> None:
        self._deadlines: Final = Deadlines.of(settings)

    async def __call__(self, db: Connection, order_ids: Sequence[UUID], now: datetime) -> list[Outgoing]:
        """Load -> decide -> save."""
        changes = Changes(now)
        # `claim_timers` has deleted the timer's row. `look_at` is cleared so that `Changes` sees a new time and inserts the row again.
        orders = [replace(order, facts=replace(order.facts, look_at=None)) for order in await store.lock(db, order_ids)]
        waiting = [order for order in orders if not order.lacks_price]
        unpriced = [order for order in orders if order.lacks_price]
        priced = await with_prices(db, unpriced, now, self._deadlines, changes)
        waiting += [order for order in priced if order.lacks_price]
        decided = [(order, decide(order, TimePassed(), now, self._deadlines)) for order in waiting]
        for order, decision in decided:
            is_told = decision.outgoing or decision.note or decision.order.status != order.status
            changes.add(TimePassed.__name__ if is_told else None, order, decision)
        await changes.save(db)
        self._log(decided, now)
        traces = {order.order_id: order.trace for order in orders}
        return [replace(each, trace=traces.get(key_of(each.message))) for each in changes.outgoing]

    def _log(self, decided: Sequence[tuple[Order, Decision]], now: datetime) -> None:
        """One line for each order that ended or that a person must look at, and one for each partner whose answers are overdue."""
        overdue: dict[Awaited, list[tuple[Order, Wait]]] = {}
        for order, decision in decided:
            after = decision.order
            if after.status != order.status:
                level = logging.INFO if after.reason == "PAYMENT_EXPIRED" else logging.WARNING
                why = {"reason": after.reason, "detail": after.detail}
                log.log(level, "an order ended by a deadline", status=after.status, **_about(order), **why)
                continue
            if after.facts.flag != order.facts.flag:
                log.warning("an order waits for a person", **_about(order), flag=after.facts.flag)
            for wait in waits(order, self._deadlines):
                if wait.until <= now:
                    overdue.setdefault(wait.awaited, []).append((order, wait))
        for awaited, found in overdue.items():
            log.warning(
                "a partner does not answer",
                partner=PARTNERS[awaited],
                message=ANSWERS[awaited].__name__,
                topic=BY_MESSAGE[ANSWERS[awaited]].name,
                orders=len(found),
                asked_at_most=max(wait.attempts for _, wait in found),
                since=min(wait.since for _, wait in found).isoformat(),
                order_ids=[str(order.order_id) for order, _ in found[:ORDERS_NAMED_MAX]],
                trace_ids=[trace_id_of(order.trace) for order, _ in found[:ORDERS_NAMED_MAX]],
            )


def _about(order: Order) -> dict[str, str | None]:
    """The fields by which the lines about an order are found."""
    return {"order_id": str(order.order_id), "trace_id": trace_id_of(order.trace)}
