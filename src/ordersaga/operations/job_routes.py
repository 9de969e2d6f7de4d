"""Bulk jobs over HTTP."""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec
from litestar import get, post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler
from msgspec import Meta, Struct

from ordersaga.http.pages import LIMIT_DEFAULT, Cursor, Cursors, KeyNumber, KeyTime, Limit, Page
from ordersaga.http.requests import json_body
from ordersaga.messaging.bulk_replay import Pace
from ordersaga.operations.face import ActBody, AnyRequest, Face, Reason, TypeId
from ordersaga.operations.job_resources import JobItemResource, JobResource, item_resource, job_for, job_resource
from ordersaga.operations.jobs import Jobs, Plan
from ordersaga.operations.selection import Selection

IDS_MAX: Final = 1_500
"""So many ids fit into a body (`http_body_bytes_max`). More letters are selected by a condition."""

_jobs: Final[Cursors[tuple[datetime, UUID]]] = Cursors("jobs", tuple[KeyTime, UUID])
_items: Final[Cursors[int]] = Cursors("items of a job", KeyNumber)


class SelectionBody(Struct, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """Letters by their ids, or all open letters that fit every given condition. At least one is required; `all` for every open letter."""

    ids: Annotated[list[UUID], Meta(max_length=IDS_MAX)] = []
    order_id: UUID | None = None
    topic: str | None = None
    cause: str | None = None
    before: Annotated[datetime, Meta(tz=True)] | None = None
    all: bool = False


class JobBody(Struct, rename="camel", kw_only=True):
    """The body of a new job. `stopAfter`: how many renewed failures stop it, and never more are caused. `waitSeconds`: for each result."""

    act: Literal["replay", "discard"]
    reason: Reason
    selection: SelectionBody
    dry_run: bool = False
    letters_per_second: Annotated[float, Meta(ge=0.01, le=1_000)] = 10.0
    stop_after: Annotated[int, Meta(ge=1, le=1_000_000)] = 10
    wait_seconds: Annotated[float, Meta(ge=0, le=600)] = 30.0
    type_id: TypeId | None = None


_new: Final = msgspec.json.Decoder(JobBody)
_stop: Final = msgspec.json.Decoder(ActBody)


def routes(face: Face) -> list[ControllerRouterHandler]:
    """The routes of bulk jobs."""

    @post(
        "/jobs",
        status_code=202,
        operation_id="beginJob",
        operation_class=json_body(JobBody),
        summary="Replay or discard many dead letters, frozen now; or say for each what a replay would do",
    )
    async def begin(request: AnyRequest) -> JobResource:
        operator, body = await face.act(request, _new)
        pace = Pace(body.letters_per_second, body.stop_after, body.wait_seconds)
        plan = Plan(what=body.act, dry_run=body.dry_run, pace=pace, type_id=body.type_id)
        return job_resource(await Jobs(face.desk).add(plan, _selection(body.selection), operator))

    @get("/jobs", operation_id="listJobs", summary="Bulk jobs, the latest first")
    async def find(request: AnyRequest, cursor: Cursor = None, limit: Limit = LIMIT_DEFAULT) -> Page[JobResource]:
        caller = await face.reader(request)
        found = await Jobs(face.desk).find(_jobs.key(cursor), limit + 1)
        shown, following = _jobs.cut(found, limit, lambda each: (each.created_at, each.id))
        return Page([job_for(each, caller) for each in shown], following)

    @get("/jobs/{job_id:uuid}", operation_id="showJob", summary="A bulk job and its progress")
    async def show(request: AnyRequest, job_id: FromPath[UUID]) -> JobResource:
        caller = await face.reader(request)
        return job_for(await Jobs(face.desk).show(job_id), caller)

    @get("/jobs/{job_id:uuid}/items", operation_id="listJobItems", summary="The letters of a job, each with its result")
    async def items(
        request: AnyRequest, job_id: FromPath[UUID], cursor: Cursor = None, limit: Limit = LIMIT_DEFAULT
    ) -> Page[JobItemResource]:
        caller = await face.reader(request)
        await Jobs(face.desk).show(job_id)
        found = await Jobs(face.desk).items(job_id, _items.key(cursor) or 0, limit + 1)
        shown, following = _items.cut(found, limit, lambda each: each.number)
        return Page([item_resource(each, caller) for each in shown], following)

    @post(
        "/jobs/{job_id:uuid}/stop",
        status_code=200,
        operation_id="stopJob",
        operation_class=json_body(ActBody),
        summary="Have a job begin with no further letter",
    )
    async def stop(request: AnyRequest, job_id: FromPath[UUID]) -> JobResource:
        operator, body = await face.act(request, _stop)
        return job_resource(await Jobs(face.desk).stop(job_id, operator, body.version))

    return [begin, find, show, items, stop]


def _selection(body: SelectionBody) -> Selection:
    return Selection(
        ids=[str(each) for each in body.ids],
        order_key=body.order_id,
        topic=body.topic,
        cause=body.cause,
        before=body.before,
        everything=body.all,
    )
