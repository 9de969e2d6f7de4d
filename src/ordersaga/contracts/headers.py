"""The headers of a record: those that we write on every record, Spring's type header, and those of a dead letter.

Nobody has to send any of them: a record without headers is handled like any other. Values are UTF-8 text, if their schema does not say otherwise.
"""

from typing import Any, Final

MESSAGE_ID: Final = "message-id"
CAUSATION_ID: Final = "causation-id"
TRACEPARENT: Final = "traceparent"
TYPE_ID: Final = "__TypeId__"

LETTER_PREFIX: Final = "kafka_dlt-"

Schemas = dict[str, dict[str, Any]]


def _text(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": description, **more}


def _big_endian(count: int, java: str, description: str) -> dict[str, Any]:
    return {
        "type": "string",
        "contentEncoding": "binary",
        "description": f"{description} {count} bytes, big-endian: Java's `{java}`.",
    }


RECORD: Final[Schemas] = {
    MESSAGE_ID: _text(
        "Names the record. Each of ours has one, and a record that is published twice has the same id both times. A partner need not send it.",
        format="uuid",
    ),
    CAUSATION_ID: _text(
        "The `message-id` of the record that led to this one, or its topic/partition/offset if it had no id. Absent where HTTP or a timer did.",
        maxLength=200,
    ),
    TRACEPARENT: _text(
        "W3C Trace Context. Each record of ours has one.", pattern="^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"
    ),
    TYPE_ID: _text(
        "The class that Spring's JsonDeserializer makes. We ignore it, and send it only on topics that ORDERSAGA_TYPE_IDS names."
    ),
}

LETTER: Final[Schemas] = {
    LETTER_PREFIX + name: schema
    for name, schema in {
        "original-topic": _text("The topic of the record that was given up."),
        "original-partition": _big_endian(4, "int", "Its partition."),
        "original-offset": _big_endian(8, "long", "Its offset."),
        "original-timestamp": _big_endian(8, "long", "Its time stamp in milliseconds since 1970."),
        "original-timestamp-type": _text("What the time stamp is.", enum=["CreateTime", "LogAppendTime"]),
        "original-consumer-group": _text("The consumer group that gave the record up."),
        "exception-fqcn": _text("The class of the error."),
        "exception-cause-fqcn": _text("The class of the error's root cause."),
        "exception-message": _text("What the error said."),
        "exception-stacktrace": _text("The error's stack trace; ours is one line."),
    }.items()
}
"""The headers of Spring Kafka's `DeadLetterPublishingRecoverer`, which every service of ours writes on `<topic>-dlt`, behind the record's own."""
