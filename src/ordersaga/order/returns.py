"""Decides the commands that end an order: the customer cancels or returns, and an operator answers a return.

A command that was carried out before is a duplicate and not refused, since the customer may not have got the first answer.
"""

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.order.decision import Decision, by, duplicate, refused
from ordersaga.order.model import Order
from ordersaga.said import say


class CancelBeforeDelivery(Struct, frozen=True):
    """The customer does not want the order any more."""


class Return(Struct, frozen=True):
    """The customer gives a completed order back."""


class RequestReturn(Struct, frozen=True):
    """The customer wants to give a completed order back; it ends only when an operator has received the goods."""


class ReceiveReturn(Struct, frozen=True):
    """An operator has received the goods of a return."""

    who: str
    why: str


class RefuseReturn(Struct, frozen=True):
    """An operator does not accept a return. The customer may ask again."""

    who: str
    why: str


def cancel(order: Order) -> Decision:
    """CANCELLED, before delivery is requested."""
    if order.reason == "CUSTOMER_CANCELLED":
        return duplicate(order)
    if order.status != "PENDING" or order.facts.delivery != "NOT_REQUESTED":
        return refused(order, say("refused.cancel", "an order can be cancelled only before its delivery is requested"))
    return Decision(order.ended("CANCELLED", "CUSTOMER_CANCELLED"))


def give_back(order: Order) -> Decision:
    """A completed order becomes CANCELLED, RETURNED."""
    if order.reason == "RETURNED":
        return duplicate(order)
    if order.status != "COMPLETED":
        return refused(order, say("refused.return", "only a completed order can be returned"))
    return Decision(order.ended("CANCELLED", "RETURNED"))


def request_return(order: Order) -> Decision:
    """A completed order stays COMPLETED, and its return waits for an operator."""
    if order.facts.returning == "REQUESTED":
        return duplicate(order)
    if order.status != "COMPLETED":
        return give_back(order)
    note = say("order.return_waits", "the refund waits until the goods are received")
    return Decision(order.returning("REQUESTED"), note=note)


def receive_return(order: Order, command: ReceiveReturn) -> Decision:
    """The requested return is done: CANCELLED, RETURNED."""
    if order.facts.returning == "NOT_REQUESTED" and order.reason != "RETURNED":
        return refused(order, say("refused.no_return", "no return of this order was asked for"))
    returned = give_back(order)
    return returned if returned.order is order else replace(returned, note=by(command))


def refuse_return(order: Order, command: RefuseReturn) -> Decision:
    """The requested return ends here, and the order stays COMPLETED."""
    if order.status != "COMPLETED" or order.facts.returning == "NOT_REQUESTED":
        return refused(order, say("refused.return_answered", "no return of this order waits for an answer"))
    if order.facts.returning == "REFUSED":
        return duplicate(order)
    return Decision(order.returning("REFUSED"), note=by(command))
