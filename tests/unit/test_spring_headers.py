"""Spring Kafka's dead letter headers: ours have its names and widths, and both of its families are read back."""

import base64
import struct

import pytest

from ordersaga.contracts.headers import LETTER
from ordersaga.messaging import spring_headers
from ordersaga.messaging.handler import Record
from ordersaga.messaging.spring_headers import DeadLetterHeaders, Headers

GROUP = "order-group"
TOPIC = "payment-success-topic"
PARTITION, OFFSET, TIMESTAMP_MS = 2, 2, 1_795_396_789_620
DESERIALIZATION = "org.springframework.kafka.support.serializer.DeserializationException"

# What a running Spring Boot service wrote for a malformed record of this topic (the sample's own bytes; its stack trace is left out).
SAMPLE: dict[str, bytes] = {
    "kafka_dlt-exception-fqcn": DESERIALIZATION.encode(),
    "kafka_dlt-exception-cause-fqcn": DESERIALIZATION.encode(),
    "kafka_dlt-exception-message": b"failed to deserialize",
    "kafka_dlt-exception-stacktrace": b"(a Java stack trace)",
    "kafka_dlt-original-topic": base64.b64decode("cGF5bWVudC1zdWNjZXNzLXRvcGlj"),
    "kafka_dlt-original-partition": base64.b64decode("AAAAAg=="),
    "kafka_dlt-original-offset": base64.b64decode("AAAAAAAAAAI="),
    "kafka_dlt-original-timestamp": base64.b64decode("AAABogX85XQ="),
    "kafka_dlt-original-timestamp-type": b"CreateTime",
    "kafka_dlt-original-consumer-group": b"order-group",
}


def test_what_we_write_has_the_names_and_the_bytes_of_the_sample() -> None:
    written = dict(spring_headers.write(_record(), GROUP, DESERIALIZATION, "failed to deserialize"))
    assert list(written) == list(LETTER)  # what the AsyncAPI document says of them
    assert set(written) == set(SAMPLE)
    told_apart = "kafka_dlt-exception-stacktrace"
    assert {name: value for name, value in written.items() if name != told_apart} == {
        name: value for name, value in SAMPLE.items() if name != told_apart
    }


def test_a_javas_dead_letter_is_read() -> None:
    assert spring_headers.read(tuple(SAMPLE.items())) == DeadLetterHeaders(
        TOPIC,
        PARTITION,
        OFFSET,
        TIMESTAMP_MS,
        GROUP,
        DESERIALIZATION,
        "failed to deserialize",
        "(a Java stack trace)",
        1,
    )


def test_what_we_write_is_read_back_and_taken_off_again() -> None:
    own: Headers = (("message-id", b"m"), ("__TypeId__", b"payment"), ("empty", None))
    record = _record(own)
    headers = own + spring_headers.write(record, "ordersaga-order", "ValueError", "키 없음")
    failure = spring_headers.read(headers)
    assert (failure.topic, failure.partition, failure.offset) == (record.topic, record.partition, record.offset)
    assert (failure.group, failure.cause, failure.message) == ("ordersaga-order", "ValueError", "키 없음")
    assert spring_headers.without(headers) == own


RETRYABLE: Headers = (
    ("kafka_original-topic", b"stock-response-topic"),
    ("kafka_original-partition", struct.pack(">i", 7)),
    ("kafka_original-offset", struct.pack(">q", 1 << 40)),
    ("kafka_original-timestamp", struct.pack(">q", 5)),
    ("kafka_original-timestamp-type", b"LogAppendTime"),
    ("kafka_dlt-original-consumer-group", b"order-group"),
    ("kafka_exception-fqcn", b"org.springframework.kafka.listener.ListenerExecutionFailedException"),
    ("kafka_exception-cause-fqcn", b"java.lang.IllegalStateException"),
    ("kafka_exception-message", b"no such order"),
    ("kafka_exception-stacktrace", b"at ..."),
    ("retry_topic-original-timestamp", b"\x05"),
    ("retry_topic-backoff-timestamp", b"\x01\x9a"),
)


@pytest.mark.parametrize("attempts", [b"\x00\x00\x00\x04", b"\x04"], ids=["four bytes", "one byte"])
def test_a_letter_of_retryable_topic_is_read_with_its_attempts_in_either_width(attempts: bytes) -> None:
    failure = spring_headers.read((*RETRYABLE, ("retry_topic-attempts", attempts)))
    assert failure == DeadLetterHeaders(
        "stock-response-topic", 7, 1 << 40, 5, GROUP, "java.lang.IllegalStateException", "no such order", "at ...", 4
    )


def test_of_a_letter_that_came_through_retry_topics_the_first_topic_and_the_last_failure_count() -> None:
    last = (
        ("kafka_dlt-original-topic", b"stock-response-topic-retry-0"),
        ("kafka_dlt-exception-cause-fqcn", b"java.lang.Error"),
    )
    failure = spring_headers.read(RETRYABLE + last)
    assert (failure.topic, failure.cause) == ("stock-response-topic", "java.lang.Error")


def test_both_families_are_taken_off_and_nothing_else() -> None:
    others = (("kafka_deliveryAttempt", b"\x00\x00\x00\x01"), ("springDeserializerExceptionValue", b"\xac\xed"))
    own: Headers = (("__TypeId__", b"x"), ("kafka_custom", b"kept"), ("kafka_correlationId", b"kept"))
    assert spring_headers.without((*own[:1], *RETRYABLE, *tuple(SAMPLE.items()), *others, *own[1:])) == own


def test_a_key_failure_is_a_cause_too() -> None:
    failure = spring_headers.read(
        (("kafka_dlt-key-exception-fqcn", b"KeyError"), ("kafka_dlt-key-exception-message", b"k"))
    )
    assert (failure.cause, failure.message) == ("KeyError", "k")


@pytest.mark.parametrize("broken", [b"", b"\xff", b"\xff\xff\xff\xff", b"123456789", None])
def test_what_cannot_be_read_counts_as_missing(broken: bytes | None) -> None:
    names = (
        "kafka_dlt-original-partition",
        "kafka_dlt-original-offset",
        "retry_topic-attempts",
        "kafka_dlt-original-topic",
    )
    failure = spring_headers.read(tuple((name, broken) for name in names))
    assert (failure.partition, failure.offset, failure.attempts) == (None, None, 1)


def test_a_lost_type_id_is_put_back_and_one_that_is_there_is_only_replaced_when_told() -> None:
    lost: Headers = (("a", b"1"),)
    there: Headers = (("__TypeId__", b"old"), ("a", b"1"))
    assert spring_headers.with_type_id(lost, "new", instead=False) == (("a", b"1"), ("__TypeId__", b"new"))
    assert spring_headers.with_type_id(there, "new", instead=False) == there
    assert spring_headers.with_type_id(there, "new", instead=True) == (("a", b"1"), ("__TypeId__", b"new"))
    assert spring_headers.with_type_id(lost, None, instead=True) == lost


def _record(headers: Headers | None = None) -> Record:
    return Record(TOPIC, PARTITION, OFFSET, b"k", b"v", headers, TIMESTAMP_MS)
