"""Checkout and payment. Nothing here makes a second order or a second payment, however often it is sent.

A cart is one order: its id is the `Idempotency-Key`, and it stands in the signed checkout form with the lines and the total that the
customer has seen. Order keeps a key for `idempotency_key_kept_hours`: a form is shown in the first half of that time after the cart's first
form, and taken for as long again. Later the customer is asked, if any order was placed since the first form. A payment key is confirmed once
by Payment, however often the browser comes back with it.
"""

import time
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode
from uuid import UUID

import structlog
from litestar import get, post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from ordersaga.web.accounts import User
from ordersaga.web.desk import AnyRequest, Desk, Page, nothing
from ordersaga.web.services import Refused, Unavailable, unless_away
from ordersaga.web.shop.catalogue import CartLine, Catalogue, order_name
from ordersaga.web.shop.live import Shown
from ordersaga.web.shop.model import Order
from ordersaga.web.shop.orders import Checkout, CheckoutItem, Orders
from ordersaga.web.shop.progress import progress
from ordersaga.web.visit import Cart, Visit

log: Final = structlog.get_logger()

ORDER_MIN: Final = 1_000
KEY_REUSED: Final = "Idempotency-Key"
ADDRESS: Final = {"name": 100, "phone": 40, "zipcode": 20, "address": 300, "address_detail": 300, "memo": 500}
"""The fields of the checkout form and the most characters that Order takes."""
OPTIONAL: Final = ("address_detail", "memo")
FIELDS: Final = {"addressDetail": "address_detail", "deliveryMemo": "memo"}
DRAFT: Final = "draft"
ORDERS_ASKED: Final = 5
LOST_WITHIN_S: Final = 1.0
CLOCKS_DIFFER_S: Final = 60
"""By how much Order's clock may be behind."""


class Draft(Struct):
    """What the checkout page shows and its form sends, signed: the order is what the customer has seen. Amounts in won. `made_at`: Unix time."""

    cart_id: UUID
    user_id: UUID
    name: str
    total: int
    items: list[CheckoutItem]
    made_at: int


def routes(desk: Desk, orders: Orders, products: Catalogue) -> list[ControllerRouterHandler]:
    """The routes."""
    draft_s = desk.settings.idempotency_key_kept_hours * 3_600 // 2

    @get("/checkout")
    async def show(request: AnyRequest) -> Page:
        visit = desk.visit(request)
        user = await desk.user(request, visit)
        now, offered_at = int(time.time()), visit.cart.offered_at
        if offered_at is None or offered_at + draft_s < now:
            if offered_at is not None and (found := await _since(orders, user, offered_at)):
                return desk.page(visit, "shop/ordered_before.html", {"orders": found})
            visit.cart.offered_at = now
        lines = await products.cart(visit)
        if not lines or any(line.is_short for line in lines) or _total(lines) < ORDER_MIN:
            return desk.go(visit, "/cart")
        draft = Draft(
            visit.cart.cart_id,
            user.user_id,
            order_name(lines, visit),
            _total(lines),
            [CheckoutItem(line.product_id, line.pieces) for line in lines],
            now,
        )
        return _form(desk, visit, draft, {}, {})

    @post("/checkout")
    async def place(request: AnyRequest) -> Page:
        visit = desk.visit(request)
        form = await desk.form(request, visit)
        user = await desk.user(request, visit)
        draft = desk.signer.read(DRAFT, form.get(DRAFT), Draft)
        if draft is None or draft.user_id != user.user_id or draft.made_at + draft_s < time.time():
            return desk.go(visit, "/cart", "checkout_again")
        wrong = _wrong(form)
        if wrong:
            return _form(desk, visit, draft, form, wrong, 400)
        return await _place(desk, orders, visit, user, draft, form)

    @post("/checkout/again")
    async def again(request: AnyRequest) -> Page:
        """The customer says whether the cart was ordered before."""
        visit = desk.visit(request)
        form = await desk.form(request, visit)
        if form.get("again") == "yes":
            visit.cart = Cart(pieces=visit.cart.pieces)
            return desk.go(visit, "/checkout")
        visit.cart = Cart()
        return desk.go(visit, "/orders")

    return [show, place, again, *_payment(desk, orders)]


async def _since(orders: Orders, user: User, moment: int) -> list[Order]:
    """The customer's newest orders that were placed after a moment."""
    after = datetime.fromtimestamp(moment - CLOCKS_DIFFER_S, UTC)
    found, _ = await orders.page(user, placed_after=after, limit=ORDERS_ASKED)
    return found


def _form(
    desk: Desk,
    visit: Visit,
    draft: Draft,
    form: dict[str, str],
    wrong: dict[str, str],
    status: int = 200,
    unsure: bool = False,
) -> Page:
    values = {
        "draft": draft,
        "signed": desk.signer.sign(DRAFT, draft),
        "form": {name: form.get(name, "") for name in ADDRESS},
        "wrong": wrong,
        "limits": ADDRESS,
        "optional": OPTIONAL,
        "unsure": unsure,
        "pieces": sum(each.quantity for each in draft.items),
    }
    return desk.page(visit, "shop/checkout.html", values, status)


def _wrong(form: dict[str, str]) -> dict[str, str]:
    """The fields that cannot be sent, each with the end of a key `checkout.wrong.…`."""
    missing = {name: "missing" for name in ADDRESS if name not in OPTIONAL and not form.get(name)}
    return missing | {name: "too_long" for name, most in ADDRESS.items() if len(form.get(name, "")) > most}


async def _place(desk: Desk, orders: Orders, visit: Visit, user: User, draft: Draft, form: dict[str, str]) -> Page:
    checkout = Checkout(
        order_name=draft.name,
        total_amount=draft.total,
        address=form["address"],
        address_detail=form.get("address_detail") or None,
        zipcode=form["zipcode"],
        phone=form["phone"],
        name=form["name"],
        delivery_memo=form.get("memo") or None,
        items=draft.items,
    )
    try:
        order = await _twice(orders, user, checkout, draft.cart_id)
    except Unavailable:
        # The order may have been placed. The same form again is the same order.
        return _form(desk, visit, draft, form, {}, 503, unsure=True)
    except Refused as refused:
        return _refused(desk, visit, draft, form, refused)
    if visit.cart.cart_id == draft.cart_id:
        visit.cart = Cart()
    return desk.go(visit, f"/orders/{order.order_id}", None if order.status != "PENDING" else "placed")


async def _twice(orders: Orders, user: User, checkout: Checkout, key: UUID) -> Order:
    """A connection that is lost at once is tried once more: the key makes that harmless. The customer has waited enough for one that is silent."""
    began_at_s = time.monotonic()
    try:
        return await orders.place(user, checkout, key)
    except Unavailable:
        if time.monotonic() - began_at_s > LOST_WITHIN_S:
            raise
        return await orders.place(user, checkout, key)


def _refused(desk: Desk, visit: Visit, draft: Draft, form: dict[str, str], refused: Refused) -> Page:
    if refused.status == 403:
        raise refused
    if KEY_REUSED in refused.problem.title:
        # This cart was ordered with another address: in another tab, or before the back button.
        if visit.cart.cart_id == draft.cart_id:
            visit.cart = Cart()
        return desk.go(visit, "/orders", "ordered_already")
    wrong = {FIELDS.get(each.field, each.field): "not_accepted" for each in refused.problem.errors}
    if wrong and wrong.keys() <= ADDRESS.keys():
        return _form(desk, visit, draft, form, wrong, 400)
    log.info("an order is refused", status=refused.status, problem=str(refused))
    return desk.go(visit, "/cart", "prices_changed")


def _payment(desk: Desk, orders: Orders) -> list[ControllerRouterHandler]:
    @post("/orders/{order_id:uuid}/pay")
    async def pay(request: AnyRequest, order_id: FromPath[UUID]) -> Page:
        """To the gateway's checkout, if the order still waits for its payment."""
        visit = desk.visit(request)
        await desk.form(request, visit)
        user = await desk.user(request, visit)
        shown = await orders.find(order_id, user) or nothing()
        if unpayable := _unpayable(shown):
            return desk.go(visit, f"/orders/{order_id}", unpayable)
        here = f"{desk.address(request)}/orders/{order_id}"
        query = {
            "orderId": str(order_id),
            "amount": str(shown.order.total_amount),
            "orderName": shown.order.order_name,
            "customerKey": str(user.user_id),
            "successUrl": f"{here}/paid",
            "failUrl": f"{here}/unpaid",
            "lang": visit.language,
        }
        return desk.go(visit, f"{desk.checkout_url}/checkout?{urlencode(query)}")

    @get("/orders/{order_id:uuid}/paid")
    async def paid(request: AnyRequest, order_id: FromPath[UUID]) -> Page:
        """The gateway's success URL. A reload confirms the same payment key, which Payment takes once."""
        visit = desk.visit(request)
        user = await desk.user(request, visit)
        order = await orders.find_alone(order_id, user) or nothing()
        here = f"/orders/{order_id}"
        asked = request.query_params
        if asked.get("amount") != str(order.total_amount) or not asked.get("paymentKey"):
            return desk.go(visit, here, "not_confirmed")
        try:
            await orders.confirm(order, user, asked["paymentKey"])
        except Unavailable:
            return desk.page(visit, "shop/confirm_again.html", {"order": order, "again": visit.path}, 503)
        except Refused as refused:
            if refused.status == 403:
                raise
            shown = await unless_away(orders.find(order_id, user))
            return desk.go(visit, here, (shown and _unpayable(shown)) or "not_confirmed")
        return desk.go(visit, here)  # approved, declined or not answered yet: the order's page says so

    @get("/orders/{order_id:uuid}/unpaid")
    async def unpaid(request: AnyRequest, order_id: FromPath[UUID]) -> Page:
        """The gateway's fail URL: the customer has left its checkout."""
        visit = desk.visit(request)
        user = await desk.user(request, visit)
        shown = await unless_away(orders.find(order_id, user))
        return desk.go(visit, f"/orders/{order_id}", (shown and _unpayable(shown)) or "left_checkout")

    return [pay, paid, unpaid]


def _unpayable(shown: Shown) -> str | None:
    """What a customer is told who pays this order: it has its payment already, or it cannot be paid. None: it can be."""
    found = progress(shown.order, shown.timeline, shown.payments)
    if found.can_pay:
        return None
    is_paid = found.money == "paid" or any(each.status != "FAILED" for each in shown.payments)
    return "paid_already" if is_paid else "not_payable"


def _total(lines: list[CartLine]) -> int:
    return sum(line.amount for line in lines)
