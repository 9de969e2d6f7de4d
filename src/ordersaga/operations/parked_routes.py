"""Parked records over HTTP."""

from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import get, post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler

from ordersaga.contracts.limits import INT32_MAX
from ordersaga.http.pages import LIMIT_DEFAULT, Cursor, Cursors, KeyText, Limit, Page
from ordersaga.http.requests import json_body
from ordersaga.messaging import acts
from ordersaga.messaging.acts import NotPossible
from ordersaga.messaging.handler import Coordinates
from ordersaga.messaging.queues import QueueFilter
from ordersaga.operations.face import ActBody, AnyRequest, Cause, Face, OrderId, PartitionNumber, Topic
from ordersaga.operations.parked_resources import (
    DiscardedResource,
    ParkedDetails,
    QueueResource,
    RetriedResource,
    parked_details,
    queue_resource,
)

_cursors: Final[Cursors[tuple[str, int, UUID]]] = Cursors("parked records", tuple[KeyText, PartitionNumber, UUID])
INT64_MAX: Final = 2**63 - 1
ONE: Final = "/parked/{topic:str}/{partition:int}/{offset:int}"
_act: Final = msgspec.json.Decoder(ActBody)


def routes(face: Face) -> list[ControllerRouterHandler]:
    """The routes of parked records."""
    return [*_reads(face), *_acts(face)]


def _reads(face: Face) -> list[ControllerRouterHandler]:
    attempts_max = face.runtime.settings.park_attempts_max

    @get("/parked", operation_id="listParked", summary="Queues of parked records, each by its first record")
    async def find(
        request: AnyRequest,
        order_id: OrderId = None,
        topic: Topic = None,
        cause: Cause = None,
        cursor: Cursor = None,
        limit: Limit = LIMIT_DEFAULT,
    ) -> Page[QueueResource]:
        caller = await face.reader(request)
        wanted = QueueFilter(order_key=order_id, topic=topic, cause=cause, after=_cursors.key(cursor))
        found = await face.desk.queues.find(wanted, limit + 1)
        shown, following = _cursors.cut(found, limit, lambda each: (each.topic, each.partition, each.order_key))
        return Page([queue_resource(each, attempts_max, caller) for each in shown], following)

    @get(ONE, operation_id="showParked", summary="One parked record with its bytes")
    async def show(
        request: AnyRequest, topic: FromPath[str], partition: FromPath[int], offset: FromPath[int]
    ) -> ParkedDetails:
        caller = await face.reader(request)
        parked = await face.desk.queues.show(_coordinates(topic, partition, offset))
        async with face.runtime.reading() as db:
            done = await acts.about(db, [parked.record.coordinates])
        return parked_details(parked, done, attempts_max, caller)

    return [find, show]


def _acts(face: Face) -> list[ControllerRouterHandler]:
    shared: dict[str, Any] = {"status_code": 200, "operation_class": json_body(ActBody)}

    @post(
        f"{ONE}/retry",
        operation_id="retryParked",
        summary="Try the first record of a queue now instead of at its due time",
        **shared,
    )
    async def retry(
        request: AnyRequest, topic: FromPath[str], partition: FromPath[int], offset: FromPath[int]
    ) -> RetriedResource:
        operator, body = await face.act(request, _act)
        due_at = await face.desk.queues.retry(_coordinates(topic, partition, offset), operator, body.version)
        return RetriedResource(due_at)

    @post(
        f"{ONE}/discard",
        operation_id="discardParked",
        summary="Give up the first record of a queue, so that the next one is tried",
        **shared,
    )
    async def discard(
        request: AnyRequest, topic: FromPath[str], partition: FromPath[int], offset: FromPath[int]
    ) -> DiscardedResource:
        operator, body = await face.act(request, _act)
        coordinates = _coordinates(topic, partition, offset)
        return DiscardedResource(await face.desk.queues.discard(coordinates, operator, body.version))

    return [retry, discard]


def _coordinates(topic: str, partition: int, offset: int) -> Coordinates:
    """The coordinates in a path. Numbers that PostgreSQL cannot store name no record. Raises `NotPossible`."""
    if not (0 <= partition <= INT32_MAX and 0 <= offset <= INT64_MAX) or "\0" in topic:
        raise NotPossible(f"no record is parked at {topic}/{partition}/{offset}", "UNKNOWN")
    return Coordinates(topic, partition, offset)
