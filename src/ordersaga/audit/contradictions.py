"""Finds contradictions inside Order's database: between an order's status, the facts of its saga, and its timeline."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from ordersaga.audit.facts import ENDED, UNREFUNDED, UNRELEASED, AuditedOrder, PaymentFact
from ordersaga.audit.finding import CLOCKS_APART, Moment

RANKS: Final = {"PENDING": 0, "COMPLETED": 1, "CANCELLED": 2, "FAILED": 2}
"""The status of an order only rises. A COMPLETED order may be CANCELLED (a return), and never FAILED."""
RETURN_WORDS: Final = {"RequestReturn": "REQUESTED", "RefuseReturn": "REFUSED"}
TELLS_DELIVERY: Final = frozenset({"STARTED", "FAILED"})


def contradictions(order: AuditedOrder, moment: Moment, whole_since: datetime) -> list[str]:
    """The contradictions of one order. The timeline of an order placed after `whole_since` must have all its rows."""
    judge = {"COMPLETED": _completed, "PENDING": _pending, "FAILED": _dead, "CANCELLED": _dead}.get(order.status)
    problems = list(_timeline(order, moment, whole_since))
    if judge is None:
        return [*problems, f"its status is {order.status}"]
    return [*problems, *judge(order), *_flag(order)]


def _completed(order: AuditedOrder) -> Iterator[str]:
    facts = order.facts
    if order.row["completed_at"] is None:
        yield "COMPLETED, and its timeline does not say when"
    if facts.stock_states != {"RESERVED"}:
        yield f"COMPLETED, and its products are {', '.join(sorted(facts.stock_states))}"
    if not facts.captured:
        yield "COMPLETED, and no payment was captured"
    elif facts.captured[0].state in UNREFUNDED:
        yield f"COMPLETED, and the payment that pays it is {facts.captured[0].state}"
    if facts.delivery != "STARTED":
        yield f"COMPLETED, and its delivery is {facts.delivery}"
    yield from _living(order)


def _pending(order: AuditedOrder) -> Iterator[str]:
    facts = order.facts
    if strange := facts.stock_states - {"REQUESTED", "RESERVED"}:
        yield f"PENDING, and a product is {', '.join(sorted(strange))}"
    if facts.delivery in TELLS_DELIVERY:
        yield f"PENDING, and its delivery is {facts.delivery}"
    is_paid = "PAID" in facts.payment_states and not facts.unmeant
    is_ready = is_paid and facts.stock_states == {"RESERVED"} and facts.listed_total is not None
    if is_ready and facts.delivery == "NOT_REQUESTED":
        yield "PENDING, reserved and paid, and its delivery was not asked for"
    yield from _living(order)


def _living(order: AuditedOrder) -> Iterator[str]:
    """What must hold for a PENDING or COMPLETED order."""
    facts, total = order.facts, order.row["total_amount"]
    if facts.listed_total is not None and facts.listed_total != total:
        yield f"{order.status}, its products cost {facts.listed_total} won and its total is {total}"
    for each in facts.captured[:1]:
        if each.state == "PAID" and each.meant > each.given_back:
            yield f"{each.meant} won of payment {each.payment_key} were to be refunded, and {each.given_back} were"


def _dead(order: AuditedOrder) -> Iterator[str]:
    if "RESERVED" in order.facts.stock_states:
        yield f"{order.status}, and Order has not asked Stock to release a product that is RESERVED"
    if "PAID" in order.facts.payment_states:
        yield f"{order.status}, and Order has not asked Payment to refund a payment that is PAID"


def _flag(order: AuditedOrder) -> Iterator[str]:
    """A flag asks an operator to look at the order. Order clears it when the order waits for nothing and no money went back unasked."""
    facts = order.facts
    unmeant = [] if order.is_dead else facts.unmeant
    if facts.flag is None and unmeant:
        yield f"money of {_names(unmeant)} was refunded, neither Order nor an operator asked for that, and no flag says so"
    if facts.flag is not None and facts.look_at is None and not unmeant:
        yield f"flagged though it waits for nothing: {facts.flag}"


def _names(payments: Sequence[PaymentFact]) -> str:
    return f"payment {', '.join(each.payment_key for each in payments)}"


def _timeline(order: AuditedOrder, moment: Moment, whole_since: datetime) -> Iterator[str]:
    row, statuses = order.row, order.statuses
    last = statuses[-1] if statuses else None
    if last != order.status:
        yield f"{order.status}, and the last of its timeline is {last}"
    if not statuses:
        return
    if last == order.status and row["last_reason"] != row["reason"]:
        yield f"{order.status} for {row['reason']}, and the last of its timeline says {row['last_reason']}"
    if row["last_at"] > moment.now + CLOCKS_APART:
        yield f"the last of its timeline is of {row['last_at']:%Y-%m-%d %H:%M:%S}, which is in the future"
    if not _rises(statuses):
        yield f"its timeline says {', '.join(statuses)}"
    if order.status == "COMPLETED" and order.facts.returning != _last_return(order):
        yield f"its return is {order.facts.returning}, and for its timeline {_last_return(order)}"
    if order.status in ENDED and row["placed_at"] < whole_since:
        return  # pruning may have shortened it
    if statuses[0] != "PENDING" or row["first_at"] > row["placed_at"]:
        yield f"its timeline begins at {row['first_at']:%H:%M:%S} with {statuses[0]}, and it was placed at {row['placed_at']:%H:%M:%S}"
    for what, message in _missing(order):
        yield f"{what}, and its timeline has no {message}"


def _rises(statuses: Sequence[str]) -> bool:
    ranks = [RANKS.get(each, -1) for each in statuses]
    return ranks == sorted(ranks) and not (
        "FAILED" in statuses and ("COMPLETED" in statuses or "CANCELLED" in statuses)
    )


def _last_return(order: AuditedOrder) -> str:
    """The state of the customer's return by the timeline. Pruning keeps every event of a COMPLETED order."""
    words = [each for each in order.came_in if each in RETURN_WORDS]
    return RETURN_WORDS[words[-1]] if words else "NOT_REQUESTED"


def _missing(order: AuditedOrder) -> Iterator[tuple[str, str]]:
    """Pairs of a fact and the message that must have brought or sent it, for each such message that the timeline lacks."""
    facts, came_in, went_out = order.facts, set(order.came_in), order.went_out
    stock, payments = facts.stock_states, facts.payment_states
    is_released = not stock.isdisjoint({*UNRELEASED, "RELEASED"})
    is_refunded = any(each.held is not None or each.state == "REFUNDED" for each in facts.payments)
    for is_so, what, message in (
        (stock - {"REQUESTED"}, "Stock has answered", "StockResponseMessage"),
        (payments - {"AWAITING"}, "Payment has answered", "PaymentSuccessMessage"),
        (is_refunded, "money went back", "PaymentCancelledMessage"),
        (facts.delivery in TELLS_DELIVERY, f"its delivery is {facts.delivery}", "DeliveryStartMessage"),
        ("RELEASED" in stock, "a product is RELEASED", "StockRollbackCompletedMessage"),
        ("RELEASE_FAILED" in stock, "a product is RELEASE_FAILED", "StockRollbackFailedMessage"),
    ):
        if is_so and message not in came_in:
            yield what, message
    for is_so, what, message in (
        (True, "Order has placed it", "StockDecreaseRequestMessage"),
        (facts.delivery != "NOT_REQUESTED", f"its delivery is {facts.delivery}", "DeliveryRequestMessage"),
        (is_released, "Order has asked for a release", "StockRollbackRequestedMessage"),
        (payments & UNREFUNDED, "Order has asked for a refund", "PaymentCancelRequestedMessage"),
    ):
        if is_so and message not in went_out:
            yield what, message
