"""The messages as Python dataclasses of the standard library, which msgspec and pydantic read and write as they are."""

from collections.abc import Iterator
from typing import Final

from ordersaga.contracts.code import GENERATED, Field, Kind, Record, records

TYPES: Final[dict[Kind, str]] = {
    "uuid": "UUID",
    "moment": "datetime",
    "text": "str",
    "int32": "int",
    "int64": "int",
    "boolean": "bool",
}
HEAD: Final = """from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID
"""


def files() -> Iterator[tuple[str, str]]:
    """One module. Its fields have the names of the wire."""
    found = list(records())
    topics = "".join(f'    "{each.topic}": {each.name},\n' for each in found if each.topic)
    parts = [
        f'"""Messages of the order process. {GENERATED}"""\n\n{HEAD}',
        *map(_class, found),
        f"TOPICS: dict[str, type] = {{\n{topics}}}\n",
    ]
    yield "ordersaga_messages.py", "\n\n".join(parts)


def _class(record: Record) -> str:
    doc = record.doc.replace("\n", "\n    ").replace("\n    \n", "\n\n")
    end = "\n    " if "\n" in doc else ""
    fields = "".join(f"    {_field(each)}\n" for each in record.fields)
    return f'@dataclass(frozen=True, kw_only=True)\nclass {record.name}:\n    """{doc}{end}"""\n\n{fields}'


def _field(field: Field) -> str:
    return f"{field.name}: {_type(field)} | None = None" if field.is_optional else f"{field.name}: {_type(field)}"


def _type(field: Field) -> str:
    if field.kind == "words":
        return f"Literal[{', '.join(map(repr, field.words))}]".replace("'", '"')
    if field.kind == "list":
        return f"tuple[{field.of}, ...]"
    return TYPES[field.kind]
