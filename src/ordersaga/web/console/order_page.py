"""One order for operators: its story over all services, what it waits for, and the acts on it. The page's parts change by themselves."""

import re
from typing import Any, Final, TypeVar
from urllib.parse import quote
from uuid import UUID

from litestar import get, post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler

from ordersaga.http.pages import LIMIT_MAX
from ordersaga.http.pages import Page as ListPage
from ordersaga.operations.resources import ActResource
from ordersaga.settings import ServiceName
from ordersaga.web.accounts import User
from ordersaga.web.console.failures import failures
from ordersaga.web.console.frame import Console, notice_of
from ordersaga.web.console.model import (
    Anything,
    DeliveryView,
    IntentView,
    OperatorsOrder,
    PaymentView,
    ReservationView,
    TimelineEvent,
)
from ordersaga.web.console.orders import PATH
from ordersaga.web.console.owing import owing
from ordersaga.web.console.reading import FACE, Reading
from ordersaga.web.console.staff import may_act
from ordersaga.web.console.story import story
from ordersaga.web.desk import AnyRequest, Page, nothing
from ordersaga.web.notices import Told
from ordersaga.web.notices import notice_of as shown
from ordersaga.web.services import Refused, Unavailable, side_by_side
from ordersaga.web.shop.model import Event
from ordersaga.web.shop.progress import progress
from ordersaga.web.visit import Visit

COMMANDS: Final = {
    "cancel": ("cancel/delivery-before", "console.order_cancelled"),
    "return": ("cancel/return", "console.order_returned"),
    "accept-refund": ("refund/accept", "console.refund_accepted"),
    "receive-return": ("return/receive", "console.return_received"),
    "refuse-return": ("return/refuse", "console.return_refused"),
}
"""Order's route and the notice of each command."""
PLACE: Final = re.compile(r"([^/\0]{1,249})/([0-9]{1,10})/([0-9]{1,19})")
T = TypeVar("T")


def routes(console: Console) -> list[ControllerRouterHandler]:
    """The routes."""
    return [_show(console), _now(console), *_acts(console)]


def _show(console: Console) -> ControllerRouterHandler:
    @get(f"{PATH}/{{order_id:uuid}}")
    async def show(request: AnyRequest, order_id: FromPath[UUID]) -> Page:
        visit = console.desk.visit(request)
        user = await console.staff.reader(request, visit)
        return await _page(console, visit, user, order_id)

    return show


def _now(console: Console) -> ControllerRouterHandler:
    @get(f"{PATH}/{{order_id:uuid}}/now")
    async def now(request: AnyRequest, order_id: FromPath[UUID]) -> Page:
        """The page's changing parts, for its script."""
        visit = console.desk.visit(request)
        user = await console.staff.reader(request, visit)
        return console.part(visit, user, "_order.html", await values_of(console.reading, user, order_id))

    return now


async def _page(console: Console, visit: Visit, user: User, order_id: UUID, more: dict[str, Any] | None = None) -> Page:
    values = await values_of(console.reading, user, order_id)
    return console.page(visit, user, "order.html", values | (more or {}))


def _acts(console: Console) -> list[ControllerRouterHandler]:
    desk, reading, staff = console.desk, console.reading, console.staff

    async def acted(
        visit: Visit, user: User, order_id: UUID, form: dict[str, str], notice: Told, done: bool, part: str = "acts"
    ) -> Page:
        """The order's page with a notice; an act that was not done leaves the reason that was typed in its part of the page."""
        if done:
            return desk.go(visit, f"{PATH}/{order_id}", notice)
        more = {"notice": shown(visit, notice), "typed_in": {part: form.get("reason", "")}}
        return await _page(console, visit, user, order_id, more)

    @post(f"{PATH}/{{order_id:uuid}}/resend")
    async def resend(request: AnyRequest, order_id: FromPath[UUID]) -> Page:
        """Have the requests that the order waits for sent again."""
        visit = desk.visit(request)
        user, form = await staff.operator(request, visit)
        notice, done = await _face_act(reading, user, "order", f"orders/{order_id}/resend", form, "console.resent")
        return await acted(visit, user, order_id, form, notice, done)

    @post(f"{PATH}/{{order_id:uuid}}/retry/{{service:str}}")
    async def retry(request: AnyRequest, order_id: FromPath[UUID], service: FromPath[str]) -> Page:
        """Try now what is put off: a parked record (`record`), or a call to the gateway (`intent`)."""
        visit = desk.visit(request)
        user, form = await staff.operator(request, visit)
        name, path = console.service(service), _put_off(form) or nothing()
        notice, done = await _face_act(reading, user, name, f"{path}/retry", form, "console.retried")
        return await acted(visit, user, order_id, form, notice, done, "held")

    @post(f"{PATH}/{{order_id:uuid}}/{{act:str}}")
    async def act(request: AnyRequest, order_id: FromPath[UUID], act: FromPath[str]) -> Page:
        """A command on an order. The form carries what the operator has seen of the order (`seen`), and Order refuses the command if that has
        changed."""
        visit = desk.visit(request)
        user, form = await staff.operator(request, visit)
        route, success = COMMANDS.get(act) or nothing()
        body = {"why": form.get("reason", ""), "seen": form.get("seen") or "?"}
        notice, done = await _acted(reading, user, "order", f"/api/v1/orders/{order_id}/{route}", form, body, success)
        return await acted(visit, user, order_id, form, notice, done)

    return [resend, retry, act]


def _put_off(form: dict[str, str]) -> str | None:
    """The path of what a form wants to have tried, below the operators' face."""
    if record := PLACE.fullmatch(form.get("record", "")):
        topic, partition, offset = record.groups()
        return f"parked/{quote(topic, safe='')}/{partition}/{offset}"
    try:
        return f"intents/{UUID(form.get('intent', ''))}"
    except ValueError:
        return None


async def _face_act(
    reading: Reading, user: User, service: ServiceName, path: str, form: dict[str, str], notice: str
) -> tuple[Told, bool]:
    """Act at a service's operators' face. Returns the notice, and whether it was done."""
    body = {"reason": form.get("reason", ""), "version": form.get("version", "")}
    return await _acted(reading, user, service, f"{FACE}/{path}", form, body, notice)


async def _acted(
    reading: Reading,
    user: User,
    service: ServiceName,
    path: str,
    form: dict[str, str],
    body: dict[str, str],
    notice: str,
) -> tuple[Told, bool]:
    """Have a service act. Returns the notice, and whether it was done."""
    if not form.get("reason"):
        return Told("console.reason_missing"), False
    try:
        await reading.services.post(service, path, Anything, user, body)
    except Refused as refused:
        return notice_of(refused, "console.order_refused"), False
    return Told(notice), True


async def values_of(reading: Reading, user: User, order_id: UUID) -> dict[str, Any]:
    """All that is known of an order. A service that does not answer is named. Raises `Nothing` if Order says that there is no such order."""
    asking = _Asking(reading, user)
    path, of_order = f"/api/v1/orders/{order_id}", {"orderId": str(order_id)}
    (order, names), events, payments, deliveries, reservation, intents, held, *trails = await side_by_side(
        asking.order(path),
        asking.items("order", f"{path}/timeline", TimelineEvent, {}),
        asking.items("payment", "/api/v1/payments", PaymentView, of_order),
        asking.items("delivery", "/api/v1/deliveries", DeliveryView, of_order),
        asking.one("stock", f"{FACE}/reservations/{order_id}", ReservationView),
        asking.items("payment", f"{FACE}/intents", IntentView, of_order),
        reading.of_order(order_id, user),
        *(asking.items(name, f"{FACE}/acts", ActResource, of_order) for name in reading.ours),
    )
    away = asking.away | {name for name, found in held.items() if found is None}
    if order is None and "order" in reading.ours and "order" not in away:
        nothing()
    delivery = deliveries[0] if deliveries else None
    shop_events = [Event(each.at, each.came_in, tuple(each.went_out), each.status, each.reason) for each in events]
    acts = [(name, act) for name, trail in zip(reading.ours, trails, strict=True) for act in trail]
    return {
        "order_id": order_id,
        "order": order,
        "names": names,
        "owing": owing(order, payments, "payment" in reading.ours and "payment" not in away) if order else None,
        "progress": progress(order, shop_events) if order else None,
        "lines": story(events, payments, delivery, held, acts, reservation),
        "payments": payments,
        "intents": intents,
        "delivery": delivery,
        "held": {
            name: (found[0], failures(found[1])) for name, found in held.items() if found and (found[0] or found[1])
        },
        "away": sorted(away),
        "recipient_shown": may_act(user),
        "typed_in": {},
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

    async def order(self, path: str) -> tuple[OperatorsOrder | None, dict[UUID, str]]:
        """An order, and the names of its products that are known."""
        order = await self.one("order", path, OperatorsOrder)
        names = await self._reading.product_names.of(line.product_id for line in order.items) if order else {}
        return order, names

    async def items(self, service: ServiceName, path: str, item: type[T], query: dict[str, str]) -> list[T]:
        """The first page of a list."""
        kind: Any = ListPage[item]  # type: ignore[valid-type]
        found = await self.one(service, path, kind, query | {"limit": str(LIMIT_MAX)})
        return found.items if found else []
