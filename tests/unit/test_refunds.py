"""Money that goes back at the gateway without this order having asked, and what the saga makes of it."""

import itertools
from datetime import timedelta

import pytest

from ordersaga.contracts import messages as m
from ordersaga.order.deadlines import TimePassed
from ordersaga.order.decision import ANOMALY, DUPLICATE
from ordersaga.order.returns import CancelBeforeDelivery, Return
from ordersaga.order.saga import Input, decide
from tests.unit.saga_cases import (
    MEANT,
    NOW,
    ORDER,
    PART,
    RELEASED,
    TOTAL,
    A,
    B,
    asked_back,
    delivery,
    end,
    gone,
    names,
    payment,
    placed,
    refunded,
    run,
    stock,
)


@pytest.mark.parametrize(
    "inputs",
    [each for each in itertools.permutations([stock("SUCCESS"), payment(), gone(0)]) if each[-1] != gone(0)]
    + [(payment(), gone(0), stock("SUCCESS"))],
)
def test_all_money_gone_before_delivery_ends_the_order_in_whatever_order_it_is_told(inputs: tuple[Input, ...]) -> None:
    order, out, _ = run(placed(), *inputs)
    assert end(order) == ("CANCELLED", "PAYMENT_CANCELLED")
    assert sorted(names(out)) == ["OrderPayable", "StockRollbackRequested"]
    assert order.facts.payments[0].state == "REFUNDED"
    order, out, _ = run(order, gone(0), payment(), refunded(), RELEASED)
    assert (out, order.facts.flag) == ([], None), "nothing is refunded again, and nobody has to look"


@pytest.mark.parametrize("late", [(), (delivery("STARTED"),)])
def test_all_money_gone_after_delivery_was_asked_for_keeps_the_status_and_waits_for_a_person(
    late: tuple[Input, ...],
) -> None:
    order, out, _ = run(placed(), stock("SUCCESS"), payment(), *late, gone(0), gone(0))
    assert end(order) == ("COMPLETED" if late else "PENDING", None)
    assert names(out).count("DeliveryRequest") == 1
    assert order.facts.payments[0].state == "REFUNDED"
    assert "25,000 of 25,000 won" in (order.facts.flag or "")
    asked_again = decide(order, TimePassed(), NOW + timedelta(days=3))
    assert not asked_again.outgoing, "nobody asks for goods again whose money is gone"
    assert asked_again.order.status == order.status
    order, out, _ = run(order, MEANT, delivery("STARTED"))
    assert (order.status, order.facts.flag) == ("COMPLETED", None)
    order, out, _ = run(order, Return())
    assert asked_back(out) == [], "nothing is left to give back"
    assert end(order) == ("CANCELLED", "RETURNED")


@pytest.mark.parametrize(
    "inputs", list(itertools.permutations([stock("SUCCESS", A), stock("SUCCESS", B), payment(), gone(PART)], 4))
)
def test_a_part_gone_holds_the_goods_until_an_operator_says_that_it_was_meant(inputs: tuple[Input, ...]) -> None:
    order, out, _ = run(placed(A, B), *inputs)
    if isinstance(inputs[-1], m.PaymentCancelledMessage):
        assert names(out) == ["DeliveryRequest"], "told after delivery was asked for"
    else:
        assert out == []
    assert order.status == "PENDING"
    assert "5,000 of 25,000 won" in (order.facts.flag or "")
    assert decide(order, TimePassed(), NOW + timedelta(days=3)).order.status == "PENDING"
    order, after, decision = run(order, MEANT)
    assert names(out + after) == ["DeliveryRequest"]
    assert (order.facts.flag, decision.note) == (None, "operator: a discount")
    order, out, decision = run(order, MEANT, delivery("STARTED"))
    assert (order.status, names(out)) == ("COMPLETED", ["OrderCompleted"])
    assert order.facts.flag is None


def test_a_further_part_gone_waits_for_a_person_again() -> None:
    order, _, _ = run(placed(), stock("SUCCESS"), payment(), delivery("STARTED"), gone(PART), MEANT, gone(PART))
    assert order.facts.flag is None
    order, _, _ = run(order, gone(10_000), gone(PART))
    assert "15,000 of 25,000 won" in (order.facts.flag or "")


@pytest.mark.parametrize("before", [(), (MEANT,)])
@pytest.mark.parametrize("wish", [CancelBeforeDelivery(), stock("FAILED", B)])
def test_what_is_given_back_after_a_part_is_gone_is_what_is_still_held(before: tuple[Input, ...], wish: Input) -> None:
    order, out, _ = run(placed(A, B), stock("SUCCESS", A), payment(), gone(PART), *before, wish)
    assert asked_back(out) == [("k1", PART)]
    order, out, _ = run(order, refunded_of(out, 0), RELEASED)
    assert (order.facts.payments[0].state, order.facts.flag, out) == ("REFUNDED", None, [])


def refunded_of(out: list[m.Message], left: int, status: str = "SUCCESS") -> m.PaymentCancelledMessage:
    """Our own Payment's answer to the last refund among these."""
    asked = [each for each in out if isinstance(each, m.PaymentCancelRequestedMessage)][-1]
    return m.PaymentCancelledMessage(
        order_id=ORDER,
        payment_key=asked.payment_key,
        amount=asked.amount,
        status=status,  # type: ignore[arg-type]
        balance_amount=left,
        request_id=asked.request_id,
    )


def test_a_refund_that_is_refused_because_a_part_is_gone_is_asked_for_again_as_what_is_left() -> None:
    order, out, _ = run(placed(), stock("FAILED"), payment())
    assert asked_back(out) == [("k1", TOTAL)]
    refused = refunded_of(out, PART, "FAILED")
    order, out, _ = run(order, refused)
    assert asked_back(out) == [("k1", PART)]
    order, nothing, decision = run(order, refused)
    assert (nothing, decision.note) == ([], DUPLICATE), "the refusal of the first says nothing of the second"
    order, _, _ = run(order, refunded_of(out, 0))
    assert (order.facts.payments[0].state, order.facts.flag) == ("REFUNDED", None)


@pytest.mark.parametrize("then", [(gone(0),), (gone(PART), gone(0)), (gone(0), refunded("FAILED"))])
def test_money_that_goes_back_while_it_is_asked_for_is_not_asked_for_again(then: tuple[Input, ...]) -> None:
    order, out, _ = run(placed(), stock("FAILED"), payment(), *then)
    assert asked_back(out) == [("k1", TOTAL)]
    assert (order.facts.payments[0].state, order.facts.flag) == ("REFUNDED", None)


def test_the_same_refund_asked_for_again_says_the_same_id_and_another_amount_another() -> None:
    order, first, _ = run(placed(), stock("FAILED"), payment())
    again = decide(order, TimePassed(), NOW + timedelta(minutes=1))
    ids = [each.request_id for each in (*first, *again.outgoing) if isinstance(each, m.PaymentCancelRequestedMessage)]
    assert len(ids) == 2 and ids[0] and ids[0] == ids[1]
    less = decide(decide(order, gone(PART), NOW).order, TimePassed(), NOW + timedelta(hours=1))
    (refund,) = less.outgoing
    assert isinstance(refund, m.PaymentCancelRequestedMessage) and refund.request_id not in ids


def test_a_payment_made_after_the_first_went_back_pays_no_order_that_is_under_way() -> None:
    for after in ((), (MEANT,)):
        _, out, _ = run(placed(), stock("SUCCESS"), payment(), delivery("STARTED"), gone(0), *after, payment(key="k2"))
        assert asked_back(out) == [("k2", TOTAL)]


def test_a_refund_told_before_a_second_payment_does_not_make_that_one_the_payer() -> None:
    _, out, _ = run(placed(), gone(PART, "k2"), payment(), payment(key="k2"), stock("SUCCESS"))
    assert asked_back(out) == [("k2", PART)]
    assert names(out)[-1] == "DeliveryRequest"


def test_an_operator_cannot_accept_what_never_went_back() -> None:
    for order in (placed(), run(placed(), payment())[0], run(placed(), payment("FAILED"))[0]):
        assert decide(order, MEANT, NOW).refusal


def test_a_partner_that_does_not_say_what_is_held_ends_an_order_only_with_the_whole_amount() -> None:
    whole = m.PaymentCancelledMessage(order_id=ORDER, payment_key="k1", amount=TOTAL, status="SUCCESS")
    assert end(run(placed(), payment(), whole)[0]) == ("CANCELLED", "PAYMENT_CANCELLED")
    part = m.PaymentCancelledMessage(order_id=ORDER, payment_key="k1", amount=PART, status="SUCCESS")
    order, _, decision = run(placed(), payment(), part)
    assert (order.status, (decision.note or "").startswith(ANOMALY)) == ("PENDING", True)
