"""What orders are searched by. An order id begins with the time when it was made, so an age is a range of ids. No I/O."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.contracts.status import OrderStatus
from ordersaga.messaging.ids import first_id_at
from ordersaga.order.model import Reason, words

ID_BEFORE_PLACED_MAX: Final = timedelta(minutes=1)
"""An order gets its id when its request is read, and `placed_at` when it is committed, within the time that a request may take."""


class OrderFilter(Struct, frozen=True):
    """Which orders a page shows: those that fit all fields that are given."""

    order_id: UUID | None = None
    customer_id: UUID | None = None
    payment_key: str | None = None
    status: OrderStatus | None = None
    reason: Reason | None = None
    placed_before: datetime | None = None
    placed_after: datetime | None = None
    product_id: UUID | None = None
    text: str | None = None

    @property
    def search_words(self) -> list[str] | None:
        """What an order's search words must contain; None: anything."""
        found = words(self.text or "") | ({str(self.product_id)} if self.product_id else set())
        return sorted(found) or None

    @property
    def fits_none(self) -> bool:
        """Whether a text without a word in it is asked for, such as `!`."""
        return bool(self.text and self.text.strip()) and not words(self.text or "")

    def of_customer(self, customer_id: UUID) -> "OrderFilter | None":
        """The filter among one customer's own orders; None: it asks for another customer's, and fits none."""
        return replace(self, customer_id=customer_id) if self.customer_id in (None, customer_id) else None

    def ids_below(self, before: UUID | None) -> UUID | None:
        """All orders of a page have ids below this one. `before`: the last order id of the page before."""
        if self.placed_before is None:
            return before
        bound = first_id_at(self.placed_before, timedelta(milliseconds=1))
        return bound if before is None else min(before, bound)

    @property
    def ids_from(self) -> UUID | None:
        """No order of a page has an id below this one."""
        return None if self.placed_after is None else first_id_at(self.placed_after, -ID_BEFORE_PLACED_MAX)


EVERY_ORDER: Final = OrderFilter()
