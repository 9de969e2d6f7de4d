"""Finds all wrong fields of a body. The decoder stops at the first one; this module then decodes field by field."""

import re
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

import msgspec
from msgspec import Raw, Struct

from ordersaga.messaging.refusal import FieldCode, FieldError

ERRORS_MAX: Final = 100
NUL_MESSAGE: Final = "a text must not have the character NUL in it"
_CODE_OF_MESSAGE: Final[dict[str, FieldCode]] = {
    r"missing required": "missing",
    r"of length >=": "too_short",
    r"of length <=": "too_long",
    r"matching regex": "pattern",
    r"Expected .* >=? ": "too_small",
    r"Expected .* <=? |out of range": "too_large",
    r"Invalid UUID|Invalid (RFC|base)": "format",
    r"Invalid enum": "unknown",
    r"^Expected ": "type",
}
_CODES: Final = [(re.compile(pattern), code) for pattern, code in _CODE_OF_MESSAGE.items()]


def code_of(message: str) -> FieldCode:
    """The stable code of a decoder's message."""
    return next((code for pattern, code in _CODES if pattern.search(message)), "invalid")


def find_wrong_fields(model: Any, body: bytes) -> list[FieldError]:
    """The fields that do not fit the model, at most `ERRORS_MAX`, of a JSON body that the decoder refused."""
    found: list[FieldError] = []
    for error in _wrong(model, body, ""):
        found.append(error)
        if len(found) == ERRORS_MAX:
            break
    return found


def texts_with_nul(value: Any, path: str = "") -> list[FieldError]:
    """The fields with the character NUL, which PostgreSQL stores in no text, at most `ERRORS_MAX`."""
    return list(_with_nul(msgspec.to_builtins(value), path))[:ERRORS_MAX]


def _wrong(kind: Any, raw: bytes | Raw, path: str) -> Iterator[FieldError]:
    try:
        value = msgspec.json.decode(raw, type=kind)
        yield from texts_with_nul(value, path)
        return
    except msgspec.ValidationError as error:
        message = str(error).partition(" - at `")[0]
    inner, constraints = _unwrapped(kind)
    parts: Iterator[FieldError] = iter(())
    if isinstance(inner, type) and issubclass(inner, Struct) and _fits(dict[str, Raw], raw):
        parts = _wrong_in_struct(inner, msgspec.json.decode(raw, type=dict[str, Raw]), path)
    elif get_origin(inner) is list and _fits(Annotated[list[Raw], *constraints], raw):
        (item,) = get_args(inner)
        items = msgspec.json.decode(raw, type=list[Raw])
        parts = (error for n, each in enumerate(items) for error in _wrong(item, each, f"{path}[{n}]"))
    first = next(parts, None)
    yield first or FieldError(path or "body", message, code_of(message))
    yield from parts


def _wrong_in_struct(model: type[Struct], values: dict[str, Raw], path: str) -> Iterator[FieldError]:
    for field in msgspec.structs.fields(model):
        where = f"{path}.{field.encode_name}".removeprefix(".")
        if field.encode_name in values:
            yield from _wrong(field.type, values[field.encode_name], where)
        elif field.required:
            yield FieldError(where, "is missing", "missing")


def _unwrapped(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """The type without `| None` and `Annotated`, and its constraints."""
    constraints: tuple[Any, ...] = ()
    while True:
        if get_origin(kind) in (Union, UnionType):
            members = [each for each in get_args(kind) if each is not type(None)]
            if len(members) != 1:
                return kind, constraints
            kind = members[0]
        elif get_origin(kind) is Annotated:
            kind, *found = get_args(kind)
            constraints += tuple(found)
        else:
            return kind, constraints


def _fits(kind: Any, raw: bytes | Raw) -> bool:
    try:
        msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError:
        return False
    return True


def _with_nul(value: Any, path: str) -> Iterator[FieldError]:
    if isinstance(value, str):
        if "\0" in value:
            yield FieldError(path or "body", NUL_MESSAGE, "pattern")
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _with_nul(each, f"{path}.{name}".removeprefix("."))
    elif isinstance(value, list):
        for n, each in enumerate(value):
            yield from _with_nul(each, f"{path}[{n}]")
