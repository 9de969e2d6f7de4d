"""Who is late where an order waits for its payment."""

from datetime import timedelta
from typing import Any

from ordersaga.web.console.model import OperatorsOrder, PaymentView, Wait
from ordersaga.web.console.owing import Owing, owing
from ordersaga.web.shop.model import OrderPayment
from ordersaga.web.texts import TEXTS
from tests.unit.test_web_progress import NOW, order

LATER = NOW + timedelta(minutes=2)


def waiting(*messages: str, payments: tuple[OrderPayment, ...] = ()) -> OperatorsOrder:
    waits = tuple(Wait(each, "a-topic", [], NOW, 0) for each in messages)
    fields: dict[str, Any] = {name: getattr(order(), name) for name in order().__struct_fields__}
    return OperatorsOrder(**(fields | {"waits_for": waits, "payments": payments}))


def payment(status: str, key: str = "key", **changes: Any) -> PaymentView:
    return PaymentView(key, 500, status, 0, 0, NOW, **changes)


UNPAID = waiting("PaymentSuccessMessage")


def test_the_customer_is_late_until_a_confirm_has_come() -> None:
    assert owing(UNPAID, [], True) == Owing("customer")
    assert owing(UNPAID, [payment("FAILED")], True) == Owing("declined", NOW)
    assert owing(waiting("StockResponseMessage", "PaymentSuccessMessage"), [], True) is None, "nobody can pay yet"


def test_payment_is_late_from_the_confirm_to_its_answer() -> None:
    assert owing(UNPAID, [payment("FAILED", "other"), payment("PENDING")], True) == Owing("confirming", NOW)
    assert owing(UNPAID, [payment("APPROVED", approved_at=LATER)], True) == Owing("unheard", LATER)
    heard = waiting("PaymentSuccessMessage", payments=(OrderPayment("key", 500, "REFUNDED"),))
    assert owing(heard, [payment("CANCELLED", approved_at=LATER)], True) == Owing("customer")


def test_nobody_is_blamed_for_what_is_not_known_or_not_awaited() -> None:
    assert owing(UNPAID, [], False) == Owing("unknown")
    assert owing(waiting("DeliveryStartMessage"), [payment("PENDING")], True) is None


def test_each_answer_has_words() -> None:
    for who in ("customer", "declined", "confirming", "unheard", "unknown"):
        assert f"console.orders.owes.{who}" in TEXTS["en"]
