"""What an order's page says: exactly one current step, the right sentence, and the truth about the money."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from ordersaga.contracts.address import Address
from ordersaga.web.shop.buying import _unpayable
from ordersaga.web.shop.live import Shown
from ordersaga.web.shop.model import Event, Line, Order, OrderPayment, Payment
from ordersaga.web.shop.progress import STEPS, progress
from ordersaga.web.texts import TEXTS

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
PRODUCT = UUID(int=7)
STOCK = ("REQUESTED", "RESERVED", "REJECTED", "RELEASE_REQUESTED", "RELEASED", "RELEASE_FAILED")
PAYMENTS = (None, "AWAITING", "PAID", "DECLINED", "REFUND_REQUESTED", "REFUNDED", "REFUND_FAILED")
DELIVERY = ("NOT_REQUESTED", "REQUESTED", "STARTED", "FAILED")
ENDS = (
    ("PENDING", None),
    ("COMPLETED", None),
    *(
        ("FAILED", each)
        for each in ("OUT_OF_STOCK", "STOCK_TIMEOUT", "PAYMENT_DECLINED", "AMOUNT_MISMATCH", "DELIVERY_FAILED")
    ),
    *(("CANCELLED", each) for each in ("CUSTOMER_CANCELLED", "PAYMENT_EXPIRED", "PAYMENT_CANCELLED", "RETURNED")),
)


def order(**changes: Any) -> Order:
    fields: dict[str, Any] = {
        "order_id": UUID(int=1),
        "customer_id": UUID(int=2),
        "status": "PENDING",
        "reason": None,
        "detail": None,
        "order_name": "a cup",
        "total_amount": 12_000,
        "placed_at": NOW,
        "pay_before": NOW + timedelta(minutes=30),
        "recipient": Address("1", None, "04524", "010", "Hana", None),
        "items": (Line(PRODUCT, 1),),
        "payments": (),
        "delivery": "NOT_REQUESTED",
        "delivery_id": None,
        "returning": "NOT_REQUESTED",
    }
    return Order(**(fields | changes))


def reserved(**changes: Any) -> Order:
    return order(items=(Line(PRODUCT, 1, "RESERVED"),), **changes)


def paid(state: str = "PAID") -> tuple[OrderPayment, ...]:
    return (OrderPayment("key", 12_000, state),)


def test_every_order_there_can_be_has_one_current_step_and_texts_for_all_that_is_said() -> None:
    for stock, payment, delivery, (status, reason), returning in itertools.product(
        STOCK, PAYMENTS, DELIVERY, ENDS, ("NOT_REQUESTED", "REQUESTED", "REFUSED")
    ):
        seen = progress(
            order(
                items=(Line(PRODUCT, 1, stock),),
                payments=paid(payment) if payment else (),
                delivery=delivery,
                status=status,
                reason=reason,
                returning=returning,
            ),
            [],
        )
        assert [step.name for step in seen.steps] == list(STEPS) and 1 <= seen.number <= 5
        failed = [step.state for step in seen.steps].count("failed")
        assert failed == (status in ("FAILED", "CANCELLED") and reason != "RETURNED")
        for texts in TEXTS.values():
            assert f"progress.{seen.said}.title" in texts and f"progress.{seen.said}.text" in texts
            assert seen.money is None or f"money.{seen.money}" in texts
        if status != "PENDING":
            assert not seen.can_pay and not seen.can_cancel


@pytest.mark.parametrize(
    ("seen", "number", "said"),
    [
        (order(), 2, "stock"),
        (reserved(), 3, "payment"),
        (order(payments=paid()), 2, "stock"),
        (reserved(payments=paid(), delivery="REQUESTED"), 4, "delivery"),
        (reserved(payments=paid(), delivery="STARTED", status="COMPLETED"), 5, "completed"),
        (order(status="FAILED", reason="OUT_OF_STOCK"), 2, "ended.OUT_OF_STOCK"),
        (reserved(status="FAILED", reason="PAYMENT_DECLINED", payments=paid("DECLINED")), 3, "ended.PAYMENT_DECLINED"),
        (reserved(status="CANCELLED", reason="CUSTOMER_CANCELLED"), 3, "ended.CUSTOMER_CANCELLED"),
    ],
)
def test_the_current_step_is_the_first_that_is_not_done(seen: Order, number: int, said: str) -> None:
    found = progress(seen, [])
    assert (found.number, found.said) == (number, said)


@pytest.mark.parametrize(
    ("status", "said"), [("PENDING", "confirming"), ("APPROVED", "confirmed"), ("FAILED", "confirming")]
)
def test_a_payment_of_which_order_has_not_heard_cannot_be_made_again(status: str, said: str) -> None:
    found = progress(reserved(), [], [Payment("key", 12_000, status)])
    assert found.said == said and not found.can_pay and not found.can_cancel


@pytest.mark.parametrize(
    ("state", "money", "ended"),
    [
        (None, "none", True),
        ("DECLINED", "none", True),
        ("REFUND_REQUESTED", "refunding", False),
        ("REFUNDED", "refunded", True),
        ("REFUND_FAILED", "refund_failed", True),
    ],
)
def test_the_money_of_a_dead_order_is_told_until_it_is_back(state: str | None, money: str, ended: bool) -> None:
    found = progress(
        reserved(status="CANCELLED", reason="CUSTOMER_CANCELLED", payments=paid(state) if state else ()), []
    )
    assert (found.money, found.ended) == (money, ended)


def test_each_done_step_has_its_time_from_the_timeline() -> None:
    names = ("PlaceOrder", "StockResponseMessage", "PaymentSuccessMessage", "DeliveryStartMessage")
    timeline = [
        Event(NOW + timedelta(seconds=n), name, (), "COMPLETED" if n == 3 else "PENDING")
        for n, name in enumerate(names)
    ]
    seen = progress(reserved(payments=paid(), delivery="STARTED", status="COMPLETED"), timeline)
    seconds = [(step.at - NOW).seconds if step.at else None for step in seen.steps]
    assert seconds == [0, 1, 2, 3, 3]


@pytest.mark.parametrize(
    ("status", "told"),
    [("PENDING", "paid_already"), ("APPROVED", "paid_already"), ("FAILED", "not_payable"), (None, None)],
)
def test_who_pays_again_is_told_that_it_is_paid_only_if_it_may_be(status: str | None, told: str | None) -> None:
    """Order may hear of a declined payment late, as when its topic is paused."""
    unheard = () if status is None else (Payment("key", 12_000, status),)
    assert _unpayable(Shown(reserved(), payments=unheard)) == told
    assert _unpayable(Shown(reserved(payments=paid()))) == "paid_already"
