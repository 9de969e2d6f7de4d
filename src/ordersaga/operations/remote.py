"""A service over its HTTP face, for commands: the same reads and acts as at a desk, with the rights of the caller's token or headers."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import aiohttp
import msgspec

from ordersaga.contracts.codec import NOT_JSON
from ordersaga.messaging.acts import Act, NotPossible, Operator
from ordersaga.messaging.handler import Coordinates
from ordersaga.messaging.letters import CauseCount, Content, Letter, LetterFilter, ReplayState
from ordersaga.messaging.queues import Queue, QueueFilter
from ordersaga.operations.job_resources import JobItemResource, JobResource
from ordersaga.operations.parked_resources import DiscardedResource, QueueResource
from ordersaga.operations.ports import Refused
from ordersaga.operations.rehearsing import Rehearsed
from ordersaga.operations.resources import (
    PATH,
    BytesResource,
    CausesResource,
    DeadLetterDetails,
    DeadLetterResource,
    EditedResource,
    ServiceResource,
)
from ordersaga.settings import SERVICES, ServiceName

ROWS_AT_ONCE: Final = 200
CALL_S: Final = 30.0
POLL_EVERY_S: Final = 0.2
OPEN: Final = "OPEN"


class Service:
    """The HTTP face of one service. Raises `NotPossible` for a refused act, `Refused`, and aiohttp's errors."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http: Final = http
        self._url: Final = url.rstrip("/") + PATH

    async def read(self, path: str, kind: type[Any], **query: object) -> Any:
        """What a read answers."""
        given = {name: str(value) for name, value in query.items() if value is not None}
        async with self._http.get(f"{self._url}/{path}".rstrip("/"), params=given) as answer:
            return msgspec.json.decode(await _body(answer), type=kind)

    async def act(self, path: str, kind: type[Any], body: Mapping[str, object]) -> Any:
        """What an act answers."""
        data, headers = msgspec.json.encode(body), {"Content-Type": "application/json"}
        async with self._http.post(f"{self._url}/{path}", data=data, headers=headers) as answer:
            return msgspec.json.decode(await _body(answer), type=kind)

    async def act_now(self, path: str, what: str, operator: Operator, kind: type[Any] = Any) -> Any:
        """An act on a thing. A command has shown no version before, so the thing's present one is taken."""
        seen = await self.read(path, _Versioned)
        return await self.act(f"{path}/{what}", kind, {"reason": operator.why, "version": seen.version})

    async def pages(self, path: str, kind: type[Any], rows_max: int | None = None, **query: object) -> list[Any]:
        """The items of a list, page by page, at most `rows_max`."""
        items: list[Any] = []
        cursor = None
        while rows_max is None or len(items) < rows_max:
            limit = ROWS_AT_ONCE if rows_max is None else min(ROWS_AT_ONCE, rows_max - len(items))
            page = await self.read(path, _Page, cursor=cursor, limit=limit, **query)
            items += msgspec.convert(page.items, list[kind])  # type: ignore[valid-type]
            cursor = page.next
            if cursor is None:
                break
        return items


class _Versioned(msgspec.Struct):
    version: str


class _Page(msgspec.Struct):
    items: list[Any]
    next: str | None


class _Problem(msgspec.Struct):
    title: str = ""
    detail: str = ""


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    body = await answer.read()
    if answer.status < 300:
        return body
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except NOT_JSON:
        problem = _Problem(body.decode(errors="replace")[:200])
    said = f"{problem.title}: {problem.detail}" if problem.detail else problem.title
    if answer.status in (400, 404, 409) and problem.title:
        raise NotPossible(problem.detail or problem.title)
    raise Refused(f"{answer.url.origin()} answers {answer.status}: {said}")


class RemoteDesk:
    """One service, as `OperatorsDesk` wants it."""

    def __init__(self, http: Service, service: ServiceName, attempts_max: int) -> None:
        self.http: Final = http
        """For routes that this service alone has."""
        self.service: Final[ServiceName] = service
        self.attempts_max: Final = attempts_max
        self.redrive: Final = RemoteLetters(http, service)
        self.queues: Final = RemoteQueues(http)

    async def rehearse(self, letters: Sequence[Letter], type_id: str | None) -> list[Rehearsed]:
        """What a replay of each letter would do, by a job of the service that is a dry run."""
        if not letters:
            return []
        wanted = {
            "act": "replay",
            "reason": "a dry run",
            "dryRun": True,
            "selection": {"ids": [letter.id for letter in letters]},
            "typeId": type_id,
        }
        job = await self.http.act("jobs", JobResource, wanted)
        while job.state != "ENDED":
            await asyncio.sleep(POLL_EVERY_S)
            job = await self.http.read(f"jobs/{job.id}", JobResource)
        items = await self.http.pages(f"jobs/{job.id}/items", JobItemResource)
        by_id = {letter.id: letter for letter in letters}
        return [Rehearsed(by_id[item.letter_id], item.detail or "", None) for item in items]


class RemoteLetters:
    """The dead letters of one service, as `Letters` wants them."""

    def __init__(self, http: Service, service: ServiceName) -> None:
        self._http: Final = http
        self.service: Final[ServiceName] = service

    async def find(self, wanted: LetterFilter, rows_max: int | None = None) -> list[Letter]:
        """The letters that match, the latest first."""
        query = _query(wanted)
        ids = wanted.ids if wanted.ids is not None else [None]
        found = [
            each
            for begins in ids
            for each in await self._http.pages("dead-letters", DeadLetterResource, rows_max, id=begins, **query)
        ]
        return [_letter(each) for each in found]

    async def by_ids(self, ids: Sequence[UUID]) -> dict[UUID, Letter]:
        """These letters; an id that no letter has is left out."""
        found = {}
        for each in ids:
            with contextlib.suppress(NotPossible):
                found[each] = _letter((await self._details(each)).letter)
        return found

    async def causes(self, wanted: LetterFilter) -> list[CauseCount]:
        """How many letters match, by topic, cause and status."""
        found = await self._http.read("dead-letters/causes", CausesResource, **_query(wanted))
        return [
            CauseCount(*(getattr(each, name) for name in CauseCount.__struct_fields__ if name != "last_said"))
            for each in found.items
        ]

    async def contents(self, ids: Sequence[UUID]) -> dict[UUID, Content]:
        """The contents of letters, by id."""
        return {each: _content(await self._details(each)) for each in ids}

    async def history(self, letter: Letter) -> tuple[list[Letter], list[Act]]:
        """All letters of one record, in order, and the acts on them."""
        details = await self._details(letter.id)
        acts = [Act(*(getattr(each, name) for name in Act.__struct_fields__)) for each in details.acts]
        return [_letter(each) for each in details.same_record], acts

    async def refusal(self, letter: Letter) -> str | None:
        """Why an act on the letter would be refused; None: the letter is open."""
        return None if letter.status == OPEN else f"dead letter {letter.id} is {letter.status} already"

    async def replay_states(self, ids: Sequence[UUID]) -> dict[UUID, ReplayState]:
        """The results of replayed letters, by id."""
        found = {each: (await self._details(each)).replay for each in ids}
        return {
            each: msgspec.convert(msgspec.to_builtins(state), ReplayState) for each, state in found.items() if state
        }

    async def replay(self, letter_id: UUID, operator: Operator, type_id: str | None = None) -> None:
        """Have the record of a letter handled again."""
        await self._act(letter_id, "replay", operator, Any, typeId=type_id)

    async def edit(self, letter_id: UUID, value: bytes, operator: Operator) -> Letter:
        """Add a copy of the letter with another value."""
        try:
            text = value.decode()
        except UnicodeDecodeError as error:
            raise NotPossible(f"the value is not UTF-8: {error}") from error
        edited = await self._act(letter_id, "edit", operator, EditedResource, value=text)
        return _letter(edited.letter)

    async def discard(self, letter_id: UUID, operator: Operator) -> None:
        """Close a letter without a replay."""
        await self._act(letter_id, "discard", operator, Any)

    async def _act(self, letter_id: UUID, what: str, operator: Operator, kind: Any, **more: object) -> Any:
        body = {"reason": operator.why, "version": OPEN, **more}
        return await self._http.act(f"dead-letters/{letter_id}/{what}", kind, body)

    async def _details(self, letter_id: UUID) -> DeadLetterDetails:
        details: DeadLetterDetails = await self._http.read(f"dead-letters/{letter_id}", DeadLetterDetails)
        return details


class RemoteQueues:
    """The parked records of one service, as `ParkedRecords` wants them."""

    def __init__(self, http: Service) -> None:
        self._http: Final = http

    async def find(self, wanted: QueueFilter) -> list[Queue]:
        """The queues that match."""
        query: dict[str, Any] = {"orderId": wanted.order_key, "topic": wanted.topic, "cause": wanted.cause}
        return [_queue(each) for each in await self._http.pages("parked", QueueResource, **query)]

    async def retry(self, first: Coordinates, operator: Operator) -> None:
        """Make a queue's first record due now."""
        await self._http.act_now(f"parked/{first}", "retry", operator)

    async def discard(self, first: Coordinates, operator: Operator) -> int:
        """Discard a queue's first record. Returns how many records the queue has left."""
        discarded: DiscardedResource = await self._http.act_now(
            f"parked/{first}", "discard", operator, DiscardedResource
        )
        return discarded.waiting


def _query(wanted: LetterFilter) -> dict[str, Any]:
    status = "ANY" if wanted.statuses is None else wanted.statuses[0]
    at: datetime | None = wanted.before
    return {
        "orderId": wanted.order_key,
        "topic": wanted.topic,
        "cause": wanted.cause,
        "status": status,
        "before": at and at.isoformat(),
    }


def _letter(shown: DeadLetterResource) -> Letter:
    names = [each for each in Letter.__struct_fields__ if each != "said"]
    own = {name: getattr(shown, "order_id" if name == "order_key" else name) for name in names}
    return msgspec.convert(own, Letter)


def _queue(shown: QueueResource) -> Queue:
    return Queue(
        shown.topic,
        shown.partition,
        shown.offset,
        shown.order_id,
        shown.attempts,
        shown.attempts_before_replay,
        shown.due_at,
        shown.cause,
        shown.reason,
        shown.parked_at,
        shown.records,
    )


def _content(details: DeadLetterDetails) -> Content:
    shown = details.content
    headers = tuple((each.name, _bytes(each.value)) for each in shown.headers)
    return Content(_bytes(shown.key), _bytes(shown.value), headers, shown.timestamp_ms, details.stacktrace)


def _bytes(shown: BytesResource | None) -> bytes | None:
    """The bytes; for a reader the text without personal data."""
    if shown is None:
        return None
    return base64.b64decode(shown.base64) if shown.base64 is not None else shown.text.encode()


@contextlib.asynccontextmanager
async def open_remote(url: str, headers: Mapping[str, str]) -> AsyncIterator[RemoteDesk]:
    """The service at an address. Raises `Refused`, `NotPossible` and aiohttp's errors."""
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=CALL_S)) as http:
        face = Service(http, url)
        about = await face.read("", ServiceResource)
        known = [name for name in SERVICES if name == about.service]
        if not known:
            raise Refused(f"{url} is the service {about.service}, which this command does not know")
        yield RemoteDesk(face, known[0], about.attempts_max)
