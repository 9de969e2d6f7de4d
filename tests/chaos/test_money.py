"""The short form of `make money`: the same customers, faults and kills, fewer of them."""

import pytest

from ordersaga.contracts.status import ORDER_CODES
from tests.chaos import money


@pytest.mark.timeout(900)
async def test_under_every_fault_and_kills_the_books_the_payments_and_the_orders_agree_to_the_won() -> None:
    report = await money.run(orders=80, kills=2, seed=3, pay_within_s=60)
    assert not report.wrong, "\n".join(report.wrong)
    figures = report.figures
    assert figures["orders"] == sum(figures.get(status, 0) for status in ORDER_CODES)
    assert figures["COMPLETED"] and figures["captures refunded"]
    assert 20 < figures["of them faulty, percent"] < 40
    assert figures["ways they went wrong"] > min(20, figures["faulty calls"] / 4), "a slow machine makes fewer calls"
