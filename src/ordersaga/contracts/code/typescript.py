"""The messages as TypeScript types: one module without dependencies."""

from collections.abc import Iterator
from typing import Final

from ordersaga.contracts.code import GENERATED, Field, Kind, Record, records
from ordersaga.contracts.headers import RECORD

TYPES: Final[dict[Kind, str]] = {
    "uuid": "string",
    "moment": "string",
    "text": "string",
    "int32": "number",
    "int64": "number",
    "boolean": "boolean",
}


def files() -> Iterator[tuple[str, str]]:
    """One module: an interface for each record, and `Topics`, which has the message of each topic."""
    found = list(records())
    topics = "".join(f"  {each.topic!r}: {each.name};\n" for each in found if each.topic).replace("'", '"')
    headers = "".join(f'  "{name}"?: string;\n' for name in RECORD)
    parts = [
        f"// {GENERATED}\n",
        *map(_interface, found),
        f"/** The message of each topic. */\nexport interface Topics {{\n{topics}}}\n",
        f"/** The headers of a record, as text. Nobody has to send any. */\nexport interface Headers {{\n{headers}}}\n",
    ]
    yield "ordersaga.ts", "\n".join(parts)


def _interface(record: Record) -> str:
    lines = "\n".join(f" * {line}".rstrip() for line in record.doc.splitlines())
    fields = "".join(f"  {_field(each)};\n" for each in record.fields)
    return f"/**\n{lines}\n */\nexport interface {record.name} {{\n{fields}}}\n"


def _field(field: Field) -> str:
    return f"{field.name}?: {_type(field)} | null" if field.is_optional else f"{field.name}: {_type(field)}"


def _type(field: Field) -> str:
    if field.kind == "words":
        return " | ".join(f'"{each}"' for each in field.words)
    if field.kind == "list":
        return f"readonly {field.of}[]"
    return TYPES[field.kind]
