"""Spring Kafka's dead letter headers: ours have its names and widths, and are read back."""

import base64

import pytest

from ordersaga.contracts.headers import LETTER
from ordersaga.messaging import spring_headers
from ordersaga.messaging.handler import Record
from ordersaga.messaging.spring_headers import Headers, Written

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


def test_what_we_write_is_read_back_although_the_record_has_such_headers_of_an_earlier_failure() -> None:
    earlier: Headers = (*SAMPLE.items(), ("kafka_original-topic", b"stock-response-topic"), ("empty", None))
    headers = earlier + spring_headers.write(_record(offset=9), "ordersaga-order", "ValueError", "키 없음")
    assert spring_headers.read(headers) == Written(TOPIC, PARTITION, 9, "ordersaga-order")


@pytest.mark.parametrize("broken", [b"", b"\xff", b"\xff\xff\xff\xff", b"\1" * 9, None])
def test_what_cannot_be_read_counts_as_missing(broken: bytes | None) -> None:
    names = ("kafka_dlt-original-partition", "kafka_dlt-original-offset")
    assert spring_headers.read(tuple((name, broken) for name in names)) == Written(None, None, None, None)


def test_a_lost_type_id_is_put_back_and_one_that_is_there_is_only_replaced_when_told() -> None:
    lost: Headers = (("a", b"1"),)
    there: Headers = (("__TypeId__", b"old"), ("a", b"1"))
    assert spring_headers.with_type_id(lost, "new", instead=False) == (("a", b"1"), ("__TypeId__", b"new"))
    assert spring_headers.with_type_id(there, "new", instead=False) == there
    assert spring_headers.with_type_id(there, "new", instead=True) == (("a", b"1"), ("__TypeId__", b"new"))
    assert spring_headers.with_type_id(lost, None, instead=True) == lost


def _record(offset: int = OFFSET) -> Record:
    return Record(TOPIC, PARTITION, offset, b"k", b"v", None, TIMESTAMP_MS)
