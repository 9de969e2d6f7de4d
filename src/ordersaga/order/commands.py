"""What customers may do, as gathered writes: place an order, cancel it, return it. Each runs for many requests in one transaction."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.messaging.database import Connection
from ordersaga.messaging.gather import Write
from ordersaga.messaging.handler import Outgoing
from ordersaga.messaging.idempotency import IdempotencyKey, claim
from ordersaga.order import saga, store
from ordersaga.order.handlers import event, with_listed_total
from ordersaga.order.model import Event, Order
from ordersaga.order.saga import CancelBeforeDelivery, Decision, Return, decide
from ordersaga.settings import Settings

PLACED: Final = "Placed"


class Placement(Struct, frozen=True):
    """An order to place, not yet timed, and the key under which it may be asked for again."""

    order: Order
    key: IdempotencyKey | None


class Placed(Struct, frozen=True):
    """The order was placed now, or by an earlier request with the same key."""

    order: Order
    earlier: bool = False


class WrongTotal(Struct, frozen=True):
    """Nothing was placed: the products cost something else. Won."""

    listed_total: int


class KeyReused(Struct, frozen=True):
    """Nothing was placed: the key was used before with another body."""


PlacementAnswer = Placed | WrongTotal | KeyReused


class Action(Struct, frozen=True):
    """A customer's (None: an operator's) wish about an existing order."""

    order_id: UUID
    customer_id: UUID | None
    wish: CancelBeforeDelivery | Return


class Placing:
    """Places orders: `Gather`'s work for `POST /api/v1/orders`."""

    def __init__(self, settings: Settings) -> None:
        self._trust_client_total: Final = settings.trust_client_total
        self._payment_deadline: Final = timedelta(seconds=settings.payment_deadline_s)

    async def __call__(self, db: Connection, placements: Sequence[Placement], now: datetime) -> Write[PlacementAnswer]:
        """Check totals, claim keys, insert what is new. A total is checked before its key is claimed: nothing is kept of a refusal."""
        answers: list[PlacementAnswer | None] = await self._checked(db, placements, now)
        keyed = [
            (n, p.key) for n, p in enumerate(placements) if p.key is not None and not isinstance(answers[n], WrongTotal)
        ]
        earlier = {}
        for (n, _), reuse in zip(keyed, await claim(db, [key for _, key in keyed], now), strict=True):
            if reuse is not None:
                answers[n] = KeyReused()
                if reuse.same_body:
                    earlier[n] = reuse.resource
        new = [answer.order for answer in answers if isinstance(answer, Placed)]
        outgoing = []
        if new:
            await store.insert(db, new)
            await store.add_events(db, [_placed_event(order) for order in new])
            outgoing = [Outgoing(message) for order in new for message in saga.place(order)]
        found = await store.find(db, earlier.values()) if earlier else {}
        for n, order_id in earlier.items():
            answers[n] = Placed(found[order_id], earlier=True)
        return Write([answer for answer in answers if answer is not None], outgoing)

    async def _checked(
        self, db: Connection, placements: Sequence[Placement], now: datetime
    ) -> list[PlacementAnswer | None]:
        prices = await store.prices(db, {line.product_id for each in placements for line in each.order.facts.lines})
        answers: list[PlacementAnswer | None] = []
        for each in placements:
            order = replace(each.order, placed_at=now, pay_before=now + self._payment_deadline)
            order = with_listed_total(order, prices)
            if self._trust_client_total:
                order = replace(order, facts=replace(order.facts, listed_total=order.total_amount))
            order = replace(order, facts=replace(order.facts, asked_at=now))
            listed = order.facts.listed_total
            answers.append(WrongTotal(listed) if listed is not None and listed != order.total_amount else Placed(order))
        return answers


async def act(db: Connection, actions: Sequence[Action], now: datetime) -> Write[Decision | None]:
    """Cancel and return orders: `Gather`'s work. None: there is no such order, or it is somebody else's."""
    orders = await store.lock(db, (action.order_id for action in actions))
    answers: list[Decision | None] = []
    changed: dict[UUID, Order] = {}
    events: list[Event] = []
    outgoing: list[Outgoing] = []
    for action in actions:
        order = orders.get(action.order_id)
        if order is None or action.customer_id not in (None, order.customer_id):
            answers.append(None)
            continue
        decision = decide(order, action.wish, now)
        answers.append(decision)
        if not decision.refused:
            orders[order.order_id] = changed[order.order_id] = decision.order
            events.append(event(type(action.wish).__name__, decision, now))
            outgoing += [Outgoing(message) for message in decision.outgoing]
    await store.save(db, list(changed.values()))
    await store.add_events(db, events)
    return Write(answers, outgoing)


def _placed_event(order: Order) -> Event:
    went_out = tuple(type(message).__name__ for message in saga.place(order))
    return Event(order.order_id, order.placed_at, PLACED, went_out, order.status, None, order.stock_is_known)
