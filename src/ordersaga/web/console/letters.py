"""Dead letters: by cause, one with its record and history, replay and discard. `letter_edits.py` has their edit."""

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
    ReplayedResource,
)
from ordersaga.settings import ServiceName
from ordersaga.web.accounts import User
from ordersaga.web.console.frame import Console, is_id, notice_of, wrong_fields
from ordersaga.web.console.reading import FACE, Reading
from ordersaga.web.console.staff import HOME
from ordersaga.web.desk import AnyRequest, Page, nothing
from ordersaga.web.services import Refused, Unavailable, side_by_side
from ordersaga.web.visit import Visit

PATH: Final = f"{HOME}/letters"
SHOWN: Final = 50
STATUSES: Final = ("OPEN", "REPLAYED", "RESOLVED", "PUBLISHED", "DISCARDED", "SUPERSEDED", "ANY")
HEX_BYTES_MAX: Final = 4_096
HEX_ROW: Final = 16


class Part(Struct, frozen=True):
    """One service's dead letters. None: the service does not answer."""

    service: ServiceName
    causes: CausesResource | None
    letters: list[DeadLetterResource] | None
    next: str | None

    @property
    def is_empty(self) -> bool:
        """Whether the service answers, and has none."""
        return self.causes is not None and self.letters == []


def routes(console: Console) -> list[ControllerRouterHandler]:
    """The routes."""
    desk, reading, staff = console.desk, console.reading, console.staff

    @get(PATH)
    async def listed(request: AnyRequest) -> Page:
        visit = desk.visit(request)
        user = await staff.reader(request, visit)
        asked = _asked(request.query_params)
        if asked["id"]:
            found, away = await _by_id(console, user, asked["id"])
            if len(found) == 1 and not away:
                return desk.go(visit, f"{PATH}/{found[0][0]}/{found[0][1].id}")
            values = {"asked": asked, "found": found, "away": away, "statuses": STATUSES}
            return console.page(visit, user, "letters_found.html", values)
        wanted = [name for name in reading.ours if asked["service"] in ("", name)]
        found_parts = await side_by_side(*(_part(console, name, user, asked, request) for name in wanted))
        parts = sorted(found_parts, key=lambda each: each.is_empty)
        values = {"parts": parts, "asked": asked, "statuses": STATUSES, "link": _link(asked)}
        return console.page(visit, user, "letters.html", values)

    @get(f"{PATH}/{{service:str}}/{{letter_id:uuid}}")
    async def show(request: AnyRequest, service: FromPath[str], letter_id: FromPath[UUID]) -> Page:
        visit = desk.visit(request)
        user = await staff.reader(request, visit)
        return await _show(console, visit, user, console.service(service), letter_id)

    return [listed, show, *_acts(console)]


def _asked(query: Any) -> dict[str, str]:
    asked = {
        name: str(query.get(name, "")).strip()[:300] for name in ("service", "topic", "cause", "order", "status", "id")
    }
    asked["status"] = asked["status"] if asked["status"] in STATUSES else "OPEN"
    return asked


async def _by_id(
    console: Console, user: User, begins: str
) -> tuple[list[tuple[ServiceName, DeadLetterResource]], list[ServiceName]]:
    """The letters of all services, of any status, whose id begins so, and the services that do not answer."""
    ours, reading = console.reading.ours, console.reading
    if is_id(begins):
        path = f"{FACE}/dead-letters/{UUID(begins)}"
        known = await side_by_side(*(_one(reading, name, path, user) for name in ours))
        pages = [None if each is None else [one.letter for one in each] for each in known]
    else:
        query = {"id": begins.lower(), "status": "ANY", "limit": str(SHOWN)}
        lists = await side_by_side(*(reading.letters(name, user, query) for name in ours))
        pages = [page and page.items for page in lists]
    letters = [(name, each) for name, page in zip(ours, pages, strict=True) for each in page or ()]
    return letters, [name for name, page in zip(ours, pages, strict=True) if page is None]


async def _one(reading: Reading, name: ServiceName, path: str, user: User) -> list[DeadLetterDetails] | None:
    """The letter at this path, if there is one; None: the service does not answer."""
    try:
        found = await reading.services.get(name, path, DeadLetterDetails, user)
    except Unavailable:
        return None
    return [found] if found else []


def _link(asked: dict[str, str]) -> Any:
    """Makes the address of this list with other conditions."""

    def link(**changes: str | None) -> str:
        return PATH + "?" + urlencode({name: value for name, value in (asked | changes).items() if value})

    return link


async def _part(console: Console, name: ServiceName, user: User, asked: dict[str, str], request: AnyRequest) -> Part:
    query = {"topic": asked["topic"], "orderId": asked["order"], "status": asked["status"]}
    listing = query | {"cause": asked["cause"], "limit": str(SHOWN)}
    listing |= {} if asked["order"] else {"latestOfOrder": "true"}
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
        body = body_of(form) | {"dryRun": dry} | ({"typeId": form["type_id"]} if form.get("type_id") else {})
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
                name, f"{FACE}/dead-letters/{letter_id}/discard", DeadLetterResource, user, body_of(form)
            )
        except Refused as refused:
            return await _refused(console, visit, user, name, letter_id, form, refused)
        return desk.go(visit, f"{PATH}/{name}/{letter_id}", "console.discarded")

    return [replay, discard]


def body_of(form: dict[str, str]) -> dict[str, Any]:
    """The body of an act on a letter, as the form says it."""
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
        more = {"wrong": wrong_fields(visit, refused.problem), "typed": form}
        return await _show(console, visit, user, service, letter_id, more, 400)
    return console.desk.go(visit, f"{PATH}/{service}/{letter_id}", notice_of(refused))
