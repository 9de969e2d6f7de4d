"""The stacks that leave dead letters, and the names of the headers in which each says where a record was and why it was given up.

Seen from each running: `tests/unit/golden_letters.json` has their records, with versions. MassTransit's are those that programs reading its error queues expect, since
.NET does not run where this was written.
"""

from collections.abc import Callable
from typing import Final

from msgspec import Struct

PARTITION_MAX: Final = 2**31 - 1
OFFSET_MAX: Final = 2**63 - 1


class Stack(Struct, frozen=True):
    """The headers of one stack; a name is empty where it has none. `number` reads its integers. `comes_first`: its headers stand before those of the record. `alters`: its
    letter has not all of the record: it makes the value again from an object, or leaves out the record's headers.
    `loses_key`: its letter has no key. `tries`: the header that is there once for each try."""

    name: str
    prefixes: tuple[str, ...]
    topic: str
    number: Callable[[bytes | None, int], int | None]
    partition: str = ""
    offset: str = ""
    timestamp: str = ""
    group: str = ""
    group_prefix: str = ""
    causes: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()
    stacktraces: tuple[str, ...] = ()
    attempts: str = ""
    tries: str = ""
    comes_first: bool = False
    alters: bool = False
    loses_key: bool = False


def decimal(value: bytes | None, most: int) -> int | None:
    """A number in digits, as most stacks write it."""
    if not value or not value.isdigit() or len(value) > 19:
        return None
    number = int(value)
    return number if number <= most else None


def binary(value: bytes | None, most: int) -> int | None:
    """A big-endian number of any width, as Spring writes it, or one in digits, as teams write it that have copied the headers' names.

    Digits as a big-endian number would be a partition or an offset that no topic has.
    """
    if value and value.isdigit():
        return decimal(value, most)
    number = int.from_bytes(value, "big", signed=True) if value and len(value) <= 8 else -1
    return number if 0 <= number <= most else None


STACKS: Final = (
    Stack(
        "Spring Kafka",
        ("kafka_dlt-",),
        "kafka_dlt-original-topic",
        binary,
        "kafka_dlt-original-partition",
        "kafka_dlt-original-offset",
        "kafka_dlt-original-timestamp",
        "kafka_dlt-original-consumer-group",
        causes=("kafka_dlt-exception-cause-fqcn", "kafka_dlt-exception-fqcn", "kafka_dlt-key-exception-fqcn"),
        messages=("kafka_dlt-exception-message", "kafka_dlt-key-exception-message"),
        stacktraces=("kafka_dlt-exception-stacktrace", "kafka_dlt-key-exception-stacktrace"),
        attempts="kafka_deliveryAttempt",
        alters=True,
    ),
    Stack(
        "Spring Kafka's retry topics",
        ("kafka_original-", "kafka_exception-", "kafka_key-exception-", "retry_topic-"),
        "kafka_original-topic",
        binary,
        "kafka_original-partition",
        "kafka_original-offset",
        "kafka_original-timestamp",
        "kafka_dlt-original-consumer-group",
        causes=("kafka_exception-cause-fqcn", "kafka_exception-fqcn", "kafka_key-exception-fqcn"),
        messages=("kafka_exception-message", "kafka_key-exception-message"),
        stacktraces=("kafka_exception-stacktrace", "kafka_key-exception-stacktrace"),
        alters=True,
    ),
    Stack(
        "Spring Cloud Stream",
        ("x-original-", "x-exception-"),
        "x-original-topic",
        binary,
        "x-original-partition",
        "x-original-offset",
        "x-original-timestamp",
        causes=("x-exception-fqcn",),
        messages=("x-exception-message",),
        stacktraces=("x-exception-stacktrace",),
    ),
    Stack(
        "Kafka Streams",
        ("__streams.errors.",),
        "__streams.errors.topic",
        decimal,
        "__streams.errors.partition",
        "__streams.errors.offset",
        causes=("__streams.errors.exception",),
        messages=("__streams.errors.message",),
        stacktraces=("__streams.errors.stacktrace",),
    ),
    Stack(
        "Kafka Connect",
        ("__connect.errors.",),
        "__connect.errors.topic",
        decimal,
        "__connect.errors.partition",
        "__connect.errors.offset",
        group="__connect.errors.connector.name",
        group_prefix="connect-",
        causes=("__connect.errors.exception.class.name",),
        messages=("__connect.errors.exception.message",),
        stacktraces=("__connect.errors.exception.stacktrace",),
    ),
    Stack(
        "a share group",
        ("__dlq.errors.",),
        "__dlq.errors.topic",
        decimal,
        "__dlq.errors.partition",
        "__dlq.errors.offset",
        group="__dlq.errors.group",
        messages=("__dlq.errors.message",),
        attempts="__dlq.errors.delivery.count",
        alters=True,
    ),
    Stack(
        "SmallRye",
        (
            "dead-letter-exception-class-name",
            "dead-letter-cause",
            "dead-letter-reason",
            "dead-letter-topic",
            "dead-letter-partition",
            "dead-letter-offset",
            "deserialization-failure-",
        ),
        "dead-letter-topic",
        decimal,
        "dead-letter-partition",
        "dead-letter-offset",
        causes=("dead-letter-cause-class-name", "dead-letter-exception-class-name"),
        messages=("dead-letter-cause", "dead-letter-reason"),
        comes_first=True,
        alters=True,
    ),
    Stack(
        "SmallRye's retry topics",
        ("delayed-retry-",),
        "delayed-retry-topic",
        decimal,
        "delayed-retry-partition",
        "delayed-retry-offset",
        "delayed-retry-original-timestamp",
        causes=("delayed-retry-cause-class-name", "delayed-retry-exception-class-name"),
        messages=("delayed-retry-cause", "delayed-retry-reason"),
        tries="delayed-retry-topic",
        comes_first=True,
        alters=True,
    ),
    Stack(
        "Watermill",
        ("reason_poisoned", "topic_poisoned", "handler_poisoned", "subscriber_poisoned", "_watermill_message_uuid"),
        "topic_poisoned",
        decimal,
        messages=("reason_poisoned",),
        loses_key=True,
    ),
    Stack(
        "MassTransit",
        ("MT-Fault-", "MT-Host-", "MT-Reason"),
        "",
        decimal,
        causes=("MT-Fault-ExceptionType",),
        messages=("MT-Fault-Message",),
        stacktraces=("MT-Fault-StackTrace",),
    ),
)
SPRING, RETRY_TOPICS = STACKS[0], STACKS[1]
RETRY_ATTEMPTS: Final = "retry_topic-attempts"
