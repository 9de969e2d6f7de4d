"""What customers may do, as gathered writes: place an order, cancel it, return it. Each runs for many requests in one transaction."""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from msgspec import Struct
from msgspec.structs import replace

from ordersaga.contracts.topics import BY_MESSAGE
from ordersaga.messaging.database import Connection
from ordersaga.messaging.gather import Write
from ordersaga.messaging.handler import Outgoing
from ordersaga.messaging.idempotency import IdempotencyKey, Reused, each_once
from ordersaga.messaging.refusal import Refusal, no_such, wrong_field
from ordersaga.order import saga, store
from ordersaga.order.deadlines import ANSWERS, PARTNERS, Wait, waits
from ordersaga.order.handlers import Changes, deadlines_of, lacks_price, listed_total, price
from ordersaga.order.model import Awaited, Order
from ordersaga.order.outgoing import sent
from ordersaga.order.saga import CancelBeforeDelivery, Decision, Priced, RequestReturn, Return, TimePassed, decide
from ordersaga.settings import Settings

log: Final = structlog.get_logger()

PLACED: Final = "Placed"
NO_SUCH_ORDER: Final = no_such("order")
ORDERS_NAMED_MAX: Final = 3


class Placement(Struct, frozen=True):
    """An order to place, not yet timed, and the key under which it may be asked for again."""

    order: Order
    key: IdempotencyKey | None


class Placed(Struct, frozen=True):
    """The order was placed now, or by an earlier request with the same key."""

    order: Order
    earlier: bool = False


class Action(Struct, frozen=True):
    """A customer's (None: an operator's) wish about an existing order."""

    order_id: UUID
    customer_id: UUID | None
    wish: CancelBeforeDelivery | Return | RequestReturn
    key: IdempotencyKey | None = None


class Placing:
    """Places orders: `Gather`'s work for `POST /api/v1/orders`."""

    def __init__(self, settings: Settings) -> None:
        self._trust_client_total: Final = settings.trust_client_total
        self._deadlines: Final = deadlines_of(settings)
        self._payment_deadline: Final = timedelta(seconds=settings.payment_deadline_s)

    async def __call__(self, db: Connection, placements: Sequence[Placement], now: datetime) -> Write[Placed | Refusal]:
        """Claim keys, check totals, insert what is new. A repeat is answered whatever the products cost by now."""
        outgoing: list[Outgoing] = []

        async def place(fresh: Sequence[Placement]) -> list[Placed | Refusal]:
            answers = await self._checked(db, fresh, now)
            changes = Changes(now)
            placed: list[Order] = []
            for n, answer in enumerate(answers):
                if isinstance(answer, Placed):
                    decision = saga.place(answer.order, self._deadlines)
                    changes.note(PLACED, answer.order, decision)
                    outgoing.extend(sent(decision.order, decision.outgoing))
                    placed.append(decision.order)
                    answers[n] = Placed(decision.order)
            if placed:
                await store.insert(db, placed)
                await changes.save(db, inserted=True)
            return answers

        done = await each_once(db, placements, now, place)
        repeats = [each.resource for each in done if isinstance(each, Reused)]
        found = await store.find(db, repeats) if repeats else {}
        answers = [Placed(found[each.resource], earlier=True) if isinstance(each, Reused) else each for each in done]
        return Write(answers, outgoing)

    async def _checked(self, db: Connection, placements: Sequence[Placement], now: datetime) -> list[Placed | Refusal]:
        prices = await store.prices(db, {line.product_id for each in placements for line in each.order.facts.lines})
        answers: list[Placed | Refusal] = []
        for each in placements:
            order = each.order
            listed = order.total_amount if self._trust_client_total else listed_total(order, prices)
            if listed is not None and listed != order.total_amount:
                answers.append(wrong_field("totalAmount", f"the products cost {listed} won", "mismatch"))
                continue
            facts = replace(order.facts, listed_total=listed)
            answers.append(Placed(replace(order, placed_at=now, pay_before=now + self._payment_deadline, facts=facts)))
        return answers


class Acting:
    """Cancels and returns orders: `Gather`'s work."""

    def __init__(self, settings: Settings) -> None:
        self._deadlines: Final = deadlines_of(settings)

    async def __call__(self, db: Connection, actions: Sequence[Action], now: datetime) -> Write[Order | Refusal]:
        """Claim keys, decide, save. A repeat is answered with the order as it is, whatever has become of it."""
        outgoing: list[Outgoing] = []

        async def act(fresh: Sequence[Action]) -> list[Order | Refusal]:
            orders = {order.order_id: order for order in await store.lock(db, (action.order_id for action in fresh))}
            changes = Changes(now)
            answers: list[Order | Refusal] = []
            for action in fresh:
                order = _theirs(orders, action)
                if isinstance(order, Refusal):
                    answers.append(order)
                    continue
                decision = decide(order, action.wish, now, self._deadlines)
                answers.append(decision.refusal or decision.order)
                if decision.order is not order:
                    orders[order.order_id] = decision.order
                    changes.note(type(action.wish).__name__, order, decision)
                    outgoing.extend(sent(decision.order, decision.outgoing))
            await changes.save(db)
            return answers

        done = await each_once(db, actions, now, act)
        repeats = [action.order_id for action, each in zip(actions, done, strict=True) if isinstance(each, Reused)]
        found = await store.find(db, repeats) if repeats else {}
        answers = [
            _theirs(found, action) if isinstance(each, Reused) else each
            for action, each in zip(actions, done, strict=True)
        ]
        return Write(answers, outgoing)


def _theirs(orders: dict[UUID, Order], action: Action) -> Order | Refusal:
    order = orders.get(action.order_id)
    return order if order is not None and action.customer_id in (None, order.customer_id) else NO_SUCH_ORDER


class Waking:
    """Looks at orders whose timer has fired: `Timers`' work. What a person on call would ask about them is logged."""

    def __init__(self, settings: Settings) -> None:
        self._deadlines: Final = deadlines_of(settings)

    async def __call__(self, db: Connection, order_ids: Sequence[UUID], now: datetime) -> list[Outgoing]:
        changes = Changes(now)
        outgoing: list[Outgoing] = []
        waiting: list[tuple[Order, Decision]] = []
        lacking = []
        for order in await store.lock(db, order_ids):
            # The timer is gone, since it fired; were it believed to stand where the facts have it, it would not be set again.
            unarmed = replace(order, facts=replace(order.facts, look_at=None))
            if lacks_price(order):
                lacking.append(unarmed)
            else:
                waiting.append((unarmed, decide(unarmed, TimePassed(), now, self._deadlines)))
        for order, priced in await price(db, lacking, now, self._deadlines):
            if priced is None:
                waiting.append((order, decide(order, TimePassed(), now, self._deadlines)))
            else:
                changes.note(Priced.__name__, order, priced)
                outgoing += sent(priced.order, priced.outgoing)
        for order, decision in waiting:
            if decision.outgoing or decision.note or decision.order.status != order.status:
                changes.note(TimePassed.__name__, order, decision)
            else:
                changes.note_silently(order, decision)
            outgoing += sent(decision.order, decision.outgoing)
        await changes.save(db)
        self._log(waiting, now)
        return outgoing

    def _log(self, looked_at: Sequence[tuple[Order, Decision]], now: datetime) -> None:
        """A line for each order that a deadline ended or left to a person, and one for each partner that does not answer."""
        silent: dict[Awaited, list[tuple[Order, Wait]]] = {}
        for order, decision in looked_at:
            after = decision.order
            if after.status != order.status:
                level = logging.INFO if after.reason == "PAYMENT_EXPIRED" else logging.WARNING
                said = {"order_id": str(order.order_id), "reason": after.reason, "detail": after.detail}
                log.log(level, "an order ended by a deadline", status=after.status, **said)
                continue
            if after.facts.flag != order.facts.flag:
                log.warning("an order waits for a person", order_id=str(order.order_id), flag=after.facts.flag)
            for wait in waits(order, self._deadlines):
                if wait.until <= now:
                    silent.setdefault(wait.awaited, []).append((order, wait))
        for awaited, found in silent.items():
            log.warning(
                "a partner does not answer",
                partner=PARTNERS[awaited],
                message=ANSWERS[awaited].__name__,
                topic=BY_MESSAGE[ANSWERS[awaited]].name,
                orders=len(found),
                asked_at_most=max(wait.attempts for _, wait in found),
                since=min(wait.since for _, wait in found).isoformat(),
                order_ids=[str(order.order_id) for order, _ in found[:ORDERS_NAMED_MAX]],
            )
