"""Dead letters for operators: one letter's whole story, and the difference that an edit makes."""

import difflib
import json
from collections.abc import Sequence
from uuid import UUID

import msgspec
from msgspec import Struct

from ordersaga.contracts import lenient
from ordersaga.contracts.codec import NOT_JSON
from ordersaga.contracts.messages import Message
from ordersaga.contracts.topics import BY_NAME
from ordersaga.http.fields import find_wrong_fields
from ordersaga.messaging import letters as stored
from ordersaga.messaging.acts import STALE, Act, NotPossible
from ordersaga.messaging.letters import Content, Letter, ReplayState
from ordersaga.messaging.refusal import FieldError
from ordersaga.messaging.texts import readable, storable
from ordersaga.operations.desk import Desk

DIFF_CONTEXT_LINES: int = 100


class Story(Struct, frozen=True):
    """A letter with its record's content, what became of its replay, all letters of the same record in order, and the acts on them."""

    letter: Letter
    content: Content
    replay: ReplayState | None
    same_record: Sequence[Letter]
    acts: Sequence[Act]


async def story(desk: Desk, letter_id: UUID) -> Story:
    """Everything known about a letter. Raises `NotPossible`."""
    letter = await one(desk, letter_id)
    content = (await desk.redrive.contents([letter.id]))[letter.id]
    replayed = letter.status not in ("OPEN", "DISCARDED")
    state = (await desk.redrive.replay_states([letter.id]))[letter.id] if replayed else None
    return Story(letter, content, state, *await desk.redrive.history(letter))


async def one(desk: Desk, letter_id: UUID) -> Letter:
    """The letter as it is now. Raises `NotPossible`."""
    found = await desk.redrive.by_ids([letter_id])
    if letter_id not in found:
        raise NotPossible(f"{desk.service} has no dead letter {letter_id}", "UNKNOWN")
    return found[letter_id]


async def open_one(desk: Desk, letter_id: UUID) -> Letter:
    """The letter, which must be open. Raises `NotPossible`."""
    letter = await one(desk, letter_id)
    if refusal := await desk.redrive.refusal(letter):
        raise NotPossible(refusal, title=STALE)
    return letter


def check_value(topic: str, value: bytes) -> None:
    """Raise `NotPossible`, with the fields that do not fit, unless the value is a message of the topic."""
    try:
        stored.check_value(topic, value)
    except NotPossible as error:
        model = BY_NAME[topic].message if topic in BY_NAME else None
        wrong = _wrong_fields(model, value) if model is not None and _is_json(value) else []
        named = [FieldError(f"value.{each.field}", each.message, each.code) for each in wrong if each.field != "body"]
        raise NotPossible(
            str(error), "INVALID", errors=named or [FieldError("value", str(error), "invalid")]
        ) from error


def _wrong_fields(model: type[Message], value: bytes) -> list[FieldError]:
    """The wrong fields of a message, without those that are written in another way and taken all the same, such as `25000.00`."""
    values = msgspec.json.decode(value, type=dict[str, msgspec.Raw]) if value.lstrip().startswith(b"{") else {}
    types = {field.encode_name: field.type for field in msgspec.structs.fields(model)}
    return [
        each
        for each in find_wrong_fields(model, value)
        if each.field not in values or not lenient.accepts(types[each.field], bytes(values[each.field]))
    ]


def _is_json(value: bytes) -> bool:
    try:
        msgspec.json.decode(value)
    except NOT_JSON:
        return False
    return True


def pretty(value: bytes | None) -> str:
    """JSON with one field a line; anything else unchanged."""
    if value is None:
        return "(no value)"
    try:
        return storable(json.dumps(json.loads(value), indent=2, ensure_ascii=False))
    except NOT_JSON:
        return readable(value) or "(empty)"


def difference(before: bytes | None, after: bytes) -> list[str]:
    """The difference that an edit makes, as lines of a unified diff."""
    return list(
        difflib.unified_diff(
            _lines(before),
            _lines(after),
            "the letter",
            "edited",
            lineterm="",
            n=DIFF_CONTEXT_LINES,
        )
    )


def _lines(value: bytes | None) -> list[str]:
    """A value as lines to compare. Those of JSON are without the comma at their end: a field that is added below changes nothing else."""
    lines = pretty(value).splitlines()
    return [each.removesuffix(",") for each in lines] if value is not None and _is_json(value) else lines
