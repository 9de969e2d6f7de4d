"""Partitions over HTTP."""

from typing import Annotated, Final

import msgspec
from litestar import get, post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler
from msgspec import Meta, Struct

from ordersaga.contracts.limits import INT32_MAX
from ordersaga.http.pages import LIMIT_DEFAULT, Cursor, Cursors, KeyText, Limit, Page
from ordersaga.http.requests import json_body
from ordersaga.messaging.acts import NotPossible
from ordersaga.messaging.kafka import Partition
from ordersaga.operations.face import ActBody, AnyRequest, Face, PartitionNumber, Reason, Topic
from ordersaga.operations.partition_resources import (
    AcceptedResource,
    PartitionResource,
    TopicActResource,
    partition_resource,
)

_cursors: Final[Cursors[tuple[str, int]]] = Cursors("partitions", tuple[KeyText, PartitionNumber])


class AcceptBody(Struct, rename="camel", kw_only=True):
    """The body of an accept. `position`: the partition's position when the operator saw it. `at`: earliest, latest, or an offset of the log."""

    reason: Reason
    position: Annotated[int, Meta(ge=0)]
    at: Annotated[str, Meta(min_length=1, max_length=20)] = "earliest"


class TopicBody(Struct, kw_only=True):
    """The body of an act on every partition of a topic."""

    reason: Reason


_topic: Final = msgspec.json.Decoder(TopicBody)
_act: Final = msgspec.json.Decoder(ActBody)
_accept: Final = msgspec.json.Decoder(AcceptBody)


def routes(face: Face) -> list[ControllerRouterHandler]:
    """The routes of partitions."""
    return [*_reads(face), *_acts(face), *_acts_on_topics(face)]


def _reads(face: Face) -> list[ControllerRouterHandler]:
    @get(
        "/partitions",
        operation_id="listPartitions",
        summary="The partitions that the service reads, and where each stands",
    )
    async def find(
        request: AnyRequest, topic: Topic = None, cursor: Cursor = None, limit: Limit = LIMIT_DEFAULT
    ) -> Page[PartitionResource]:
        await face.reader(request)
        after = _cursors.key(cursor)
        found = await face.partitions.find(topic, Partition(*after) if after else None, limit + 1)
        shown, following = _cursors.cut(found, limit, lambda each: each.partition)
        return Page([partition_resource(each) for each in shown], following)

    return [find]


def _acts(face: Face) -> list[ControllerRouterHandler]:
    @post(
        "/partitions/{topic:str}/{partition:int}/pause",
        status_code=200,
        operation_id="pausePartition",
        operation_class=json_body(ActBody),
        summary="Have a partition read no further, whichever process has it",
    )
    async def pause(request: AnyRequest, topic: FromPath[str], partition: FromPath[int]) -> PartitionResource:
        operator, body = await face.act(request, _act)
        return partition_resource(await face.partitions.pause(_partition(topic, partition), operator, body.version))

    @post(
        "/partitions/{topic:str}/{partition:int}/resume",
        status_code=200,
        operation_id="resumePartition",
        operation_class=json_body(ActBody),
        summary="Have a paused partition read again",
    )
    async def resume(request: AnyRequest, topic: FromPath[str], partition: FromPath[int]) -> PartitionResource:
        operator, body = await face.act(request, _act)
        return partition_resource(await face.partitions.resume(_partition(topic, partition), operator, body.version))

    @post(
        "/partitions/{topic:str}/{partition:int}/accept",
        status_code=200,
        operation_id="acceptPosition",
        operation_class=json_body(AcceptBody),
        summary="Let a stopped partition go on at another position",
    )
    async def accept(request: AnyRequest, topic: FromPath[str], partition: FromPath[int]) -> AcceptedResource:
        operator, body = await face.act(request, _accept)
        wanted = _partition(topic, partition)
        accepted, _ = await face.partitions.accept(topic, wanted.partition, body.at, operator, body.position)
        if not accepted:
            raise NotPossible(f"{wanted} is not there, in Kafka or in this service's ledger", "UNKNOWN")
        return AcceptedResource(topic, wanted.partition)

    return [pause, resume, accept]


def _acts_on_topics(face: Face) -> list[ControllerRouterHandler]:
    @post(
        "/partitions/{topic:str}/pause",
        status_code=200,
        operation_id="pauseTopic",
        operation_class=json_body(TopicBody),
        summary="Have every partition of a topic read no further; those that are paused keep their reasons",
    )
    async def pause_topic(request: AnyRequest, topic: FromPath[str]) -> TopicActResource:
        operator, _ = await face.act(request, _topic)
        changed = await face.partitions.pause_topic(_partition(topic, 0).topic, operator)
        return TopicActResource(topic, [partition_resource(each) for each in changed])

    @post(
        "/partitions/{topic:str}/resume",
        status_code=200,
        operation_id="resumeTopic",
        operation_class=json_body(TopicBody),
        summary="Have every paused partition of a topic read again, whoever has paused it",
    )
    async def resume_topic(request: AnyRequest, topic: FromPath[str]) -> TopicActResource:
        operator, _ = await face.act(request, _topic)
        changed = await face.partitions.resume_topic(_partition(topic, 0).topic, operator)
        return TopicActResource(topic, [partition_resource(each) for each in changed])

    return [pause_topic, resume_topic]


def _partition(topic: str, number: int) -> Partition:
    """The partition in a path. Raises `NotPossible`."""
    if not 0 <= number <= INT32_MAX or "\0" in topic:
        raise NotPossible(f"there is no partition {topic}/{number}", "UNKNOWN")
    return Partition(topic, number)
