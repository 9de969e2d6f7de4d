"""Who owes an order its payment: the customer, Payment, or the way between Payment and Order. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from msgspec import Struct

from ordersaga.web.console.model import OperatorsOrder, PaymentView

Who = Literal["customer", "declined", "confirming", "unheard", "unknown"]


class Owing(Struct, frozen=True):
    """Who is waited for, the end of a key `console.orders.owes.…`, and since when; None: the wait itself says it."""

    who: Who
    since: datetime | None = None


def owing(order: OperatorsOrder, payments: Sequence[PaymentView], is_known: bool) -> Owing | None:
    """Who is waited for, if the order waits for its payment alone. `is_known` False: Payment does not answer, or is another team's."""
    awaited = {each.message for each in order.waits_for}
    if "PaymentSuccessMessage" not in awaited:
        return None
    if not is_known:
        return Owing("unknown")
    for each in payments:
        if each.status == "PENDING":
            return Owing("confirming", each.requested_at)
        if each.approved_at and all(heard.payment_key != each.payment_key for heard in order.payments):
            return Owing("unheard", each.approved_at)
    if "StockResponseMessage" in awaited:
        return None
    tried = [each.requested_at for each in payments if each.status == "FAILED"]
    return Owing("declined", max(tried)) if tried else Owing("customer")
