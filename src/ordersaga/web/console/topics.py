"""Topics and partitions as their readers stand: lag, stopped and why, and pause, resume, accept."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

from litestar import post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from ordersaga.operations.flow_resources import FlowMoment
from ordersaga.settings import SERVICES
from ordersaga.web.accounts import User
from ordersaga.web.console.frame import Console, notice_of
from ordersaga.web.console.model import Anything, PartitionState
from ordersaga.web.console.rates import handled, rate_of, written
from ordersaga.web.console.reading import FACE
from ordersaga.web.console.renewed import renewed
from ordersaga.web.console.staff import HOME
from ordersaga.web.desk import AnyRequest, Page, nothing
from ordersaga.web.notices import Told
from ordersaga.web.services import Refused, side_by_side, unless_away

PATH: Final = f"{HOME}/topics"
POSITION: Final = re.compile(r"[0-9]{1,19}")
DONE_TO_ALL: Final = {"pause": "console.topic_paused", "resume": "console.topic_resumed"}
DONE: Final = {"pause": "console.paused", "resume": "console.resumed", "accept": "console.accepted"}


class TopicState(Struct, frozen=True):
    """One topic of one reader: its records come in at `rate_in` and are handled at `rate_out` a second. None: not known yet."""

    topic: str
    partitions: list[PartitionState]
    rate_in: float | None = None
    rate_out: float | None = None

    @property
    def lag(self) -> int | None:
        return (
            None
            if any(each.lag is None for each in self.partitions)
            else sum(each.lag or 0 for each in self.partitions)
        )

    @property
    def paused(self) -> int:
        return sum(each.state == "PAUSED" for each in self.partitions)

    @property
    def troubled(self) -> int:
        return sum(each.state != "READING" for each in self.partitions)


def routes(console: Console) -> list[ControllerRouterHandler]:
    """The routes. The changing part of the page has lag and throughput; its forms stay as they are."""
    reading = console.reading

    async def found(request: AnyRequest, user: User) -> dict[str, Any]:
        asked = {
            "service": str(request.query_params.get("service", "")),
            "topic": str(request.query_params.get("topic", "")),
        }
        names = [name for name in reading.ours if asked["service"] in ("", name)]
        read, moments = await side_by_side(
            side_by_side(*(unless_away(reading.partitions(name, user)) for name in names)),
            side_by_side(*(reading.flow(name, user) for name in names)),
        )
        parts = [
            (name, states if states is None else _topics(states, several))
            for name, states, several in zip(names, read, moments, strict=True)
        ]
        foreign = [name for name in SERVICES if name not in reading.ours]
        return {"parts": parts, "asked": asked, "foreign": foreign}

    return [*renewed(console, PATH, "topics.html", "_flows.html", found), _act(console), _act_on_all(console)]


def _act(console: Console) -> ControllerRouterHandler:
    desk, reading, staff = console.desk, console.reading, console.staff

    @post(f"{PATH}/{{service:str}}/{{topic:str}}/{{partition:int}}/{{act:str}}")
    async def act(
        request: AnyRequest,
        service: FromPath[str],
        topic: FromPath[str],
        partition: FromPath[int],
        act: FromPath[str],
    ) -> Page:
        visit = desk.visit(request)
        user, form = await staff.operator(request, visit)
        name = console.service(service)
        notice: str | Told = DONE.get(act) or nothing()
        body: dict[str, Any] = {"reason": form.get("reason", "")}
        if act == "accept":
            position = form.get("version", "")
            body |= {
                "position": int(position) if POSITION.fullmatch(position) else -1,
                "at": form.get("at", "earliest"),
            }
        else:
            body |= {"version": form.get("version", "")}
        try:
            path = f"{FACE}/partitions/{quote(topic, safe='')}/{partition}/{act}"
            await reading.services.post(name, path, Anything, user, body)
        except Refused as refused:
            notice = notice_of(refused)
        return desk.go(visit, f"{PATH}?service={name}", notice)

    return act


def _act_on_all(console: Console) -> ControllerRouterHandler:
    @post(f"{PATH}/{{service:str}}/{{topic:str}}/{{act:str}}")
    async def act_on_all(request: AnyRequest, service: FromPath[str], topic: FromPath[str], act: FromPath[str]) -> Page:
        """Pause or resume every partition of a topic."""
        visit = console.desk.visit(request)
        user, form = await console.staff.operator(request, visit)
        name = console.service(service)
        notice: str | Told = DONE_TO_ALL.get(act) or nothing()
        try:
            path = f"{FACE}/partitions/{quote(topic, safe='')}/{act}"
            await console.reading.services.post(name, path, Anything, user, {"reason": form.get("reason", "")})
        except Refused as refused:
            notice = notice_of(refused)
        return console.desk.go(visit, f"{PATH}?{urlencode({'service': name, 'topic': topic})}", notice)

    return act_on_all


def _topics(states: Iterable[PartitionState], moments: Sequence[FlowMoment]) -> list[TopicState]:
    by_topic: dict[str, list[PartitionState]] = {}
    for each in states:
        by_topic.setdefault(each.topic, []).append(each)
    return [
        TopicState(topic, several, rate_of(moments, written(topic)), rate_of(moments, handled(topic)))
        for topic, several in sorted(by_topic.items())
    ]
