"""An operator's resend: which requests go out again, with which ids, and when it is refused."""

from datetime import timedelta

from msgspec.structs import replace

from ordersaga.contracts import messages as m
from ordersaga.order.deadlines import Deadlines, TimePassed
from ordersaga.order.explanation import explain
from ordersaga.order.model import Order
from ordersaga.order.resending import Resend
from ordersaga.order.returns import Return
from ordersaga.order.saga import decide
from ordersaga.order.versions import version_of
from tests.unit.saga_cases import NOW, delivery, payment, placed, refunded, run, stock

SOON = NOW + timedelta(seconds=1)
AGAIN = Resend("kim", "the partner is back")


def test_the_request_that_an_order_waits_for_goes_out_again_before_it_is_overdue() -> None:
    reserved, paid, started = stock("SUCCESS"), payment(), delivery("STARTED")
    for inputs, asked in (
        ((), "StockDecreaseRequestMessage"),
        ((reserved, paid), "DeliveryRequestMessage"),
        ((reserved, paid, started, Return(), refunded()), "StockRollbackRequestedMessage"),
    ):
        order = run(replace(placed(), pay_before=NOW + timedelta(days=1)), *inputs)[0]
        decision = decide(order, AGAIN, SOON)
        assert [type(each).__name__ for each in decision.outgoing] == [asked]
        assert decision.outgoing == decide(order, TimePassed(), NOW + timedelta(hours=1)).outgoing
        assert decision.note and decision.note.startswith("kim: the partner is back; ")
        assert decision.order.status == order.status
        assert version_of(decision.order) != version_of(order), "a second operator is told"


def test_a_refund_is_asked_for_with_the_same_id_also_after_a_refusal() -> None:
    order, out, _ = run(placed(), stock("SUCCESS"), payment(), delivery("STARTED"), Return())
    first = [each for each in out if isinstance(each, m.PaymentCancelRequestedMessage)]
    order = decide(order, refunded("FAILED"), NOW).order
    again = [each for each in decide(order, AGAIN, SOON).outgoing if isinstance(each, m.PaymentCancelRequestedMessage)]
    assert [each.request_id for each in again] == [each.request_id for each in first] != []


def test_it_counts_as_an_attempt_so_the_timer_waits_for_longer() -> None:
    [before] = [each for each in explain(placed(), Deadlines()) if each.attempts]
    [after] = [each for each in explain(decide(placed(), AGAIN, SOON).order, Deadlines()) if each.attempts]
    assert (before.attempts, after.attempts, before.can_resend) == (1, 2, True)
    assert after.since == before.since
    assert after.next_attempt_at and before.next_attempt_at and after.next_attempt_at > before.next_attempt_at


def test_an_order_that_waits_for_no_request_is_refused() -> None:
    unpaid = run(placed(), stock("SUCCESS"))[0]
    for order in (unpaid, run(placed(), stock("SUCCESS"), payment(), delivery("STARTED"))[0]):
        decision = decide(order, AGAIN, SOON)
        assert decision.refusal and decision.refusal.kind == "CONFLICT" and decision.order is order
        assert not any(each.can_resend for each in explain(order, Deadlines()))


def test_a_partner_that_may_act_twice_is_not_asked_twice() -> None:
    careful = replace(Deadlines(), idempotent=frozenset({"payment"}))
    decision = decide(placed(), AGAIN, SOON, careful)
    assert decision.refusal and "stock may act twice" in (decision.refusal.detail or "")
    assert not any(each.can_resend for each in explain(placed(), careful))


def test_the_version_does_not_change_with_the_timer_alone() -> None:
    order: Order = placed()
    armed = replace(order, facts=replace(order.facts, look_at=SOON))
    assert version_of(order) == version_of(armed)
