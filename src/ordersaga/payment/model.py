"""Payment's state: payments, the intents that change them at the gateway, and Order's payables. Amounts in won."""

from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct

from ordersaga.messaging.idempotency import IdempotencyKey

PaymentStatus = Literal["PENDING", "APPROVED", "FAILED", "CANCEL_PENDING", "CANCELLED", "PARTLY_CANCELLED"]
IntentStatus = Literal["OPEN", "DONE", "FAILED"]
IntentKind = Literal["CONFIRM", "REFUND", "LOOK"]
"""LOOK: a look-up. A webhook or a decline asks for one, since the payment may have changed at the gateway."""


class Payable(Struct, frozen=True, gc=False):
    """Order's message about one order: who may pay how much until when. With a `status` other than ORD0001 nobody may pay."""

    order_id: UUID
    customer_id: UUID
    total_amount: int
    pay_before: datetime
    status: str


class Payment(Struct, frozen=True, gc=False):
    """One payment key. The gateway holds `captured - refunded`. `customer_id` None: a look-up found the payment, and this service never had
    a confirm."""

    payment_key: str
    order_id: UUID
    customer_id: UUID | None
    amount: int
    status: PaymentStatus
    requested_at: datetime
    captured: int = 0
    refunded: int = 0
    code: str | None = None
    message: str | None = None
    approved_at: datetime | None = None


class Intent(Struct, frozen=True, gc=False):
    """A confirm, refund or look-up that is to be carried out at the gateway. `due_at` None: an open refund waits for the confirm.

    `asked`: Order waits for the answer to this refund; for a look-up, a webhook has come since the look-up was last claimed.
    `attempt`: part of the idempotency key; for a look-up, its number among the look-ups in a row that showed no change.
    `due_at` of a settled look-up: the next look-up of this payment is not made before; None: it showed a change.
    `request_id` is the id that the sender gave a refund. `traceparent` is the trace in which it was asked for.
    """

    id: UUID
    kind: IntentKind
    payment_key: str
    order_id: UUID
    amount: int
    reason: str
    created_at: datetime
    due_at: datetime | None
    asked: bool = True
    status: IntentStatus = "OPEN"
    attempt: int = 1
    tries: int = 0
    message: str | None = None
    request_id: str | None = None
    traceparent: str | None = None


class Confirm(Struct, frozen=True, gc=False):
    """A customer's request to confirm; `id` becomes the intent's."""

    id: UUID
    payment_key: str
    order_id: UUID
    amount: int
    caller_id: UUID
    caller_is_operator: bool
    idempotency_key: IdempotencyKey | None = None
    traceparent: str | None = None


class Account:
    """One payment with its intents in a transaction: the loaded rows, their new states, and which of them are to be saved."""

    def __init__(self, payment: Payment | None, intents: dict[UUID, Intent]) -> None:
        self.payment: Payment | None = payment
        self.intents: Final = intents
        self.payable: Payable | None = None
        self.order_is_taken = False
        self.payment_changed = False
        self.intents_changed: Final[set[UUID]] = set()

    def put_payment(self, payment: Payment) -> None:
        """Set the payment's new state."""
        if payment != self.payment:
            self.payment, self.payment_changed = payment, True

    def put_intent(self, intent: Intent) -> None:
        """Add an intent, or set its new state."""
        self.intents[intent.id] = intent
        self.intents_changed.add(intent.id)

    def refund(self, request_id: str | None, amount: int) -> Intent | None:
        """The refund with this request id, open or settled. Without an id: the refund of this amount that has no id."""
        for each in self.intents.values():
            if each.kind == "REFUND" and each.request_id == request_id and (request_id or each.amount == amount):
                return each
        return None

    @property
    def confirm_is_in_flight(self) -> bool:
        """Whether an open confirm was sent or will be sent now. A postponed confirm does not count."""
        return any(
            each.kind == "CONFIRM" and each.status == "OPEN" and not each.tries for each in self.intents.values()
        )

    @property
    def open_refunds(self) -> list[Intent]:
        return [each for each in self.intents.values() if each.kind == "REFUND" and each.status == "OPEN"]
