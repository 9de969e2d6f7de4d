"""Which orders the audit leaves to the team whose service ours has replaced."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ordersaga.audit.predecessors import Predecessor
from ordersaga.settings import ServiceName

TAKEN_OVER = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
BEFORE, AFTER = TAKEN_OVER - timedelta(seconds=1), TAKEN_OVER + timedelta(seconds=1)


def order(**times: datetime | None) -> dict[str, Any]:
    return {"placed_at": BEFORE, "stock_at": None, "payment_at": None, "delivery_at": None} | times


@pytest.mark.parametrize(
    "service, row, decided",
    [
        ("stock", order(stock_at=BEFORE), True),
        ("stock", order(stock_at=AFTER), False),
        ("stock", order(), True),
        ("stock", order(placed_at=AFTER), False),
        ("payment", order(payment_at=BEFORE), True),
        ("payment", order(payment_at=AFTER), False),
        ("payment", order(), False),
        ("delivery", order(delivery_at=BEFORE), True),
        ("delivery", order(delivery_at=AFTER), False),
        ("delivery", order(), False),
    ],
)
def test_an_order_is_left_to_the_predecessor_if_nothing_was_asked_since(
    service: ServiceName, row: dict[str, Any], decided: bool
) -> None:
    assert Predecessor("group:theirs", TAKEN_OVER).decided(service, row) is decided
