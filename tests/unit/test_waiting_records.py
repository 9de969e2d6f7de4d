"""Which of Order's records wait a moment for company: those from which nothing follows until another one is there."""

from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from ordersaga.contracts import codec
from ordersaga.contracts import messages as m
from ordersaga.contracts.topics import BY_MESSAGE
from ordersaga.messaging.handler import Record
from ordersaga.messaging.short_transaction import ShortTransaction
from ordersaga.order.handlers import can_wait
from ordersaga.order.model import Order
from ordersaga.order.saga import Answer, decide
from ordersaga.order.store import KnownOrders
from tests.unit.saga_cases import NOW, ORDER, A, B, delivery, payment, placed, stock


def record(message: m.Message, key: bytes | None = str(ORDER).encode()) -> Record:
    return Record(BY_MESSAGE[type(message)].name, 0, 0, key, codec.encode(message), None, 0)


def known(order: Order) -> KnownOrders:
    found = KnownOrders()
    found.keep({order.order_id: (order, "1")}, ShortTransaction(cast(Any, SimpleNamespace(opened=0))))
    return found


def after(order: Order, *answers: Answer) -> KnownOrders:
    for each in answers:
        order = decide(order, each, NOW).order
    return known(order)


def test_of_stock_and_payment_the_first_waits_and_the_second_does_not() -> None:
    order = placed()
    for first, second in (stock("SUCCESS"), payment()), (payment(), stock("SUCCESS")):
        assert can_wait(record(first), known(order))
        assert not can_wait(record(second), after(order, first))


def test_stock_is_decided_when_all_products_are() -> None:
    order = placed(A, B)
    assert can_wait(record(payment()), after(order, stock("SUCCESS", A)))
    assert not can_wait(record(payment()), after(order, stock("SUCCESS", A), stock("SUCCESS", B)))


def test_what_moves_an_order_on_does_not_wait() -> None:
    order = placed()
    going = after(order, stock("SUCCESS"), payment())
    assert not can_wait(record(delivery("STARTED")), going)
    assert not can_wait(
        record(m.ProductPriceMessage(product_id=A, name="x", price=1, changed_at=NOW), str(A).encode()), known(order)
    )


@pytest.mark.parametrize("key", [None, b"", b"\xff", b"not an id", str(A).encode()])
def test_a_record_of_an_order_that_is_not_known_does_not_wait(key: bytes | None) -> None:
    assert not can_wait(record(payment(), key), known(placed()))


def test_an_order_for_which_somebody_waits_does_not_wait() -> None:
    found = known(placed())
    found.is_watched = lambda order_id: order_id == UUID(str(ORDER))
    assert not can_wait(record(stock("SUCCESS")), found)
