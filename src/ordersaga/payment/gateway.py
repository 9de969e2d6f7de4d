"""The port to a payment gateway: Payment's calls, and the answers to them.

The type of an answer says what to do next; an HTTP status or an error code alone would not be enough. A caller matches over all types, and
mypy reports a missing one. What follows from which error code is taken from the table in Toss Payments' error reference.
"""

from enum import StrEnum
from typing import Final, Protocol

import msgspec

CURRENCY: Final = "KRW"
CAPTURED_STATUSES: Final = frozenset({"DONE", "PARTIAL_CANCELED", "CANCELED"})


class GatewayFailure(msgspec.Struct, frozen=True):
    """Why the gateway ended a payment: its code and its text for people."""

    code: str
    message: str = ""


class GatewayRefund(msgspec.Struct, frozen=True, rename="camel"):
    """One refund, of all or a part, as the gateway recorded it. Amounts in won."""

    cancel_amount: int
    cancel_reason: str | None = None
    refundable_amount: int | None = None
    canceled_at: str | None = None
    transaction_key: str | None = None
    cancel_status: str | None = None

    @property
    def is_done(self) -> bool:
        """False while the gateway is processing the refund, and after it gave the refund up."""
        return self.cancel_status in (None, "DONE")


class Standing(StrEnum):
    """What the gateway's payment means for one order and amount."""

    CAPTURED = "CAPTURED"
    """DONE with this order, amount and currency: all of it is held."""
    MISMATCHED = "MISMATCHED"
    """DONE for this order with another amount or currency: refund what was captured."""
    REFUNDED = "REFUNDED"
    """CANCELED: all of the money went back."""
    PARTLY_REFUNDED = "PARTLY_REFUNDED"
    """PARTIAL_CANCELED: `balance_amount` is still held."""
    OPEN = "OPEN"
    """READY, IN_PROGRESS or WAITING_FOR_DEPOSIT: nothing is held yet, but may be later."""
    DEAD = "DEAD"
    """ABORTED or EXPIRED: nothing is held and nothing will be."""
    FOREIGN = "FOREIGN"
    """Another order's payment, whatever its status: neither record nor refund it. A client who confirms another customer's payment key
    must not make us refund that customer's payment."""
    UNRECOGNISED = "UNRECOGNISED"
    """An unknown status: the intent stays open until a person decides."""


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
    """A payment in the gateway's books. Amounts in won. `status` is a string, so an unknown one is decoded and gets a standing."""

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
    failure: GatewayFailure | None = None
    cancels: tuple[GatewayRefund, ...] | None = None

    def standing(self, order_id: str, amount: int) -> Standing:
        """The payment's standing for this order and amount. Every payment has one: an unknown status is UNRECOGNISED."""
        if self.order_id != order_id:
            return Standing.FOREIGN
        if self.status == "DONE" and self.balance_amount < self.total_amount:
            # The balance falls before the status changes.
            return Standing.PARTLY_REFUNDED if self.balance_amount else Standing.REFUNDED
        if self.status == "DONE":
            return Standing.CAPTURED if self.was_captured_for(amount) else Standing.MISMATCHED
        return _STANDING_BY_STATUS.get(self.status, Standing.UNRECOGNISED)

    def was_captured_for(self, amount: int) -> bool:
        """Whether the gateway captured this amount of won, whatever was refunded since."""
        return self.status in CAPTURED_STATUSES and self.total_amount == amount and self.currency == CURRENCY


class Approved(msgspec.Struct, frozen=True):
    """Captured: status DONE with equal order, amount and currency."""

    payment: GatewayPayment


class Cancelled(msgspec.Struct, frozen=True):
    """The refund is done. `payment`: its state after the refund."""

    payment: GatewayPayment


class Declined(msgspec.Struct, frozen=True):
    """Final: the gateway did nothing, and a repeated request gets the same answer."""

    code: str
    message: str


class Unknown(msgspec.Struct, frozen=True):
    """The gateway may have carried out the request. GET the payment, then decide: a repeat under the same key may get a stored error."""

    code: str
    message: str


class Retry(msgspec.Struct, frozen=True):
    """The outcome is not known. Repeat the same request with the same idempotency key after `retry_after_s`."""

    code: str
    retry_after_s: float


class AlreadyProcessed(msgspec.Struct, frozen=True):
    """An earlier request has done the same. GET the payment and record what it shows."""

    code: str


class OurFault(msgspec.Struct, frozen=True):
    """Our secret key or our request is wrong, not the payment. The intent stays open, no message goes out, an alarm is raised.

    The breaker opens: a wrong secret key must not fail every order."""

    code: str
    message: str


class Found(msgspec.Struct, frozen=True):
    """The payment. `payment.standing(order_id, amount)` says what it means."""

    payment: GatewayPayment


class NotFound(msgspec.Struct, frozen=True):
    """The gateway has no such payment. A proxy's 404 is not this but a `Retry`."""

    code: str


ConfirmAnswer = Approved | Declined | Unknown | Retry | AlreadyProcessed | OurFault
CancelAnswer = Cancelled | Declined | Unknown | Retry | AlreadyProcessed | OurFault
FindAnswer = Found | NotFound | Retry | OurFault


class GatewayHealth(msgspec.Struct, frozen=True):
    """The breaker's state for the alarm: closed (calls are sent), open (none are) or half-open (one probe decides)."""

    state: str
    reason: str | None
    opens_again_in_s: float

    @property
    def ready(self) -> bool:
        """False while no calls are sent."""
        return self.state != "open"


class PaymentGateway(Protocol):
    """A gateway that captures and refunds payments. No call raises for what the gateway or the network does.

    `idempotency_key` (at most 300 characters) makes a repeat of a request safe: the gateway repeats its first answer.
    """

    @property
    def health(self) -> GatewayHealth:
        """The state of the breaker: whether calls are sent, and why not."""

    async def confirm(self, payment_key: str, order_id: str, amount: int, idempotency_key: str) -> ConfirmAnswer:
        """Capture a payment that the customer authorised at the checkout."""

    async def cancel(
        self,
        payment_key: str,
        reason: str,
        amount: int | None,
        idempotency_key: str,
        refundable_amount: int | None = None,
    ) -> CancelAnswer:
        """Refund `amount` won, or all that is held if None. `refundable_amount` is an optimistic lock: the balance that we know of."""

    async def find(self, payment_key: str) -> FindAnswer:
        """Read the payment. Changes nothing."""

    async def find_by_order(self, order_id: str) -> FindAnswer:
        """Read an order's payment, for a payment key that is not known."""
