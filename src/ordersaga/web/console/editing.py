"""A form of a message, made of the message's JSON schema, and the message that such a form becomes. Pure.

A field's name in the form is its path in the value, as the service names wrong fields: `value.products[0].quantity`.
"""

import json
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from ordersaga.contracts.topics import BY_NAME

ROOT: Final = "value"
PATH: Final = re.compile(r"\.([A-Za-z0-9_]+)|\[(\d{1,4})\]")
ADD: Final = "add:"
REMOVE: Final = "remove:"
"""What the names of buttons begin with; the rest is the path of a list, or of one of its items."""
ROOM_BYTES: Final = 8_192
"""What a form has beside the value: a token, a reason of any language, what somebody adds."""
HEADS: Final = ("list", "item")
"""Kinds of fields that have no value of their own."""


class Field(Struct, frozen=True):
    """One field of the form. `kind`: text, number, choice, list (the head of a list), or item (that of one of its elements). `nullable`: empty
    means null."""

    path: str
    label: str
    kind: str
    value: str = ""
    nullable: bool = False
    options: tuple[str, ...] = ()
    least: int | None = None
    most: int | None = None
    chars_max: int | None = None
    holds_objects: bool = False


def fields_of(topic: str, value: str) -> list[Field] | None:
    """The form's fields. None: the topic has no message of ours, or the value is no JSON object; then the whole value is edited as text."""
    if topic not in BY_NAME:
        return None
    try:
        there = json.loads(value)
    except (ValueError, RecursionError):
        return None
    if not isinstance(there, dict):
        return None
    schema = msgspec.json.schema(BY_NAME[topic].message)
    return list(_fields(schema, schema.get("$defs", {}), there, ROOT))


def value_of(topic: str, form: dict[str, str]) -> str:
    """The JSON that a form says, with what its buttons add to lists and remove from them.

    Fields that the schema does not know come from the form's hidden `value` as they are.
    """
    try:
        before = json.loads(form.get("value", "{}"))
    except (ValueError, RecursionError):
        before = {}
    fields = fields_of(topic, json.dumps(before)) or []
    said = before if isinstance(before, dict) else {}
    for field in fields:
        if field.kind not in HEADS and field.path in form:
            steps, read = _steps(field.path), _read(field, form[field.path])
            if read is not None or _is_there(said, steps):
                _put(said, steps, read)
    for field in fields:
        if field.kind == "list" and ADD + field.path in form:
            _add(said, _steps(field.path), {} if field.holds_objects else "")
    # The last item first: the others keep their numbers until it is their turn.
    for path in [each.path for each in fields if each.kind == "item" and REMOVE + each.path in form][::-1]:
        _remove(said, _steps(path))
    return json.dumps(said, ensure_ascii=False).encode(errors="backslashreplace").decode()


def changes_a_list(form: dict[str, str]) -> bool:
    """Whether a button was pressed that adds an item or removes one, and not the one that goes on."""
    return any(name.startswith((ADD, REMOVE)) for name in form)


def bytes_of(value: str, fields: Iterable[Field] = ()) -> int:
    """How many bytes a form with this value has at most, as a browser sends it; with its fields, or the whole value as one text.

    The console sends the value on to the service as a text in JSON, which may be longer.
    """
    pairs = [("value", value), *((each.path, each.value) for each in fields if each.kind not in HEADS)]
    return ROOM_BYTES + max(len(urlencode(pairs)), len(msgspec.json.encode(value)))


def _fields(schema: dict[str, Any], known: dict[str, Any], value: Any, path: str) -> Iterator[Field]:
    schema, nullable = _resolved(schema, known)
    label = path.removeprefix(f"{ROOT}.")
    kind = schema.get("type")
    if kind == "object" and "properties" in schema:
        there = value if isinstance(value, dict) else {}
        for name, of_it in schema["properties"].items():
            yield from _fields(of_it, known, there.get(name), f"{path}.{name}")
    elif kind == "array":
        items, _ = _resolved(schema.get("items", {}), known)
        yield Field(path, label, "list", holds_objects="properties" in items)
        for n, each in enumerate(value if isinstance(value, list) else []):
            yield Field(f"{path}[{n}]", f"{label}[{n}]", "item")
            yield from _fields(schema.get("items", {}), known, each, f"{path}[{n}]")
    else:
        shown = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        shown = shown.encode(errors="backslashreplace").decode()  # half of a pair, as `\ud83d`, fits no page
        options = tuple(str(each) for each in schema.get("enum", ()))
        form_kind = "choice" if options else "number" if kind == "integer" else "text"
        yield Field(
            path,
            label,
            form_kind,
            shown,
            nullable,
            options,
            schema.get("minimum"),
            schema.get("maximum"),
            schema.get("maxLength"),
        )


def _resolved(schema: dict[str, Any], known: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The schema behind references and `anyOf` with null, and whether null fits."""
    nullable = False
    while True:
        if "$ref" in schema:
            schema = known[schema["$ref"].rpartition("/")[2]]
        elif "anyOf" in schema:
            others = [each for each in schema["anyOf"] if each.get("type") != "null"]
            nullable |= len(others) < len(schema["anyOf"])
            schema = others[0]
        else:
            return schema, nullable


def _read(field: Field, text: str) -> Any:
    if text == "" and field.nullable:
        return None
    if field.kind == "number" and re.fullmatch(r"-?\d{1,19}", text):
        return int(text)
    return text


def _steps(path: str) -> list[str | int]:
    return [name or int(number) for name, number in PATH.findall(path)]


def _is_there(value: Any, steps: list[str | int]) -> bool:
    try:
        for step in steps:
            value = value[step]
    except (KeyError, IndexError, TypeError):
        return False
    return True


def _put(value: Any, steps: list[str | int], to: Any) -> None:
    """Set what is behind the steps. What stands there in the place of an object gives way to one."""
    for step, following in pairwise(steps):
        if isinstance(following, str) and not (_is_there(value, [step]) and isinstance(value[step], dict)):
            value[step] = {}
        value = value[step]
    value[steps[-1]] = to


def _add(value: Any, steps: list[str | int], item: Any) -> None:
    """Add an item to a list, which is begun if something else stands in its place."""
    there = value
    for step in steps:
        there = there[step] if _is_there(there, [step]) else None
    _put(value, steps, [*there, item] if isinstance(there, list) else [item])


def _remove(value: Any, steps: list[str | int]) -> None:
    try:
        for step in steps[:-1]:
            value = value[step]
        del value[steps[-1]]
    except (KeyError, IndexError, TypeError):
        return
