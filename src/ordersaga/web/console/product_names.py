"""The names of products, as Stock has them. They are kept for a while, since a page that refreshes itself asks again and again."""

import time
from collections.abc import Iterable
from typing import Final
from uuid import UUID

from ordersaga.web.services import Services, Unavailable, side_by_side
from ordersaga.web.shop.model import Product

FRESH_S: Final = 60.0
WITHIN_S: Final = 1.0
KEPT_MAX: Final = 10_000


class ProductNames:
    """Asks Stock, unless it is another team's. While Stock does not answer, the names that were read before are told."""

    def __init__(self, services: Services, has_stock: bool) -> None:
        self._services: Final = services
        self._has_stock: Final = has_stock
        self._known: Final[dict[UUID, tuple[float, str]]] = {}

    async def of(self, product_ids: Iterable[UUID]) -> dict[UUID, str]:
        """The names of these products; one that Stock does not have, or whose name is not known now, is missing."""
        wanted = set(product_ids)
        since = time.monotonic() - FRESH_S
        stale = [each for each in wanted if each not in self._known or self._known[each][0] < since]
        if stale and self._has_stock:
            await side_by_side(*map(self._read, stale))
        return {each: self._known[each][1] for each in wanted if self._known.get(each, (0.0, ""))[1]}

    async def _read(self, product_id: UUID) -> None:
        try:
            path = f"/api/v1/products/{product_id}"
            product = await self._services.get("stock", path, Product, within_s=WITHIN_S)
        except Unavailable:
            return
        if len(self._known) >= KEPT_MAX:
            self._known.clear()
        self._known[product_id] = time.monotonic(), product.name if product else ""
