"""Carries out customers' commands as gathered writes: place an order, cancel it, return it. One transaction serves many requests."""

from collections.abc import Mapping, Sequence, Set
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.messaging import acts
from ordersaga.messaging.acts import Operator
from ordersaga.messaging.database import Connection
from ordersaga.messaging.gather import Write
from ordersaga.messaging.handler import Outgoing
from ordersaga.messaging.idempotency import IdempotencyKey, Reused, each_once
from ordersaga.messaging.refusal import FieldError, Refusal, no_such, wrong_field, wrong_fields
from ordersaga.messaging.short_transaction import after_commit
from ordersaga.messaging.texts import storable
from ordersaga.order import saga, store
from ordersaga.order.deadlines import Deadlines
from ordersaga.order.decision import Decision
from ordersaga.order.model import Order
from ordersaga.order.returns import CancelBeforeDelivery, RequestReturn, Return
from ordersaga.order.saga import CustomerCommand, decide
from ordersaga.order.store import Changes, KnownOrders, KnownPrices
from ordersaga.order.versions import CHANGED, seen_of
from ordersaga.said import say
from ordersaga.settings import Settings

PLACED: Final = "Placed"
NO_SUCH_ORDER: Final = no_such("order")
ACT_NAMES: Final[dict[type[CustomerCommand], str]] = {
    CancelBeforeDelivery: "cancel",
    Return: "return",
    RequestReturn: "request return",
}


class Placement(Struct, frozen=True):
    """An order to place, whose times are set when it is placed. `key` is the Idempotency-Key of the request."""

    order: Order
    key: IdempotencyKey | None


class Placed(Struct, frozen=True):
    """The order that this request placed. `is_repeat`: an earlier request with the same key has placed it."""

    order: Order
    is_repeat: bool = False


class CustomerAct(Struct, frozen=True):
    """A customer's command on an existing order, or an operator's in the customer's stead.

    `operator`: who gives the command instead of the customer; `customer_id` None then allows any customer's order. `seen`: the state in which
    the operator saw the order (`versions.py` `seen_of`), which must still be its state; None: its state may be any.
    """

    order_id: UUID
    customer_id: UUID | None
    command: CustomerCommand
    key: IdempotencyKey | None = None
    operator: Operator | None = None
    seen: str | None = None


class Placing:
    """Places orders: the gathered write of `POST /api/v1/orders`. `known`: where they are noted."""

    def __init__(self, settings: Settings, known: KnownOrders | None = None) -> None:
        self._known: Final = known
        self._prices: Final = KnownPrices()
        self._trust_client_total: Final = settings.trust_client_total
        self._deadlines: Final = Deadlines.of(settings)
        self._payment_deadline: Final = timedelta(seconds=settings.payment_deadline_s)

    async def __call__(self, db: Connection, placements: Sequence[Placement], now: datetime) -> Write[Placed | Refusal]:
        """Claim the keys, check the totals, insert the new orders. A repeat gets its order, also if a price has changed since."""
        outgoing: list[Outgoing] = []

        async def place_new(fresh: Sequence[Placement]) -> list[Placed | Refusal]:
            checked = await self._checked(db, fresh, now)
            changes = Changes(now, self._known)
            answers: list[Placed | Refusal] = []
            for order in checked:
                if isinstance(order, Refusal):
                    answers.append(order)
                    continue
                decision = saga.decide_placed(order, self._deadlines)
                changes.add(PLACED, order, decision)
                answers.append(Placed(decision.order))
            if placed := [each.order for each in answers if isinstance(each, Placed)]:
                await changes.save_placed(db, placed)
                outgoing.extend(changes.outgoing)
            return answers

        # `place_new` gets the placements whose key is new; a repeat comes out as `Reused`, with the id of its order.
        done = await each_once(db, placements, now, place_new)
        repeats = [each.resource for each in done if isinstance(each, Reused)]
        found = await store.find(db, repeats) if repeats else {}
        answers = [Placed(found[each.resource], is_repeat=True) if isinstance(each, Reused) else each for each in done]
        return Write(answers, outgoing)

    async def _checked(self, db: Connection, placements: Sequence[Placement], now: datetime) -> list[Order | Refusal]:
        """Each order with its times and its products' sum. Refuses an order with another total, or with an inactive product.

        What is known of the prices is compared when the orders are inserted. A refusal inserts nothing, so it is given by prices just read.
        """
        ids = {line.product_id for each in placements for line in each.order.facts.lines}
        if (known := await store.known_prices(db, ids, self._prices)) is not None:
            checked = self._check(placements, now, known)
            if not any(isinstance(each, Refusal) for each in checked):
                await store.compare_prices(db, known)
                after_commit(db, partial(self._prices.keep, known))
                return checked
        prices, inactive = await store.prices(db, ids, self._prices)
        sold = {id: price for id, price in prices.items() if id not in inactive}
        after_commit(db, partial(self._prices.keep, sold))
        return self._check(placements, now, prices, inactive)

    def _check(
        self,
        placements: Sequence[Placement],
        now: datetime,
        prices: Mapping[UUID, int],
        inactive: Set[UUID] = frozenset(),
    ) -> list[Order | Refusal]:
        checked: list[Order | Refusal] = []
        for each in placements:
            order = each.order
            if inactive and (refusal := _not_sold(order, inactive)):
                checked.append(refusal)
                continue
            listed = order.total_amount if self._trust_client_total else order.total_by(prices)
            if listed is not None and listed != order.total_amount:
                checked.append(wrong_field("totalAmount", f"the products cost {listed} won", "mismatch"))
                continue
            facts = replace(order.facts, listed_total=listed)
            checked.append(replace(order, placed_at=now, pay_before=now + self._payment_deadline, facts=facts))
        return checked


def _not_sold(order: Order, inactive: Set[UUID]) -> Refusal | None:
    """Why an order cannot be placed now: Stock does not sell these products any more. An order that was placed before goes on."""
    errors = [
        FieldError(f"items[{n}].productId", "is not sold any more", "inactive")
        for n, line in enumerate(order.facts.lines)
        if line.product_id in inactive
    ]
    return wrong_fields(errors) if errors else None


class Acting:
    """Cancels and returns orders: the gathered write of `POST /api/v1/orders/{id}/cancel/…`."""

    def __init__(self, settings: Settings) -> None:
        self._deadlines: Final = Deadlines.of(settings)

    async def __call__(
        self, db: Connection, customer_acts: Sequence[CustomerAct], now: datetime
    ) -> Write[Order | Refusal]:
        """Claim the keys, load, decide, save. A repeat gets its order as it is now. An operator's act gets its audit row."""
        outgoing: list[Outgoing] = []

        async def act(fresh: Sequence[CustomerAct]) -> list[Order | Refusal]:
            orders = {order.order_id: order for order in await store.lock(db, (each.order_id for each in fresh))}
            changes = Changes(now)
            answers: list[Order | Refusal] = []
            for each in fresh:
                order = _visible(orders, each)
                if isinstance(order, Refusal):
                    answers.append(order)
                    continue
                if each.seen not in (None, seen_of(order)):
                    answers.append(CHANGED)
                    continue
                decision = decide(order, each.command, now, self._deadlines)
                answers.append(decision.refusal or decision.order)
                if decision.order is not order:
                    orders[order.order_id] = decision.order
                    changes.add(type(each.command).__name__, order, _by_operator(each, decision))
                    if each.operator:
                        states = (standing(order), standing(decision.order))
                        order_id, what = order.order_id, ACT_NAMES[type(each.command)]
                        await acts.add(db, each.operator, what, order_id, *states, now, order_id)
            await changes.save(db)
            outgoing.extend(changes.outgoing)
            return answers

        done = await each_once(db, customer_acts, now, act)
        repeats = [
            each.order_id for each, answer in zip(customer_acts, done, strict=True) if isinstance(answer, Reused)
        ]
        found = await store.find(db, repeats) if repeats else {}
        answers = [
            _visible(found, each) if isinstance(answer, Reused) else answer
            for each, answer in zip(customer_acts, done, strict=True)
        ]
        return Write(answers, outgoing)


def _by_operator(act: CustomerAct, decision: Decision) -> Decision:
    """The decision, whose note in the timeline says which operator gave the command, and why."""
    if act.operator is None:
        return decision
    who, why = storable(act.operator.who), storable(act.operator.why)
    by = say("order.by_operator", "operator {who}: {why}", who=who, why=why)
    return replace(decision, note=by + "; " + decision.note if decision.note else by)


def standing(order: Order) -> dict[str, Any]:
    """What an act changes of an order, for its audit row."""
    return {"status": order.status, "returning": order.facts.returning}


def _visible(orders: dict[UUID, Order], act: CustomerAct) -> Order | Refusal:
    order = orders.get(act.order_id)
    return order if order is not None and act.customer_id in (None, order.customer_id) else NO_SUCH_ORDER
