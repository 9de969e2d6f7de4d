"""The AsyncAPI 3 document of the order process: its topics, messages, headers and Kafka bindings, made from the messages' own classes.

The document says who sends and who receives, so `of` makes the document of one service: its operations, and the topics of these alone.
"""

from collections.abc import Iterator
from inspect import cleandoc
from typing import Any, Final

import msgspec

from ordersaga.contracts import headers
from ordersaga.contracts.codec import encode
from ordersaga.contracts.examples import EXAMPLES
from ordersaga.contracts.messages import Message
from ordersaga.contracts.schemas import schemas
from ordersaga.contracts.topics import (
    BY_MESSAGE,
    CONTRACT_VERSION,
    GROUPS,
    PARTITIONS_DEFAULT,
    TOPICS,
    Role,
    Topic,
    configs,
    letter_configs,
)

SCHEMAS: Final = "#/components/schemas/{name}"
BINDING_VERSION: Final = "0.5.0"
LETTER: Final = "DeadLetter"
HEADERS: Final = "RecordHeaders"
LETTER_HEADERS: Final = "DeadLetterHeaders"
NUMBERS: Final = ("retention.ms", "retention.bytes", "max.message.bytes")


def document(of: Role | None = None) -> dict[str, Any]:
    """The document as plain JSON values; `of`: of one service, with what it sends and receives."""
    topics = tuple(topic for topic in TOPICS if of in (None, topic.producer, *topic.consumers))
    letters = [topic for topic in topics if _gives_up(topic, of)]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "ordersaga" + (f": {of}" if of else ""),
            "version": CONTRACT_VERSION,
            "description": "The order process of an online shop over Kafka. Values are JSON as Jackson writes it. A reader ignores fields that it "
            "does not know, and takes an absent optional field for null. A record takes effect once, however often it arrives.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "{bootstrap}",
                "protocol": "kafka",
                "description": "The Kafka that all services share; SASL_SSL where its operators ask for it.",
                "variables": {"bootstrap": {"default": "127.0.0.1:9092"}},
            }
        },
        "channels": {topic.name: _channel(topic) for topic in topics}
        | {topic.dead_letters: _letter_channel(topic) for topic in letters},
        "operations": dict(_operations(topics, of)),
        "components": {
            "messages": {topic.message.__name__: _message(topic) for topic in topics}
            | ({LETTER: _letter()} if letters else {}),
            "schemas": {
                **schemas(topics, SCHEMAS),
                HEADERS: {"title": HEADERS, "type": "object", "properties": headers.RECORD},
                **({LETTER_HEADERS: _letter_headers()} if letters else {}),
            },
        },
    }


def _gives_up(topic: Topic, of: Role | None) -> bool:
    """Whether the document has the topic's dead letters: it is about a consumer of the topic, or about all."""
    return of is None or of in topic.consumers


def _channel(topic: Topic) -> dict[str, Any]:
    name = topic.message.__name__
    return {
        "address": topic.name,
        "title": topic.name,
        "summary": summary(topic.message),
        "description": _kept(topic),
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {"kafka": _topic_binding(topic.name, configs(topic))},
    }


def _letter_channel(topic: Topic) -> dict[str, Any]:
    return {
        "address": topic.dead_letters,
        "title": topic.dead_letters,
        "summary": f"Records of {topic.name} that {' or '.join(topic.consumers)} gave up.",
        "description": f"It has at least as many partitions as {topic.name}: a letter goes to the partition with its record's number.",
        "messages": {LETTER: {"$ref": f"#/components/messages/{LETTER}"}},
        "bindings": {"kafka": _topic_binding(topic.dead_letters, letter_configs())},
    }


def _topic_binding(name: str, wanted: dict[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {key: int(value) if key in NUMBERS else [value] for key, value in wanted.items()}
    return {
        "topic": name,
        "partitions": PARTITIONS_DEFAULT,
        "topicConfiguration": values,
        "bindingVersion": BINDING_VERSION,
    }


def _kept(topic: Topic) -> str:
    kept = (
        f"Kafka keeps a record for {topic.kept_days} days."
        if topic.kept_days
        else "Kafka keeps the last record of each key."
    )
    table = (
        " The last record of a key is a state: a new consumer reads the topic from its beginning."
        if topic.table
        else ""
    )
    return kept + table


def _operations(topics: tuple[Topic, ...], of: Role | None) -> Iterator[tuple[str, dict[str, Any]]]:
    for topic in topics:
        name = topic.message.__name__
        if topic.producer and of in (None, topic.producer):
            sends = _operation("send", topic.producer, topic.name, summary(topic.message))
            yield f"{topic.producer}Sends{name}", sends | _answered(topic)
        for consumer in topic.consumers:
            if of in (None, consumer):
                yield f"{consumer}Receives{name}", _receives(topic, consumer)
                what = f"Records of {topic.name} that {consumer} could not handle."
                yield f"{consumer}GivesUp{name}", _operation("send", consumer, topic.dead_letters, what)


def _receives(topic: Topic, consumer: Role) -> dict[str, Any]:
    receives = _operation("receive", consumer, topic.name, summary(topic.message))
    if group := GROUPS.get(consumer):
        group_id = {"type": "string", "default": group, "description": "A setting of the service."}
        receives["bindings"] = {"kafka": {"groupId": group_id, "bindingVersion": BINDING_VERSION}}
    return receives | _answered(topic)


def _answered(topic: Topic) -> dict[str, Any]:
    """What an operation says of a request's answer. A reply of AsyncAPI has one channel, so the other answers are in words alone."""
    if not topic.answers:
        return {}
    names = [kind.__name__ for kind in topic.answers]
    places = [BY_MESSAGE[kind].name for kind in topic.answers]
    said = " or ".join(f"{name} on {place}" for name, place in zip(names, places, strict=True))
    return {
        "description": f"Answered with {said}. The answer's {headers.CAUSATION_ID} is the request's {headers.MESSAGE_ID}.",
        "reply": {
            "channel": {"$ref": f"#/channels/{places[0]}"},
            "messages": [{"$ref": f"#/channels/{places[0]}/messages/{names[0]}"}],
        },
    }


def _correlation(kind: type[Message]) -> dict[str, str]:
    """Where the id stands that a request and its answer share."""
    if any(kind in topic.answers for topic in TOPICS):
        return {
            "location": f"$message.header#/{headers.CAUSATION_ID}",
            "description": f"The {headers.MESSAGE_ID} of the request. An answer with the request's own {headers.MESSAGE_ID} is taken, too.",
        }
    return {
        "location": f"$message.header#/{headers.MESSAGE_ID}",
        "description": f"An answer of ours carries it as its {headers.CAUSATION_ID}.",
    }


def _operation(action: str, role: str, channel: str, what: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": what,
        "tags": [{"name": role}],
    }


def _message(topic: Topic) -> dict[str, Any]:
    kind = topic.message
    name = kind.__name__
    return {
        "name": name,
        "title": name,
        "summary": summary(kind),
        "description": cleandoc(kind.__doc__ or ""),
        "contentType": "application/json",
        "headers": {"$ref": SCHEMAS.format(name=HEADERS)},
        "payload": {"$ref": SCHEMAS.format(name=name)},
        "correlationId": _correlation(kind),
        "bindings": {"kafka": _key(topic)},
        "examples": [{"name": "example", "payload": msgspec.json.decode(encode(EXAMPLES[kind]))}],
    }


def _key(topic: Topic) -> dict[str, Any]:
    field = next(each.encode_name for each in msgspec.structs.fields(topic.message) if each.name == topic.key)
    said = f"The message's {field} as text. We write it always, and do without it in a partner's record."
    return {"key": {"type": "string", "format": "uuid", "description": said}, "bindingVersion": BINDING_VERSION}


def _letter() -> dict[str, Any]:
    return {
        "name": LETTER,
        "title": "A dead letter",
        "summary": "A record that a service gave up: its key, value and headers as they were, then the headers of Spring's DeadLetterPublishingRecoverer.",
        "contentType": "application/octet-stream",
        "headers": {"$ref": SCHEMAS.format(name=LETTER_HEADERS)},
        "payload": {
            "title": "DeadLetterValue",
            "description": "The record's bytes. They may be no message of its topic.",
        },
        "bindings": {"kafka": {"bindingVersion": BINDING_VERSION}},
    }


def _letter_headers() -> dict[str, Any]:
    return {
        "title": LETTER_HEADERS,
        "type": "object",
        "properties": headers.RECORD | headers.LETTER,
        "required": list(headers.LETTER),
    }


def summary(kind: type[Message]) -> str:
    """The first line of a message's description: who sends it to whom, and what it says."""
    return cleandoc(kind.__doc__ or "").partition("\n")[0]
