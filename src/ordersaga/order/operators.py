"""Carries out operators' commands on orders as a gathered write. Each act is one transaction, with a row in `operator_act`."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from msgspec import Struct

from ordersaga.messaging import acts
from ordersaga.messaging.acts import Operator
from ordersaga.messaging.database import Connection
from ordersaga.messaging.gather import Write
from ordersaga.messaging.refusal import Refusal
from ordersaga.messaging.texts import storable, with_sayings
from ordersaga.order import store
from ordersaga.order.commands import NO_SUCH_ORDER, standing
from ordersaga.order.deadlines import Deadlines
from ordersaga.order.model import Order
from ordersaga.order.refunds import AcceptRefund
from ordersaga.order.resending import Resend
from ordersaga.order.returns import ReceiveReturn, RefuseReturn
from ordersaga.order.saga import OperatorCommand, decide
from ordersaga.order.store import Changes
from ordersaga.order.versions import CHANGED, seen_of, version_of
from ordersaga.settings import Settings

ACT_NAMES: Final[dict[type[OperatorCommand], str]] = {
    AcceptRefund: "accept refund",
    ReceiveReturn: "receive return",
    RefuseReturn: "refuse return",
    Resend: "resend",
}

HISTORY: Final = frozenset({"order_event"})
"""The tables that only record incoming messages: in a rehearsal a row there is no effect."""


async def last_note(db: Connection, order_id: UUID) -> str | None:
    """The note of an order's last event: in a rehearsal it says why a message has no effect."""
    events = await store.events_after(db, {order_id: 0})
    if not events:
        return None
    _, last = events[-1]
    return last.note and with_sayings(last.note, last.said)


class OperatorAct(Struct, frozen=True):
    """An operator's command on an order. `version` and `seen`: the order's, when the operator looked at it; None: any will do."""

    order_id: UUID
    operator: Operator
    command: type[OperatorCommand] = AcceptRefund
    version: str | None = None
    seen: str | None = None


class Operating:
    """Carries out operators' commands: the gathered write of their routes and of `ordersaga orders`."""

    def __init__(self, settings: Settings) -> None:
        self._deadlines: Final = Deadlines.of(settings)

    async def __call__(
        self, db: Connection, operator_acts: Sequence[OperatorAct], now: datetime
    ) -> Write[Order | Refusal]:
        """Load -> decide -> save. A repeat gets the order as it is, and writes no row."""
        orders = {order.order_id: order for order in await store.lock(db, (each.order_id for each in operator_acts))}
        changes = Changes(now)
        answers: list[Order | Refusal] = []
        for each in operator_acts:
            order = orders.get(each.order_id)
            if order is None:
                answers.append(NO_SUCH_ORDER)
                continue
            if each.version not in (None, version_of(order)) or each.seen not in (None, seen_of(order)):
                answers.append(CHANGED)
                continue
            command = each.command(storable(each.operator.who), storable(each.operator.why))
            decision = decide(order, command, now, self._deadlines)
            answers.append(decision.refusal or decision.order)
            if decision.order is not order:
                orders[order.order_id] = decision.order
                changes.add(each.command.__name__, order, decision)
                shown = SHOWN.get(each.command, standing)
                before, after = shown(order), shown(decision.order)
                order_id, what = order.order_id, ACT_NAMES[each.command]
                await acts.add(db, each.operator, what, order_id, before, after, now, order_id)
        await changes.save(db)
        return Write(answers, changes.outgoing)


def _asked(order: Order) -> dict[str, Any]:
    return {
        each.awaited if each.about is None else f"{each.awaited} {each.about}": each.attempts
        for each in order.facts.asks
    }


def _money(order: Order) -> dict[str, Any]:
    return {
        each.payment_key: {"captured": each.amount, "held": each.left, "meant": each.meant}
        for each in order.facts.payments
    }


SHOWN: Final[dict[type[OperatorCommand], Callable[[Order], dict[str, Any]]]] = {AcceptRefund: _money, Resend: _asked}
"""What an act's row says of the order before and after; of other commands the status."""
