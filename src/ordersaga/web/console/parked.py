"""Parked records: queues by their first record, one with its bytes, retry now, give up."""

from typing import Any, Final
from urllib.parse import quote

from litestar import get, post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from ordersaga.settings import ServiceName
from ordersaga.web.console.frame import Console, notice_of
from ordersaga.web.console.letters import dump, pretty
from ordersaga.web.console.model import Anything, ParkedDetails, Queue
from ordersaga.web.console.reading import FACE
from ordersaga.web.console.staff import HOME
from ordersaga.web.desk import AnyRequest, Page, nothing
from ordersaga.web.services import Refused, side_by_side

PATH: Final = f"{HOME}/parked"
ONE: Final = "/{service:str}/{topic:str}/{partition:int}/{offset:int}"


class Part(Struct, frozen=True):
    """One service's queues. `queues` None: the service does not answer."""

    service: ServiceName
    queues: list[Queue] | None
    has_more: bool


def routes(console: Console) -> list[ControllerRouterHandler]:
    """The routes."""
    desk, reading, staff = console.desk, console.reading, console.staff

    @get(PATH)
    async def listed(request: AnyRequest) -> Page:
        visit = desk.visit(request)
        user = await staff.reader(request, visit)
        query = request.query_params
        asked = {name: str(query.get(name, "")).strip()[:300] for name in ("service", "topic", "cause", "order")}

        async def part(name: ServiceName) -> Part:
            conditions = {"topic": asked["topic"], "cause": asked["cause"], "orderId": asked["order"]}
            page = await reading.page(name, "/parked", Queue, user, conditions)
            return Part(name, page.items if page else None, bool(page and page.next))

        parts = await side_by_side(*(part(name) for name in reading.ours if asked["service"] in ("", name)))
        return console.page(visit, user, "parked.html", {"parts": parts, "asked": asked})

    @get(f"{PATH}{ONE}")
    async def show(
        request: AnyRequest,
        service: FromPath[str],
        topic: FromPath[str],
        partition: FromPath[int],
        offset: FromPath[int],
    ) -> Page:
        visit = desk.visit(request)
        user = await staff.reader(request, visit)
        name = console.service(service)
        path = f"{FACE}/parked/{quote(topic, safe='')}/{partition}/{offset}"
        details = await reading.services.get(name, path, ParkedDetails, user) or nothing()
        values: dict[str, Any] = {
            "service": name,
            "details": details,
            "pretty": pretty(details.content.value),
            "dump": dump(details.content.value),
            "wrong": {},
        }
        return console.page(visit, user, "parked_record.html", values)

    @post(f"{PATH}{ONE}/{{act:str}}")
    async def act(
        request: AnyRequest,
        service: FromPath[str],
        topic: FromPath[str],
        partition: FromPath[int],
        offset: FromPath[int],
        act: FromPath[str],
    ) -> Page:
        visit = desk.visit(request)
        user, form = await staff.operator(request, visit)
        name = console.service(service)
        done = {"retry": "console.retried", "discard": "console.dropped"}.get(act) or nothing()
        body = {"reason": form.get("reason", ""), "version": form.get("version", "")}
        record = f"{quote(topic, safe='')}/{partition}/{offset}"
        try:
            await reading.services.post(name, f"{FACE}/parked/{record}/{act}", Anything, user, body)
        except Refused as refused:
            return desk.go(visit, PATH if refused.status == 404 else f"{PATH}/{name}/{record}", notice_of(refused))
        return desk.go(visit, PATH, done)

    return [listed, show, act]
