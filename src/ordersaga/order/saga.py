"""The order process as one pure function. Read it from top to bottom; each import below is one part of it, and none of them leads back here.

`decide_placed` begins an order. `decide` takes every later input: a partner's answer, a command, the prices, the timer. It has three steps.

1. Learn: the input becomes a fact about the order. Each kind of input has one case.
2. Follow: the facts say what goes out. A ready order is delivered; a dead order gives back its products and its money.
3. Wait: the timer is set for the first answer that becomes overdue.

Step 2 reads the facts alone and not the input, so every order of arrival ends alike. `decide` does no I/O, and takes any input in any state.
"""

from datetime import datetime
from typing import Final, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.contracts import messages as m
from ordersaga.order.answers import (
    delivery_answered,
    is_answered,
    payment_captured,
    payment_declined,
    release_answered,
    stock_answered,
)
from ordersaga.order.deadlines import Deadlines, TimePassed, due_at, overdue, waits, without_answered_asks
from ordersaga.order.decision import Decision, duplicate
from ordersaga.order.model import Ask, Order
from ordersaga.order.outgoing import completed, delivery_request, payable, refund_request, rollback, stock_request
from ordersaga.order.refunds import AcceptRefund, accept_refund, refund_answered
from ordersaga.order.resending import Resend, resend
from ordersaga.order.returns import (
    CancelBeforeDelivery,
    ReceiveReturn,
    RefuseReturn,
    RequestReturn,
    Return,
    cancel,
    give_back,
    receive_return,
    refuse_return,
    request_return,
)
from ordersaga.said import say

Answer: TypeAlias = (
    m.StockResponseMessage
    | m.PaymentSuccessMessage
    | m.DeliveryStartMessage
    | m.StockRollbackCompletedMessage
    | m.StockRollbackFailedMessage
    | m.PaymentCancelledMessage
)
CustomerCommand: TypeAlias = CancelBeforeDelivery | Return | RequestReturn
OperatorCommand: TypeAlias = AcceptRefund | ReceiveReturn | RefuseReturn | Resend
Command: TypeAlias = CustomerCommand | OperatorCommand
UntimedCommand: TypeAlias = CustomerCommand | AcceptRefund | ReceiveReturn | RefuseReturn
"""The commands whose outcome does not depend on the time."""


class Priced(Struct, frozen=True):
    """The prices of all products of the order are known now; their sum is `listed_total`, in won."""

    listed_total: int


Input: TypeAlias = Answer | Command | Priced | TimePassed

DEADLINES: Final = Deadlines()


def decide_placed(order: Order, deadlines: Deadlines = DEADLINES) -> Decision:
    """Steps 1 and 2 of the guide: request the products from Stock. Payment learns the total, unless a product's price is not known yet."""
    request = stock_request(order)
    outgoing = (request,) if order.facts.listed_total is None else (request, payable(order))
    return _wait(order, outgoing, None, deadlines)


def decide(
    order: Order, message: Input, now: datetime, deadlines: Deadlines = DEADLINES, answered_rollback: str | None = None
) -> Decision:
    """The order after an input, and what goes out. An input that teaches no new fact changes nothing.

    `answered_rollback`: the `message-id` of the rollback that this message answers; None: its sender does not say which, or it answers none.
    """
    if answered_rollback is not None and is_answered(order, answered_rollback):
        return duplicate(order)
    learned = _learn(order, message, now, deadlines)
    if learned.order is order:
        return learned
    after, outgoing = _follow(order, learned.order, now)
    return _wait(after, learned.outgoing + outgoing, learned.note, deadlines)


# 1. Learn: the input becomes a fact -----------------------------------------------------------------------------------


def _learn(order: Order, message: Input, now: datetime, deadlines: Deadlines) -> Decision:
    match message:
        case m.StockResponseMessage():
            return stock_answered(order, message)
        case m.PaymentSuccessMessage(status="SUCCESS"):
            return payment_captured(order, message)
        case m.PaymentSuccessMessage():
            return payment_declined(order, message)
        case m.DeliveryStartMessage():
            return delivery_answered(order, message)
        case m.StockRollbackCompletedMessage():
            return release_answered(order, "RELEASED", None)
        case m.StockRollbackFailedMessage():
            return release_answered(order, "RELEASE_FAILED", message.error_message)
        case m.PaymentCancelledMessage():
            return refund_answered(order, message)
        case Priced():
            return _priced(order, message.listed_total)
        case TimePassed():
            return overdue(order, now, deadlines)
        case Resend():
            return resend(order, message, now, deadlines)
        case _:
            return _commanded(order, message)


def _commanded(order: Order, command: UntimedCommand) -> Decision:
    match command:
        case CancelBeforeDelivery():
            return cancel(order)
        case Return():
            return give_back(order)
        case RequestReturn():
            return request_return(order)
        case ReceiveReturn():
            return receive_return(order, command)
        case RefuseReturn():
            return refuse_return(order, command)
        case AcceptRefund():
            return accept_refund(order, command)


def _priced(order: Order, listed_total: int) -> Decision:
    """The order may be paid from now on, if its total is the sum of the prices."""
    if order.status != "PENDING" or order.facts.listed_total is not None:
        return duplicate(order)
    order = replace(order, facts=replace(order.facts, listed_total=listed_total))
    return Decision(order, (payable(order),) if listed_total == order.total_amount else ())


# 2. Follow: the facts say what goes out -------------------------------------------------------------------------------


def _follow(before: Order, order: Order, now: datetime) -> tuple[Order, tuple[m.Message, ...]]:
    """`before` is the order before this input, to tell what has just become true."""
    outgoing: list[m.Message] = []
    order = _with_right_total(order)
    if _is_ready(order):
        order = _deliver(order, now, outgoing)
    if order.status == "COMPLETED" and before.status != "COMPLETED":
        outgoing.append(completed(order))
    if order.is_dead and not before.is_dead:
        outgoing.append(payable(order))  # with its status: nobody may pay the order any more
        if before.unmeant:
            order = order.flagged(None)  # all its money goes back now, so no operator has to accept a part
    if order.is_dead:
        order = _release(order, now, outgoing)
    order = _refund(order, now, outgoing)
    return order, tuple(outgoing)


def _with_right_total(order: Order) -> Order:
    """The order, FAILED if the customer's total is not the sum of the prices."""
    listed_total = order.facts.listed_total
    if order.status != "PENDING" or listed_total is None or listed_total == order.total_amount:
        return order
    cost = say("order.products_cost", "the products cost {cost} won", cost=listed_total)
    return order.ended("FAILED", "AMOUNT_MISMATCH", cost)


def _is_ready(order: Order) -> bool:
    """Whether delivery is to be requested now: reserved, paid, the total is right, and no refund waits for an operator."""
    return (
        order.status == "PENDING"
        and order.facts.delivery == "NOT_REQUESTED"
        and order.facts.listed_total is not None
        and order.is_paid
        and order.is_reserved
        and not order.unmeant
    )


def _deliver(order: Order, now: datetime, outgoing: list[m.Message]) -> Order:
    """Step 9 of the guide."""
    outgoing.append(delivery_request(order))
    return replace(order, facts=replace(order.facts, delivery="REQUESTED")).asked(Ask("delivery", now))


def _release(order: Order, now: datetime, outgoing: list[m.Message]) -> Order:
    """Give back the reserved products of a dead order.

    One rollback at most is in flight, since its answer names only the order. A product that is reserved meanwhile waits for that answer.
    """
    if any(line.stock == "RELEASE_REQUESTED" for line in order.facts.lines):
        return order
    reserved = tuple(line for line in order.facts.lines if line.stock == "RESERVED")
    if not reserved:
        return order
    outgoing.append(rollback(order, reserved))
    lines = tuple(
        replace(line, stock="RELEASE_REQUESTED") if line.stock == "RESERVED" else line for line in order.facts.lines
    )
    return order.with_lines(lines).asked(Ask("release", now)).rolled_back()


def _refund(order: Order, now: datetime, outgoing: list[m.Message]) -> Order:
    """Refund the captured payments of a dead order. A living order keeps its first captured payment, and refunds every further one."""
    captured = order.captured
    for payment in captured if order.is_dead else captured[1:]:
        if payment.state == "PAID":
            outgoing.append(refund_request(order, payment))
            order = order.with_payment(replace(payment, state="REFUND_REQUESTED", meant=payment.amount))
            order = order.asked(Ask("refund", now, about=payment.payment_key))
    return order


# 3. Wait: the timer is set --------------------------------------------------------------------------------------------


def _wait(order: Order, outgoing: tuple[m.Message, ...], note: str | None, deadlines: Deadlines) -> Decision:
    """Set the order's timer, `look_at`, for the first awaited answer that becomes overdue (`deadlines.py` `waits`).

    A timer that is set for an earlier time stays; when it fires, `decide` sets the next. An order that waits for no answer has no timer.

    An order that has a flag and waits for an answer keeps the flag, which may be about an overdue or refused answer. Every other order gets
    the flag for refunds at the gateway that no operator has accepted, or no flag if there are none.
    """
    waiting = waits(order, deadlines)
    order = without_answered_asks(order, waiting)
    wanted, armed = due_at(waiting), order.facts.look_at
    flag = order.facts.flag
    if wanted is None or flag is None:
        refunds_flag = order.unaccepted_refunds
        if flag != refunds_flag:
            order = order.flagged(refunds_flag)
    if wanted == armed or (wanted is not None and armed is not None and armed <= wanted):
        return Decision(order, outgoing, note)
    return Decision(replace(order, facts=replace(order.facts, look_at=wanted)), outgoing, note)
