"""Finds contradictions inside Order's database: between an order's status, the facts of its saga, and its timeline."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from ordersaga.audit.facts import ENDED, UNREFUNDED, UNRELEASED, AuditedOrder, PaymentFact
from ordersaga.audit.finding import CLOCKS_APART, Moment
from ordersaga.said import say

RANKS: Final = {"PENDING": 0, "COMPLETED": 1, "CANCELLED": 2, "FAILED": 2}
"""The status of an order only rises. A COMPLETED order may be CANCELLED (a return), and never FAILED."""
RETURN_STATES: Final = {"RequestReturn": "REQUESTED", "RefuseReturn": "REFUSED"}
DELIVERY_ANSWERS: Final = frozenset({"STARTED", "FAILED"})


def contradictions(order: AuditedOrder, moment: Moment, whole_since: datetime) -> list[str]:
    """The contradictions of one order. The timeline of an order placed after `whole_since` must have all its rows."""
    judge = {"COMPLETED": _completed, "PENDING": _pending, "FAILED": _dead, "CANCELLED": _dead}.get(order.status)
    problems = list(_timeline(order, moment, whole_since))
    if judge is None:
        return [*problems, say("audit.told.status", "its status is {status}", status=order.status)]
    return [*problems, *judge(order), *_flag(order)]


def _completed(order: AuditedOrder) -> Iterator[str]:
    facts = order.facts
    if order.row["completed_at"] is None:
        yield say("audit.told.when", "COMPLETED, and its timeline does not say when")
    if facts.stock_states != {"RESERVED"}:
        yield say(
            "audit.told.products",
            "COMPLETED, and its products are {states}",
            states=", ".join(sorted(facts.stock_states)),
        )
    if not facts.captured:
        yield say("audit.told.no_payment", "COMPLETED, and no payment was captured")
    elif facts.captured[0].state in UNREFUNDED:
        yield say(
            "audit.told.payment",
            "COMPLETED, and the payment that pays it is {state}",
            state=facts.captured[0].state,
        )
    if facts.delivery != "STARTED":
        yield say("audit.told.delivery", "COMPLETED, and its delivery is {state}", state=facts.delivery)
    yield from _living(order)


def _pending(order: AuditedOrder) -> Iterator[str]:
    facts = order.facts
    if strange := facts.stock_states - {"REQUESTED", "RESERVED"}:
        yield say("audit.told.pending_product", "PENDING, and a product is {states}", states=", ".join(sorted(strange)))
    if facts.delivery in DELIVERY_ANSWERS:
        yield say("audit.told.pending_delivery", "PENDING, and its delivery is {state}", state=facts.delivery)
    is_paid = "PAID" in facts.payment_states and not facts.unmeant
    is_ready = is_paid and facts.stock_states == {"RESERVED"} and facts.listed_total is not None
    if is_ready and facts.delivery == "NOT_REQUESTED":
        yield say("audit.told.not_asked", "PENDING, reserved and paid, and its delivery was not asked for")
    yield from _living(order)


def _living(order: AuditedOrder) -> Iterator[str]:
    """What must hold for a PENDING or COMPLETED order."""
    facts, total = order.facts, order.row["total_amount"]
    if facts.listed_total is not None and facts.listed_total != total:
        yield say(
            "audit.told.total",
            "{status}, its products cost {cost} won and its total is {total}",
            status=order.status,
            cost=facts.listed_total,
            total=total,
        )
    for each in facts.captured[:1]:
        if each.state == "PAID" and each.meant > each.given_back:
            yield say(
                "audit.told.refund",
                "{meant} won of payment {payment} were to be refunded, and {back} were",
                meant=each.meant,
                payment=each.payment_key,
                back=each.given_back,
            )


def _dead(order: AuditedOrder) -> Iterator[str]:
    if "RESERVED" in order.facts.stock_states:
        yield say(
            "audit.told.not_released",
            "{status}, and Order has not asked Stock to release a product that is RESERVED",
            status=order.status,
        )
    if "PAID" in order.facts.payment_states:
        yield say(
            "audit.told.not_refunded",
            "{status}, and Order has not asked Payment to refund a payment that is PAID",
            status=order.status,
        )


def _flag(order: AuditedOrder) -> Iterator[str]:
    """A flag asks an operator to look at the order. Order clears it when the order waits for nothing and no money went back unasked."""
    facts = order.facts
    unmeant = [] if order.is_dead else facts.unmeant
    if facts.flag is None and unmeant:
        yield say(
            "audit.told.no_flag",
            "money of payment {payments} was refunded, neither Order nor an operator asked for that, and no flag says so",
            payments=_names(unmeant),
        )
    if facts.flag is not None and facts.look_at is None and not unmeant:
        yield say("audit.told.flag", "flagged though it waits for nothing: ") + facts.flag_words


def _names(payments: Sequence[PaymentFact]) -> str:
    return ", ".join(each.payment_key for each in payments)


def _timeline(order: AuditedOrder, moment: Moment, whole_since: datetime) -> Iterator[str]:
    row, statuses = order.row, order.statuses
    last = statuses[-1] if statuses else None
    if last != order.status:
        yield say(
            "audit.told.last",
            "{status}, and the last of its timeline is {last}",
            status=order.status,
            last=str(last),
        )
    if not statuses:
        return
    if last == order.status and row["last_reason"] != row["reason"]:
        yield say(
            "audit.told.reason",
            "{status} for {reason}, and the last of its timeline says {last}",
            status=order.status,
            reason=str(row["reason"]),
            last=str(row["last_reason"]),
        )
    if row["last_at"] > moment.now + CLOCKS_APART:
        yield say("audit.told.future", "the last of its timeline is of {at}, which is in the future", at=row["last_at"])
    if not _rises(statuses):
        yield say("audit.told.timeline", "its timeline says {statuses}", statuses=", ".join(statuses))
    if order.status == "COMPLETED" and order.facts.returning != _last_return(order):
        yield say(
            "audit.told.return",
            "its return is {state}, and for its timeline {timeline}",
            state=order.facts.returning,
            timeline=_last_return(order),
        )
    if order.status in ENDED and row["placed_at"] < whole_since:
        return  # pruning may have shortened it
    if statuses[0] != "PENDING" or row["first_at"] > row["placed_at"]:
        yield say(
            "audit.told.begins",
            "its timeline begins at {first} with {status}, and it was placed at {placed}",
            first=f"{row['first_at']:%H:%M:%S}",
            status=statuses[0],
            placed=f"{row['placed_at']:%H:%M:%S}",
        )
    for what, message in _missing(order):
        yield what + say("audit.told.lacks", ", and its timeline has no {message}", message=message)


def _rises(statuses: Sequence[str]) -> bool:
    ranks = [RANKS.get(each, -1) for each in statuses]
    return ranks == sorted(ranks) and not (
        "FAILED" in statuses and ("COMPLETED" in statuses or "CANCELLED" in statuses)
    )


def _last_return(order: AuditedOrder) -> str:
    """The state of the customer's return by the timeline. Pruning keeps every event of a COMPLETED order."""
    words = [each for each in order.came_in if each in RETURN_STATES]
    return RETURN_STATES[words[-1]] if words else "NOT_REQUESTED"


def _missing(order: AuditedOrder) -> Iterator[tuple[str, str]]:
    """Pairs of a fact and a message that the timeline lacks: one that must have brought the fact, or that must have gone out with it."""
    facts, came_in, went_out = order.facts, set(order.came_in), order.went_out
    stock, payments = facts.stock_states, facts.payment_states
    delivery = say("audit.fact.delivery", "its delivery is {state}", state=facts.delivery)
    is_released = not stock.isdisjoint({*UNRELEASED, "RELEASED"})
    is_refunded = any(each.held is not None or each.state == "REFUNDED" for each in facts.payments)
    for is_so, what, message in (
        (stock - {"REQUESTED"}, say("audit.fact.stock", "Stock has answered"), "StockResponseMessage"),
        (payments - {"AWAITING"}, say("audit.fact.payment", "Payment has answered"), "PaymentSuccessMessage"),
        (is_refunded, say("audit.fact.refund", "money went back"), "PaymentCancelledMessage"),
        (facts.delivery in DELIVERY_ANSWERS, delivery, "DeliveryStartMessage"),
        ("RELEASED" in stock, say("audit.fact.released", "a product is RELEASED"), "StockRollbackCompletedMessage"),
        (
            "RELEASE_FAILED" in stock,
            say("audit.fact.release_failed", "a product is RELEASE_FAILED"),
            "StockRollbackFailedMessage",
        ),
    ):
        if is_so and message not in came_in:
            yield what, message
    for is_so, what, message in (
        (True, say("audit.fact.placed", "Order has placed it"), "StockDecreaseRequestMessage"),
        (facts.delivery != "NOT_REQUESTED", delivery, "DeliveryRequestMessage"),
        (is_released, say("audit.fact.release", "Order has asked for a release"), "StockRollbackRequestedMessage"),
        (
            payments & UNREFUNDED,
            say("audit.fact.refund_asked", "Order has asked for a refund"),
            "PaymentCancelRequestedMessage",
        ),
    ):
        if is_so and message not in went_out:
            yield what, message
