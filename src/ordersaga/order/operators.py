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
from ordersaga.messaging.handler import Outgoing
from ordersaga.messaging.refusal import Refusal
from ordersaga.order import store
from ordersaga.order.commands import NO_SUCH_ORDER
from ordersaga.order.handlers import Changes, deadlines_of
from ordersaga.order.model import Order
from ordersaga.order.outgoing import sent
from ordersaga.order.saga import AcceptRefund, OperatorsWord, ReceiveReturn, RefuseReturn, decide
from ordersaga.settings import Settings

ACTS: Final[dict[type[OperatorsWord], str]] = {
    AcceptRefund: "accept refund",
    ReceiveReturn: "receive return",
    RefuseReturn: "refuse return",
}


class Acceptance(Struct, frozen=True):
    """An operator's word on an order: that what went back of its money was meant to, that the goods of a return came, or that they did not."""

    order_id: UUID
    operator: Operator
    word: type[OperatorsWord] = AcceptRefund


class Accepting:
    """Takes operators' words: `Gather`'s work."""

    def __init__(self, settings: Settings) -> None:
        self._deadlines: Final = deadlines_of(settings)

    async def __call__(
        self, db: Connection, acceptances: Sequence[Acceptance], now: datetime
    ) -> Write[Order | Refusal]:
        """A repeat is answered as the first was; only a change has a row in the timeline and among the acts."""
        orders = {order.order_id: order for order in await store.lock(db, (each.order_id for each in acceptances))}
        changes = Changes(now)
        answers: list[Order | Refusal] = []
        outgoing: list[Outgoing] = []
        for each in acceptances:
            order = orders.get(each.order_id)
            if order is None:
                answers.append(NO_SUCH_ORDER)
                continue
            who, why = storable(each.operator.who), storable(each.operator.why)
            decision = decide(order, each.word(who, why), now, self._deadlines)
            answers.append(decision.refusal or decision.order)
            outgoing += sent(decision.order, decision.outgoing)
            if decision.order is not order:
                orders[order.order_id] = decision.order
                changes.note(each.word.__name__, order, decision)
                says = _money if each.word is AcceptRefund else _return
                before, after = says(order), says(decision.order)
                await acts.note(db, each.operator, ACTS[each.word], order.order_id, before, after, now)
        await changes.save(db)
        return Write(answers, outgoing)


def _money(order: Order) -> dict[str, Any]:
    return {
        each.payment_key: {"captured": each.amount, "held": each.left, "meant": each.meant}
        for each in order.facts.payments
    }


def _return(order: Order) -> dict[str, Any]:
    return {"status": order.status, "returning": order.facts.returning}
