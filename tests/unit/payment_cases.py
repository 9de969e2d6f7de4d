"""An order, its payment and the gateway's view of it, for the tests of Payment's pure rule."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from msgspec.structs import replace

from ordersaga.contracts.messages import PaymentCancelRequestedMessage
from ordersaga.payment.gateway import GatewayPayment, GatewayRefund
from ordersaga.payment.model import Account, Intent, IntentKind, Payable, Payment

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ORDER, OTHER_ORDER, ME, SOMEBODY = (UUID(int=n) for n in range(1, 5))
KEY, AMOUNT = "tgen_1", 12_000
PAYABLE = Payable(ORDER, ME, AMOUNT, NOW + timedelta(minutes=10), "ORD0001")


def intent(kind: IntentKind = "CONFIRM", amount: int = AMOUNT, attempt: int = 1) -> Intent:
    asked = kind != "LOOK"
    return Intent(UUID(int=99), kind, KEY, ORDER, amount, "OUT_OF_STOCK", NOW, NOW, asked, attempt=attempt)


def at_gateway(
    status: str = "DONE", total: int = AMOUNT, balance: int | None = None, order: UUID = ORDER
) -> GatewayPayment:
    held = {"CANCELED": 0, "PARTIAL_CANCELED": total - 1_000}.get(status, total) if balance is None else balance
    return GatewayPayment(KEY, str(order), status, total, held, "KRW")


def account(status: str = "PENDING", captured: int = 0, refunded: int = 0, *intents: Intent) -> Account:
    payment = Payment(KEY, ORDER, ME, AMOUNT, status, NOW, captured, refunded)  # type: ignore[arg-type]
    return Account(payment, {each.id: each for each in intents})


def refund_request(amount: int = AMOUNT, key: str = KEY, order: UUID = ORDER) -> PaymentCancelRequestedMessage:
    return PaymentCancelRequestedMessage(order_id=order, payment_key=key, amount=amount, reason="OUT_OF_STOCK")


def listed(*refunds: GatewayRefund) -> GatewayPayment:
    """The payment with these refunds in its list."""
    left = AMOUNT - sum(each.cancel_amount for each in refunds if each.is_done)
    return replace(at_gateway("PARTIAL_CANCELED" if left else "CANCELED", balance=left), cancels=refunds)
