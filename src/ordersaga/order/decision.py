"""The saga's answer to one input about one order."""

from typing import Final, Protocol

from msgspec import Struct

from ordersaga.contracts import messages as m
from ordersaga.messaging.refusal import Refusal
from ordersaga.order.model import Order
from ordersaga.said import Said, say

DUPLICATE: Final = say("order.duplicate", "a duplicate: no effect")
ANOMALY: Final = say("order.anomaly", "an anomaly: ")


class Decision(Struct, frozen=True):
    """The order after the input, the messages that go out, and a note for the timeline.

    `refusal`: the order's state does not allow the command. Then the order is the same object as before, and nothing goes out.
    """

    order: Order
    outgoing: tuple[m.Message, ...] = ()
    note: str | None = None
    refusal: Refusal | None = None


def duplicate(order: Order) -> Decision:
    """A repeated input: it changes nothing."""
    return Decision(order, note=DUPLICATE)


def anomaly(order: Order, what: str) -> Decision:
    """The input contradicts the facts of the order. The timeline gets a note, and nothing else happens."""
    return Decision(order, note=ANOMALY + what)


class Command(Protocol):
    """A command of an operator."""

    @property
    def who(self) -> str: ...

    @property
    def why(self) -> str: ...


def by(command: Command) -> Said:
    """Who gave a command, and why, for the timeline."""
    return say("order.by", "{who}: {why}", who=command.who, why=command.why)


def refused(order: Order, why: Said) -> Decision:
    """The order's state does not allow the command."""
    detail = why + say("refused.status", "; it is {status}", status=order.status)
    return Decision(order, refusal=Refusal("CONFLICT", "The order's state does not allow that", detail))
