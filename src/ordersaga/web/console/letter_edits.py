"""The edit of a dead letter: a form of its record, then the difference to look at, then the edited copy."""

from typing import Any, Final
from uuid import UUID

from litestar import get, post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler

from ordersaga.operations.resources import (
    VALUE_CHARS_MAX,
    DeadLetterDetails,
    DeadLetterResource,
    EditedResource,
    ReplayedResource,
)
from ordersaga.settings import ServiceName
from ordersaga.web.accounts import User
from ordersaga.web.console import editing
from ordersaga.web.console.frame import Console, notice_of, wrong_fields
from ordersaga.web.console.letters import PATH, body_of
from ordersaga.web.console.reading import FACE
from ordersaga.web.desk import AnyRequest, Page, nothing
from ordersaga.web.notices import Told
from ordersaga.web.services import Refused
from ordersaga.web.visit import Visit

WHOLE_CHARS: Final = 60_000
"""A longer value is edited as one text: it has too many fields, or fields that are too long for a line."""
EDIT: Final = f"{PATH}/{{service:str}}/{{letter_id:uuid}}/edit"


def routes(console: Console) -> list[ControllerRouterHandler]:
    """The routes."""
    return [_begin(console), _edit(console)]


def _begin(console: Console) -> ControllerRouterHandler:
    @get(EDIT)
    async def begin(request: AnyRequest, service: FromPath[str], letter_id: FromPath[UUID]) -> Page:
        visit = console.desk.visit(request)
        user = await console.staff.acting(request, visit)
        name = console.service(service)
        details = await _details(console, name, letter_id, user)
        value = details.content.value.text if details.content.value else ""
        return _form(console, visit, user, name, details.letter, value)

    return begin


def _edit(console: Console) -> ControllerRouterHandler:
    desk = console.desk

    @post(EDIT)
    async def edit(request: AnyRequest, service: FromPath[str], letter_id: FromPath[UUID]) -> Page:
        """First the difference, then, with the button `save`, the edited copy; with `replay` that copy is replayed, too.

        A button that adds an item to a list or removes one shows the form again.
        """
        visit = desk.visit(request)
        await console.staff.reader(request, visit)  # before a body is read that may be large
        user, form = await console.staff.operator(request, visit)
        name = console.service(service)
        letter = (await _details(console, name, letter_id, user)).letter
        saves = "save" in form or "replay" in form
        value = form.get("value", "") if saves or "whole" in form else editing.value_of(letter.topic, form)
        if editing.changes_a_list(form) and not saves:
            return _form(console, visit, user, name, letter, value, typed=form)
        body = body_of(form) | {"value": value, "dryRun": not saves}
        path = f"{FACE}/dead-letters/{letter_id}/edit"
        try:
            done = await console.reading.services.post(name, path, EditedResource, user, body)
        except Refused as refused:
            if refused.status in (400, 413):
                return _form(console, visit, user, name, letter, value, wrong_fields(visit, refused.problem), form)
            return desk.go(visit, f"{PATH}/{name}/{letter_id}", notice_of(refused))
        if not saves or done.letter is None:
            values = {"service": name, "letter": letter, "diff": done.diff, "value": value, "typed": form}
            return console.page(visit, user, "difference.html", values)
        notice = await _replayed(console, user, name, done.letter, form) if "replay" in form else Told("console.edited")
        return desk.go(visit, f"{PATH}/{name}/{done.letter.id}", notice)

    return edit


async def _replayed(
    console: Console, user: User, service: ServiceName, copy: DeadLetterResource, form: dict[str, str]
) -> Told:
    """Replay the edited copy. Returns the notice."""
    path = f"{FACE}/dead-letters/{copy.id}/replay"
    body = body_of(form) | {"version": copy.version}
    try:
        await console.reading.services.post(service, path, ReplayedResource, user, body)
    except Refused as refused:
        return notice_of(refused)
    return Told("console.edited_replayed")


async def _details(console: Console, service: ServiceName, letter_id: UUID, user: User) -> DeadLetterDetails:
    path = f"{FACE}/dead-letters/{letter_id}"
    return await console.reading.services.get(service, path, DeadLetterDetails, user) or nothing()


def _form(
    console: Console,
    visit: Visit,
    user: User,
    service: ServiceName,
    letter: DeadLetterResource,
    value: str,
    wrong: dict[str, str] | None = None,
    typed: dict[str, str] | None = None,
) -> Page:
    """The form: of the message's fields; of the whole value as one text, if that is wanted or the fields are too many; or, of a value that is
    too large for either, how else it is edited."""
    typed, bytes_max = typed or {}, console.desk.settings.http_edit_bytes_max
    fields = editing.fields_of(letter.topic, value)
    whole = "whole" in typed or visit.path.endswith("?whole=1") or not fields
    too_many = not whole and (editing.bytes_of(value, fields or ()) > bytes_max or len(value) > WHOLE_CHARS)
    values: dict[str, Any] = {
        "service": service,
        "letter": letter,
        "fields": None if whole or too_many else fields,
        "too_many": too_many,
        "size": len(value.encode()),
        "fits": editing.bytes_of(value) <= bytes_max and len(value) <= VALUE_CHARS_MAX,
        "bytes_max": bytes_max,
        "chars_max": VALUE_CHARS_MAX,
        "value": value,
        "wrong": wrong or {},
        "typed": typed,
    }
    return console.page(visit, user, "edit.html", values, 400 if wrong else 200)
