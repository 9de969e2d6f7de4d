"""The port to a payment gateway: what Payment asks of one, and the answers it can get.

Each answer says in its type what to do next, because an HTTP status or an error code read alone misleads. A caller matches over
all of them; mypy finds the one that is forgotten. The actions are those of the table in Toss Payments' error reference.
"""

from enum import StrEnum
from typing import Final, Protocol

import msgspec

CURRENCY: Final = "KRW"
CAPTURED_STATUSES: Final = frozenset({"DONE", "PARTIAL_CANCELED", "CANCELED"})


class Failure(msgspec.Struct, frozen=True):
    """Why the gateway ended a payment: its own code and its text for people."""

    code: str
    message: str = ""


class Refund(msgspec.Struct, frozen=True, rename="camel"):
    """One cancellation, of all or of a part, as the gateway recorded it. Won."""

    cancel_amount: int
    cancel_reason: str | None = None
    refundable_amount: int | None = None
    canceled_at: str | None = None
    transaction_key: str | None = None
    cancel_status: str | None = None

    @property
    def is_done(self) -> bool:
        """False while the gateway is still at it, or if it gave up."""
        return self.cancel_status in (None, "DONE")


class Standing(StrEnum):
    """What a payment seen at the gateway means for one order and amount."""

    CAPTURED = "CAPTURED"
    """DONE with this order, amount and currency: the money is ours."""
    MISMATCHED = "MISMATCHED"
    """DONE for this order, but another amount or currency is held: refund what it captured."""
    REFUNDED = "REFUNDED"
    """CANCELED: all of it went back."""
    PARTLY_REFUNDED = "PARTLY_REFUNDED"
    """PARTIAL_CANCELED: `balance_amount` is still held."""
    OPEN = "OPEN"
    """READY, IN_PROGRESS or WAITING_FOR_DEPOSIT: nothing is held yet, but may be later."""
    DEAD = "DEAD"
    """ABORTED or EXPIRED: nothing is held and nothing will be."""
    FOREIGN = "FOREIGN"
    """Another order's payment, whatever its status: never touch it. A client who confirms with somebody else's payment key must
    not make us refund that person's payment."""
    UNRECOGNISED = "UNRECOGNISED"
    """A status that this version does not know: leave the intent open for a person."""


_STANDING_BY_STATUS: Final = {
    "CANCELED": Standing.REFUNDED,
    "PARTIAL_CANCELED": Standing.PARTLY_REFUNDED,
    "READY": Standing.OPEN,
    "IN_PROGRESS": Standing.OPEN,
    "WAITING_FOR_DEPOSIT": Standing.OPEN,
    "ABORTED": Standing.DEAD,
    "EXPIRED": Standing.DEAD,
}


class GatewayPayment(msgspec.Struct, frozen=True, rename="camel"):
    """A payment as the gateway sees it. Amounts in won. `status` stays a string, so that a new one can still be read and judged."""

    payment_key: str
    order_id: str
    status: str
    total_amount: int
    balance_amount: int
    currency: str
    requested_at: str | None = None
    approved_at: str | None = None
    method: str | None = None
    last_transaction_key: str | None = None
    failure: Failure | None = None
    cancels: tuple[Refund, ...] | None = None

    def standing(self, order_id: str, amount: int) -> Standing:
        """What this payment means for that order and amount. Total: every payment has a standing."""
        if self.order_id != order_id:
            return Standing.FOREIGN
        if self.status == "DONE" and self.balance_amount < self.total_amount:
            # A refund stands in the books before the status follows.
            return Standing.PARTLY_REFUNDED if self.balance_amount else Standing.REFUNDED
        if self.status == "DONE":
            return Standing.CAPTURED if self.was_captured_for(amount) else Standing.MISMATCHED
        return _STANDING_BY_STATUS.get(self.status, Standing.UNRECOGNISED)

    def was_captured_for(self, amount: int) -> bool:
        """Whether what was captured, before any refund, is this amount of won."""
        return self.status in CAPTURED_STATUSES and self.total_amount == amount and self.currency == CURRENCY


class Approved(msgspec.Struct, frozen=True):
    """Captured: status DONE with equal order, amount and currency."""

    payment: GatewayPayment


class Cancelled(msgspec.Struct, frozen=True):
    """The amount asked for went back; `payment` is as it stands after that."""

    payment: GatewayPayment


class Declined(msgspec.Struct, frozen=True):
    """Final: nothing was done, and asking again changes nothing."""

    code: str
    message: str


class Unknown(msgspec.Struct, frozen=True):
    """The gateway may or may not have done it. Ask with a GET first, then decide: the same key may replay a stored error."""

    code: str
    message: str


class Retry(msgspec.Struct, frozen=True):
    """No outcome was learned. Send the same request with the same idempotency key, not sooner than `retry_after_s`."""

    code: str
    retry_after_s: float


class TakeOver(msgspec.Struct, frozen=True):
    """It was done before, by another request. GET the payment and take over what it says."""

    code: str


class OurFault(msgspec.Struct, frozen=True):
    """Our keys or our request are wrong, not the payment: leave the intent open, publish nothing, tell a person.

    The breaker is open from here on, so that a bad key does not fail every order of the hour."""

    code: str
    message: str


class Found(msgspec.Struct, frozen=True):
    """The payment asked for. `payment.standing(order_id, amount)` says what it means."""

    payment: GatewayPayment


class NotFound(msgspec.Struct, frozen=True):
    """The gateway itself says that it has no such payment: nothing was done. A proxy's 404 is a `Retry`, never this."""

    code: str


ConfirmAnswer = Approved | Declined | Unknown | Retry | TakeOver | OurFault
CancelAnswer = Cancelled | Declined | Unknown | Retry | TakeOver | OurFault
FindAnswer = Found | NotFound | Retry | OurFault


class GatewayHealth(msgspec.Struct, frozen=True):
    """What the alarm says. `state` is closed (calls go out), open (none do) or half-open (one probe decides)."""

    state: str
    reason: str | None
    opens_again_in_s: float

    @property
    def ready(self) -> bool:
        """False while no call would be sent."""
        return self.state != "open"


class PaymentGateway(Protocol):
    """A gateway that takes and returns money. No call raises for anything the gateway or the network does.

    `idempotency_key` (at most 300 characters) makes a repeat of the same request safe: the gateway answers what it answered first.
    """

    @property
    def health(self) -> GatewayHealth:
        """Whether calls are being sent now, and why not."""

    async def confirm(self, payment_key: str, order_id: str, amount: int, idempotency_key: str) -> ConfirmAnswer:
        """Capture the payment that the customer authorised at the checkout."""

    async def cancel(
        self,
        payment_key: str,
        reason: str,
        amount: int | None,
        idempotency_key: str,
        refundable_amount: int | None = None,
    ) -> CancelAnswer:
        """Return `amount` won, or all that is left if None. `refundable_amount` is an optimistic lock: what we believe is left."""

    async def find(self, payment_key: str) -> FindAnswer:
        """What the gateway knows of this payment. Changes nothing."""

    async def find_by_order(self, order_id: str) -> FindAnswer:
        """The same by order id, for an intent whose payment key is in doubt."""
