"""The messages as Java records for Jackson 2 and 3, whose annotations are the same."""

from collections.abc import Iterator
from typing import Final

from ordersaga.contracts.code import GENERATED, Field, Kind, Record, records

TYPES: Final[dict[Kind, str]] = {
    "uuid": "UUID",
    "moment": "Instant",
    "text": "String",
    "int32": "Integer",
    "int64": "Long",
    "boolean": "Boolean",
}
IMPORTS: Final = {"UUID": "java.util.UUID", "Instant": "java.time.Instant", "List": "java.util.List"}


def files(package: str = "com.example.ordersaga") -> Iterator[tuple[str, str]]:
    """A file for each record. A reader ignores fields that it does not know, and a field that is absent or null is null.

    Numbers are boxed, since a missing `int` is 0 to Jackson 2 and an error to Jackson 3.
    """
    for record in records():
        yield f"{record.name}.java", _file(record, package)


def _file(record: Record, package: str) -> str:
    kinds = [_type(field) for field in record.fields]
    names = {kind.partition("<")[0] for kind in kinds}
    used = [IMPORTS[each] for each in IMPORTS if each in names]
    annotations = ["com.fasterxml.jackson.annotation.JsonIgnoreProperties"]
    if "Instant" in names:
        annotations.insert(0, "com.fasterxml.jackson.annotation.JsonFormat")
    imports = "\n".join(f"import {each};" for each in (*annotations, *sorted(used)))
    fields = ",\n".join(f"    {_annotated(field)} {field.name}" for field in record.fields)
    body = "".join(_constant(record))
    return (
        f"package {package};\n\n{imports}\n\n{_doc(record)}"
        f"@JsonIgnoreProperties(ignoreUnknown = true)\npublic record {record.name}(\n{fields}\n) {{\n{body}}}\n"
    )


def _constant(record: Record) -> Iterator[str]:
    if record.topic:
        yield f'    public static final String TOPIC = "{record.topic}";\n'
    for field in record.fields:
        if field.kind == "words":
            yield f"\n    public enum {_type(field)} {{ {', '.join(field.words)} }}\n"


def _doc(record: Record) -> str:
    said = record.doc.replace("->", "to").replace("`", "")
    lines = "".join(f" * {line}".rstrip() + "\n" for line in (*said.splitlines(), "", GENERATED.replace("`", "")))
    return f"/**\n{lines} */\n"


def _annotated(field: Field) -> str:
    shape = "@JsonFormat(shape = JsonFormat.Shape.STRING) " if field.kind == "moment" else ""
    return shape + _type(field)


def _type(field: Field) -> str:
    if field.kind == "words":
        return field.name[0].upper() + field.name[1:]
    if field.kind == "list":
        return f"List<{field.of}>"
    return TYPES[field.kind]
