"""Decides which answers an order waits for, until when, and what happens when an answer is overdue. Pure, a part of `saga.py`."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.contracts import messages as m
from ordersaga.order.decision import Decision
from ordersaga.order.model import Ask, Awaited, Order, PaymentState, StockState
from ordersaga.order.outgoing import delivery_request, refund_request, rollback, stock_request
from ordersaga.said import Said, joined, say
from ordersaga.settings import Settings

BACKOFF_DOUBLINGS_MAX: Final = 6
PRICE_RETRY_S: Final = 1.0
UNRELEASED: Final[frozenset[StockState]] = frozenset({"RELEASE_REQUESTED", "RELEASE_FAILED"})
UNREFUNDED: Final[frozenset[PaymentState]] = frozenset({"REFUND_REQUESTED", "REFUND_FAILED"})
PARTNERS: Final[dict[Awaited, str]] = {
    "stock": "stock",
    "release": "stock",
    "delivery": "delivery",
    "refund": "payment",
    "payment": "payment",
    "price": "stock",
}


class TimePassed(Struct, frozen=True):
    """The order's timer has fired."""


class Deadlines(Struct, frozen=True):
    """How long Order waits for each answer, in seconds; each further wait is twice as long.

    A partner that is not named in `idempotent` is asked once. When its answer is overdue the order is flagged for a person.
    """

    stock_s: float = 10.0
    stock_asks_max: int = 5
    delivery_s: float = 30.0
    compensation_s: float = 15.0
    asks_max: int = 5
    idempotent: frozenset[str] = frozenset({"stock", "payment", "delivery"})

    @classmethod
    def of(cls, settings: Settings) -> "Deadlines":
        """The deadlines that the settings choose."""
        return cls(
            settings.stock_deadline_s,
            settings.stock_asks_max,
            settings.delivery_deadline_s,
            settings.compensation_deadline_s,
            settings.asks_max,
            frozenset(settings.idempotent_partners),
        )

    def may_ask_again(self, awaited: Awaited) -> bool:
        """Whether the partner that owes this answer is idempotent: a repeated request has no second effect there."""
        return PARTNERS[awaited] in self.idempotent

    def wait(self, awaited: Awaited, attempts: int) -> timedelta:
        """How long Order waits for this answer after `attempts` requests."""
        match awaited:
            case "stock":
                first_s = self.stock_s
            case "delivery":
                first_s = self.delivery_s
            case "price":
                first_s = PRICE_RETRY_S
            case _:
                first_s = self.compensation_s
        return _doubled(first_s, min(attempts - 1, BACKOFF_DOUBLINGS_MAX))


@cache
def _doubled(seconds: float, times: int) -> timedelta:
    return timedelta(seconds=seconds * 2**times)


class Wait(Struct, frozen=True):
    """An answer that an order waits for: since when, after how many requests, and when it is overdue. `about`: see `Ask`.

    `attempts` 0: no partner was asked, the customer has to pay.
    """

    awaited: Awaited
    since: datetime
    attempts: int
    until: datetime
    about: str | None = None


def waits(order: Order, deadlines: Deadlines) -> list[Wait]:
    """Each answer that the order waits for now. An order at its end waits for none."""
    facts = order.facts
    stock = {line.stock for line in facts.lines}
    is_pending = order.status == "PENDING"
    found: list[Wait] = []
    if "REQUESTED" in stock:
        ask = order.ask("stock")
        # A dead order asks Stock, too: Stock would hold a reservation whose answer was lost for ever. The order stops after
        # `stock_asks_max` requests: a partner that decides all or nothing never answers for the products that were not short.
        if is_pending or ask.attempts < deadlines.stock_asks_max:
            found.append(_wait(ask, deadlines))
    # Delivery is not requested again while an operator has to accept a refund: the first request may be lost, and the parcel must wait.
    if is_pending and facts.delivery == "REQUESTED" and not order.unmeant:
        found.append(_wait(order.ask("delivery"), deadlines))
    if not stock.isdisjoint(UNRELEASED):
        found.append(_wait(order.ask("release"), deadlines))
    is_paid = False
    for payment in facts.payments:
        is_paid |= payment.state == "PAID"
        if payment.state in UNREFUNDED:
            found.append(_wait(order.ask("refund", payment.payment_key), deadlines))
    if is_pending and facts.delivery == "NOT_REQUESTED" and not is_paid:
        found.append(Wait("payment", order.placed_at, 0, order.pay_before))
    if is_pending and facts.listed_total is None:
        price = _wait(order.ask("price"), deadlines)
        found.append(replace(price, until=min(price.until, order.pay_before)))
    return found


def _wait(ask: Ask, deadlines: Deadlines) -> Wait:
    until = ask.at + deadlines.wait(ask.awaited, ask.attempts)
    return Wait(ask.awaited, ask.since or ask.at, ask.attempts, until, ask.about)


def due_at(waiting: Sequence[Wait]) -> datetime | None:
    """When the first of these answers is overdue; None: no answer is awaited."""
    return min([each.until for each in waiting], default=None)


def without_answered_asks(order: Order, waiting: Sequence[Wait]) -> Order:
    """The order without its entries about requests that were answered.

    The entry about Stock stays while a product is REQUESTED: a dead order that has asked Stock often enough does not begin anew.
    """
    if not order.facts.asks:
        return order
    awaited: set[tuple[Awaited, str | None]] = {(each.awaited, each.about) for each in waiting}
    if "REQUESTED" in [line.stock for line in order.facts.lines]:
        awaited.add(("stock", None))
    kept = tuple([each for each in order.facts.asks if (each.awaited, each.about) in awaited])
    return order if len(kept) == len(order.facts.asks) else replace(order, facts=replace(order.facts, asks=kept))


def overdue(order: Order, now: datetime, deadlines: Deadlines) -> Decision:
    """The timer has fired: send each overdue request again, or end the order because its last wait is over."""
    late = [each for each in waits(order, deadlines) if each.until <= now]
    order = replace(order, facts=replace(order.facts, look_at=None))
    for each in late:
        if each.awaited == "payment":
            return Decision(order.ended("CANCELLED", "PAYMENT_EXPIRED"))
        if each.awaited == "stock" and not order.is_dead and each.attempts >= deadlines.stock_asks_max:
            silent = say("order.stock_silent", "stock did not answer in {asks} asks", asks=each.attempts)
            return Decision(order.ended("FAILED", "STOCK_TIMEOUT", silent))
        if each.awaited == "price" and order.pay_before <= now:
            unknown = say("order.price_unknown", "a price is not known")
            return Decision(order.ended("FAILED", "AMOUNT_MISMATCH", unknown))
    outgoing: list[m.Message] = []
    asked: dict[Awaited, None] = {}
    for each in late:
        order = order.asked_again(order.ask(each.awaited, each.about), now)
        if each.awaited == "price":
            continue
        again = deadlines.may_ask_again(each.awaited)
        if again:
            order, requests = ask_again(order, each)
            outgoing += requests
            asked[each.awaited] = None
        if each.awaited != "stock" and (each.attempts >= deadlines.asks_max or not again):
            stuck = say("order.stuck", "stuck: no {what} after {asks} asks", what=each.awaited, asks=each.attempts)
            order = order.flagged(stuck)
    return Decision(order, tuple(outgoing), joined(", ", map(asked_again, asked)) or None)


def asked_again(awaited: Awaited) -> Said:
    """That a request was sent again, for the timeline."""
    return say("order.asked_again", "{what} asked again", what=awaited)


def ask_again(order: Order, wait: Wait) -> tuple[Order, list[m.Message]]:
    """Send the same request again. A release or refund that was refused is requested anew.

    A refused release waits while another release is in flight: an answer names only the order, so it would count for both.
    """
    match wait.awaited:
        case "stock":
            return order, [stock_request(order)]
        case "delivery":
            return order, [delivery_request(order)]
        case "release":
            in_flight = any(line.stock == "RELEASE_REQUESTED" for line in order.facts.lines)
            again = "RELEASE_REQUESTED" if in_flight else "RELEASE_FAILED"
            lines = tuple(
                replace(line, stock="RELEASE_REQUESTED") if line.stock == again else line for line in order.facts.lines
            )
            order = order.with_lines(lines).rolled_back()
            return order, [rollback(order, tuple(line for line in lines if line.stock == "RELEASE_REQUESTED"))]
        case "refund":
            owed = [each for each in order.facts.payments if each.payment_key == wait.about]
            for each in owed:
                order = order.with_payment(replace(each, state="REFUND_REQUESTED"))
            return order, [refund_request(order, each) for each in owed]
        case "payment" | "price":
            return order, []
