"""A payment gateway with Toss's promises: one capture per payment key, and a repeated idempotency key gets the first answer again.

For its first calls it loses requests and answers. It runs outside the processes, so a capture goes on when its caller is killed.
"""

from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from msgspec.structs import replace

from ordersaga.payment.gateway import (
    AlreadyProcessed,
    Approved,
    Cancelled,
    Declined,
    Found,
    GatewayHealth,
    GatewayPayment,
    GatewayRefund,
    NotFound,
    Retry,
    Unknown,
)
from tests.simulation.scheduler import Scheduler

RETRY_AFTER_S: Final = 0.2
CALLS_UNTIL_CALM_MAX: Final = 12
CURRENCY: Final = "KRW"


class Gateway:
    """As `PaymentGateway`. `held` is the money it has of a payment; `tell` is called with each payment that has changed."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler: Final = scheduler
        self._restless: int = scheduler.random.randrange(CALLS_UNTIL_CALM_MAX)
        self.payments: Final[dict[str, GatewayPayment]] = {}
        self._declined: Final[set[str]] = set()
        self._answers: Final[dict[str, Any]] = {}
        self.tell: Callable[[GatewayPayment], None] = lambda payment: None
        self.tell_surely: Callable[[GatewayPayment], None] = lambda payment: None
        self.given_back: Final[dict[str, int]] = {}
        """By payment key, the money refunded at the dashboard. Won."""

    @property
    def health(self) -> GatewayHealth:
        return GatewayHealth("closed", None, 0.0)

    def checkout(self, key: str, order_id: UUID, amount: int, declined: bool) -> None:
        """The customer authorises a payment; `declined`: their bank refuses the capture."""
        payment = GatewayPayment(key, str(order_id), "IN_PROGRESS", amount, amount, CURRENCY)
        self.payments.setdefault(key, payment)
        if declined:
            self._declined.add(key)

    async def confirm(self, payment_key: str, order_id: str, amount: int, idempotency_key: str) -> Any:
        return await self._call("confirm", idempotency_key, lambda: self._capture(payment_key, order_id, amount))

    async def cancel(
        self, payment_key: str, reason: str, amount: int | None, idempotency_key: str, refundable_amount: Any = None
    ) -> Any:
        def refund() -> Any:
            return self._refund(payment_key, reason, amount or 0, refundable_amount)

        return await self._call("cancel", idempotency_key, refund)

    async def find(self, payment_key: str) -> Any:
        def look() -> Any:
            payment = self.payments.get(payment_key)
            return NotFound("NOT_FOUND_PAYMENT") if payment is None else Found(payment)

        return await self._call("find", None, look)

    async def find_by_order(self, order_id: str) -> Any:
        raise NotImplementedError

    async def _call(self, what: str, idempotency_key: str | None, act: Callable[[], Any]) -> Any:
        async def answer() -> Any:
            return self._answer(idempotency_key, act)

        return await self._scheduler.do("gateway", f"gateway {what}", answer)

    def _answer(self, key: str | None, act: Callable[[], Any]) -> Any:
        """Do the work and return an answer, or lose either."""
        self._scheduler.progress()
        if key in self._answers:
            return self._answers[key]
        fate = self._fate()
        if fate == "lost":
            return Retry("CONNECTION_LOST", RETRY_AFTER_S)
        if fate == "failed" and key is not None:
            self._answers[key] = Unknown("PROVIDER_ERROR", "")
            return self._answers[key]
        before = dict(self.payments)
        answer = act()
        for changed in [each for name, each in self.payments.items() if each is not before[name]]:
            self.tell(changed)
        if key is not None:
            self._answers[key] = answer
        if fate == "answer lost":
            return Retry("CONNECTION_LOST", RETRY_AFTER_S)
        return Unknown("HTTP_502", "") if fate == "answer garbled" and key is not None else answer

    def _fate(self) -> str:
        if self._restless <= 0:
            return "fine"
        self._restless -= 1
        fates = ["fine", "fine", "lost", "failed", "answer lost", "answer garbled"]
        return self._scheduler.random.choice(fates)

    def _capture(self, key: str, order_id: str, amount: int) -> Any:
        payment = self.payments[key]
        if payment.order_id != order_id or payment.total_amount != amount:
            return Declined("INVALID_REQUEST", "")
        if key in self._declined:
            return Declined("REJECT_CARD_COMPANY", "")
        if payment.status != "IN_PROGRESS":
            return AlreadyProcessed("ALREADY_PROCESSED_PAYMENT")
        self.payments[key] = replace(payment, status="DONE")
        return Approved(self.payments[key])

    def _refund(self, key: str, reason: str, amount: int, refundable_amount: int | None) -> Any:
        payment = self.payments[key]
        held = payment.balance_amount
        if payment.status == "CANCELED":
            return AlreadyProcessed("ALREADY_CANCELED_PAYMENT")
        if refundable_amount not in (None, held):
            return Declined("NOT_MATCHES_REFUNDABLE_AMOUNT", "")
        if amount > held:
            return Declined("NOT_CANCELABLE_AMOUNT", "")
        status = "CANCELED" if amount == held else "PARTIAL_CANCELED"
        cancels = (*(payment.cancels or ()), GatewayRefund(amount, reason))
        self.payments[key] = replace(payment, status=status, balance_amount=held - amount, cancels=cancels)
        return Cancelled(self.payments[key])

    def held_keys(self) -> list[str]:
        """The keys of captured payments that are not refunded in full."""
        return [key for key in self.payments if self.held(key) > 0]

    def cancel_at_dashboard(self, key: str, part: int) -> None:
        """Refund `1 / part` of what is held of a payment, as at the gateway's own dashboard, and send the webhook."""
        amount = self.held(key) // part
        self._refund(key, "by somebody at the dashboard", amount, None)
        self.given_back[key] = self.given_back.get(key, 0) + amount
        self._scheduler.progress()
        self._scheduler.say("gateway", f"refunds {amount} won of {key} at the dashboard")
        self.tell(self.payments[key])
        self.tell_surely(self.payments[key])

    def held(self, key: str) -> int:
        """The captured money of a payment that is not refunded. Won."""
        payment = self.payments[key]
        return 0 if payment.status == "IN_PROGRESS" else payment.balance_amount
