"""The records of an order's story as Kafka has them: payload, headers, position. For a record that is not there: how far the search went."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from litestar import get
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from ordersaga.contracts.topics import BY_NAME
from ordersaga.messaging.kafka import KafkaUnavailable, Near, TooManyLook
from ordersaga.web.accounts import User
from ordersaga.web.console.frame import Console
from ordersaga.web.console.order_page import values_of
from ordersaga.web.console.orders import PATH
from ordersaga.web.console.payloads import Match, Mention, matched, times_of
from ordersaga.web.console.records import ShownRecord, shown, time_of
from ordersaga.web.console.staff import may_act
from ordersaga.web.console.story import Line
from ordersaga.web.desk import AnyRequest, Page

MS_PER_S: Final = 1_000


class Shown(Struct, frozen=True):
    """A message of the story. `again`: the places of its repeats in Kafka.

    `record` None: the record was not found; `why` is the reason, as the last part of a key of the texts.
    """

    mention: Mention
    record: ShownRecord | None
    again: list[str]
    why: str = ""
    removed: datetime | None = None


def routes(console: Console) -> list[ControllerRouterHandler]:
    """The route of the records of an order's story."""

    @get(f"{PATH}/{{order_id:uuid}}/records")
    async def show(request: AnyRequest, order_id: FromPath[UUID]) -> Page:
        visit = console.desk.visit(request)
        user = await console.staff.reader(request, visit)
        return console.page(visit, user, "order_records.html", await _values(console, user, order_id))

    return [show]


async def _values(console: Console, user: User, order_id: UUID) -> dict[str, Any]:
    """The order's story with its records. Raises `Nothing`, `Refused` and `Unavailable`."""
    values = await values_of(console.reading, user, order_id)
    await console.reading.check(user)
    lines: list[Line] = values["lines"]
    mentions = [each for line in lines for each in line.mentions]
    trouble, near = "", None
    try:
        near = await console.tail.near(str(order_id), times_of(mentions))
    except KafkaUnavailable:
        trouble = "away"
    except TooManyLook:
        trouble = "busy"
    found = matched(mentions, near.records) if near else {}
    records = {each.name: _shown(each, found.get(each.name), near, may_act(user)) for each in mentions}
    return values | {
        "records": records,
        "trouble": trouble,
        "near": near,
        "reach_s": near and near.width_ms // MS_PER_S,
    }


def _shown(mention: Mention, match: Match | None, near: Near | None, is_operator: bool) -> Shown:
    if match is not None:
        record = shown(match.record, BY_NAME[mention.topic], is_operator)
        return Shown(mention, record, [f"{each.partition}/{each.offset}" for each in match.again])
    if near is None:
        return Shown(mention, None, [], "unknown")
    if mention.topic in near.no_topics:
        return Shown(mention, None, [], "no_topic")
    removed_ms = near.removed_ms.get(mention.topic, 0)
    if removed_ms > mention.at_ms:
        return Shown(mention, None, [], "removed", time_of(removed_ms))
    return Shown(mention, None, [], "not_found" if near.is_whole else "not_all")
