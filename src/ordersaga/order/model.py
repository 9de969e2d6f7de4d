"""An order and the facts that the saga keeps about it."""

from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.contracts.status import OrderStatus

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

DEAD: Final[frozenset[OrderStatus]] = frozenset({"FAILED", "CANCELLED"})


class Line(Struct, frozen=True, rename="camel"):
    """One product of an order."""

    product_id: UUID
    quantity: int
    stock: StockState = "REQUESTED"


class OrderPayment(Struct, frozen=True, rename="camel", omit_defaults=True):
    """One payment key and what was captured with it, in won. AWAITING: a refund of it was told before its capture.

    `held` is what the gateway still holds, None while that is all. `meant` is how much may go back: all of it once this order has asked
    for its refund, else what an operator has marked as meant.
    """

    payment_key: str
    amount: int
    state: PaymentState
    held: int | None = None
    meant: int = 0

    @property
    def left(self) -> int:
        """What the gateway still holds."""
        return self.amount if self.held is None else self.held

    @property
    def given_back(self) -> int:
        return self.amount - self.left


class Ask(Struct, frozen=True, rename="camel", omit_defaults=True):
    """How an answer that is awaited was asked for: when last, how often, and when first (None: that was the last). `about`: of a
    refund, which payment key."""

    awaited: Awaited
    at: datetime
    attempts: int = 1
    since: datetime | None = None
    about: str | None = None


class Facts(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What the partners have said so far.

    `asks` says of each answer that is awaited how it was asked for. One that has none there was asked for at `asked_at` (None: when the
    order was placed), `waits_since` and `attempts`: that is the first request to Stock, and whatever orders of earlier versions await.
    `returning`: whether the customer wants to give the order back, where an operator has to have the goods first. `look_at` is when the
    order's timer fires. `rollbacks` is how many rollbacks were sent, `rollbacks_answered` how many of them
    may have another answer under way that means nothing any more.
    `listed_total` is the sum of the products' own prices, None while a price is not known; an order is payable and goes on only if
    it is the total. `flag` is what a person should look at.
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


class Recipient(Struct, frozen=True, rename="camel"):
    """Where an order goes, and to whom."""

    address: str
    address_detail: str | None
    zipcode: str
    phone: str
    name: str
    delivery_memo: str | None


class Order(Struct, frozen=True, rename="camel"):
    """An order: what was placed, which never changes, and status, reason, detail and facts, which the saga changes. Won."""

    order_id: UUID
    customer_id: UUID
    order_name: str
    total_amount: int
    recipient: Recipient
    placed_at: datetime
    pay_before: datetime
    facts: Facts
    status: OrderStatus = "PENDING"
    reason: Reason | None = None
    detail: str | None = None

    @property
    def is_dead(self) -> bool:
        return self.status in DEAD

    @property
    def is_paid(self) -> bool:
        """Whether a payment is captured and not being given back."""
        return "PAID" in [payment.state for payment in self.facts.payments]

    @property
    def captured(self) -> list[OrderPayment]:
        """The payments that were captured, also those refunded since. The first of a living order pays it."""
        return [each for each in self.facts.payments if each.state not in ("AWAITING", "DECLINED")]

    @property
    def unmeant(self) -> tuple[OrderPayment, ...]:
        """Payments of a living order of which money went back that neither this order nor an operator wanted back."""
        if self.is_dead:
            return ()
        return tuple(each for each in self.facts.payments if each.given_back > each.meant)

    @property
    def is_reserved(self) -> bool:
        return {line.stock for line in self.facts.lines} == {"RESERVED"}

    def payment(self, payment_key: str) -> OrderPayment | None:
        """What is known of one payment key."""
        return next((each for each in self.facts.payments if each.payment_key == payment_key), None)

    def ended(self, status: Literal["FAILED", "CANCELLED"], reason: Reason, detail: str | None = None) -> "Order":
        """The order, dead."""
        return replace(self, status=status, reason=reason, detail=detail)

    def ask(self, awaited: Awaited, about: str | None = None) -> Ask:
        """How an answer was asked for."""
        facts = self.facts
        for each in facts.asks:
            if each.awaited == awaited and each.about == about:
                return each
        since = facts.waits_since or self.placed_at
        return Ask(awaited, facts.asked_at or self.placed_at, facts.attempts, since, about)

    def asked(self, ask: Ask) -> "Order":
        """The order, having just asked for something."""
        others = [each for each in self.facts.asks if (each.awaited, each.about) != (ask.awaited, ask.about)]
        return replace(self, facts=replace(self.facts, asks=(*others, ask)))

    def asked_again(self, ask: Ask, now: datetime) -> "Order":
        """The order, having asked once more."""
        return self.asked(replace(ask, at=now, attempts=ask.attempts + 1, since=ask.since or ask.at))

    def returning(self, state: ReturnState) -> "Order":
        """The order with what has become of the customer's wish to give it back."""
        return replace(self, facts=replace(self.facts, returning=state))

    def rolled_back(self) -> "Order":
        """The order, having sent one more rollback."""
        return replace(self, facts=replace(self.facts, rollbacks=self.facts.rollbacks + 1))

    def flagged(self, flag: str | None) -> "Order":
        """The order with something that a person should look at; None: with nothing any more."""
        return replace(self, facts=replace(self.facts, flag=flag))

    def with_lines(self, lines: tuple[Line, ...]) -> "Order":
        """The order with other facts about its stock."""
        return replace(self, facts=replace(self.facts, lines=lines))

    def with_payment(self, payment: OrderPayment) -> "Order":
        """The order with this fact about one payment key, in its place or as the last. One told of by its refund alone has no place yet:
        the first that was captured pays the order.
        """
        payments = {each.payment_key: each for each in self.facts.payments}
        known = payments.get(payment.payment_key)
        if known is not None and known.state == "AWAITING":
            del payments[payment.payment_key]
        payments[payment.payment_key] = payment
        return replace(self, facts=replace(self.facts, payments=tuple(payments.values())))

    @property
    def stock_is_known(self) -> bool:
        """Whether the outcome of step 3 is known: all reserved, or the order has ended."""
        return self.status != "PENDING" or "REQUESTED" not in [line.stock for line in self.facts.lines]


class Event(Struct, frozen=True):
    """One change of an order: what came in, what went out, where it stands; no personal data."""

    order_id: UUID
    at: datetime
    came_in: str
    went_out: tuple[str, ...]
    status: OrderStatus
    reason: Reason | None
    stock_known: bool
    note: str | None = None
