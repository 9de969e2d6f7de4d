"""Decides an operator's resend: the requests that an order waits for go out once more, before they are overdue. Pure, a part of `saga.py`.

A request that goes out again asks for the same thing. The partner knows it by the order, a refund by its `requestId` too; its `message-id`
is new, since the bytes may differ. So a resend has no second effect at an idempotent partner, and other partners are not asked.
"""

from datetime import datetime

from msgspec import Struct

from ordersaga.contracts import messages as m
from ordersaga.order.deadlines import PARTNERS, Deadlines, Wait, ask_again, asked_again, waits
from ordersaga.order.decision import Decision, by, refused
from ordersaga.order.model import Order
from ordersaga.said import joined, say


class Resend(Struct, frozen=True):
    """An operator has the last request of each awaited answer sent again now."""

    who: str
    why: str


def may_be_resent(wait: Wait, deadlines: Deadlines) -> bool:
    """Whether a request stands behind this wait, and a second one has no second effect."""
    return wait.attempts > 0 and wait.awaited != "price" and deadlines.may_ask_again(wait.awaited)


def resend(order: Order, command: Resend, now: datetime, deadlines: Deadlines) -> Decision:
    """The requests go out again. Each counts as an attempt, so the next one by the timer is due after a longer wait."""
    waiting = waits(order, deadlines)
    again = [each for each in waiting if may_be_resent(each, deadlines)]
    if not again:
        others = {PARTNERS[each.awaited] for each in waiting if each.attempts and each.awaited != "price"}
        if others:
            once = say(
                "refused.asked_once",
                "{partners} may act twice on a repeated request, so it is asked once",
                partners=" and ".join(sorted(others)),
            )
            return refused(order, once)
        return refused(order, say("refused.nothing_asked", "the order waits for no answer to a request"))
    outgoing: list[m.Message] = []
    for each in again:
        order = order.asked_again(order.ask(each.awaited, each.about), now)
        order, requests = ask_again(order, each)
        outgoing += requests
    note = by(command) + "; " + joined(", ", map(asked_again, dict.fromkeys(each.awaited for each in again)))
    return Decision(order, tuple(outgoing), note)
