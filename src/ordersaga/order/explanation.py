"""Explains why an order waits. The API shows it to operators, and so does `ordersaga orders show`."""

from datetime import datetime
from typing import Final

from msgspec import Struct

from ordersaga.contracts import messages as m
from ordersaga.contracts.topics import BY_MESSAGE
from ordersaga.order.deadlines import UNRELEASED, Deadlines, Wait, waits
from ordersaga.order.model import Awaited, Order
from ordersaga.order.resending import may_be_resent

ANSWERS: Final[dict[Awaited, type[m.Message]]] = {
    "stock": m.StockResponseMessage,
    "payment": m.PaymentSuccessMessage,
    "delivery": m.DeliveryStartMessage,
    "release": m.StockRollbackCompletedMessage,
    "refund": m.PaymentCancelledMessage,
    "price": m.ProductPriceMessage,
}


class Explanation(Struct, frozen=True, rename="camel"):
    """One answer that an order waits for: which message on which topic about what, since when, and after how many requests.

    `next_attempt_at`: when the request is sent again. `ends_at`: when the order ends without the answer. Neither: a person must act.
    `can_resend`: an operator may have the request sent again now.
    """

    message: str
    topic: str
    about: tuple[str, ...]
    since: datetime
    attempts: int
    next_attempt_at: datetime | None
    ends_at: datetime | None
    can_resend: bool


def explain(order: Order, deadlines: Deadlines) -> list[Explanation]:
    """Each answer that the order waits for now. An order at its end waits for none."""
    return [_explained(order, each, deadlines) for each in waits(order, deadlines)]


def _explained(order: Order, wait: Wait, deadlines: Deadlines) -> Explanation:
    message = ANSWERS[wait.awaited]
    is_unasked = wait.awaited in ("payment", "price")
    is_last = wait.awaited == "stock" and wait.attempts >= deadlines.stock_asks_max
    again = not is_unasked and not is_last and deadlines.may_ask_again(wait.awaited)
    ends_at = order.pay_before if is_unasked else wait.until if is_last else None
    return Explanation(
        message.__name__,
        BY_MESSAGE[message].name,
        _about(order, wait),
        wait.since,
        0 if is_unasked else wait.attempts,
        wait.until if again else None,
        ends_at,
        may_be_resent(wait, deadlines),
    )


def _about(order: Order, wait: Wait) -> tuple[str, ...]:
    match wait.awaited:
        case "stock":
            return tuple(str(line.product_id) for line in order.facts.lines if line.stock == "REQUESTED")
        case "release":
            return tuple(str(line.product_id) for line in order.facts.lines if line.stock in UNRELEASED)
        case "price":
            return tuple(str(line.product_id) for line in order.facts.lines)
        case _:
            return (wait.about,) if wait.about else ()
