"""Orders as the shop reads and changes them, in their customer's name."""

from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.http.pages import LIMIT_MAX, Page
from ordersaga.web.accounts import User
from ordersaga.web.services import Services, Unavailable, side_by_side, unless_away
from ordersaga.web.shop.live import Shown
from ordersaga.web.shop.model import Delivery, Event, Order, Payment, Product

STOCK_WAIT_S: Final = 1.0
PAYMENT_WAIT_S: Final = 1.0
"""So long Stock's answer to an order is waited for, and the gateway's to a confirm. The order's page tells the answer when it comes."""
CONFIRMED_WITHIN_S: Final = 1.6
"""So long Payment's answer to a confirm is waited for. Then the customer is told that it is not known, and may ask again."""
BESIDE_S: Final = 1.0
"""What only stands beside an order's progress is shown if it comes within this time."""
ORDERS_SHOWN: Final = 20


class Checkout(Struct, rename="camel", kw_only=True):
    """The body of `POST /api/v1/orders`. Amounts in won."""

    order_name: str
    total_amount: int
    address: str
    address_detail: str | None
    zipcode: str
    phone: str
    name: str
    delivery_memo: str | None
    items: list["CheckoutItem"]


class CheckoutItem(Struct, rename="camel"):
    """One line of it."""

    product_id: UUID
    quantity: int


class Orders:
    """Reads and commands of one customer's orders. Raises `Unavailable` and `Refused`. `has_delivery`: Delivery is ours and can be asked."""

    def __init__(self, services: Services, has_delivery: bool = True) -> None:
        self._services: Final = services
        self._has_delivery: Final = has_delivery

    async def place(self, user: User, checkout: Checkout, key: UUID) -> Order:
        """Place an order, and wait a moment for Stock's answer. The same key again is the same order."""
        return await self._services.post(
            "order", "/api/v1/orders", Order, user, checkout, {"Idempotency-Key": str(key)}, STOCK_WAIT_S
        )

    async def page(
        self, user: User, cursor: str = "", placed_after: datetime | None = None, limit: int = ORDERS_SHOWN
    ) -> tuple[list[Order], str | None]:
        """A page of the customer's orders, newest first, and the cursor of the next one. To a token of an operator Order shows all orders."""
        asked = {"limit": str(limit), "customerId": str(user.user_id)}
        asked |= {"cursor": cursor} if cursor else {}
        asked |= {"placedAfter": placed_after.isoformat()} if placed_after else {}
        page = await self._services.get("order", "/api/v1/orders", Page[Order], user, asked)
        return (page.items, page.next) if page else ([], None)

    async def find(self, order_id: UUID, user: User) -> Shown | None:
        """An order with its timeline and, while it waits for a payment, with what Payment knows of one."""
        order = await self.find_alone(order_id, user)
        return None if order is None else await self._shown(order, user)

    async def find_with_products(self, order_id: UUID, user: User) -> tuple[Shown, dict[UUID, Product] | None] | None:
        """What `find` says, and the order's products; None for these: Stock does not answer."""
        order = await self.find_alone(order_id, user)
        if order is None:
            return None
        shown, products = await side_by_side(
            self._shown(order, user), unless_away(self._products([line.product_id for line in order.items]))
        )
        return shown, products

    async def read_again(self, order_id: UUID, user: User, before: Shown) -> Shown | None:
        """What `find` says, with as few requests as tell whether anything has changed."""
        order = await self.find_alone(order_id, user)
        if order is None:
            return None
        if order != before.order or not before.timeline or before.delivery_away:
            return await self._shown(order, user)
        return (
            replace(before, payments=_unheard(order, await self.payments(order_id, user)))
            if before.payments
            else before
        )

    async def find_alone(self, order_id: UUID, user: User) -> Order | None:
        """An order of this customer, as Order has it."""
        order = await self._services.get("order", f"/api/v1/orders/{order_id}", Order, user)
        return order if order is not None and order.customer_id == user.user_id else None

    async def _shown(self, order: Order, user: User) -> Shown:
        """The rest, read after the order: a timeline that was read before it could lack the event that the order shows."""
        if order.status != "PENDING":
            timeline, (delivery, is_away) = await side_by_side(
                unless_away(self._timeline(order.order_id, user)), self._delivery(order, user)
            )
            return Shown(order, tuple(timeline or ()), (), delivery, is_away)
        timeline, payments = await side_by_side(
            unless_away(self._timeline(order.order_id, user)), unless_away(self.payments(order.order_id, user))
        )
        return Shown(order, tuple(timeline or ()), _unheard(order, payments or ()))

    async def _timeline(self, order_id: UUID, user: User) -> list[Event]:
        path = f"/api/v1/orders/{order_id}/timeline"
        page = await self._services.get("order", path, Page[Event], user, {"limit": str(LIMIT_MAX)})
        return page.items if page else []

    async def payments(self, order_id: UUID, user: User) -> tuple[Payment, ...]:
        """What Payment knows of an order."""
        asked = {"orderId": str(order_id)}
        page = await self._services.get("payment", "/api/v1/payments", Page[Payment], user, asked, BESIDE_S)
        return tuple(page.items) if page else ()

    async def _products(self, product_ids: list[UUID]) -> dict[UUID, Product]:
        """The products that there are."""
        paths = [f"/api/v1/products/{each}" for each in product_ids]
        found = await side_by_side(*(self._services.get("stock", path, Product, within_s=BESIDE_S) for path in paths))
        return {product.product_id: product for product in found if product is not None}

    async def _delivery(self, order: Order, user: User) -> tuple[Delivery | None, bool]:
        """The delivery, and whether Delivery does not answer."""
        if order.delivery != "STARTED" or not self._has_delivery:
            return None, False
        try:
            path = f"/api/v1/deliveries/{order.order_id}"
            return await self._services.get("delivery", path, Delivery, user, within_s=BESIDE_S), False
        except Unavailable:
            return None, True

    async def confirm(self, order: Order, user: User, payment_key: str) -> Payment:
        """Step 5. The payment key makes a repeat harmless."""
        body = {"paymentKey": payment_key, "orderId": str(order.order_id), "amount": order.total_amount}
        return await self._services.post(
            "payment", "/api/v1/payments/confirm", Payment, user, body, None, PAYMENT_WAIT_S, CONFIRMED_WITHIN_S
        )

    async def cancel(self, order_id: UUID, user: User) -> Order:
        """Cancel before delivery is requested. Once more is no error."""
        return await self._services.post("order", f"/api/v1/orders/{order_id}/cancel/delivery-before", Order, user)

    async def give_back(self, order_id: UUID, user: User) -> Order:
        """Return a completed order. Once more is no error."""
        return await self._services.post("order", f"/api/v1/orders/{order_id}/cancel/return", Order, user)


def _unheard(order: Order, payments: tuple[Payment, ...]) -> tuple[Payment, ...]:
    """Payments that Payment has begun, settled ones too, and of which the order has not heard."""
    heard = {each.payment_key for each in order.payments}
    return tuple(each for each in payments if each.payment_key not in heard)
