"""Orders that another team's service decided before ours took over from its consumer group. They are counted apart, and not as broken.

A service that begins with ORDERSAGA_START_AT at another group's place has no row of what was decided before. An order is left to that group if
our service has no row of it, and Order has asked nothing of the service since it took over. Whatever was asked later is ours, and its
rows are missed as ever.
"""

from datetime import datetime
from typing import Any, Final

from msgspec import Struct

from ordersaga.audit.finding import Finding
from ordersaga.said import say
from ordersaga.settings import ServiceName

LAST_AT: Final[dict[ServiceName, str]] = {"stock": "stock_at", "payment": "payment_at", "delivery": "delivery_at"}
"""By service, the column of an order with the time of Order's last request to it; for Payment, of its last answer."""


class Predecessor(Struct):
    """The consumer group that a service of ours took over from. `orders` counts those that are left to it."""

    name: str
    handled_until: datetime
    orders: int = 0

    def decided(self, service: ServiceName, order: Any) -> bool:
        """Whether an order, of which the service has no row, was decided before. A timeline that was pruned has no request left."""
        last_at: datetime | None = order[LAST_AT[service]]
        if last_at is None and service != "stock":
            return False
        return (last_at or order["placed_at"]) < self.handled_until


def note(finding: Finding, predecessors: dict[ServiceName, Predecessor]) -> None:
    """Say in the finding how many orders it judged without which service."""
    for service, each in predecessors.items():
        if each.orders:
            finding.notes_that(
                say(
                    "audit.predecessor",
                    "{count} orders were decided before our {service} took over ({name}) at {at}, and are judged without it",
                    count=f"{each.orders:,}",
                    service=service,
                    name=each.name,
                    at=f"{each.handled_until:%Y-%m-%d %H:%M:%S}",
                )
            )
