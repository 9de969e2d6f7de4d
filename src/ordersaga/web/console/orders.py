"""Orders for operators: search, and one order with its story over all services, what it waits for, and the acts that Order offers."""

from typing import Any, Final, TypeVar
from uuid import UUID

from litestar import get, post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler

from ordersaga.http.pages import LIMIT_MAX
from ordersaga.http.pages import Page as ListPage
from ordersaga.operations.resources import ActResource
from ordersaga.settings import ServiceName
from ordersaga.web.accounts import User
from ordersaga.web.console.frame import Console, notice_of
from ordersaga.web.console.model import Anything, DeliveryView, OperatorsOrder, PaymentView, TimelineEvent
from ordersaga.web.console.reading import FACE, Reading
from ordersaga.web.console.staff import HOME, may_act
from ordersaga.web.console.story import story
from ordersaga.web.desk import AnyRequest, Page, nothing
from ordersaga.web.services import Refused, Unavailable, side_by_side
from ordersaga.web.shop.model import Event, Order
from ordersaga.web.shop.progress import progress

PATH: Final = f"{HOME}/orders"
SHOWN: Final = "50"
SEARCHED: Final = {
    "order": "orderId",
    "customer": "customerId",
    "payment_key": "paymentKey",
    "status": "status",
    "reason": "reason",
}
STATUSES: Final = ("", "PENDING", "COMPLETED", "CANCELLED", "FAILED")
ACTS: Final = {
    "cancel": ("cancel/delivery-before", "console.order_cancelled"),
    "return": ("cancel/return", "console.order_returned"),
    "accept-refund": ("refund/accept", "console.refund_accepted"),
    "receive-return": ("return/receive", "console.return_received"),
    "refuse-return": ("return/refuse", "console.return_refused"),
}
"""Order's route and the notice of each act."""
T = TypeVar("T")


def routes(console: Console) -> list[ControllerRouterHandler]:
    """The routes."""
    desk, reading, staff = console.desk, console.reading, console.staff

    @get(PATH)
    async def listed(request: AnyRequest) -> Page:
        visit = desk.visit(request)
        user = await staff.reader(request, visit)
        query = request.query_params
        asked = {name: str(query.get(name, "")).strip()[:300] for name in (*SEARCHED, "older")}
        if order_id := _uuid(asked["order"]):
            return desk.go(visit, f"{PATH}/{order_id}")
        found, away, wrong = await _search(reading, user, asked, str(query.get("cursor", "")))
        values = {
            "asked": asked,
            "statuses": STATUSES,
            "orders": found.items if found else [],
            "next": found.next if found else None,
            "away": away,
            "wrong": wrong,
            "foreign": "order" not in reading.ours,
        }
        return console.page(visit, user, "orders.html", values)

    @get(f"{PATH}/{{order_id:uuid}}")
    async def show(request: AnyRequest, order_id: FromPath[UUID]) -> Page:
        visit = desk.visit(request)
        user = await staff.reader(request, visit)
        return console.page(visit, user, "order.html", await _values(reading, user, order_id))

    @post(f"{PATH}/{{order_id:uuid}}/{{act:str}}")
    async def act(request: AnyRequest, order_id: FromPath[UUID], act: FromPath[str]) -> Page:
        """An act on an order. The form carries the status that the operator saw: an order that has moved on is told, and nothing is done."""
        visit = desk.visit(request)
        user, form = await staff.operator(request, visit)
        route, notice = ACTS.get(act) or nothing()
        path = f"/api/v1/orders/{order_id}"
        order = await reading.services.get("order", path, OperatorsOrder, user) or nothing()
        if seen_of(order) != form.get("version"):
            notice = "console.stale"
        elif not form.get("reason"):
            notice = "console.reason_missing"
        else:
            try:
                await reading.services.post("order", f"{path}/{route}", Anything, user, {"why": form["reason"]})
            except Refused as refused:
                notice = "console.order_refused" if refused.status == 409 else notice_of(refused)
        return desk.go(visit, f"{PATH}/{order_id}", notice)

    return [listed, show, act]


def seen_of(order: Order) -> str:
    """What an operator has seen of an order when they act: its status, delivery and return."""
    return f"{order.status}/{order.delivery}/{order.returning}"


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


async def _search(
    reading: Reading, user: User, asked: dict[str, str], cursor: str
) -> tuple[ListPage[Order] | None, bool, str]:
    """A page of orders; whether Order does not answer; and what is wrong with the conditions."""
    if "order" not in reading.ours:
        return None, False, ""
    query = {parameter: asked[name] for name, parameter in SEARCHED.items() if asked[name]} | {"limit": SHOWN}
    query |= {"olderThanS": str(int(asked["older"]) * 60)} if asked["older"].isdecimal() else {}
    query |= {"cursor": cursor} if cursor else {}
    try:
        return await reading.services.get("order", "/api/v1/orders", ListPage[Order], user, query), False, ""
    except Unavailable:
        return None, True, ""
    except Refused as refused:
        if refused.status != 400:
            raise
        return None, False, str(refused)


async def _values(reading: Reading, user: User, order_id: UUID) -> dict[str, Any]:
    """All that is known of an order. A service that does not answer is named. Raises `Nothing` if Order says that there is no such order."""
    asking = _Asking(reading, user)
    path, of_order = f"/api/v1/orders/{order_id}", {"orderId": str(order_id)}
    order, events, payments, deliveries, held, acts = await side_by_side(
        asking.one("order", path, OperatorsOrder),
        asking.items("order", f"{path}/timeline", TimelineEvent, {}),
        asking.items("payment", "/api/v1/payments", PaymentView, of_order),
        asking.items("delivery", "/api/v1/deliveries", DeliveryView, of_order),
        reading.of_order(order_id, user),
        asking.items("order", f"{FACE}/acts", ActResource, {"target": str(order_id)}),
    )
    away = asking.away | {name for name, found in held.items() if found is None}
    if order is None and "order" in reading.ours and "order" not in away:
        nothing()
    delivery = deliveries[0] if deliveries else None
    shop_events = [Event(each.at, each.came_in, tuple(each.went_out), each.status, each.reason) for each in events]
    return {
        "order_id": order_id,
        "order": order,
        "progress": progress(order, shop_events) if order else None,
        "version": seen_of(order) if order else "",
        "lines": story(events, payments, delivery, held, [("order", each) for each in acts]),
        "payments": payments,
        "delivery": delivery,
        "held": {name: found for name, found in held.items() if found and (found[0] or found[1])},
        "away": sorted(away),
        "recipient_shown": may_act(user),
    }


class _Asking:
    """Reads for one page, which remember the services that did not answer."""

    def __init__(self, reading: Reading, user: User) -> None:
        self._reading: Final = reading
        self._user: Final = user
        self.away: Final[set[str]] = set()

    async def one(
        self, service: ServiceName, path: str, kind: type[T], query: dict[str, str] | None = None
    ) -> T | None:
        """A resource; None: there is none, it is not for this role, or the service does not answer or is another team's."""
        if service not in self._reading.ours:
            return None
        try:
            return await self._reading.services.get(service, path, kind, self._user, query)
        except Unavailable:
            self.away.add(service)
        except Refused as refused:
            if refused.status != 403:
                raise
        return None

    async def items(self, service: ServiceName, path: str, item: type[T], query: dict[str, str]) -> list[T]:
        """The first page of a list."""
        kind: Any = ListPage[item]  # type: ignore[valid-type]
        found = await self.one(service, path, kind, query | {"limit": str(LIMIT_MAX)})
        return found.items if found else []
