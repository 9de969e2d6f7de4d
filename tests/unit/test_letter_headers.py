"""Dead letters of each ecosystem are read as their real records have them: place, reason, group, attempts, and the record as it was first.

`golden_letters.json` has what each stack left on a queue when its consumer failed on the same record: `SOUND`, or `BAD`, which ends too early.
"""

import base64
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from ordersaga.messaging import letter_headers, spring_headers
from ordersaga.messaging.dead_letters import order_key
from ordersaga.messaging.handler import Record
from ordersaga.messaging.letter_headers import Failure
from ordersaga.messaging.spring_headers import Headers
from tests.unit.test_spring_headers import SAMPLE

GOLDEN = json.loads((Path(__file__).parent / "golden_letters.json").read_text())
ORDER = "8b91c74c-f28d-4f11-823a-8e727ff052c2"
SOUND = (
    f'{{"orderId":"{ORDER}","customerId":"edf3ccfe-773d-4da4-9e2d-998c042029b3","status":"ORD0002","totalAmount":25000,'
    '"orderName":"키보드"}'
).encode()
BAD = SOUND[:-1]
SENT_AT = 1_795_396_789_620
OWN = [("message-id", b"1c8c6d7e-5a0e-4a53-9b0f-6f6e7c1f2a10"), ("__TypeId__", b"com.example.Completed")]
GROUPS = frozenset({"ordersaga-order", "ordersaga-payment"})


def golden(source: str, topic: str) -> list[Record]:
    """The letters on a queue of a stack."""
    return [
        Record(
            each["topic"],
            each["partition"],
            each["offset"],
            _bytes(each["key"]),
            _bytes(each["value"]),
            tuple((name, _bytes(value)) for name, value in each["headers"]),
            each["timestamp_ms"],
        )
        for each in GOLDEN
        if each["source"].startswith(source) and each["topic"] == topic
    ]


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


def read(record: Record) -> Failure:
    return letter_headers.read(record.headers or ())


def told(failure: Failure) -> tuple[Any, ...]:
    return (
        failure.topic,
        failure.partition,
        failure.offset,
        failure.group,
        failure.cause,
        failure.message,
        failure.attempts,
    )


SPRINGS = pytest.mark.parametrize("source", ["spring-kafka 3.3.10", "spring-kafka 4.1.2"])


@SPRINGS
def test_spring_first_failures(source: str) -> None:
    failed, malformed = map(read, golden(source, "order-completed-topic-dlt"))
    why = ("java.util.NoSuchElementException", "no row in customers")
    assert told(failed) == ("order-completed-topic", 1, 0, "shop", *why, 1)
    assert told(malformed)[:4] == ("order-completed-topic", 1, 1, "shop")
    assert malformed.cause is not None and "jackson" in malformed.cause, "not the wrapper that cause-fqcn names"
    assert failed.timestamp_ms == malformed.timestamp_ms == SENT_AT
    assert failed.is_altered


@SPRINGS
def test_spring_second_failures_have_the_first_place_and_the_last_reason(source: str) -> None:
    failed, malformed = map(read, golden(source, "order-completed-topic-dlt-dlt"))
    assert told(failed) == (
        "order-completed-topic",
        1,
        0,
        "shop",
        "java.lang.IllegalArgumentException",
        "nobody reads letters",
        1,
    )
    assert told(malformed)[:4] == ("order-completed-topic", 1, 1, "shop")


@SPRINGS
@pytest.mark.parametrize("queue", ["order-completed-topic-dlt", "order-completed-topic-dlt-dlt"])
def test_bytes_in_base64_are_unwrapped_as_often_as_they_were_wrapped(source: str, queue: str) -> None:
    failed, malformed = golden(source, queue)
    assert malformed.value is not None and malformed.value.startswith(b'"')
    assert letter_headers.unwrapped(malformed.value, malformed.headers or ()) == BAD
    assert letter_headers.unwrapped(failed.value, failed.headers or ()) == failed.value
    assert dict(letter_headers.without(malformed.headers or ())) == dict(OWN[:1]), "neither headers of Spring nor `[B`"


@SPRINGS
def test_of_retry_topics_the_attempts_are_not_one_too_many(source: str) -> None:
    letters = golden(source, "delivery-request-topic-dlt")
    failures = [told(read(each)) for each in letters]
    tried = [each for each in failures if each[2] == 0]
    fatal = [each for each in failures if each[2] == 1]
    assert len(tried) == 3, "the handler of letters failed twice, and each time the letter was published again"
    for each in tried:
        assert each[:4] == ("delivery-request-topic", 1, 0, "depot")
    assert tried[0][4:] == ("java.lang.IllegalStateException", "no carrier for ORD0002", 3)
    assert fatal[0][:4] == ("delivery-request-topic", 1, 1, "depot")
    assert fatal[0][6] == 1
    for letter in letters:
        assert {name for name, _ in letter_headers.without(letter.headers or ())} <= {"message-id", "__TypeId__"}


JSON_ERROR = "com.fasterxml.jackson.core.io.JsonEOFException"
OTHERS: dict[tuple[str, str], list[tuple[Any, ...]]] = {
    ("spring-cloud-stream", "error.order-completed-topic.stream-shop"): [
        ("order-completed-topic", 1, 0, None, "tools.jackson.databind.exc.MismatchedInputException", ..., 1)
    ],
    ("Kafka 4.4.0", "payment-errors"): [
        (
            "delivery-start-topic",
            1,
            0,
            None,
            "org.apache.kafka.common.errors.SerializationException",
            "Size of data received by IntegerDeserializer is not 4",
            1,
        ),
        ("payment-success-topic", 1, 0, None, "java.lang.IllegalStateException", "no such payment", 1),
    ],
    ("Kafka 4.4.0", "warehouse-errors"): [
        ("stock-response-topic", 1, 1, "connect-warehouse", JSON_ERROR, ..., 1),
        ("stock-response-topic", 1, 0, "connect-warehouse", "java.sql.SQLException", "duplicate key", 1),
    ],
}


@pytest.mark.parametrize(("source", "queue"), OTHERS)
def test_stacks_that_copy_the_record(source: str, queue: str) -> None:
    letters = golden(source, queue)
    for letter, expected in zip(letters, OTHERS[source, queue], strict=True):
        failure = told(read(letter))
        assert failure[:5] == expected[:5]
        assert expected[5] in (failure[5], ...)
        assert failure[6] == expected[6]
        assert letter.value in (SOUND, BAD)
        assert list(letter_headers.without(letter.headers or ())) == OWN
        assert not read(letter).is_altered


def test_smallrye_puts_its_headers_before_those_of_the_record() -> None:
    (letter,) = golden("smallrye", "dead-letter-topic-orders")
    headers = letter.headers or ()
    assert headers[0][0].startswith("dead-letter-") and headers[-1] == OWN[-1]
    all_that_it_knows = (
        "java.lang.reflect.InvocationTargetException"  # outside of Quarkus it calls the method by reflection
    )
    assert told(read(letter)) == ("order-completed-topic", 1, 0, None, all_that_it_knows, all_that_it_knows, 1)
    assert read(letter).is_altered
    assert list(letter_headers.without(headers)) == OWN


def test_smallryes_retry_topics_name_each_hop() -> None:
    """`failure-strategy=delayed-retry-topic` with two retry topics: three tries, and `delayed-retry-count` says 2."""
    (letter,) = golden("smallrye", "delayed-errors")
    why = ("java.lang.IllegalArgumentException", "no such customer")
    assert told(read(letter)) == ("order-completed-topic", 1, 0, None, *why, 3)
    assert (read(letter).timestamp_ms, read(letter).is_altered) == (1_796_004_351_988, True)
    assert list(letter_headers.without(letter.headers or ())) == OWN


def test_share_groups_leave_headers_alone_or_with_key_and_value_but_without_the_records_own() -> None:
    (bare,), (copy,) = golden("Kafka 4.4.0", "dlq.share-shop"), golden("Kafka 4.4.0", "dlq.share-copy")
    assert told(read(bare)) == ("order-created", 1, 0, "share-shop", None, "Offset rejected by client.", 1)
    assert told(read(copy)) == (
        "order-created",
        1,
        0,
        "share-copy",
        None,
        "Offset delivery count exceeded the threshold.",
        5,
    )
    assert (bare.key, bare.value, copy.key, copy.value) == (None, None, ORDER.encode(), SOUND)
    assert letter_headers.without(bare.headers or ()) == letter_headers.without(copy.headers or ()) == ()


def test_watermill_leaves_the_topic_alone() -> None:
    (letter,) = golden("watermill", "poisoned")
    assert told(read(letter)) == ("order-completed-topic", None, None, None, None, "order x: no such customer", 1)
    assert sorted(letter_headers.without(letter.headers or ())) == sorted(OWN)


def test_masstransit_says_why_and_not_where() -> None:
    """Written by hand: its error headers as its documentation has them. MassTransit did not run here."""
    trace = b"   at Shop.Consumer.Consume(ConsumeContext`1 context) in /src/Consumer.cs:line 21\n   at MassTransit.Middleware.Send()"
    faults = [
        ("MT-Fault-InputAddress", b"loopback://localhost/kafka/order-completed-topic"),
        ("MT-Fault-ExceptionType", b"System.InvalidOperationException"),
        ("MT-Fault-Message", b"no such customer"),
        ("MT-Fault-StackTrace", trace),
        ("MT-Fault-Timestamp", b"2026-11-24T00:39:49.6200000Z"),
        ("MT-Reason", b"fault"),
        ("MT-Host-MachineName", b"shop-1"),
    ]
    failure = letter_headers.read((*OWN, *faults))
    assert told(failure) == (None, None, None, None, "System.InvalidOperationException", "no such customer", 1)
    assert (failure.stacktrace, failure.is_altered) == (trace.decode(), False)
    assert list(letter_headers.without((*OWN, *faults))) == OWN


@pytest.mark.parametrize("client", ["aiokafka 0.14.0", "confluent-kafka 2.16.1"])
@pytest.mark.parametrize(
    ("way", "key", "own"),
    [
        (
            "response",
            ORDER.encode(),
            [*OWN, ...],
        ),  # an exception handler that publishes, with key and headers of the record
        ("text", None, []),  # one that returns the body alone
        ("middleware", ORDER.encode(), OWN),  # a middleware with a publisher of its own
    ],
)
def test_faststream_leaves_the_record_with_headers_of_its_own(
    client: str, way: str, key: bytes | None, own: list[Any]
) -> None:
    letters = golden(f"faststream 0.7.8, {client}", f"fs-{client.split('-')[0].split()[0]}-{way}")
    assert [(each.key, each.value) for each in letters] == [(key, SOUND), (key, BAD)]
    for letter in letters:
        assert read(letter) == Failure("FastStream", lost_key=True)
        left = list(letter_headers.without(letter.headers or ()))
        assert left == own or (own[-1:] == [...] and left[:-1] == own[:-1] and left[-1][0] == "error"), left


def test_headers_of_a_record_that_faststream_sent_stay_where_another_stack_gave_it_up() -> None:
    sent = (("content-type", b"application/json"), ("correlation_id", b"7"))
    assert letter_headers.without((*sent, ("__streams.errors.topic", b"t"))) == sent
    assert letter_headers.without(sent[:1]) == sent[:1], "others write content-type, too"


def test_a_header_without_a_name_is_of_no_stack() -> None:
    headers = (*OWN, ("", b"1"))
    assert letter_headers.read(headers) == Failure() and letter_headers.without(headers) == headers


# Several failures -----------------------------------------------------------------------------------------------------


def ours(topic: str, offset: int, group: str = "ordersaga-order", queue: str | None = None) -> Record:
    """A letter as our services write it."""
    record = Record(topic, 0, offset, b"k", b"v", (("own", b"1"),), 7)
    headers = (("own", b"1"), *spring_headers.write(record, group, "ValueError", "no"))
    return Record(queue or f"{topic}-dlt", 0, 3, b"k", b"v", headers, 8)


def test_our_letters_are_told_from_others_with_our_old_headers() -> None:
    letter = ours("order-completed-topic", 5)
    assert letter_headers.is_of(letter, GROUPS)
    assert not letter_headers.is_of(letter, frozenset({"shop"}))
    assert not letter_headers.is_of(ours("order-completed-topic", 5, queue="dead-letter-topic-orders"), GROUPS)
    again = Record("order-completed-topic", 2, 9, b"k", b"v", letter.headers, 9)
    theirs = (letter.headers or ()) + spring_headers.write(again, "shop", "java.lang.Error", "theirs")
    partners = Record("order-completed-topic-dlt", 2, 4, b"k", b"v", theirs, 10)
    assert not letter_headers.is_of(partners, GROUPS)
    assert told(read(partners)) == ("order-completed-topic", 2, 9, "shop", "java.lang.Error", "theirs", 1)
    streams = (
        *(letter.headers or ()),
        ("__streams.errors.topic", b"order-completed-topic"),
        ("__streams.errors.partition", b"2"),
    )
    assert not letter_headers.is_of(Record("order-completed-topic-dlt", 2, 4, b"k", b"v", streams, 10), GROUPS)
    assert letter_headers.without(theirs) == letter_headers.without(streams) == (("own", b"1"),)


def test_a_record_that_was_caused_by_one_with_old_headers_has_its_own_place() -> None:
    """Kafka Streams copies the headers of its input to its output."""
    copied = ours("order-completed-topic", 5).headers or ()
    record = Record("payment-success-topic", 3, 8, b"k", b"v", copied, 9)
    failure = letter_headers.read(copied + spring_headers.write(record, "shop", "java.lang.Error", "theirs"))
    assert told(failure)[:4] == ("payment-success-topic", 3, 8, "shop")


def test_headers_that_come_before_the_records_own_are_the_newest() -> None:
    smallrye: Headers = (
        ("dead-letter-exception-class-name", b"java.lang.IllegalStateException"),
        ("dead-letter-reason", b"outer"),
        ("dead-letter-topic", b"order-completed-topic"),
        ("dead-letter-partition", b"2"),
        ("dead-letter-offset", b"11"),
    )
    failure = letter_headers.read(smallrye + (ours("order-completed-topic", 5).headers or ()))
    assert told(failure) == ("order-completed-topic", 2, 11, None, "java.lang.IllegalStateException", "outer", 1)
    newer = tuple((name, b"12" if name.endswith("offset") else value) for name, value in smallrye)
    newer = tuple((name, b"newer" if name.endswith("reason") else value) for name, value in newer)
    failure = letter_headers.read(newer + smallrye)
    assert (failure.offset, failure.message) == (12, "newer")


def test_a_partners_own_names_that_only_look_similar_are_kept() -> None:
    own: Headers = (
        ("__TypeId__", b"x"),
        ("kafka_custom", b"kept"),
        ("kafka_correlationId", b"kept"),
        ("dead-line", b"1"),
    )
    assert letter_headers.without((*own, *SAMPLE.items(), ("kafka_deliveryAttempt", b"\0\0\0\1"))) == own


def test_a_key_failure_is_a_cause_too() -> None:
    headers = (("kafka_dlt-original-topic", b"t"), ("kafka_dlt-key-exception-fqcn", b"KeyError"))
    failure = letter_headers.read((*headers, ("kafka_dlt-key-exception-message", b"k")))
    assert (failure.cause, failure.message) == ("KeyError", "k")


BINARY = [(prefix, broken) for prefix in ("kafka_dlt-original-", "kafka_original-", "x-original-") for broken in
          (b"", b"\xff", b"\xff" * 4, b"\1" * 9, None)]  # fmt: skip
DECIMAL = [("__connect.errors.", broken) for broken in (b"", b"-1", b"1.5", b"9" * 30, "१".encode(), None)]


@pytest.mark.parametrize(("prefix", "broken"), BINARY + DECIMAL)
def test_a_number_that_cannot_be_read_counts_as_missing(prefix: str, broken: bytes | None) -> None:
    headers = tuple((prefix + name, broken) for name in ("partition", "offset"))
    failure = letter_headers.read(((prefix + "topic", b"t"), *headers, ("retry_topic-attempts", b"")))
    assert (failure.topic, failure.partition, failure.offset, failure.attempts) == ("t", None, None, 1)


@pytest.mark.parametrize("prefix", ["kafka_dlt-original-", "kafka_original-", "x-original-"])
def test_numbers_in_digits_are_read_where_java_writes_them_as_bytes(prefix: str) -> None:
    """A team that writes such headers by hand writes texts."""
    headers = ((prefix + "topic", b"t"), (prefix + "partition", b"3"), (prefix + "offset", b"12345678"))
    failure = letter_headers.read(headers)
    assert (failure.partition, failure.offset) == (3, 12_345_678)


def wrapped(value: bytes) -> bytes:
    """What a JSON serializer makes of bytes."""
    return json.dumps(base64.b64encode(value).decode()).encode()


SPACED = (
    f'{{"orderId":"{ORDER}", "productId":"{ORDER}", "customerId":"edf3ccfe-773d-4da4-9e2d-998c042029b3", "status":"ORD0002", '
    '"totalAmount":25000, "orderName":"키보드"}'
).encode()
"""What the listeners failed on that read texts, had keys of their own, or replaced headers."""


@SPRINGS
def test_a_second_failure_that_replaces_the_headers_of_the_first_hides_no_wrapping(source: str) -> None:
    """`setAppendOriginalHeaders(false)`: bytes are wrapped twice, and the original topic is there once."""
    (letter,) = golden(source, "order-payable-topic-dlt-dlt")
    headers = letter.headers or ()
    assert sum(name == "kafka_dlt-original-topic" for name, _ in headers) == 1
    assert letter_headers.unwrapped(letter.value, headers) == SPACED[:-1]
    assert letter_headers.without(headers) == tuple(OWN[:1])


@SPRINGS
def test_a_text_that_spring_wrote_as_json_is_the_text_again(source: str) -> None:
    (letter,) = golden(source, "order-created-dlt")
    assert dict(letter.headers or ())["__TypeId__"] == b"java.lang.String"
    assert letter_headers.unwrapped(letter.value, letter.headers or ()) == SPACED
    assert letter_headers.without(letter.headers or ()) == tuple(OWN[:1])


def test_a_key_that_spring_wrote_as_json_is_the_key_again() -> None:
    (letter,) = golden("spring-kafka 4.1.2", "payment-cancel-requested-topic-dlt")
    assert letter.key == wrapped(ORDER.encode())
    assert letter_headers.unwrapped_key(letter.key, letter.headers or ()) == ORDER.encode()
    assert read(letter).cause == "org.apache.kafka.common.errors.SerializationException"
    assert "__Key_TypeId__" not in dict(letter_headers.without(letter.headers or ()))


SPRINGS_FAILURE: Headers = (("kafka_dlt-original-topic", b"t"),)


@pytest.mark.parametrize(
    ("value", "headers", "first"),
    [
        (wrapped(wrapped(BAD)), SPRINGS_FAILURE * 2, BAD),
        (wrapped(wrapped(BAD)), SPRINGS_FAILURE, wrapped(BAD)),  # the sender had wrapped it
        (wrapped(json.dumps(SOUND.decode()).encode()), SPRINGS_FAILURE, json.dumps(SOUND.decode()).encode()),
        (json.dumps(SOUND.decode()).encode(), SPRINGS_FAILURE, json.dumps(SOUND.decode()).encode()),
        (json.dumps(SOUND.decode()).encode(), (*SPRINGS_FAILURE, ("__TypeId__", b"java.lang.String")), SOUND),
        (b'"hell"', (*SPRINGS_FAILURE, ("__TypeId__", b"java.lang.String")), b"hell"),  # it is base64, too
        (wrapped(b'"hell"'), SPRINGS_FAILURE, b'"hell"'),
        (wrapped(b"\xff{"), SPRINGS_FAILURE * 2, b"\xff{"),
        (wrapped(SOUND), (("__streams.errors.topic", b"t"),), wrapped(SOUND)),  # the record was so
        (b'"', SPRINGS_FAILURE, b'"'),
    ],
)
def test_a_value_is_unwrapped_to_what_it_was(value: bytes, headers: Headers, first: bytes) -> None:
    assert letter_headers.unwrapped(value, headers) == first


def test_a_key_is_unwrapped_where_its_type_says_so() -> None:
    key = wrapped(ORDER.encode())
    typed: Headers = (*SPRINGS_FAILURE, ("__Key_TypeId__", b"[B"))
    assert letter_headers.unwrapped_key(key, typed) == ORDER.encode()
    assert letter_headers.unwrapped_key(key, SPRINGS_FAILURE) == key
    assert letter_headers.without((*typed, ("__Key_TypeId__", b"com.example.Id"))) == (
        ("__Key_TypeId__", b"com.example.Id"),
    )


@pytest.mark.parametrize("value", [wrapped(BAD), wrapped(wrapped(BAD)), json.dumps(BAD.decode()).encode()])
def test_a_wrapped_record_is_found_under_its_order(value: bytes) -> None:
    assert str(order_key("order-completed-topic", None, value)) == ORDER


def test_records_without_such_headers_say_nothing() -> None:
    assert letter_headers.read(()) == letter_headers.read((("a", b"1"), ("kafka_dlt-x", b"1"))) == Failure()
    assert letter_headers.unwrapped(b'"abcd"', ()) == b'"abcd"'
    assert letter_headers.unwrapped(None, tuple(SAMPLE.items())) is None
    assert letter_headers.unwrapped(b'"no base64!"', tuple(SAMPLE.items())) == b'"no base64!"'


@pytest.mark.parametrize(
    ("trace", "root"),
    [
        ("a.B: one\n\tat x\nCaused by: c.D: two\nlines\n\tat y\n\t... 3 more", ("c.D", "two\nlines")),
        ("a.B: one\n\tat x\n\tSuppressed: s.S: other\n\t\tat z\n\tCaused by: t.T: third\n", ("a.B", "one")),
        ("a.B\n\tat x", ("a.B", None)),
        ("a.B$C: said: so", ("a.B$C", "said: so")),
        ("ValueError: ours", None),
        ("\nCaused by: ", None),
        ("", None),
        ("a.B: " + " " * 500_000 + "\n\tat x", ("a.B", None)),
    ],
)
def test_the_innermost_error_is_behind_the_last_caused_by(trace: str, root: tuple[str, str | None] | None) -> None:
    assert letter_headers.root_of(trace) == root


def test_a_reason_is_read_although_no_header_says_where_the_record_was() -> None:
    failure = letter_headers.read((("kafka_dlt-exception-cause-fqcn", b"a.B"), ("kafka_dlt-exception-message", b"no")))
    assert told(failure) == (None, None, None, None, "a.B", "no", 1)


def test_attempts_of_a_listener_that_counts_them() -> None:
    headers = (*SAMPLE.items(), ("kafka_deliveryAttempt", struct.pack(">i", 4)))
    assert letter_headers.read(headers).attempts == 4


def test_names_that_springs_header_mapper_has_put_in_quotes_are_read() -> None:
    """`DefaultKafkaHeaderMapper` with `encodeStrings` writes a text as JSON, and a number in digits."""
    failure = letter_headers.read(
        (
            ("kafka_dlt-original-topic", b'"order-completed-topic"'),
            ("kafka_dlt-original-partition", b"1"),
            ("kafka_dlt-original-offset", b"7"),
            ("kafka_dlt-original-consumer-group", b'"shop"'),
        )
    )
    assert told(failure)[:4] == ("order-completed-topic", 1, 7, "shop")
