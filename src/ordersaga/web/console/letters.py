"""Dead letters: by cause, one with its record and history, replay, discard, and edit with a difference to look at before it is saved."""

import base64
import binascii
import json
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from litestar import get, post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from ordersaga.operations.resources import (
    BytesResource,
    CausesResource,
    DeadLetterDetails,
    DeadLetterResource,
    EditedResource,
    ReplayedResource,
)
from ordersaga.settings import ServiceName
from ordersaga.web.accounts import User
from ordersaga.web.console import editing
from ordersaga.web.console.frame import Console, notice_of, wrong_fields
from ordersaga.web.console.reading import FACE
from ordersaga.web.console.staff import HOME
from ordersaga.web.desk import AnyRequest, Page, nothing
from ordersaga.web.services import Refused, side_by_side
from ordersaga.web.visit import Visit

PATH: Final = f"{HOME}/letters"
SHOWN: Final = 50
STATUSES: Final = ("OPEN", "REPLAYED", "RESOLVED", "DISCARDED", "SUPERSEDED", "ANY")
HEX_BYTES_MAX: Final = 4_096
HEX_ROW: Final = 16


class Part(Struct, frozen=True):
    """One service's dead letters. None: the service does not answer."""

    service: ServiceName
    causes: CausesResource | None
    letters: list[DeadLetterResource] | None
    next: str | None


def routes(console: Console) -> list[ControllerRouterHandler]:
    """The routes."""
    desk, reading, staff = console.desk, console.reading, console.staff

    @get(PATH)
    async def listed(request: AnyRequest) -> Page:
        visit = desk.visit(request)
        user = await staff.reader(request, visit)
        asked = _asked(request.query_params)
        wanted = [name for name in reading.ours if asked["service"] in ("", name)]
        parts = await side_by_side(*(_part(console, name, user, asked, request) for name in wanted))
        values = {"parts": parts, "asked": asked, "statuses": STATUSES, "link": _link(asked)}
        return console.page(visit, user, "letters.html", values)

    @get(f"{PATH}/{{service:str}}/{{letter_id:uuid}}")
    async def show(request: AnyRequest, service: FromPath[str], letter_id: FromPath[UUID]) -> Page:
        visit = desk.visit(request)
        user = await staff.reader(request, visit)
        return await _show(console, visit, user, console.service(service), letter_id)

    return [listed, show, *_acts(console), *_edits(console)]


def _asked(query: Any) -> dict[str, str]:
    asked = {name: str(query.get(name, "")).strip()[:300] for name in ("service", "topic", "cause", "order", "status")}
    asked["status"] = asked["status"] if asked["status"] in STATUSES else "OPEN"
    return asked


def _link(asked: dict[str, str]) -> Any:
    """Makes the address of this list with other conditions."""

    def link(**changes: str | None) -> str:
        return PATH + "?" + urlencode({name: value for name, value in (asked | changes).items() if value})

    return link


async def _part(console: Console, name: ServiceName, user: User, asked: dict[str, str], request: AnyRequest) -> Part:
    query = {"topic": asked["topic"], "orderId": asked["order"], "status": asked["status"]}
    listing = query | {"cause": asked["cause"], "limit": str(SHOWN)}
    if asked["service"]:
        listing["cursor"] = str(request.query_params.get("cursor", ""))
    reading = console.reading
    grouping = {each: value for each, value in query.items() if value}
    try:
        causes, page = await side_by_side(
            reading.part(name, "/dead-letters/causes", CausesResource, user, grouping),
            reading.letters(name, user, listing),
        )
    except Refused as refused:
        if refused.status != 400:
            raise
        return Part(name, CausesResource([]), [], None)  # an order id that is none
    return Part(name, causes, page and page.items, page and page.next)


async def _show(
    console: Console,
    visit: Visit,
    user: User,
    service: ServiceName,
    letter_id: UUID,
    more: dict[str, Any] | None = None,
    status: int = 200,
) -> Page:
    details = await console.reading.services.get(service, f"{FACE}/dead-letters/{letter_id}", DeadLetterDetails, user)
    if details is None:
        nothing()
    values: dict[str, Any] = {
        "service": service,
        "details": details,
        "letter": details.letter,
        "pretty": pretty(details.content.value),
        "dump": dump(details.content.value),
        "effect": None,
        "typed": {},
        "wrong": {},
    }
    return console.page(visit, user, "letter.html", values | (more or {}), status)


def pretty(value: BytesResource | None) -> str | None:
    """The value as JSON with one field a line; any other text as it is."""
    if value is None:
        return None
    try:
        told = json.dumps(json.loads(value.text), indent=2, ensure_ascii=False)
        return told.encode(errors="backslashreplace").decode()  # half of a pair, as `\ud83d`, fits no page
    except (ValueError, RecursionError):
        return value.text


def dump(value: BytesResource | None) -> str | None:
    """The bytes in hexadecimal, sixteen a line, as far as a page should show them; None: a reader may not see them."""
    if value is None or value.base64 is None:
        return None
    try:
        raw = base64.b64decode(value.base64)[:HEX_BYTES_MAX]
    except binascii.Error:
        return None
    rows = (raw[at : at + HEX_ROW] for at in range(0, len(raw), HEX_ROW))
    return "\n".join(
        f"{n * HEX_ROW:06x}  {row.hex(' '):<{HEX_ROW * 3}} {''.join(chr(b) if 32 <= b < 127 else '.' for b in row)}"
        for n, row in enumerate(rows)
    )


def _acts(console: Console) -> list[ControllerRouterHandler]:
    desk, reading, staff = console.desk, console.reading, console.staff

    @post(f"{PATH}/{{service:str}}/{{letter_id:uuid}}/replay")
    async def replay(request: AnyRequest, service: FromPath[str], letter_id: FromPath[UUID]) -> Page:
        """Replay a letter; with the button `dry` only say what that would do."""
        visit = desk.visit(request)
        user, form = await staff.operator(request, visit)
        name = console.service(service)
        dry = "dry" in form
        body = _body(form) | {"dryRun": dry} | ({"typeId": form["type_id"]} if form.get("type_id") else {})
        try:
            done = await reading.services.post(
                name, f"{FACE}/dead-letters/{letter_id}/replay", ReplayedResource, user, body
            )
        except Refused as refused:
            return await _refused(console, visit, user, name, letter_id, form, refused)
        if dry:
            return await _show(console, visit, user, name, letter_id, {"effect": done.effect, "typed": form})
        return desk.go(visit, f"{PATH}/{name}/{letter_id}", "console.replayed")

    @post(f"{PATH}/{{service:str}}/{{letter_id:uuid}}/discard")
    async def discard(request: AnyRequest, service: FromPath[str], letter_id: FromPath[UUID]) -> Page:
        visit = desk.visit(request)
        user, form = await staff.operator(request, visit)
        name = console.service(service)
        try:
            await reading.services.post(
                name, f"{FACE}/dead-letters/{letter_id}/discard", DeadLetterResource, user, _body(form)
            )
        except Refused as refused:
            return await _refused(console, visit, user, name, letter_id, form, refused)
        return desk.go(visit, f"{PATH}/{name}/{letter_id}", "console.discarded")

    return [replay, discard]


def _body(form: dict[str, str]) -> dict[str, Any]:
    return {"reason": form.get("reason", ""), "version": form.get("version", "")}


async def _refused(
    console: Console,
    visit: Visit,
    user: User,
    service: ServiceName,
    letter_id: UUID,
    form: dict[str, str],
    refused: Refused,
) -> Page:
    """The letter's page again: with the wrong fields named, or as the letter is now if somebody else has acted on it."""
    if refused.status == 400:
        more = {"wrong": wrong_fields(refused.problem), "typed": form}
        return await _show(console, visit, user, service, letter_id, more, 400)
    return console.desk.go(visit, f"{PATH}/{service}/{letter_id}", notice_of(refused))


def _edits(console: Console) -> list[ControllerRouterHandler]:
    desk, reading, staff = console.desk, console.reading, console.staff
    path = f"{PATH}/{{service:str}}/{{letter_id:uuid}}/edit"

    @get(path)
    async def begin(request: AnyRequest, service: FromPath[str], letter_id: FromPath[UUID]) -> Page:
        visit = desk.visit(request)
        user = await staff.reader(request, visit)
        name = console.service(service)
        details = await _details(console, name, letter_id, user)
        value = details.content.value.text if details.content.value else ""
        return _form(console, visit, user, name, details.letter, value, {})

    @post(path)
    async def edit(request: AnyRequest, service: FromPath[str], letter_id: FromPath[UUID]) -> Page:
        """First the difference, then, with the button `save`, the edited copy; with `replay` that copy is replayed, too."""
        visit = desk.visit(request)
        user, form = await staff.operator(request, visit)
        name = console.service(service)
        details = await _details(console, name, letter_id, user)
        saves = "save" in form or "replay" in form
        value = form.get("value", "") if saves or "whole" in form else editing.value_of(details.letter.topic, form)
        body = _body(form) | {"value": value, "dryRun": not saves}
        edit_path = f"{FACE}/dead-letters/{letter_id}/edit"
        try:
            done = await reading.services.post(name, edit_path, EditedResource, user, body)
        except Refused as refused:
            if refused.status == 400:
                wrong = wrong_fields(refused.problem)
                return _form(console, visit, user, name, details.letter, value, wrong, form, 400)
            return desk.go(visit, f"{PATH}/{name}/{letter_id}", notice_of(refused))
        if not saves or done.letter is None:
            values = {"service": name, "letter": details.letter, "diff": done.diff, "value": value, "typed": form}
            return console.page(visit, user, "difference.html", values)
        notice = "console.edited"
        if "replay" in form:
            copy = {"reason": form.get("reason", ""), "version": done.letter.version}
            try:
                replay_path = f"{FACE}/dead-letters/{done.letter.id}/replay"
                await reading.services.post(name, replay_path, ReplayedResource, user, copy)
                notice = "console.edited_replayed"
            except Refused as refused:
                notice = notice_of(refused)
        return desk.go(visit, f"{PATH}/{name}/{done.letter.id}", notice)

    return [begin, edit]


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
    wrong: dict[str, str],
    typed: dict[str, str] | None = None,
    status: int = 200,
) -> Page:
    values = {
        "service": service,
        "letter": letter,
        "fields": editing.fields_of(letter.topic, value),
        "value": value,
        "wrong": wrong,
        "typed": typed or {},
        "whole": "whole" in (typed or {}) or visit.path.endswith("?whole=1"),
    }
    return console.page(visit, user, "edit.html", values, status)
