"""The short form of `make siege`."""

import pytest

from ordersaga.devstack.system import System
from tests.chaos import siege
from tests.chaos.run import EXTRA

SECONDS = 30.0
ORDERS_AT_ONCE = 30


@pytest.mark.timeout(600)
async def test_overload_and_hostile_clients_neither_fill_the_memory_nor_keep_customers_from_being_served() -> None:
    with System(extra=EXTRA | {"ORDERSAGA_PAYMENT_DEADLINE_S": "20"}) as system:
        report = await siege.run(system, SECONDS, ORDERS_AT_ONCE, print)
    assert not report.wrong, "\n".join(report.wrong)
    assert report.customers > 30
    assert report.answers["long head: 431"] and report.answers["large body: 413"]
