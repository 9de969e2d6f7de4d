"""The saga's table, row by row, in every arrival order. That every cell is decided: test_saga_table.py."""

import itertools
from datetime import timedelta

import msgspec
import pytest
from msgspec.structs import replace

from ordersaga.contracts import messages as m
from ordersaga.order.deadlines import TimePassed, waits
from ordersaga.order.decision import ANOMALY, DUPLICATE
from ordersaga.order.model import Facts
from ordersaga.order.returns import CancelBeforeDelivery, ReceiveReturn, RefuseReturn, RequestReturn, Return
from ordersaga.order.saga import DEADLINES, Input, Priced, decide, decide_placed
from tests.unit.saga_cases import (
    NOW,
    ORDER,
    RELEASE_FAILED,
    RELEASED,
    TOTAL,
    A,
    B,
    delivery,
    end,
    names,
    payment,
    placed,
    refunded,
    run,
    stock,
    unpriced,
)


def test_placing_asks_stock_and_tells_payment() -> None:
    assert names(list(decide_placed(placed(A, B)).outgoing)) == ["StockDecreaseRequest", "OrderPayable"]


def test_the_happy_path_requests_delivery_and_completes() -> None:
    order, out, _ = run(placed(), stock("SUCCESS"), payment(), delivery("STARTED"))
    assert end(order) == ("COMPLETED", None)
    assert names(out) == ["DeliveryRequest", "OrderCompleted"]
    assert out[1].status == "ORD0002"


@pytest.mark.parametrize("inputs", list(itertools.permutations([stock("SUCCESS", A), stock("SUCCESS", B), payment()])))
def test_delivery_is_requested_once_all_is_reserved_and_paid_in_whatever_order(inputs: tuple[Input, ...]) -> None:
    order, out, _ = run(placed(A, B), *inputs)
    assert names(out) == ["DeliveryRequest"]
    assert order.facts.delivery == "REQUESTED"


def test_an_answer_without_a_product_is_an_answer_for_the_whole_order() -> None:
    order, out, _ = run(placed(A, B), stock("SUCCESS", None), payment())
    assert names(out) == ["DeliveryRequest"]
    assert {line.stock for line in order.facts.lines} == {"RESERVED"}


@pytest.mark.parametrize("inputs", list(itertools.permutations([stock("SUCCESS", A), stock("FAILED", B), payment()])))
def test_a_product_out_of_stock_fails_the_order_and_gives_back_what_it_holds(inputs: tuple[Input, ...]) -> None:
    order, out, _ = run(placed(A, B), *inputs)
    assert end(order) == ("FAILED", "OUT_OF_STOCK")
    assert sorted(names(out)) == ["OrderPayable", "PaymentCancelRequested", "StockRollbackRequested"]
    rollback = next(each for each in out if isinstance(each, m.StockRollbackRequestedMessage))
    assert [item.product_id for item in rollback.items] == [A]
    order, out, _ = run(order, RELEASED, refunded())
    assert not out
    assert [line.stock for line in order.facts.lines] == ["RELEASED", "REJECTED"]
    assert order.facts.payments[0].state == "REFUNDED"


def test_the_reason_of_a_shortage_is_kept_for_the_customer() -> None:
    assert run(placed(), stock("FAILED"))[0].detail == "FAILED said"


def test_a_declined_payment_fails_the_order_and_releases() -> None:
    order, out, _ = run(placed(), stock("SUCCESS"), payment("FAILED"))
    assert end(order) == ("FAILED", "PAYMENT_DECLINED")
    assert names(out) == ["OrderPayable", "StockRollbackRequested"]


def test_a_success_that_arrives_after_the_order_died_is_released() -> None:
    order, out, _ = run(placed(), payment("FAILED"), stock("SUCCESS"))
    assert end(order) == ("FAILED", "PAYMENT_DECLINED")
    assert names(out) == ["OrderPayable", "StockRollbackRequested"]


def test_a_wrong_amount_fails_the_order_and_is_refunded_at_what_was_captured() -> None:
    order, out, _ = run(placed(), stock("SUCCESS"), payment(amount=TOTAL - 1))
    assert end(order) == ("FAILED", "AMOUNT_MISMATCH")
    refund = next(each for each in out if isinstance(each, m.PaymentCancelRequestedMessage))
    assert (refund.payment_key, refund.amount) == ("k1", TOTAL - 1)
    assert "StockRollbackRequested" in names(out)


def test_a_further_payment_is_refunded_alone() -> None:
    order, out, _ = run(placed(), stock("SUCCESS"), payment(), payment(key="k2", amount=7_000))
    assert order.status == "PENDING"
    assert names(out) == ["DeliveryRequest", "PaymentCancelRequested"]
    assert (out[1].payment_key, out[1].amount) == ("k2", 7_000)
    order, out, _ = run(order, delivery("STARTED"), payment(key="k3"))
    assert order.status == "COMPLETED"
    assert names(out) == ["OrderCompleted", "PaymentCancelRequested"]


def test_a_payment_for_a_dead_order_is_refunded() -> None:
    order, out, _ = run(placed(), stock("FAILED"), payment())
    assert names(out) == ["OrderPayable", "PaymentCancelRequested"]
    assert end(order) == ("FAILED", "OUT_OF_STOCK")


def test_a_decline_on_a_paid_order_has_no_effect() -> None:
    order, out, _ = run(placed(), stock("SUCCESS"), payment(), payment("FAILED", key="k2"))
    assert order.status == "PENDING"
    assert names(out) == ["DeliveryRequest"]


def test_a_key_that_was_declined_and_then_captured_is_refunded() -> None:
    order, out, _ = run(placed(), payment("FAILED"), payment())
    assert end(order) == ("FAILED", "PAYMENT_DECLINED")
    assert names(out) == ["OrderPayable", "PaymentCancelRequested"]


def test_an_undeliverable_order_is_refunded_and_released() -> None:
    order, out, _ = run(placed(), stock("SUCCESS"), payment(), delivery("FAILED"))
    assert end(order) == ("FAILED", "DELIVERY_FAILED")
    assert names(out) == ["DeliveryRequest", "OrderPayable", "StockRollbackRequested", "PaymentCancelRequested"]


def test_an_order_whose_total_is_not_the_sum_of_the_prices_ends_when_they_are_known() -> None:
    order, out, _ = run(unpriced(), payment(), stock("SUCCESS"), Priced(TOTAL + 1))
    assert end(order) == ("FAILED", "AMOUNT_MISMATCH")
    assert names(out) == ["OrderPayable", "StockRollbackRequested", "PaymentCancelRequested"]
    assert order.detail == f"the products cost {TOTAL + 1} won"


@pytest.mark.parametrize("inputs", list(itertools.permutations([stock("SUCCESS"), payment(), Priced(TOTAL)])))
def test_an_order_without_a_known_price_waits_for_it_and_then_goes_on(inputs: tuple[Input, ...]) -> None:
    first = decide_placed(unpriced())
    assert names(list(first.outgoing)) == ["StockDecreaseRequest"]
    order, out, _ = run(first.order, *inputs)
    assert order.status == "PENDING"
    assert sorted(names(out)) == ["DeliveryRequest", "OrderPayable"]
    assert run(order, Priced(TOTAL + 1))[2].note == DUPLICATE


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [((stock("SUCCESS"),), "PAYMENT_EXPIRED"), ((stock("SUCCESS"), payment()), "AMOUNT_MISMATCH")],
)
def test_a_price_is_waited_for_until_the_payment_deadline(inputs: tuple[Input, ...], reason: str) -> None:
    order, out, _ = run(decide_placed(unpriced()).order, *inputs)
    assert not out
    looks = 0
    while order.status == "PENDING":
        assert order.facts.look_at is not None
        now = order.facts.look_at
        order = decide(order, TimePassed(), now).order
        looks += 1
    assert (now, order.reason) == (order.pay_before, reason)
    assert looks < 50


def test_asking_for_one_answer_leaves_the_others_as_asked_for() -> None:
    order, _, _ = run(placed(A, B), stock("SUCCESS", A), payment("FAILED"))
    asked = order.ask("release")
    order = decide(order, payment(key="k2"), NOW + timedelta(seconds=14)).order
    order = decide(order, payment(key="k3"), NOW + timedelta(seconds=20)).order
    order = decide(order, TimePassed(), NOW + timedelta(seconds=16)).order
    release, stocks = order.ask("release"), order.ask("stock")
    assert (release.at, release.attempts, release.since) == (NOW + timedelta(seconds=16), 2, asked.at)
    assert (stocks.attempts, stocks.since) == (2, NOW)
    assert (order.ask("refund", "k2").at, order.ask("refund", "k2").attempts) == (NOW + timedelta(seconds=14), 1)
    assert order.ask("refund", "k3").at == NOW + timedelta(seconds=20)
    later = decide(order, TimePassed(), NOW + timedelta(seconds=30))
    (refund,) = later.outgoing
    assert isinstance(refund, m.PaymentCancelRequestedMessage)
    assert refund.payment_key == "k2"
    left = run(later.order, refunded(key="k2"), RELEASED)[0].facts.asks
    assert {(each.awaited, each.about) for each in left} == {("stock", None), ("refund", "k3")}


def test_an_order_as_an_earlier_version_kept_it_waits_as_it_did() -> None:
    """There `askedAt`, `waitsSince` and `attempts` stood for every answer that was awaited."""
    kept = (
        b'{"lines":[{"productId":"%s","quantity":1,"stock":"RELEASE_REQUESTED"}],'
        b'"payments":[{"paymentKey":"k1","amount":25000,"state":"REFUND_REQUESTED"}],"listedTotal":25000,'
        b'"askedAt":"2026-11-24T00:01:00Z","waitsSince":"2026-11-24T00:00:30Z","attempts":2}' % str(A).encode()
    )
    facts = msgspec.json.decode(kept, type=Facts)
    order = replace(placed(), status="FAILED", reason="DELIVERY_FAILED", facts=facts)
    since, until = NOW + timedelta(seconds=30), NOW + timedelta(seconds=90)
    assert [(each.awaited, each.since, each.attempts, each.until) for each in waits(order, DEADLINES)] == [
        ("release", since, 2, until),
        ("refund", since, 2, until),
    ]
    order = decide(order, TimePassed(), until).order
    assert [(each.awaited, each.since, each.attempts) for each in waits(order, DEADLINES)] == [
        ("release", since, 3),
        ("refund", since, 3),
    ]
    assert msgspec.json.decode(msgspec.json.encode(order.facts), type=Facts) == order.facts


def test_a_customer_cancels_before_delivery_is_requested_and_not_after() -> None:
    order, out, decision = run(placed(), stock("SUCCESS"), CancelBeforeDelivery())
    assert end(order) == ("CANCELLED", "CUSTOMER_CANCELLED")
    assert decision.refusal is None
    assert names(out) == ["OrderPayable", "StockRollbackRequested"]
    order, _, decision = run(placed(), stock("SUCCESS"), payment(), CancelBeforeDelivery())
    assert decision.refusal
    assert order.status == "PENDING"


def test_a_completed_order_can_be_returned_once() -> None:
    order, out, decision = run(placed(), stock("SUCCESS"), payment(), delivery("STARTED"), Return())
    assert end(order) == ("CANCELLED", "RETURNED")
    assert names(out)[2:] == ["OrderPayable", "StockRollbackRequested", "PaymentCancelRequested"]
    assert decision.refusal is None
    assert run(placed(), Return())[2].refusal


@pytest.mark.parametrize(
    "inputs", [(CancelBeforeDelivery(),), (stock("SUCCESS"), payment(), delivery("STARTED"), Return())]
)
def test_who_asks_for_the_same_end_again_is_told_it_and_nothing_happens(inputs: tuple[Input, ...]) -> None:
    order, _, _ = run(placed(), *inputs)
    again = decide(order, inputs[-1], NOW)
    assert (again.order, again.outgoing, again.refusal, again.note) == (order, (), None, DUPLICATE)
    other = CancelBeforeDelivery() if isinstance(inputs[-1], Return) else Return()
    assert decide(order, other, NOW).refusal


def test_a_return_that_needs_the_goods_waits_for_an_operators_word() -> None:
    completed, _, _ = run(placed(), stock("SUCCESS"), payment(), delivery("STARTED"))
    asked, out, decision = run(completed, RequestReturn())
    assert (asked.status, asked.facts.returning, out, decision.refusal) == ("COMPLETED", "REQUESTED", [], None)
    assert run(asked, RequestReturn())[2].note == DUPLICATE
    refused, out, decision = run(asked, RefuseReturn("kim", "worn"))
    assert (refused.status, refused.facts.returning, out, decision.note) == ("COMPLETED", "REFUSED", [], "kim: worn")
    assert run(refused, RefuseReturn("kim", "worn"))[2].note == DUPLICATE
    for order in (asked, run(refused, RequestReturn())[0]):
        returned, out, decision = run(order, ReceiveReturn("kim", "came"))
        assert (end(returned), decision.note) == (("CANCELLED", "RETURNED"), "kim: came")
        assert names(out) == ["OrderPayable", "StockRollbackRequested", "PaymentCancelRequested"]
        for again in (ReceiveReturn("kim", "came"), RequestReturn(), Return()):
            assert run(returned, again)[2].note == DUPLICATE
    for order in (placed(), completed):
        assert run(order, ReceiveReturn("kim", "?"))[2].refusal
        assert run(order, RefuseReturn("kim", "?"))[2].refusal
    assert run(placed(), RequestReturn())[2].refusal


def test_one_rollback_at_most_is_in_flight_and_later_products_wait_for_its_answer() -> None:
    order, out, _ = run(placed(A, B), stock("SUCCESS", A), payment("FAILED"), stock("SUCCESS", B))
    assert names(out).count("StockRollbackRequested") == 1
    assert [line.stock for line in order.facts.lines] == ["RELEASE_REQUESTED", "RESERVED"]
    order, out, _ = run(order, RELEASED)
    assert [item.product_id for item in out[0].items] == [B]
    assert [line.stock for line in order.facts.lines] == ["RELEASED", "RELEASE_REQUESTED"]


def test_a_refused_release_or_refund_is_flagged() -> None:
    order, _, _ = run(placed(), stock("SUCCESS"), payment(), delivery("FAILED"), RELEASE_FAILED, refunded("FAILED"))
    assert order.facts.lines[0].stock == "RELEASE_FAILED"
    assert order.facts.payments[0].state == "REFUND_FAILED"
    assert order.facts.flag


def test_a_delivery_for_a_dead_order_is_an_anomaly_and_changes_nothing() -> None:
    order, out, decision = run(placed(), stock("FAILED"), delivery("STARTED"))
    assert end(order) == ("FAILED", "OUT_OF_STOCK")
    assert "anomaly" in (decision.note or "")
    assert names(out) == ["OrderPayable"]


def test_the_flag_goes_when_what_was_refused_is_done_after_all() -> None:
    order, _, _ = run(placed(), stock("SUCCESS"), payment(), delivery("FAILED"), RELEASED, refunded("FAILED"))
    assert order.facts.flag == "payment refuses the refund: None"
    assert run(order, refunded())[0].facts.flag is None


def test_a_refund_of_less_than_was_captured_is_not_taken_for_the_whole() -> None:
    part = m.PaymentCancelledMessage(order_id=ORDER, payment_key="k1", amount=TOTAL - 1, status="SUCCESS")
    order, _, _ = run(placed(), stock("FAILED"), payment(), part)
    assert order.facts.payments[0].state == "REFUND_FAILED"
    assert order.facts.flag == f"only {TOTAL - 1} of {TOTAL} won were refunded"


def test_a_refused_release_is_not_tried_again_under_the_answer_to_another() -> None:
    order, _, _ = run(placed(A, B), stock("SUCCESS", A), payment("FAILED"), RELEASE_FAILED, stock("SUCCESS", B))
    assert [line.stock for line in order.facts.lines] == ["RELEASE_FAILED", "RELEASE_REQUESTED"]
    asked_again = decide(order, TimePassed(), NOW + timedelta(minutes=1))
    (rollback,) = asked_again.outgoing
    assert isinstance(rollback, m.StockRollbackRequestedMessage)
    assert [item.product_id for item in rollback.items] == [B]
    answered = decide(asked_again.order, RELEASED, NOW + timedelta(minutes=1))
    later = decide(answered.order, TimePassed(), NOW + timedelta(hours=1))
    (rollback,) = later.outgoing
    assert isinstance(rollback, m.StockRollbackRequestedMessage)
    assert [item.product_id for item in rollback.items] == [A]


def test_a_refused_release_that_nobody_awaits_is_an_anomaly() -> None:
    order, _, _ = run(placed(), stock("SUCCESS"), payment("FAILED"), RELEASED)
    assert (run(order, RELEASE_FAILED)[2].note or "").startswith(ANOMALY)
