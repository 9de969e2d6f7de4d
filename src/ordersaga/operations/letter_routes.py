"""Dead letters over HTTP."""

import asyncio
from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec
from litestar import get, post
from litestar.params import FromPath, QueryParameter
from litestar.types import ControllerRouterHandler
from msgspec import Meta
from msgspec.structs import replace

from ordersaga.http.pages import LIMIT_DEFAULT, Cursor, Cursors, KeyTime, Limit, Page
from ordersaga.http.problems import invalid
from ordersaga.http.requests import json_body
from ordersaga.messaging.acts import STALE, NotPossible
from ordersaga.messaging.letters import LetterFilter, Status
from ordersaga.operations import letters
from ordersaga.operations.desk import Desk
from ordersaga.operations.face import ActBody, AnyRequest, Cause, Face, OrderId, Topic, TypeId
from ordersaga.operations.personal import words_for
from ordersaga.operations.resources import (
    VALUE_CHARS_MAX,
    CausesResource,
    DeadLetterDetails,
    DeadLetterResource,
    EditedResource,
    ReplayedResource,
    act_resource,
    cause_resource,
    content_resource,
    effect_resource,
    letter_for,
    letter_resource,
    repeats_resource,
    replay_resource,
)

OPEN: Final = "OPEN"
ANY: Final = "ANY"

OfStatus = Annotated[
    Status | Literal["ANY"], QueryParameter(name="status", description="The letters' status; ANY: all of them.")
]
Before = Annotated[
    datetime | None, QueryParameter(name="before", description="Given up before this time (ISO 8601, with its zone).")
]
IdBegins = Annotated[
    str | None,
    QueryParameter(name="id", description="Letters whose id begins with this text.", pattern=r"^[0-9a-f-]{1,36}$"),
]

LatestOfOrder = Annotated[
    bool,
    QueryParameter(
        name="latestOfOrder", description="Of each order, topic and cause only the latest letter, with its `repeats`."
    ),
]

_cursors: Final[Cursors[tuple[datetime, UUID]]] = Cursors("dead letters", tuple[KeyTime, UUID])


def routes(face: Face) -> list[ControllerRouterHandler]:
    """The routes of dead letters."""
    return [*_lists(face), _one(face), *_acts(face)]


def _lists(face: Face) -> list[ControllerRouterHandler]:
    @get("/dead-letters", operation_id="listDeadLetters", summary="Dead letters, the latest first")
    async def find(
        request: AnyRequest,
        order_id: OrderId = None,
        topic: Topic = None,
        cause: Cause = None,
        status: OfStatus = "OPEN",
        before: Before = None,
        id: IdBegins = None,
        latest_of_order: LatestOfOrder = False,
        cursor: Cursor = None,
        limit: Limit = LIMIT_DEFAULT,
    ) -> Page[DeadLetterResource]:
        caller = await face.reader(request)
        _must_have_a_zone(before)
        wanted = LetterFilter(
            ids=None if id is None else [id],
            order_key=order_id,
            topic=topic,
            cause=cause,
            statuses=_statuses(status),
            before=before,
            after=_cursors.key(cursor),
            latest_of_order=latest_of_order,
        )
        found = await face.desk.redrive.find(wanted, rows_max=limit + 1)
        shown, following = _cursors.cut(found, limit, lambda each: (each.at, each.id))
        again = await face.desk.redrive.repeats([each.id for each in shown]) if latest_of_order else {}
        items = [replace(letter_for(each, caller), repeats=repeats_resource(again.get(each.id))) for each in shown]
        return Page(items, following)

    @get("/dead-letters/causes", operation_id="countDeadLetters", summary="Dead letters, grouped by topic and cause")
    async def causes(
        request: AnyRequest,
        order_id: OrderId = None,
        topic: Topic = None,
        cause: Cause = None,
        status: OfStatus = "OPEN",
        before: Before = None,
    ) -> CausesResource:
        caller = await face.reader(request)
        _must_have_a_zone(before)
        wanted = LetterFilter(order_key=order_id, topic=topic, cause=cause, statuses=_statuses(status), before=before)
        return CausesResource([cause_resource(each, caller) for each in await face.desk.redrive.causes(wanted)])

    return [find, causes]


def _one(face: Face) -> ControllerRouterHandler:
    @get("/dead-letters/{letter_id:uuid}", operation_id="showDeadLetter", summary="One dead letter with its record")
    async def show(request: AnyRequest, letter_id: FromPath[UUID]) -> DeadLetterDetails:
        caller = await face.reader(request)
        story = await letters.story(face.desk, letter_id)
        return DeadLetterDetails(
            letter=letter_for(story.letter, caller),
            content=content_resource(story.content, caller),
            stacktrace=story.content.stacktrace and words_for(caller, story.content.stacktrace),
            replay=replay_resource(story.replay, caller),
            same_record=[letter_for(each, caller) for each in story.same_record],
            acts=[act_resource(each, caller) for each in story.acts],
        )

    return show


class ReplayBody(ActBody, kw_only=True):
    """The body of a replay. `typeId`: the header `__TypeId__` that a partner's letter goes out with, in place of any."""

    type_id: TypeId | None = None
    dry_run: bool = False


class EditBody(ActBody, kw_only=True):
    """The body of an edit. `value`: the whole new value of the record, as text."""

    value: Annotated[str, Meta(max_length=VALUE_CHARS_MAX)]
    dry_run: bool = False


_replay: Final = msgspec.json.Decoder(ReplayBody)
_edit: Final = msgspec.json.Decoder(EditBody)
_discard: Final = msgspec.json.Decoder(ActBody)


def _acts(face: Face) -> list[ControllerRouterHandler]:
    @post(
        "/dead-letters/{letter_id:uuid}/replay",
        status_code=200,
        operation_id="replayDeadLetter",
        operation_class=json_body(ReplayBody),
        summary="Have a letter's record handled again, or say what that would do",
    )
    async def replay(request: AnyRequest, letter_id: FromPath[UUID]) -> ReplayedResource:
        operator, body = await face.act(request, _replay)
        await _must_be_as_seen(face.desk, letter_id, body)
        desk = face.desk
        if body.dry_run:
            letter = await letters.open_one(desk, letter_id)
            (told,) = await desk.rehearse([letter], body.type_id)
            return ReplayedResource(letter=letter_resource(letter), effect=effect_resource(told))
        await desk.redrive.replay(letter_id, operator, body.type_id)
        return ReplayedResource(letter=letter_resource(await letters.one(desk, letter_id)), effect=None)

    @post(
        "/dead-letters/{letter_id:uuid}/edit",
        status_code=200,
        operation_id="editDeadLetter",
        operation_class=json_body(EditBody),
        summary="Make an edited copy of a letter, or show the difference",
    )
    async def edit(request: AnyRequest, letter_id: FromPath[UUID]) -> EditedResource:
        operator, body = await face.act(request, _edit)
        await _must_be_as_seen(face.desk, letter_id, body)
        desk, value = face.desk, body.value.encode()
        letter = await letters.open_one(desk, letter_id)
        letters.check_value(letter.topic, value)
        before = (await desk.redrive.contents([letter_id]))[letter_id].value
        diff = await asyncio.to_thread(letters.difference, before, value)
        if body.dry_run:
            return EditedResource(letter=None, diff=diff)
        copy = await desk.redrive.edit(letter_id, value, operator)
        return EditedResource(letter=letter_resource(copy), diff=diff)

    @post(
        "/dead-letters/{letter_id:uuid}/discard",
        status_code=200,
        operation_id="discardDeadLetter",
        operation_class=json_body(ActBody),
        summary="Decide that a letter will not be replayed",
    )
    async def discard(request: AnyRequest, letter_id: FromPath[UUID]) -> DeadLetterResource:
        operator, body = await face.act(request, _discard)
        await _must_be_as_seen(face.desk, letter_id, body)
        await face.desk.redrive.discard(letter_id, operator)
        return letter_resource(await letters.one(face.desk, letter_id))

    return [replay, edit, discard]


async def _must_be_as_seen(desk: Desk, letter_id: UUID, body: ActBody) -> None:
    """A letter's version is its status, and only an OPEN letter can be acted on. Raises `NotPossible`, for an unknown letter as such."""
    if body.version != OPEN:
        await letters.one(desk, letter_id)
        raise NotPossible(
            f"the letter was {body.version} when it was shown; only an OPEN letter can be acted on", title=STALE
        )


def _must_have_a_zone(before: datetime | None) -> None:
    if before is not None and before.tzinfo is None:
        raise invalid("before", "must have a time zone, such as Z", "format")


def _statuses(status: str) -> list[Status] | None:
    return None if status == ANY else [status]  # type: ignore[list-item]  # one of the literals of `OfStatus`
