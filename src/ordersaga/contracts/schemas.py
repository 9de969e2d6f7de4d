"""The JSON Schema of each message, made from its class: for documents, for code in other languages, and for validators."""

from inspect import cleandoc
from typing import Any, Final

import msgspec

from ordersaga.contracts.topics import TOPICS, Topic

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]


def schemas(topics: tuple[Topic, ...] = TOPICS, at: str = "#/$defs/{name}") -> dict[str, Schema]:
    """The schemas of the topics' messages, and of what is in them, by name; `at`: how one refers to another."""
    _, found = msgspec.json.schema_components([topic.message for topic in topics], ref_template=at)
    for each in found.values():
        each["description"] = cleandoc(each["description"])
        each["properties"] = {name: _nullable(said) for name, said in each["properties"].items()}
    return found


def _nullable(said: Schema) -> Schema:
    """An optional field as one schema with two types: of a choice between two schemas many generators make an untyped field."""
    kinds = [each for each in said.get("anyOf", ()) if each != {"type": "null"}]
    if len(kinds) != 1:
        return said
    return {**kinds[0], "type": [kinds[0]["type"], "null"], "default": None}


def schema_of(topic: Topic) -> Schema:
    """The schema of the topic's message as a document by itself. Fields that it does not name are allowed: a later version may send them."""
    within = schemas((topic,))
    name = topic.message.__name__
    return {"$schema": DIALECT, "$id": f"urn:ordersaga:{name}", **within.pop(name)} | (
        {"$defs": within} if within else {}
    )
