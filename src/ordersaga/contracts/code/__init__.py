"""The messages as types of other languages, made from their JSON Schemas: a file's name and its text for each.

Each of `java.py`, `typescript.py` and `python.py` has one function `files`. Nothing in a file needs ordersaga.
"""

from collections.abc import Iterator
from typing import Final, Literal

from msgspec import Struct

from ordersaga.contracts.schemas import Schema, schemas
from ordersaga.contracts.topics import CONTRACT_VERSION, TOPICS

Kind = Literal["uuid", "moment", "text", "int32", "int64", "boolean", "words", "list"]

GENERATED: Final = (
    f"From the contract of ordersaga, version {CONTRACT_VERSION}. Do not edit: `ordersaga contracts` writes it again."
)
TOPIC_OF: Final = {topic.message.__name__: topic.name for topic in TOPICS}
_FORMATS: Final[dict[str, Kind]] = {"uuid": "uuid", "date-time": "moment", "int32": "int32", "int64": "int64"}


class Field(Struct, frozen=True):
    """A field by its name on the wire. `of`: the record of a list's elements. `words`: the values that it may have."""

    name: str
    kind: Kind
    is_optional: bool
    of: str = ""
    words: tuple[str, ...] = ()


class Record(Struct, frozen=True):
    """A message, or a part of one. `topic`: empty for a part."""

    name: str
    doc: str
    topic: str
    fields: tuple[Field, ...]


def records() -> Iterator[Record]:
    """All records, parts before the messages that have them."""
    for name, schema in sorted(schemas().items(), key=lambda each: each[0] in TOPIC_OF):
        fields = tuple(_field(each, of, schema) for each, of in schema["properties"].items())
        yield Record(name, schema["description"], TOPIC_OF.get(name, ""), fields)


def _field(name: str, said: Schema, within: Schema) -> Field:
    is_optional = name not in within["required"]
    kinds = said["type"] if isinstance(said["type"], list) else [said["type"]]
    if "enum" in said:
        return Field(name, "words", is_optional, words=tuple(said["enum"]))
    if "array" in kinds:
        return Field(name, "list", is_optional, str(said["items"]["$ref"]).rpartition("/")[2])
    if "boolean" in kinds:
        return Field(name, "boolean", is_optional)
    return Field(name, _FORMATS.get(said.get("format", ""), "text"), is_optional)
