"""Orders that another team's service decided before ours took over from its consumer group. They are counted apart, and not as broken.

A service that begins with ORDERSAGA_START_AT at another group's place has no row of what was decided before. An order is left to that group if
our service has no row of it, and Order has asked nothing of the service since it took over. Whatever was asked later is ours, and its
rows are missed as ever.

The gateway's books have the payments of both. One of which Payment has no row is left to that group if it was approved before.
"""

from datetime import datetime, timedelta
from typing import Any, Final

from msgspec import Struct

from ordersaga.audit.finding import Finding
from ordersaga.said import say
from ordersaga.settings import ServiceName

LAST_AT: Final[dict[ServiceName, str]] = {"stock": "stock_at", "payment": "payment_at", "delivery": "delivery_at"}
"""By service, the column of an order with the time of Order's last request to it; for Payment, of its last answer."""
BOOKS_STEP: Final = timedelta(seconds=1)
"""The books have times in whole seconds: a payment was approved up to a second after what they say."""


class Predecessor(Struct):
    """The consumer group that a service of ours took over from. `orders` and `payments` count those that are left to it."""

    name: str
    handled_until: datetime
    orders: int = 0
    payments: int = 0

    def decided(self, service: ServiceName, order: Any) -> bool:
        """Whether an order, of which the service has no row, was decided before. A timeline that was pruned has no request left."""
        last_at: datetime | None = order[LAST_AT[service]]
        if last_at is None and service != "stock":
            return False
        return (last_at or order["placed_at"]) < self.handled_until

    def took(self, approved_at: datetime) -> bool:
        """Whether a payment of the gateway's books, of which Payment has no row, was taken before."""
        return approved_at + BOOKS_STEP <= self.handled_until


def note(finding: Finding, predecessors: dict[ServiceName, Predecessor]) -> None:
    """Say in the finding how many orders it judged without which service."""
    for service, each in predecessors.items():
        if each.orders:
            finding.notes_that(
                say(
                    "audit.predecessor",
                    "{count} {count:order was|orders were} decided before our {service} took over ({name}) at {at}, and {count:is|are} judged without it",
                    count=f"{each.orders:,}",
                    service=service,
                    name=each.name,
                    at=f"{each.handled_until:%Y-%m-%d %H:%M:%S}",
                )
            )


def note_payments(finding: Finding, predecessor: Predecessor | None) -> None:
    """Say in the finding how many payments of the books were left to the predecessor of Payment."""
    if predecessor is not None and predecessor.payments:
        finding.notes_that(
            say(
                "audit.books.predecessor",
                "{count} {count:payment was|payments were} taken before our payment took over ({name}) at {at}, and {count:is|are} judged by the books alone",
                count=f"{predecessor.payments:,}",
                name=predecessor.name,
                at=f"{predecessor.handled_until:%Y-%m-%d %H:%M:%S}",
            )
        )
