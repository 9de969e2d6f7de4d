"""An order, and the facts that the saga keeps about it."""

import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.contracts.address import Address
from ordersaga.contracts.status import OrderStatus
from ordersaga.messaging.ids import root_of
from ordersaga.said import Said, Saying, joined, say, sayings_of

WORD: Final = re.compile(r"[^\W_]+")
StockState = Literal["REQUESTED", "RESERVED", "REJECTED", "RELEASE_REQUESTED", "RELEASED", "RELEASE_FAILED"]
PaymentState = Literal["AWAITING", "PAID", "DECLINED", "REFUND_REQUESTED", "REFUNDED", "REFUND_FAILED"]
ReturnState = Literal["NOT_REQUESTED", "REQUESTED", "REFUSED"]
DeliveryState = Literal["NOT_REQUESTED", "REQUESTED", "STARTED", "FAILED"]
Reason = Literal[
    "OUT_OF_STOCK",
    "PAYMENT_DECLINED",
    "AMOUNT_MISMATCH",
    "DELIVERY_FAILED",
    "STOCK_TIMEOUT",
    "PAYMENT_EXPIRED",
    "CUSTOMER_CANCELLED",
    "RETURNED",
    "PAYMENT_CANCELLED",
]

Awaited = Literal["stock", "payment", "delivery", "release", "refund", "price"]

ENDS: Final[dict[Reason, OrderStatus]] = {
    "OUT_OF_STOCK": "FAILED",
    "PAYMENT_DECLINED": "FAILED",
    "AMOUNT_MISMATCH": "FAILED",
    "DELIVERY_FAILED": "FAILED",
    "STOCK_TIMEOUT": "FAILED",
    "PAYMENT_EXPIRED": "CANCELLED",
    "CUSTOMER_CANCELLED": "CANCELLED",
    "RETURNED": "CANCELLED",
    "PAYMENT_CANCELLED": "CANCELLED",
}
"""The status that each reason ends an order with."""

DEAD: Final[frozenset[OrderStatus]] = frozenset({"FAILED", "CANCELLED"})


class Line(Struct, frozen=True, rename="camel"):
    """One product of an order."""

    product_id: UUID
    quantity: int
    stock: StockState = "REQUESTED"


class OrderPayment(Struct, frozen=True, rename="camel", omit_defaults=True):
    """One payment key and the amount captured with it, in won. AWAITING: its refund came before its capture.

    `held` is the amount that the gateway still holds, None for all of it. `meant` is the amount that may go back: all of it once this
    order asks for the refund, otherwise the amount that an operator has accepted.
    """

    payment_key: str
    amount: int
    state: PaymentState
    held: int | None = None
    meant: int = 0

    @property
    def left(self) -> int:
        """The amount that the gateway still holds."""
        return self.amount if self.held is None else self.held

    @property
    def given_back(self) -> int:
        """The amount that the gateway has refunded."""
        return self.amount - self.left


class Ask(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The requests for one awaited answer: when the last was sent, how many, and when the first was sent (None: the last is the first).

    `about`: the payment key, for a refund.
    """

    awaited: Awaited
    at: datetime
    attempts: int = 1
    since: datetime | None = None
    about: str | None = None


class Facts(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What the partners and operators have said about one order. The status and the messages follow from the facts.

    `lines`, `payments`, `delivery`: what the partners have answered. `returning`: the return, where an operator must receive the goods.
    `listed_total`: the sum of the products' own prices, None while one is not known; the order goes on only if it equals the total. In won.
    `asks`: the requests for each awaited answer. The first request to Stock has no entry, and neither have the requests of orders of
    earlier versions: `asked_at` (None: when the order was placed), `waits_since` and `attempts` stand for them.
    `flag`: the text of what a person should look at. `flag_said` and `detail_said`: the sayings of the flag, and of the order's `detail`.
    `look_at`: when the order's timer fires.
    `rollbacks`: how many rollbacks were sent. `rollbacks_answered`: how many of them are answered; further answers to those are duplicates.
    """

    lines: tuple[Line, ...]
    payments: tuple[OrderPayment, ...] = ()
    delivery: DeliveryState = "NOT_REQUESTED"
    delivery_id: UUID | None = None
    returning: ReturnState = "NOT_REQUESTED"
    listed_total: int | None = None
    asked_at: datetime | None = None
    waits_since: datetime | None = None
    attempts: int = 1
    asks: tuple[Ask, ...] = ()
    flag: str | None = None
    look_at: datetime | None = None
    rollbacks: int = 0
    rollbacks_answered: int = 0
    flag_said: tuple[Saying, ...] = ()
    detail_said: tuple[Saying, ...] = ()


class Order(Struct, frozen=True, rename="camel"):
    """An order. The saga changes `facts`, `status`, `reason` and `detail`; the other fields stay as they were placed. Amounts in won.

    `traceparent`: of the request that placed it, if it was in a trace.
    """

    order_id: UUID
    customer_id: UUID
    order_name: str
    total_amount: int
    recipient: Address
    placed_at: datetime
    pay_before: datetime
    facts: Facts
    status: OrderStatus = "PENDING"
    reason: Reason | None = None
    detail: str | None = None
    traceparent: str | None = None

    @property
    def trace(self) -> str:
        """The `traceparent` above what happens to the order without a record or a request. Without one of its own its trace is called like its id."""
        return self.traceparent or root_of(self.order_id)

    @property
    def search_words(self) -> list[str]:
        """What the order is searched by: the words of its name, and its products."""
        return sorted(words(self.order_name) | {str(line.product_id) for line in self.facts.lines})

    @property
    def is_dead(self) -> bool:
        return self.status in DEAD

    @property
    def is_paid(self) -> bool:
        """Whether a payment is captured and no refund of it is requested."""
        return "PAID" in [payment.state for payment in self.facts.payments]

    @property
    def captured(self) -> list[OrderPayment]:
        """The payments that were captured, also those refunded since. The first of a living order pays it."""
        return [each for each in self.facts.payments if each.state not in ("AWAITING", "DECLINED")]

    @property
    def unmeant(self) -> tuple[OrderPayment, ...]:
        """Payments of a living order from which the gateway gave back more than this order asked for or an operator has accepted."""
        payments = self.facts.payments
        if not payments or self.is_dead:
            return ()
        return tuple([each for each in payments if each.held is not None and each.given_back > each.meant])

    @property
    def unaccepted_refunds(self) -> Said | None:
        """The flag for refunds at the gateway that no operator has accepted; None if there is none."""
        unmeant = self.unmeant
        if not unmeant:
            return None
        said = say("order.unaccepted", "given back at the gateway, and no operator has accepted it: ")
        return said + joined(", ", map(_given_back, unmeant))

    @property
    def lacks_price(self) -> bool:
        """Whether the order is pending and was placed before the prices of all its products were known."""
        return self.facts.listed_total is None and self.status == "PENDING"

    def total_by(self, prices: Mapping[UUID, int]) -> int | None:
        """The sum of the products' own prices, in won; None if a price is not known."""
        total = 0
        for line in self.facts.lines:
            price = prices.get(line.product_id)
            if price is None:
                return None
            total += price * line.quantity
        return total

    @property
    def is_reserved(self) -> bool:
        return {line.stock for line in self.facts.lines} == {"RESERVED"}

    def payment(self, payment_key: str) -> OrderPayment | None:
        """The payment with this key, if the order knows it."""
        return next((each for each in self.facts.payments if each.payment_key == payment_key), None)

    def ended(self, status: Literal["FAILED", "CANCELLED"], reason: Reason, detail: str | None = None) -> "Order":
        """The order after it has FAILED or was CANCELLED."""
        facts = replace(self.facts, detail_said=sayings_of(detail))
        return replace(self, status=status, reason=reason, detail=detail and str(detail), facts=facts)

    def ask(self, awaited: Awaited, about: str | None = None) -> Ask:
        """The requests for one awaited answer."""
        facts = self.facts
        for each in facts.asks:
            if each.awaited == awaited and each.about == about:
                return each
        since = facts.waits_since or self.placed_at
        return Ask(awaited, facts.asked_at or self.placed_at, facts.attempts, since, about)

    def asked(self, ask: Ask) -> "Order":
        """The order after a request was sent."""
        others = [each for each in self.facts.asks if (each.awaited, each.about) != (ask.awaited, ask.about)]
        return replace(self, facts=replace(self.facts, asks=(*others, ask)))

    def asked_again(self, ask: Ask, now: datetime) -> "Order":
        """The order after a request was sent again."""
        return self.asked(replace(ask, at=now, attempts=ask.attempts + 1, since=ask.since or ask.at))

    def returning(self, state: ReturnState) -> "Order":
        """The order with another state of its return."""
        return replace(self, facts=replace(self.facts, returning=state))

    def rolled_back(self) -> "Order":
        """The order after one more rollback was sent."""
        return replace(self, facts=replace(self.facts, rollbacks=self.facts.rollbacks + 1))

    def flagged(self, flag: str | None) -> "Order":
        """The order with a flag for a person; None: without one."""
        return replace(self, facts=replace(self.facts, flag=flag and str(flag), flag_said=sayings_of(flag)))

    def with_lines(self, lines: tuple[Line, ...]) -> "Order":
        """The order with other lines."""
        return replace(self, facts=replace(self.facts, lines=lines))

    def with_payment(self, payment: OrderPayment) -> "Order":
        """The order with this payment, instead of the one with the same key, or as the last.

        An AWAITING payment moves to the end when it is captured: the payments stand in the order of their captures, and the first pays the order.
        """
        payments = {each.payment_key: each for each in self.facts.payments}
        known = payments.get(payment.payment_key)
        if known is not None and known.state == "AWAITING":
            del payments[payment.payment_key]
        payments[payment.payment_key] = payment
        return replace(self, facts=replace(self.facts, payments=tuple(payments.values())))

    @property
    def stock_is_known(self) -> bool:
        """Whether step 3 of the guide is done: Stock has answered for all products, or the order is not PENDING any more."""
        return self.status != "PENDING" or "REQUESTED" not in [line.stock for line in self.facts.lines]


def _given_back(payment: OrderPayment) -> Said:
    return say(
        "order.given_back",
        "{back} of {amount} won of payment {payment}",
        back=f"{payment.given_back:,}",
        amount=f"{payment.amount:,}",
        payment=payment.payment_key,
    )


class Event(Struct, frozen=True):
    """One line of an order's timeline: the input, the messages that went out, the status after it. No personal data.

    `payment_hash`: of the payment key that the order first heard of then. It is written and searched, never read. `said`: the note's sayings,
    as `messaging/texts.py` stores them.
    """

    order_id: UUID
    at: datetime
    came_in: str
    went_out: tuple[str, ...]
    status: OrderStatus
    reason: Reason | None
    stock_known: bool
    note: str | None = None
    payment_hash: int | None = None
    said: str | None = None


def words(text: str) -> set[str]:
    """The words of a text as searches compare them: letters and digits, without the difference of capitals and of widths."""
    return set(WORD.findall(unicodedata.normalize("NFKC", text).casefold()))
