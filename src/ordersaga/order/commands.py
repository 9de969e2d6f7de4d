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
from ordersaga.order.handlers import Changes, deadlines_of, listed_total
from ordersaga.order.model import Order
from ordersaga.order.outgoing import sent
from ordersaga.order.saga import CancelBeforeDelivery, Decision, Return, TimePassed, decide
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
        self._deadlines: Final = deadlines_of(settings)
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
        placed = {n: answer.order for n, answer in enumerate(answers) if isinstance(answer, Placed)}
        new = {n: saga.place(order, self._deadlines) for n, order in placed.items()}
        outgoing = [each for decision in new.values() for each in sent(decision.order, decision.outgoing)]
        if new:
            changes = Changes(now)
            for n, decision in new.items():
                answers[n] = Placed(decision.order)
                changes.note(PLACED, placed[n], decision)
            await store.insert(db, [decision.order for decision in new.values()])
            await changes.save(db, inserted=True)
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
            order = each.order
            listed = order.total_amount if self._trust_client_total else listed_total(order, prices)
            if listed is not None and listed != order.total_amount:
                answers.append(WrongTotal(listed))
                continue
            facts = replace(order.facts, listed_total=listed, asked_at=now)
            answers.append(Placed(replace(order, placed_at=now, pay_before=now + self._payment_deadline, facts=facts)))
        return answers


class Acting:
    """Cancels and returns orders: `Gather`'s work. None: there is no such order, or it is somebody else's."""

    def __init__(self, settings: Settings) -> None:
        self._deadlines: Final = deadlines_of(settings)

    async def __call__(self, db: Connection, actions: Sequence[Action], now: datetime) -> Write[Decision | None]:
        orders = {order.order_id: order for order in await store.lock(db, (action.order_id for action in actions))}
        changes = Changes(now)
        answers: list[Decision | None] = []
        for action in actions:
            order = orders.get(action.order_id)
            if order is None or action.customer_id not in (None, order.customer_id):
                answers.append(None)
                continue
            decision = decide(order, action.wish, now, self._deadlines)
            answers.append(decision)
            if not decision.refused:
                orders[order.order_id] = decision.order
                changes.note(type(action.wish).__name__, order, decision)
        await changes.save(db)
        return Write(answers, [out for each in answers if each for out in sent(each.order, each.outgoing)])


class Waking:
    """Looks at orders whose timer has fired: `Timers`' work."""

    def __init__(self, settings: Settings) -> None:
        self._deadlines: Final = deadlines_of(settings)

    async def __call__(self, db: Connection, order_ids: Sequence[UUID], now: datetime) -> list[Outgoing]:
        changes = Changes(now)
        outgoing: list[Outgoing] = []
        for order in await store.lock(db, order_ids):
            decision = decide(order, TimePassed(), now, self._deadlines)
            # The timer is gone, since it fired; were it believed to stand where the facts have it, it would not be set again.
            unarmed = replace(order, facts=replace(order.facts, look_at=None))
            if decision.outgoing or decision.note or decision.order.status != order.status:
                changes.note(TimePassed.__name__, unarmed, decision)
            else:
                changes.note_silently(unarmed, decision)
            outgoing += sent(decision.order, decision.outgoing)
        await changes.save(db)
        return outgoing
