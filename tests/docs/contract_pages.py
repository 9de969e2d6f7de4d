"""The contract as pages: `make contract` writes `docs/contract` from the AsyncAPI and OpenAPI documents, and a test compares the two."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ordersaga.cli.serve import application
from ordersaga.contracts import asyncapi
from ordersaga.contracts.topics import CONTRACT_VERSION
from ordersaga.http.documents import document
from ordersaga.settings import SERVICES, Settings

FOLDER: Final = Path(__file__).parents[2] / "docs" / "contract"
WRITTEN: Final = "Written by `make contract`; a test compares it with the code."
METHODS: Final = ("get", "post", "put", "patch", "delete")
DAY_MS: Final = 86_400_000

Json = dict[str, Any]


def pages() -> dict[str, str]:
    """The text of each page, by its file's name."""
    documents = {each: document(application(each)(Settings.of({}))) for each in SERVICES}
    paths = {path: item for each in documents.values() for path, item in each["paths"].items() if _is_operators(path)}
    schemas = {name: schema for each in documents.values() for name, schema in each["components"]["schemas"].items()}
    return {
        "topics.md": topics_page(asyncapi.document()),
        "operations.md": routes_page("The operators' routes of every service", "SERVICE", paths, schemas),
        **{
            f"{name}.md": routes_page(
                f"{name.capitalize()} over HTTP",
                name,
                {path: item for path, item in each["paths"].items() if not _is_operators(path)},
                each["components"]["schemas"],
            )
            for name, each in documents.items()
        },
    }


def _is_operators(path: str) -> bool:
    return path.startswith("/api/v1/operations")


# Topics -----------------------------------------------------------------------------------------------------------------


def topics_page(shown: Json) -> str:
    """Every topic with its message, and the headers."""
    operations = list(shown["operations"].values())
    names = [name for name, channel in shown["channels"].items() if asyncapi.LETTER not in channel["messages"]]
    parts = [
        f"# Topics and messages\n\n{WRITTEN} The same for programs: `ordersaga asyncapi` (AsyncAPI 3), `ordersaga contracts schemas`. Contract {CONTRACT_VERSION}.",
        _table("topic | message | from | to | kept", (_topic_row(shown, operations, name) for name in names)),
        *(_topic(shown, name) for name in names),
        _dead_letters(shown),
    ]
    return "\n\n".join(parts) + "\n"


def _topic_row(shown: Json, operations: list[Json], name: str) -> tuple[str, ...]:
    roles = {
        action: ", ".join(each["tags"][0]["name"] for each in operations if _is_of(each, name, action))
        for action in ("send", "receive")
    }
    (message,) = shown["channels"][name]["messages"]
    return (f"[`{name}`](#{name})", f"`{message}`", roles["send"], roles["receive"], _kept(shown["channels"][name]))


def _is_of(operation: Json, channel: str, action: str) -> bool:
    return bool(operation["channel"]["$ref"] == f"#/channels/{channel}" and operation["action"] == action)


def _is_request(operation: Json, channel: str) -> bool:
    return "reply" in operation and bool(operation["channel"]["$ref"] == f"#/channels/{channel}")


def _kept(channel: Json) -> str:
    configs = channel["bindings"]["kafka"]["topicConfiguration"]
    if configs["cleanup.policy"] == ["compact"]:
        return "the last record of each key"
    return f"{configs['retention.ms'] // DAY_MS} days"


def _topic(shown: Json, name: str) -> str:
    channel = shown["channels"][name]
    (message_name,) = channel["messages"]
    message = shown["components"]["messages"][message_name]
    example = json.dumps(message["examples"][0]["payload"], ensure_ascii=False)
    answered = {each["description"] for each in shown["operations"].values() if _is_request(each, name)}
    parts = [
        f"## {name}",
        f"`{message_name}`. {_prose(message['description'])}",
        *answered,
        _fields(shown, message_name),
        f"```json\n{example}\n```",
    ]
    return "\n\n".join(parts)


def _fields(shown: Json, name: str) -> str:
    schema = shown["components"]["schemas"][name]
    rows = [_field(field, said, field in schema["required"]) for field, said in schema["properties"].items()]
    inner = sorted(set(_references(schema)))
    tables = [_table("field | type | may be null", rows)]
    tables += [f"`{each}`:\n\n{_fields(shown, each)}" for each in inner]
    return "\n\n".join(tables)


def _field(name: str, said: Json, is_required: bool) -> tuple[str, ...]:
    return f"`{name}`", _type(said), "" if is_required else "yes"


def _references(said: Any) -> Iterator[str]:
    """The names of the schemas that a part of a document refers to."""
    if isinstance(said, dict):
        if isinstance(said.get("$ref"), str):
            yield said["$ref"].rpartition("/")[2]
        said = list(said.values())
    if isinstance(said, list):
        for each in said:
            yield from _references(each)


def _dead_letters(shown: Json) -> str:
    letter = shown["components"]["messages"][asyncapi.LETTER]
    letter_headers = shown["components"]["schemas"][asyncapi.LETTER_HEADERS]
    names = [name for name, channel in shown["channels"].items() if asyncapi.LETTER in channel["messages"]]
    limit = shown["channels"][names[0]]["bindings"]["kafka"]["topicConfiguration"]
    headers = letter_headers["properties"]
    required = letter_headers["required"]
    ours = [(f"`{name}`", _prose(said["description"])) for name, said in headers.items() if name not in required]
    springs = [(f"`{name}`", _prose(said["description"])) for name, said in headers.items() if name in required]
    return "\n\n".join(
        [
            "## Headers",
            "Nobody has to send any. Values are UTF-8 text.",
            _table("header | ", ours),
            "## Dead letters",
            f"{_prose(letter['summary'])} Each topic has one, kept for {limit['retention.ms'] // DAY_MS} days, at least as wide as its topic, with "
            f"room for {limit['max.message.bytes']} bytes:",
            "\n".join(f"- `{name}`" for name in names),
            _table("header | ", springs),
        ]
    )


# Routes -----------------------------------------------------------------------------------------------------------------


def routes_page(title: str, service: str, paths: Json, schemas: Json) -> str:
    """Routes, and the bodies that they take and answer."""
    parts = [
        f"# {title}",
        f"{WRITTEN} The same for programs: `ordersaga openapi {service}` (OpenAPI 3.1), and `/schema` of the running service.",
        *(_route(method, path, item[method]) for path, item in paths.items() for method in METHODS if method in item),
        "## Bodies",
        *(f"### {name}\n\n{_body(schemas[name])}" for name in sorted(_used(paths, schemas))),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _used(said: Any, schemas: Json) -> set[str]:
    """The names of the schemas that a part of a document refers to, directly or through others."""
    found: set[str] = set()
    new = set(_references(said))
    while new:
        found |= new
        new = {each for name in new for each in _references(schemas[name])} - found
    return found


def _route(method: str, path: str, operation: Json) -> str:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    answers = [
        (status, _prose(answer["description"]), _content(answer)) for status, answer in operation["responses"].items()
    ]
    parameters = [
        (f"`{each['name']}`", each["in"], _type(each["schema"]), _prose(each.get("description", "")))
        for each in operation.get("parameters", [])
    ]
    parts = [
        f"## {method.upper()} {path}",
        f"{_prose(operation['summary'])}.",
        f"Body: {_type(body)}" if body else "",
        _table("parameter | in | type | ", parameters) if parameters else "",
        _table("status | | body", answers),
    ]
    return "\n\n".join(part for part in parts if part)


def _content(answer: Json) -> str:
    return ", ".join(f"{_type(media['schema'])} ({kind})" for kind, media in answer.get("content", {}).items())


def _body(schema: Json) -> str:
    said = _prose(schema.get("description", ""))
    if "properties" not in schema:
        return said or _type(schema)
    required = schema.get("required", [])
    rows = [
        (f"`{name}`", _type(each), "yes" if name in required else "", _prose(each.get("description", "")))
        for name, each in schema["properties"].items()
    ]
    return "\n\n".join(part for part in (said, _table("field | type | required | ", rows)) if part)


# Both -------------------------------------------------------------------------------------------------------------------


def _type(said: Json) -> str:
    """A schema in a few words."""
    if "$ref" in said:
        return f"`{said['$ref'].rpartition('/')[2]}`"
    for several in ("anyOf", "oneOf"):
        if several in said:
            return " or ".join(_type(each) for each in said[several] if each.get("type") != "null")
    if "enum" in said:
        return " or ".join(f"`{each}`" for each in said["enum"])
    if said.get("type") == "array":
        return f"list of {_type(said.get('items', {}))}"
    kind = said.get("format") or said.get("type", "any JSON")
    kind = " or ".join(each for each in kind if each != "null") if isinstance(kind, list) else kind
    bounds = [
        f"{word} {said[key]:g}" if isinstance(said[key], float) else f"{word} {said[key]}"
        for key, word in (("minimum", "from"), ("maximum", "to"), ("maxLength", "at most"))
        if key in said
    ]
    text = " ".join([kind, *bounds])
    return f"{text} characters" if "maxLength" in said else text


def _prose(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("->", "→")


def _table(head: str, rows: Any) -> str:
    columns = head.split("|")
    lines = [f"| {head} |", "|" + "---|" * len(columns)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def write() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    write()
