"""Reads JSON that the strict decoder refuses, where its meaning is plain, as Jackson does: `25000.00` for an `int` is 25000.

Where Jackson 2 and Jackson 3 differ, Jackson 3 is followed: an absent number is no 0, and text behind the JSON is refused. Two habits of
both are not followed, since they change a value without a word: `1.5` for an `int`, and the number of a status for its word. A status in
another case is taken, though Jackson refuses it by default. Of an id with two different values none is taken. docs/dead-letters.md has the table.
"""

import base64
import binascii
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import inspect

from ordersaga.contracts.messages import Message

NOT_FREE_TEXT: Final = frozenset({"paymentKey", "requestId", "status"})
"""Texts that are compared, so that a broken character must not be replaced. Every other text is for people."""
IDS: Final = ("Id", "Key")
"""How the names of ids end. Any other field that is a UUID is an id, too."""
DIGITS_MAX: Final = 25
SHOWN_CHARS_MAX: Final = 60
MILLISECONDS_FROM: Final = Decimal(10**11)
"""As seconds this is a moment of the year 5138, as milliseconds one of 1973."""

_NUMBER: Final = re.compile(r"\s*[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,9})?\s*", re.ASCII)
_BASE64_UUID: Final = re.compile(r"\s*[\w+/-]{22}(?:==)?\s*", re.ASCII)
_MIDNIGHT: Final = re.compile(r"T24:00(?=(?::00(?:[.,]0+)?)?(?:Z|[+-]|$))")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_BOOLEANS: Final = {"true": True, "false": False, "1": True, "0": False}


class NotPlain(ValueError):
    """The JSON does not say what the message needs. The text says what is wrong and where."""


class _Number(str):
    """A JSON number as it is written."""


class _Object(dict[str, Any]):
    """A JSON object. `values_of`: all values of the fields that are there more than once."""

    values_of: dict[str, list[Any]]


def read(message: type[Message], value: bytes) -> Message:
    """The message in `value`. Raises `NotPlain`, `RecursionError`, and another `ValueError` for what is no JSON."""
    parsed = _parse(value)
    try:
        return msgspec.convert(_read(_type(message), parsed, "$"), message)
    except (NotPlain, msgspec.DecodeError) as error:
        raise NotPlain(_wrapping(parsed) or str(error)) from error


def accepts(kind: Any, value: bytes) -> bool:
    """Whether the JSON of one field is accepted for this type, on its own."""
    try:
        msgspec.convert(_read(inspect.type_info(kind), _parse(value), "$"), kind)
    except (ValueError, RecursionError, msgspec.DecodeError):
        return False
    return True


def _parse(value: bytes) -> Any:
    return json.loads(
        value.decode(json.detect_encoding(value)),
        object_pairs_hook=_object,
        parse_int=_Number,
        parse_float=_Number,
        parse_constant=_refuse_constant,
    )


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object(pairs)
    made.values_of = {}
    if len(made) < len(pairs):
        for name, value in pairs:
            made.values_of.setdefault(name, []).append(value)
    return made


def _refuse_constant(name: str) -> None:
    raise ValueError(f"JSON is malformed: {name} is no number of JSON")


@cache
def _type(message: type[Message]) -> inspect.Type:
    return inspect.type_info(message)


def _read(kind: inspect.Type, value: Any, path: str) -> Any:
    """The value as `msgspec.convert` accepts it for this type. What is not plain raises `NotPlain`, or is left for `convert` to refuse."""
    match _without_notes(kind):
        case inspect.UnionType(types=types):
            return _optional([each for each in types if not isinstance(each, inspect.NoneType)], value, path)
        case inspect.StructType() as struct:
            return _fields(struct, value, path)
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            if not isinstance(value, list):
                raise _unlike("a list", value, path)
            return [_read(item, each, f"{path}[{index}]") for index, each in enumerate(value)]
        case inspect.IntType():
            return _whole(value, path)
        case inspect.UUIDType():
            return _uuid(value, path)
        case inspect.DateTimeType():
            return _moment(value, path)
        case inspect.BoolType():
            return _boolean(value, path)
        case inspect.LiteralType(values=words):
            return _word(words, value, path)
        case inspect.StrType():
            return _text(value, path)
    return _builtin(value)


def _without_notes(kind: inspect.Type) -> inspect.Type:
    """The type itself, where it has a description or another note for generators."""
    return _without_notes(kind.type) if isinstance(kind, inspect.Metadata) else kind


def _optional(kinds: Sequence[inspect.Type], value: Any, path: str) -> Any:
    """The value of a field that may be absent. An empty text in place of another value is an absent one."""
    if value is None:
        return None
    if len(kinds) != 1:
        return _builtin(value)
    is_empty = isinstance(value, str) and not value.strip()
    return (
        None if is_empty and not isinstance(_without_notes(kinds[0]), inspect.StrType) else _read(kinds[0], value, path)
    )


def _fields(kind: inspect.StructType, value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, _Object):
        raise _unlike("an object", value, path)
    found = {}
    for field in kind.fields:
        name = field.encode_name
        if name not in value:
            continue
        where = f"{path}.{name}"
        found[name] = _read(field.type, value[name], where)
        if name.endswith(IDS) or isinstance(_without_notes(field.type), inspect.UUIDType):
            for other in value.values_of.get(name, ()):
                if _read(field.type, other, where) != found[name]:
                    raise NotPlain(f"the field {name} is there twice with different values - at `{where}`")
    return found


def _whole(value: Any, path: str) -> int:
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        raise _unlike("a whole number", value, path)
    number = _decimal(value, path)
    if number != number.to_integral_value():
        raise _unlike("a whole number", value, path)
    return int(number)


def _decimal(value: str, path: str) -> Decimal:
    """The number. One of many digits is refused before anything is computed: `1e999990` as an `int` takes seconds."""
    number = Decimal(value.strip())
    if number.adjusted() >= DIGITS_MAX:
        raise NotPlain(f"{_shown(value)} is too large - at `{path}`")
    return number


def _uuid(value: Any, path: str) -> UUID:
    if isinstance(value, str) and not isinstance(value, _Number):
        try:
            if _BASE64_UUID.fullmatch(value):
                standard = value.strip().replace("-", "+").replace("_", "/")
                return UUID(bytes=base64.b64decode(standard[:22] + "==", validate=True))
            return msgspec.convert(value.strip(), UUID)
        except (binascii.Error, msgspec.ValidationError):
            pass
    raise _unlike("a UUID", value, path)


def _moment(value: Any, path: str) -> datetime | str:
    """ISO 8601 with a zone, or seconds or milliseconds since 1970."""
    if not isinstance(value, str):
        raise _unlike("a time", value, path)
    try:
        if _NUMBER.fullmatch(value):
            number = _decimal(value, path)
            seconds = number / 1000 if abs(number) >= MILLISECONDS_FROM else number
            return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(seconds * 1_000_000))
        # In `2026-01-01T00:00:00+09:00[Asia/Seoul]` the offset decides; the zone's name is left out.
        moment = _iso(value.strip().partition("[")[0])
    except NotPlain:
        raise
    except (ValueError, OverflowError):
        raise _unlike("a time", value, path) from None
    if moment.tzinfo is None:
        raise NotPlain(f"the time {_shown(value)} has no zone - at `{path}`")
    return moment


def _iso(text: str) -> datetime:
    """A time of ISO 8601. 24:00 is the next day's midnight, and a leap second, 23:59:60, is the second before, as in Java."""
    midnight = _MIDNIGHT.sub("T00:00", text)
    if midnight != text:
        return datetime.fromisoformat(midnight) + timedelta(days=1)
    return datetime.fromisoformat(text.replace("T23:59:60", "T23:59:59"))


def _boolean(value: Any, path: str) -> bool:
    if isinstance(value, bool):
        return value
    known = _BOOLEANS.get(value.strip().lower()) if isinstance(value, str) else None
    if known is None:
        raise _unlike("true or false", value, path)
    return known


def _word(words: Sequence[Any], value: Any, path: str) -> str:
    meant = [word for word in words if isinstance(value, str) and value.strip().upper() == word and value.isascii()]
    if not meant or isinstance(value, _Number):
        raise _unlike(" or ".join(map(str, words)), value, path)
    word: str = meant[0]
    return word


def _text(value: Any, path: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        raise NotPlain(f"expected a text - at `{path}`")
    if path.rpartition(".")[2] not in NOT_FREE_TEXT:
        return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)
    if _SURROGATE.search(value):
        raise NotPlain(f"half of a character (a lone surrogate) is in an id or status - at `{path}`")
    return str(value)


def _builtin(value: Any) -> Any:
    """The value of a field of another type, which messages of other systems may have."""
    if isinstance(value, _Number):
        return msgspec.json.decode(value.encode())
    if isinstance(value, str):
        return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, dict):
        return {name: _builtin(each) for name, each in value.items()}
    return [_builtin(each) for each in value] if isinstance(value, list) else value


def _unlike(expected: str, value: Any, path: str) -> NotPlain:
    return NotPlain(f"expected {expected}, got {_shown(value)} - at `{path}`")


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = value if isinstance(value, _Number) else json.dumps(value, ensure_ascii=False)
    text = text.encode(errors="backslashreplace").decode()
    return text if len(text) <= SHOWN_CHARS_MAX else f"{text[:SHOWN_CHARS_MAX]}..."


# A message inside something else --------------------------------------------------------------------------------------


def _wrapping(parsed: Any) -> str | None:
    """What the message is wrapped in; None where it is not wrapped."""
    if isinstance(parsed, _Object) and parsed.keys() >= {"schema", "payload"}:
        inside = " of a Debezium change event" if _is_change(parsed["payload"]) else ""
        return f"an envelope of Kafka Connect (`schema` and `payload`){inside}: set `schemas.enable=false` for its converter"
    if _is_change(parsed):
        return "a change event of Debezium (`op`, `before`, `after`): let its event router or `ExtractNewRecordState` unwrap it"
    if not isinstance(parsed, str) or isinstance(parsed, _Number):
        return None
    if _is_json(parsed.encode(errors="replace")):
        return "JSON inside a JSON string: the sender encodes it twice; Kafka Connect sends text as it is with its StringConverter"
    try:
        is_bytes = _is_json(base64.b64decode(parsed, validate=True))
    except (ValueError, binascii.Error):
        is_bytes = False
    return "JSON in base64 inside a JSON string: the sender encodes bytes with a JSON serializer" if is_bytes else None


def _is_change(parsed: Any) -> bool:
    return isinstance(parsed, _Object) and parsed.keys() >= {"op", "before", "after"}


def _is_json(value: bytes) -> bool:
    try:
        inside = _parse(value)
        return isinstance(inside, dict | list | str) and not isinstance(inside, _Number)
    except (ValueError, RecursionError):
        return False
