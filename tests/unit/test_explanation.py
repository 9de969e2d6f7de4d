"""What an order waits for, as a person is told it."""

from datetime import timedelta

import pytest

from ordersaga.order.deadlines import Deadlines, TimePassed
from ordersaga.order.explanation import explain
from ordersaga.order.saga import Input, decide
from tests.unit.saga_cases import NOW, RELEASE_FAILED, A, delivery, payment, placed, refunded, stock, unpriced

WAITS: list[tuple[tuple[Input, ...], list[tuple[str, tuple[str, ...]]]]] = [
    ((), [("StockResponseMessage", (str(A),)), ("PaymentSuccessMessage", ())]),
    ((stock("SUCCESS"),), [("PaymentSuccessMessage", ())]),
    ((stock("SUCCESS"), payment()), [("DeliveryStartMessage", ())]),
    ((stock("SUCCESS"), payment(), delivery("STARTED")), []),
    (
        (stock("SUCCESS"), payment(), delivery("FAILED")),
        [("StockRollbackCompletedMessage", (str(A),)), ("PaymentCancelledMessage", ("k1",))],
    ),
    (
        (stock("SUCCESS"), payment(), delivery("FAILED"), RELEASE_FAILED, refunded()),
        [("StockRollbackCompletedMessage", (str(A),))],
    ),
]


def test_a_price_that_is_not_known_is_waited_for_until_the_payment_deadline() -> None:
    price = explain(unpriced(), Deadlines())[-1]
    assert (price.message, price.topic, price.about) == ("ProductPriceMessage", "product-price-topic", (str(A),))
    assert (price.attempts, price.next_attempt_at, price.ends_at) == (0, None, unpriced().pay_before)


@pytest.mark.parametrize(("inputs", "expected"), WAITS)
def test_each_wait_names_its_message_and_what_it_is_about(
    inputs: tuple[Input, ...], expected: list[tuple[str, tuple[str, ...]]]
) -> None:
    order = placed()
    for each in inputs:
        order = decide(order, each, NOW).order
    assert [(each.message, each.about) for each in explain(order, Deadlines())] == expected


def test_since_when_stays_while_attempts_and_the_next_one_move_on() -> None:
    order = decide(decide(placed(), stock("SUCCESS"), NOW).order, payment(), NOW).order
    later = NOW + timedelta(seconds=40)
    (wait,) = explain(decide(order, TimePassed(), later).order, Deadlines())
    assert (wait.since, wait.attempts, wait.next_attempt_at) == (NOW, 2, later + timedelta(seconds=60))


def test_who_may_not_be_asked_again_has_no_next_attempt() -> None:
    order = decide(decide(placed(), stock("SUCCESS"), NOW).order, payment(), NOW).order
    (wait,) = explain(order, Deadlines(idempotent=frozenset({"stock", "payment"})))
    assert (wait.next_attempt_at, wait.ends_at) == (None, None)


def test_the_last_wait_for_stock_says_when_the_order_ends() -> None:
    wait = explain(placed(), Deadlines(stock_asks_max=1))[0]
    assert (wait.next_attempt_at, wait.ends_at) == (None, NOW + timedelta(seconds=10))
