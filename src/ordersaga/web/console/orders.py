"""The search for orders, for operators."""

import re
from typing import Final
from uuid import UUID

from litestar import get
from litestar.types import ControllerRouterHandler

from ordersaga.http.pages import Page as ListPage
from ordersaga.web.accounts import User
from ordersaga.web.console.frame import Console, is_id, wrong_fields
from ordersaga.web.console.reading import Reading
from ordersaga.web.console.staff import HOME
from ordersaga.web.desk import AnyRequest, Page
from ordersaga.web.services import ProblemAnswer, Refused, Unavailable
from ordersaga.web.shop.model import Order
from ordersaga.web.visit import Visit

PATH: Final = f"{HOME}/orders"
SHOWN: Final = "50"
SEARCHED: Final = {
    "order": "orderId",
    "customer": "customerId",
    "payment_key": "paymentKey",
    "status": "status",
    "reason": "reason",
    "product": "productId",
    "text": "text",
}
STATUSES: Final = ("", "PENDING", "COMPLETED", "CANCELLED", "FAILED")
WHOLE: Final = re.compile(r"[0-9]{1,8}")
LABELS: Final = {
    "orderId": "console.orders.id",
    "customerId": "console.field.customer",
    "paymentKey": "console.field.payment_key",
    "reason": "console.field.reason",
    "productId": "console.orders.product_id",
    "text": "console.orders.words",
    "olderThanS": "console.field.older",
}
"""What the page calls each condition that a service may refuse."""


def routes(console: Console) -> list[ControllerRouterHandler]:
    """The routes."""
    desk, reading, staff = console.desk, console.reading, console.staff

    @get(PATH)
    async def listed(request: AnyRequest) -> Page:
        visit = desk.visit(request)
        user = await staff.reader(request, visit)
        query = request.query_params
        asked = {name: str(query.get(name, "")).strip()[:300] for name in (*SEARCHED, "older")}
        if is_id(asked["order"]):
            return desk.go(visit, f"{PATH}/{UUID(asked['order'])}")
        if asked["older"] and not WHOLE.fullmatch(asked["older"]):
            found, away = None, False
            wrong = {visit.t("console.field.older"): visit.t("console.orders.minutes_wrong")}
        else:
            found, away, refused = await _search(reading, user, asked, str(query.get("cursor", "")))
            wrong = _named(visit, wrong_fields(visit, refused)) if refused else {}
        values = {
            "asked": asked,
            "statuses": STATUSES,
            "reasons": visit.under("console.reason"),
            "orders": found.items if found else [],
            "next": found.next if found else None,
            "away": away,
            "wrong": wrong,
            "foreign": "order" not in reading.ours,
        }
        return console.page(visit, user, "orders.html", values)

    return [listed]


def _named(visit: Visit, wrong: dict[str, str]) -> dict[str, str]:
    """The wrong conditions by their names on the page."""
    return {visit.t(LABELS[field]) if field in LABELS else field: message for field, message in wrong.items()}


async def _search(
    reading: Reading, user: User, asked: dict[str, str], cursor: str
) -> tuple[ListPage[Order] | None, bool, ProblemAnswer | None]:
    """A page of orders; whether Order does not answer; and what is wrong with the conditions."""
    if "order" not in reading.ours:
        return None, False, None
    query = {parameter: asked[name] for name, parameter in SEARCHED.items() if asked[name]} | {"limit": SHOWN}
    query |= {"olderThanS": str(int(asked["older"]) * 60)} if asked["older"] else {}
    query |= {"cursor": cursor} if cursor else {}
    try:
        return await reading.services.get("order", "/api/v1/orders", ListPage[Order], user, query), False, None
    except Unavailable:
        return None, True, None
    except Refused as refused:
        if refused.status != 400:
            raise
        return None, False, refused.problem
