"""What an order waits for, until when, and what is done when no answer comes. Pure, like the saga that it belongs to."""

from datetime import datetime, timedelta
from functools import cache
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.contracts import messages as m
from ordersaga.contracts.topics import BY_MESSAGE
from ordersaga.order.model import Order, PaymentState, StockState
from ordersaga.order.outgoing import delivery_request, refund_request, rollback, stock_request

Awaited = Literal["stock", "payment", "delivery", "release", "refund"]

BACKOFF_DOUBLINGS_MAX: Final = 6
UNRELEASED: Final[frozenset[StockState]] = frozenset({"RELEASE_REQUESTED", "RELEASE_FAILED"})
UNREFUNDED: Final[frozenset[PaymentState]] = frozenset({"REFUND_REQUESTED", "REFUND_FAILED"})
ANSWERS: Final[dict[Awaited, type[m.Message]]] = {
    "stock": m.StockResponseMessage,
    "payment": m.PaymentSuccessMessage,
    "delivery": m.DeliveryStartMessage,
    "release": m.StockRollbackCompletedMessage,
    "refund": m.PaymentCancelledMessage,
}


class Deadlines(Struct, frozen=True):
    """How long answers are waited for, in seconds; each further wait is twice as long. Who may be asked again is a setting.

    A partner that is not idempotent is asked once only; instead of asking again the order is flagged for a person.
    """

    stock_s: float = 10.0
    stock_asks_max: int = 5
    delivery_s: float = 30.0
    compensation_s: float = 15.0
    asks_max: int = 5
    idempotent: frozenset[str] = frozenset({"stock", "payment", "delivery"})

    def may_ask_again(self, awaited: Awaited) -> bool:
        """Whether the partner that owes this answer takes a repeated request for what it is."""
        partner = {
            "stock": "stock",
            "release": "stock",
            "delivery": "delivery",
            "refund": "payment",
            "payment": "payment",
        }
        return partner[awaited] in self.idempotent

    def wait(self, awaited: Awaited, attempts: int) -> timedelta:
        """How long an answer is waited for after having been asked for so often."""
        match awaited:
            case "stock":
                first_s = self.stock_s
            case "delivery":
                first_s = self.delivery_s
            case _:
                first_s = self.compensation_s
        return _doubled(first_s, min(attempts - 1, BACKOFF_DOUBLINGS_MAX))


@cache
def _doubled(seconds: float, times: int) -> timedelta:
    return timedelta(seconds=seconds * 2**times)


class Wait(Struct, frozen=True):
    """Something that an order waits for: since when, how often it was asked for, and when it is overdue.

    No attempts: nobody was asked, it is the customer's to act.
    """

    awaited: Awaited
    since: datetime
    attempts: int
    until: datetime


def waits(order: Order, deadlines: Deadlines) -> list[Wait]:
    """Everything that an order waits for now."""
    facts = order.facts
    asked_at = facts.asked_at or order.placed_at
    stock = {line.stock for line in facts.lines}
    payments = {payment.state for payment in facts.payments}
    awaited: list[Awaited] = []
    found: list[Wait] = []
    # A dead order asks too, since a reservation whose answer was lost would be held for ever; but not for ever: a partner that decides
    # all or nothing says nothing about the products that were not short.
    if "REQUESTED" in stock and (order.status == "PENDING" or facts.attempts < deadlines.stock_asks_max):
        awaited.append("stock")
    if order.status == "PENDING" and facts.delivery == "REQUESTED":
        awaited.append("delivery")
    if not stock.isdisjoint(UNRELEASED):
        awaited.append("release")
    if not payments.isdisjoint(UNREFUNDED):
        awaited.append("refund")
    for each in awaited:
        until = asked_at + deadlines.wait(each, facts.attempts)
        found.append(Wait(each, facts.waits_since or order.placed_at, facts.attempts, until))
    if order.status == "PENDING" and "PAID" not in payments:
        found.append(Wait("payment", order.placed_at, 0, order.pay_before))
    return found


class Explanation(Struct, frozen=True, rename="camel"):
    """Why an order waits, for people: for which message about what, since when, how often it was asked for, and what comes next.

    `next_attempt_at`: when it is asked for again; `ends_at`: when the order ends without it. Neither: a person must look.
    """

    message: str
    topic: str
    about: tuple[str, ...]
    since: datetime
    attempts: int
    next_attempt_at: datetime | None
    ends_at: datetime | None


def explain(order: Order, deadlines: Deadlines) -> list[Explanation]:
    """Everything that an order waits for now; nothing: it has come to its end."""
    return [_explained(order, each, deadlines) for each in waits(order, deadlines)]


def _explained(order: Order, wait: Wait, deadlines: Deadlines) -> Explanation:
    message = ANSWERS[wait.awaited]
    last_ask = wait.awaited == "stock" and wait.attempts >= deadlines.stock_asks_max
    ends = wait.awaited == "payment" or last_ask
    again = not ends and deadlines.may_ask_again(wait.awaited)
    return Explanation(
        message.__name__,
        BY_MESSAGE[message].name,
        _about(order, wait.awaited),
        wait.since,
        wait.attempts,
        wait.until if again else None,
        wait.until if ends else None,
    )


def _about(order: Order, awaited: Awaited) -> tuple[str, ...]:
    match awaited:
        case "stock":
            return tuple(str(line.product_id) for line in order.facts.lines if line.stock == "REQUESTED")
        case "release":
            return tuple(str(line.product_id) for line in order.facts.lines if line.stock in UNRELEASED)
        case "refund":
            return tuple(each.payment_key for each in order.facts.payments if each.state in UNREFUNDED)
        case _:
            return ()


def look_at(order: Order, deadlines: Deadlines) -> datetime | None:
    """When the order is to be looked at again; None: it waits for nothing."""
    return min((each.until for each in waits(order, deadlines)), default=None)


def overdue(order: Order, now: datetime, deadlines: Deadlines) -> tuple[Order, tuple[m.Message, ...], str | None]:
    """The timer has fired: the order with what is overdue asked for again, or ended because nobody waits any longer."""
    outgoing: list[m.Message] = []
    notes: list[str] = []
    late = [each for each in waits(order, deadlines) if each.until <= now]
    order = replace(order, facts=replace(order.facts, look_at=None))
    for each in late:
        if each.awaited == "payment":
            return order.ended("CANCELLED", "PAYMENT_EXPIRED"), (), None
        if each.awaited == "stock" and not order.is_dead and each.attempts >= deadlines.stock_asks_max:
            return order.ended("FAILED", "STOCK_TIMEOUT", f"stock did not answer in {each.attempts} asks"), (), None
    for each in late:
        again = deadlines.may_ask_again(each.awaited)
        if again:
            order, requests = _ask_again(order, each.awaited)
            outgoing += requests
            notes.append(f"{each.awaited} asked again")
        if each.awaited != "stock" and (each.attempts >= deadlines.asks_max or not again):
            order = order.flagged(f"stuck: no {each.awaited} after {each.attempts} asks")
    if late:
        order = replace(order, facts=replace(order.facts, asked_at=now, attempts=order.facts.attempts + 1))
    return order, tuple(outgoing), ", ".join(notes) or None


def _ask_again(order: Order, awaited: Awaited) -> tuple[Order, list[m.Message]]:
    """The same request once more; for a release or refund that was refused, a new try.

    A refused release waits for the answer to one that is in flight: that answer names only the order, and would be taken for both.
    """
    match awaited:
        case "stock":
            return order, [stock_request(order)]
        case "delivery":
            return order, [delivery_request(order)]
        case "release":
            in_flight = any(line.stock == "RELEASE_REQUESTED" for line in order.facts.lines)
            mine = "RELEASE_REQUESTED" if in_flight else "RELEASE_FAILED"
            lines = tuple(
                replace(line, stock="RELEASE_REQUESTED") if line.stock == mine else line for line in order.facts.lines
            )
            order = order.with_lines(lines).rolled_back()
            return order, [rollback(order, tuple(line for line in lines if line.stock == "RELEASE_REQUESTED"))]
        case "refund":
            owed = [each for each in order.facts.payments if each.state in UNREFUNDED]
            for each in owed:
                order = order.with_payment(replace(each, state="REFUND_REQUESTED"))
            return order, [refund_request(order, each) for each in owed]
        case "payment":
            return order, []
