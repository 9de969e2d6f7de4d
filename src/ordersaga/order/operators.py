"""What operators do to orders, as gathered writes: each act is one transaction with its audit row."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from msgspec import Struct

from ordersaga.messaging import acts
from ordersaga.messaging.acts import Operator
from ordersaga.messaging.database import Connection, storable
from ordersaga.messaging.gather import Write
from ordersaga.order import store
from ordersaga.order.handlers import Changes, deadlines_of
from ordersaga.order.model import Order
from ordersaga.order.outgoing import sent
from ordersaga.order.saga import AcceptRefund, Decision, decide
from ordersaga.settings import Settings

ACCEPT_REFUND: Final = "accept refund"


class Acceptance(Struct, frozen=True):
    """An operator marks what went back of an order's money as meant."""

    order_id: UUID
    operator: Operator


class Accepting:
    """Marks refunds made at the gateway as meant: `Gather`'s work. None: there is no such order."""

    def __init__(self, settings: Settings) -> None:
        self._deadlines: Final = deadlines_of(settings)

    async def __call__(
        self, db: Connection, acceptances: Sequence[Acceptance], now: datetime
    ) -> Write[Decision | None]:
        """A repeat is answered as the first was; only a change has a row in the timeline and among the acts."""
        orders = {order.order_id: order for order in await store.lock(db, (each.order_id for each in acceptances))}
        changes = Changes(now)
        answers: list[Decision | None] = []
        for each in acceptances:
            order = orders.get(each.order_id)
            if order is None:
                answers.append(None)
                continue
            who, why = storable(each.operator.who), storable(each.operator.why)
            decision = decide(order, AcceptRefund(who, why), now, self._deadlines)
            answers.append(decision)
            if decision.order is not order:
                orders[order.order_id] = decision.order
                changes.note(AcceptRefund.__name__, order, decision)
                before, after = _money(order), _money(decision.order)
                await acts.note(db, each.operator, ACCEPT_REFUND, order.order_id, before, after, now)
        await changes.save(db)
        return Write(answers, [out for each in answers if each for out in sent(each.order, each.outgoing)])


def _money(order: Order) -> dict[str, Any]:
    return {
        each.payment_key: {"captured": each.amount, "held": each.left, "meant": each.meant}
        for each in order.facts.payments
    }
