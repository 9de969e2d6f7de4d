"""In which of five steps an order is, in words for its customer. Pure: an order and its timeline in, a `Progress` out."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

from msgspec import Struct

from ordersaga.web.shop.model import Event, Order, Payment

StepName = Literal["placed", "stock", "payment", "delivery", "done"]
State = Literal["done", "current", "failed", "todo", "skipped"]
STEPS: Final[tuple[StepName, ...]] = ("placed", "stock", "payment", "delivery", "done")
REFUSED_STEPS: Final[dict[str, StepName]] = {
    "OUT_OF_STOCK": "stock",
    "STOCK_TIMEOUT": "stock",
    "AMOUNT_MISMATCH": "payment",
    "PAYMENT_DECLINED": "payment",
    "PAYMENT_EXPIRED": "payment",
    "PAYMENT_CANCELLED": "payment",
    "DELIVERY_FAILED": "delivery",
}
"""The step in which an order with this reason came to its end. With another reason: the first step that was not done."""


class Step(Struct, frozen=True):
    """One step: its state, and when it was done."""

    name: StepName
    state: State
    at: datetime | None = None


class Progress(Struct, frozen=True):
    """What the order page says. `said` and `money` are ends of keys of the translations: `progress.…` and `money.…`.

    `number`: the current step, from 1. `ended`: nothing changes any more by itself, so the stream ends.
    """

    steps: tuple[Step, ...]
    number: int
    said: str
    money: str | None
    amount: int
    ended: bool
    can_pay: bool
    can_cancel: bool
    can_return: bool
    can_repeat: bool


def progress(order: Order, timeline: Sequence[Event], payments: Sequence[Payment] = ()) -> Progress:
    """The order's progress. `payments`: those of which Payment knows and Order has not heard yet."""
    confirming = order.status == "PENDING" and bool(payments)
    done = _done(order)
    current = _current(order, done)
    money, amount = _money(order)
    refund_open = money == "refunding"
    is_dead = order.status in ("FAILED", "CANCELLED")
    return Progress(
        steps=tuple(_step(name, order, done, current, timeline) for name in STEPS),
        number=STEPS.index(current) + 1,
        said=_said(order, current, payments if confirming else ()),
        money=money,
        amount=amount,
        ended=(is_dead and not refund_open) or (order.status == "COMPLETED" and order.returning != "REQUESTED"),
        can_pay=order.status == "PENDING" and current == "payment" and not confirming,
        can_cancel=order.status == "PENDING" and order.delivery == "NOT_REQUESTED" and not confirming,
        can_return=order.status == "COMPLETED" and order.returning != "REQUESTED",
        can_repeat=is_dead,
    )


def _done(order: Order) -> set[StepName]:
    """The steps that the order has passed, also if it ended later."""
    done: set[StepName] = {"placed"}
    if order.items and all(line.stock not in ("REQUESTED", "REJECTED") for line in order.items):
        done.add("stock")
    if any(each.state not in ("AWAITING", "DECLINED") for each in order.payments):
        done.add("payment")
    if order.delivery == "STARTED":
        done.add("delivery")
    if order.status == "COMPLETED" or order.reason == "RETURNED":
        done |= set(STEPS)
    return done


def _current(order: Order, done: set[StepName]) -> StepName:
    if order.reason in REFUSED_STEPS:
        return REFUSED_STEPS[order.reason]
    return next((name for name in STEPS if name not in done), "done")


def _step(name: StepName, order: Order, done: set[StepName], current: StepName, timeline: Sequence[Event]) -> Step:
    is_over = order.status in ("FAILED", "CANCELLED") and order.reason != "RETURNED"
    if name == current and is_over:
        return Step(name, "failed", _ended_at(order, timeline))
    if name in done:
        return Step(name, "done", _at(name, order, timeline))
    return Step(name, "current" if name == current else "skipped" if is_over else "todo")


def _ended_at(order: Order, timeline: Sequence[Event]) -> datetime | None:
    return next((each.at for each in timeline if each.status == order.status), None)


def _at(name: StepName, order: Order, timeline: Sequence[Event]) -> datetime | None:
    """When a step was done, by the timeline; None where the timeline does not say."""
    if name == "placed":
        return order.placed_at
    if name == "stock":
        return max((each.at for each in timeline if each.came_in == "StockResponseMessage"), default=None)
    if name == "payment":
        return min((each.at for each in timeline if each.came_in == "PaymentSuccessMessage"), default=None)
    if name == "delivery":
        return min((each.at for each in timeline if each.came_in == "DeliveryStartMessage"), default=None)
    return min((each.at for each in timeline if each.status == "COMPLETED"), default=None)


def _said(order: Order, current: StepName, unheard: Sequence[Payment]) -> str:
    """The key of the sentence that says how the order stands and what comes next."""
    if order.status == "COMPLETED":
        return {"REQUESTED": "returning", "REFUSED": "return_refused"}.get(order.returning, "completed")
    if order.status in ("FAILED", "CANCELLED"):
        return f"ended.{order.reason or order.status}"
    if current == "payment":
        is_through = any(each.status == "APPROVED" for each in unheard)
        return "confirmed" if is_through else "confirming" if unheard else "payment"
    return current


def _money(order: Order) -> tuple[str | None, int]:
    """What became of the money, as the last part of a key of the texts, and how many won it is. None: nothing has to be said yet."""
    captured = [each for each in order.payments if each.state not in ("AWAITING", "DECLINED")]
    if not captured:
        return ("none" if order.status in ("FAILED", "CANCELLED") else None), 0
    amount = sum(each.amount for each in captured)
    states = {each.state for each in captured}
    if "REFUND_FAILED" in states:
        return "refund_failed", amount
    if order.status in ("FAILED", "CANCELLED") and states & {"PAID", "REFUND_REQUESTED"}:
        return "refunding", amount
    if states == {"REFUNDED"}:
        return "refunded", amount
    return "paid", order.total_amount
