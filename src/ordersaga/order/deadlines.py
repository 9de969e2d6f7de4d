"""What an order waits for, until when, and what is done when no answer comes. Pure, like the saga that it belongs to."""

from datetime import datetime, timedelta
from functools import cache
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.contracts import messages as m
from ordersaga.contracts.topics import BY_MESSAGE
from ordersaga.order.model import Ask, Awaited, Order, PaymentState, StockState
from ordersaga.order.outgoing import delivery_request, refund_request, rollback, stock_request

BACKOFF_DOUBLINGS_MAX: Final = 6
PRICE_LOOK_S: Final = 1.0
UNRELEASED: Final[frozenset[StockState]] = frozenset({"RELEASE_REQUESTED", "RELEASE_FAILED"})
UNREFUNDED: Final[frozenset[PaymentState]] = frozenset({"REFUND_REQUESTED", "REFUND_FAILED"})
ANSWERS: Final[dict[Awaited, type[m.Message]]] = {
    "stock": m.StockResponseMessage,
    "payment": m.PaymentSuccessMessage,
    "delivery": m.DeliveryStartMessage,
    "release": m.StockRollbackCompletedMessage,
    "refund": m.PaymentCancelledMessage,
    "price": m.ProductPriceMessage,
}
PARTNERS: Final[dict[Awaited, str]] = {
    "stock": "stock",
    "release": "stock",
    "delivery": "delivery",
    "refund": "payment",
    "payment": "payment",
    "price": "stock",
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
        return PARTNERS[awaited] in self.idempotent

    def wait(self, awaited: Awaited, attempts: int) -> timedelta:
        """How long an answer is waited for after having been asked for so often."""
        match awaited:
            case "stock":
                first_s = self.stock_s
            case "delivery":
                first_s = self.delivery_s
            case "price":
                first_s = PRICE_LOOK_S
            case _:
                first_s = self.compensation_s
        return _doubled(first_s, min(attempts - 1, BACKOFF_DOUBLINGS_MAX))


@cache
def _doubled(seconds: float, times: int) -> timedelta:
    return timedelta(seconds=seconds * 2**times)


class Wait(Struct, frozen=True):
    """Something that an order waits for: since when, how often it was asked for, and when it is overdue. `about`: see `Ask`.

    No attempts: nobody was asked, it is the customer's to act.
    """

    awaited: Awaited
    since: datetime
    attempts: int
    until: datetime
    about: str | None = None


def waits(order: Order, deadlines: Deadlines) -> list[Wait]:
    """Everything that an order waits for now."""
    facts = order.facts
    stock = {line.stock for line in facts.lines}
    is_pending = order.status == "PENDING"
    found: list[Wait] = []
    if "REQUESTED" in stock:
        ask = order.ask("stock")
        # A dead order asks too, since a reservation whose answer was lost would be held for ever; but not for ever: a partner that decides
        # all or nothing says nothing about the products that were not short.
        if is_pending or ask.attempts < deadlines.stock_asks_max:
            found.append(_wait(ask, deadlines))
    # Goods whose money went back and was not meant to are not asked for again: the first request may be lost, and a person decides.
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
        look = _wait(order.ask("price"), deadlines)
        found.append(replace(look, until=min(look.until, order.pay_before)))
    return found


def _wait(ask: Ask, deadlines: Deadlines) -> Wait:
    until = ask.at + deadlines.wait(ask.awaited, ask.attempts)
    return Wait(ask.awaited, ask.since or ask.at, ask.attempts, until, ask.about)


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
    nobody_is_asked = wait.awaited in ("payment", "price")
    last_ask = wait.awaited == "stock" and wait.attempts >= deadlines.stock_asks_max
    again = not nobody_is_asked and not last_ask and deadlines.may_ask_again(wait.awaited)
    ends_at = order.pay_before if nobody_is_asked else wait.until if last_ask else None
    return Explanation(
        message.__name__,
        BY_MESSAGE[message].name,
        _about(order, wait),
        wait.since,
        0 if nobody_is_asked else wait.attempts,
        wait.until if again else None,
        ends_at,
    )


def _about(order: Order, wait: Wait) -> tuple[str, ...]:
    match wait.awaited:
        case "stock":
            return tuple(str(line.product_id) for line in order.facts.lines if line.stock == "REQUESTED")
        case "release":
            return tuple(str(line.product_id) for line in order.facts.lines if line.stock in UNRELEASED)
        case "price":
            return tuple(str(line.product_id) for line in order.facts.lines)
        case _:
            return (wait.about,) if wait.about else ()


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
        if each.awaited == "price" and order.pay_before <= now:
            return order.ended("FAILED", "AMOUNT_MISMATCH", "a price is not known"), (), None
    for each in late:
        order = order.asked_again(order.ask(each.awaited, each.about), now)
        if each.awaited == "price":
            continue
        again = deadlines.may_ask_again(each.awaited)
        if again:
            order, requests = _ask_again(order, each)
            outgoing += requests
            notes.append(f"{each.awaited} asked again")
        if each.awaited != "stock" and (each.attempts >= deadlines.asks_max or not again):
            order = order.flagged(f"stuck: no {each.awaited} after {each.attempts} asks")
    return order, tuple(outgoing), ", ".join(dict.fromkeys(notes)) or None


def _ask_again(order: Order, wait: Wait) -> tuple[Order, list[m.Message]]:
    """The same request once more; for a release or refund that was refused, a new try.

    A refused release waits for the answer to one that is in flight: that answer names only the order, and would be taken for both.
    """
    match wait.awaited:
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
            owed = [each for each in order.facts.payments if each.payment_key == wait.about]
            for each in owed:
                order = order.with_payment(replace(each, state="REFUND_REQUESTED"))
            return order, [refund_request(order, each) for each in owed]
        case "payment" | "price":
            return order, []
