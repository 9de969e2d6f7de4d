"""Parked records: queues by their first record, one with its bytes, retry now, give up."""

from typing import Any, Final
from urllib.parse import quote

from litestar import get, post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from ordersaga.operations.parked_resources import ParkedDetails, QueueResource
from ordersaga.settings import ServiceName
from ordersaga.web.accounts import User
from ordersaga.web.console.frame import Console, notice_of
from ordersaga.web.console.letters import dump, pretty
from ordersaga.web.console.model import Anything
from ordersaga.web.console.reading import FACE
from ordersaga.web.console.staff import HOME
from ordersaga.web.desk import AnyRequest, Page, nothing
from ordersaga.web.services import Refused, side_by_side

PATH: Final = f"{HOME}/parked"
ONE: Final = "/{service:str}/{topic:str}/{partition:int}/{offset:int}"
ACTS: Final = {"retry": "console.retried", "discard": "console.dropped"}
"""The notice of each act."""


class Part(Struct, frozen=True):
    """One service's queues. `queues` None: the service does not answer."""

    service: ServiceName
    queues: list[QueueResource] | None
    has_more: bool

    @property
    def is_empty(self) -> bool:
        """Whether the service answers, and has none."""
        return self.queues == []


def routes(console: Console) -> list[ControllerRouterHandler]:
    """The routes."""
    return [_listed(console), _show(console), _act(console)]


def _listed(console: Console) -> ControllerRouterHandler:
    desk, reading = console.desk, console.reading

    async def part(name: ServiceName, user: User, asked: dict[str, str]) -> Part:
        conditions = {"topic": asked["topic"], "cause": asked["cause"], "orderId": asked["order"]}
        page = await reading.page(name, "/parked", QueueResource, user, conditions)
        return Part(name, page.items if page else None, bool(page and page.next))

    @get(PATH)
    async def listed(request: AnyRequest) -> Page:
        visit = desk.visit(request)
        user = await console.staff.reader(request, visit)
        query = request.query_params
        asked = {name: str(query.get(name, "")).strip()[:300] for name in ("service", "topic", "cause", "order")}
        names = [name for name in reading.ours if asked["service"] in ("", name)]
        parts = sorted(await side_by_side(*(part(name, user, asked) for name in names)), key=lambda each: each.is_empty)
        return console.page(visit, user, "parked.html", {"parts": parts, "asked": asked})

    return listed


def _show(console: Console) -> ControllerRouterHandler:
    desk = console.desk

    @get(f"{PATH}{ONE}")
    async def show(
        request: AnyRequest,
        service: FromPath[str],
        topic: FromPath[str],
        partition: FromPath[int],
        offset: FromPath[int],
    ) -> Page:
        visit = desk.visit(request)
        user = await console.staff.reader(request, visit)
        name = console.service(service)
        path = f"{FACE}/parked/{_record(topic, partition, offset)}"
        details = await console.reading.services.get(name, path, ParkedDetails, user) or nothing()
        values: dict[str, Any] = {
            "service": name,
            "details": details,
            "pretty": pretty(details.content.value),
            "dump": dump(details.content.value),
            "wrong": {},
        }
        return console.page(visit, user, "parked_record.html", values)

    return show


def _act(console: Console) -> ControllerRouterHandler:
    desk = console.desk

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
        user, form = await console.staff.operator(request, visit)
        name = console.service(service)
        done = ACTS.get(act) or nothing()
        body = {"reason": form.get("reason", ""), "version": form.get("version", "")}
        record = _record(topic, partition, offset)
        try:
            await console.reading.services.post(name, f"{FACE}/parked/{record}/{act}", Anything, user, body)
        except Refused as refused:
            return desk.go(visit, PATH if refused.status == 404 else f"{PATH}/{name}/{record}", notice_of(refused))
        return desk.go(visit, PATH, done)

    return act


def _record(topic: str, partition: int, offset: int) -> str:
    """The record's place as the address of the service has it."""
    return f"{quote(topic, safe='')}/{partition}/{offset}"
