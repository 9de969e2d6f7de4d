"""One topic as Kafka has it: how fast records come in and are handled, its newest records, and those of one order."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from litestar import get
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from ordersaga.contracts.topics import TOPICS, Topic
from ordersaga.messaging.kafka import KafkaUnavailable, Look, Partition, TooManyLook
from ordersaga.operations.flow_resources import FlowMoment
from ordersaga.settings import SERVICES
from ordersaga.web.accounts import User
from ordersaga.web.console.frame import Console, is_id
from ordersaga.web.console.model import PartitionState
from ordersaga.web.console.rates import handled_of, rate_of, written_to
from ordersaga.web.console.records import shown, time_of
from ordersaga.web.console.staff import may_act
from ordersaga.web.console.topics import PATH
from ordersaga.web.desk import AnyRequest, Page, nothing
from ordersaga.web.services import side_by_side, unless_away

KNOWN: Final[dict[str, Topic]] = {name: topic for topic in TOPICS for name in (topic.name, topic.dead_letters)}
OFFSET_DIGITS_MAX: Final = 18


class Flow(Struct, frozen=True):
    """A partition: its records come in at `rate_in` and are handled at `rate_out` a second. None: not known, or nobody of ours reads it."""

    partition: int
    begin: int
    end: int
    rate_in: float | None
    position: int | None = None
    lag: int | None = None
    rate_out: float | None = None


def total_of(flows: Sequence[Flow]) -> dict[str, float | None]:
    """The sums over all partitions; None where that of a partition is not known."""

    def total(name: str) -> float | None:
        values = [getattr(each, name) for each in flows]
        return None if None in values else sum(values)

    return {name: total(name) for name in ("rate_in", "position", "lag", "rate_out")}


class Looking:
    """Reads a topic for its page. Raises `Nothing`, `Refused` and `Unavailable`."""

    def __init__(self, console: Console) -> None:
        self._reading: Final = console.reading
        self._tail: Final = console.tail

    async def values(self, name: str, user: User, query: Any) -> dict[str, Any]:
        """The values of the page of a topic: its newest records, those of an order, or those from a place on."""
        topic = KNOWN.get(name) or nothing()
        await self._reading.check(user)
        asked = {each: str(query.get(each, "")).strip()[:40] for each in ("order", "partition", "offset")}
        place = _place(name, asked)
        mode = "search" if asked["order"] else "newest" if place is None else "at"
        shared = {"topic": topic, "name": name, "services": SERVICES, "asked": asked, "mode": mode}
        none: dict[str, Any] = {"look": None, "records": [], "flows": [], "total": {}, "since": None}
        if mode == "search" and not is_id(asked["order"]):
            return shared | none | {"trouble": "no_id"}
        try:
            if mode == "search":
                look = await self._tail.search(name, str(UUID(asked["order"])))
            else:
                look = await (self._tail.newest(name) if place is None else self._tail.at(*place))
        except KafkaUnavailable:
            return shared | none | {"trouble": "away"}
        except TooManyLook:
            return shared | none | {"trouble": "busy"}
        flows = await self._flows(topic, name, look, user)
        return shared | {
            "look": look,
            "records": [shown(each, topic, may_act(user)) for each in look.records],
            "flows": flows,
            "total": total_of(flows),
            "since": time_of(look.since_ms),
            "trouble": None,
        }

    async def _flows(self, topic: Topic, name: str, look: Look, user: User) -> list[Flow]:
        """Each partition, with what its reader says of it, if that is ours."""
        states: dict[int, PartitionState] = {}
        moments: Sequence[FlowMoment] = ()
        ours = [each for each in self._reading.ours if each in (topic.consumer, topic.producer)]
        if ours and name == topic.name:
            is_read = topic.consumer in ours
            teller = next(each for each in ours if each == topic.consumer or not is_read)
            read, moments = await side_by_side(
                unless_away(self._reading.partitions(teller, user, name)),
                self._reading.flow(teller, user, {"topic": name}),
            )
            states = {each.partition: each for each in read or ()} if is_read else {}
        elif topic.consumer in ours:  # which writes its dead letters
            moments = await self._reading.flow(topic.consumer, user, {"topic": name})
        return [_flow(place.partition, bounds, states, moments) for place, bounds in look.bounds.items()]


def _flow(
    number: int, bounds: tuple[int, int], states: Mapping[int, PartitionState], moments: Sequence[FlowMoment]
) -> Flow:
    state, rate_in = states.get(number), rate_of(moments, written_to(number))
    if state is None:
        return Flow(number, *bounds, rate_in)
    return Flow(number, *bounds, rate_in, state.position, state.lag, rate_of(moments, handled_of(number)))


def routes(console: Console) -> list[ControllerRouterHandler]:
    """The routes."""
    desk, staff = console.desk, console.staff
    looking = Looking(console)

    @get(f"{PATH}/{{name:str}}")
    async def show(request: AnyRequest, name: FromPath[str]) -> Page:
        visit = desk.visit(request)
        user = await staff.reader(request, visit)
        return console.page(visit, user, "topic.html", await looking.values(name, user, request.query_params))

    @get(f"{PATH}/{{name:str}}/now")
    async def now(request: AnyRequest, name: FromPath[str]) -> Page:
        """The changing part of the page, for its script."""
        visit = desk.visit(request)
        user = await staff.reader(request, visit)
        return console.part(visit, user, "_topic.html", await looking.values(name, user, {}))

    return [show, now]


def _place(topic: str, asked: dict[str, str]) -> tuple[Partition, int] | None:
    numbers = [asked["partition"], asked["offset"]]
    if not all(each.isascii() and each.isdigit() and len(each) <= OFFSET_DIGITS_MAX for each in numbers):
        return None
    return Partition(topic, int(numbers[0])), int(numbers[1])
