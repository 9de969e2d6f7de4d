"""A form of a message, made of the message's JSON schema, and the message that such a form becomes. Pure.

A field's name in the form is its path in the value, as the service names wrong fields: `value.products[0].quantity`.
"""

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

import msgspec
from msgspec import Struct

from ordersaga.contracts.topics import BY_NAME

ROOT: Final = "value"
PATH: Final = re.compile(r"\.([A-Za-z0-9_]+)|\[(\d{1,4})\]")
REMOVE: Final = "remove:"


class Field(Struct, frozen=True):
    """One field of the form. `kind`: text, number, choice, or item (the head of one element of a list). `nullable`: empty means null."""

    path: str
    label: str
    kind: str
    value: str = ""
    nullable: bool = False
    options: tuple[str, ...] = ()
    least: int | None = None
    most: int | None = None
    chars_max: int | None = None


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
    """The JSON that a form says. Fields that the schema does not know come from the form's hidden `value` as they are."""
    try:
        before = json.loads(form.get("value", "{}"))
    except (ValueError, RecursionError):
        before = {}
    fields = fields_of(topic, json.dumps(before)) or []
    said = before if isinstance(before, dict) else {}
    for field in fields:
        if field.kind != "item" and field.path in form:
            steps, read = _steps(field.path), _read(field, form[field.path])
            if read is not None or _is_there(said, steps):
                _put(said, steps, read)
    removed = sorted((name.removeprefix(REMOVE) for name in form if name.startswith(REMOVE)), reverse=True)
    for path in removed:
        _remove(said, _steps(path))
    return json.dumps(said, ensure_ascii=False).encode(errors="backslashreplace").decode()


def _fields(schema: dict[str, Any], known: dict[str, Any], value: Any, path: str) -> Iterator[Field]:
    schema, nullable = _resolved(schema, known)
    label = path.removeprefix(f"{ROOT}.")
    kind = schema.get("type")
    if kind == "object" and "properties" in schema:
        there = value if isinstance(value, dict) else {}
        for name, of_it in schema["properties"].items():
            yield from _fields(of_it, known, there.get(name), f"{path}.{name}")
    elif kind == "array":
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


def _remove(value: Any, steps: list[str | int]) -> None:
    try:
        for step in steps[:-1]:
            value = value[step]
        del value[steps[-1]]
    except (KeyError, IndexError, TypeError):
        return
