"""A topic's records as the console shows them: to a reader without personal data, and whatever a partner has written."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from ordersaga.contracts.topics import BY_NAME
from ordersaga.messaging.handler import Record
from ordersaga.messaging.kafka.tail import has_id
from ordersaga.operations.letters import difference
from ordersaga.web.console.records import VALUE_CHARS_MAX, shown

ORDER = UUID("8b91c74c-f28d-4f11-823a-8e727ff052c2")
TOPIC = BY_NAME["delivery-request-topic"]
ADDRESS = {"orderId": str(ORDER), "name": "Kim Hana", "phone": "010-1234-5678"}


def record(value: bytes | None, key: bytes | None = str(ORDER).encode(), **more: Any) -> Record:
    return Record(TOPIC.name, 2, 42, key, value, more.get("headers"), more.get("timestamp_ms", 1_760_000_000_000))


def test_an_operator_sees_all_and_a_reader_no_personal_data() -> None:
    headers = (("error", b'Failing {"phone":"010-1234-5678"}'), ("empty", None))
    given = record(json.dumps(ADDRESS).encode(), headers=headers)
    whole, masked = shown(given, TOPIC, True), shown(given, TOPIC, False)
    assert "Kim Hana" in str(whole.value) and "010-1234-5678" in str(whole.headers)
    for secret in ("Kim Hana", "010-1234-5678"):
        assert secret not in str(masked)
    assert str(ORDER) in str(masked.value)
    assert (masked.name, masked.key, masked.order_id) == ("2/42", str(ORDER), ORDER)
    assert masked.headers[1] == ("empty", None)


@pytest.mark.parametrize("value", [b"Kim Hana", b'"Kim Hana"', b'{"name": "Kim Hana"', b'{"name":"Kim Hana","a":\xff}'])
def test_a_reader_sees_nothing_of_a_value_that_is_no_json_object(value: bytes) -> None:
    assert "Hana" not in str(shown(record(value), TOPIC, False))


@pytest.mark.parametrize("id", [str(ORDER), str(ORDER).upper()])
def test_a_search_finds_an_id_in_key_or_value_in_either_case(id: str) -> None:
    other = str(uuid4()).encode()
    assert has_id(str(ORDER), record(None, f'"{id}"'.encode()))
    assert has_id(str(ORDER), record(json.dumps({"items": [{"orderId": id}]}).encode(), None))
    assert not has_id(str(ORDER), record(b'{"orderId":"%b"}' % other, other))
    assert not has_id(str(ORDER), record(None, None))


def test_the_order_is_known_by_the_key_or_by_the_value() -> None:
    value = json.dumps(ADDRESS).encode()
    assert shown(record(value, None), TOPIC, True).order_id == ORDER
    assert shown(record(value, b"no id"), TOPIC, True).order_id is None
    price = BY_NAME["product-price-topic"]
    assert shown(record(value), price, True).order_id is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff\xfe",
        b"[1]",
        b"7",
        b'{"orderId": 7}',
        b'{"a": "\\ud83d"}',
        b"[" * 100_000,
        b'{"n": ' + b"9" * 9_000 + b"}",
    ],
)
@pytest.mark.parametrize("is_operator", [True, False])
def test_whatever_was_written_can_be_shown(value: bytes | None, is_operator: bool) -> None:
    one = shown(record(value, None, timestamp_ms=-1), TOPIC, is_operator)
    str(one.value).encode()
    assert (one.order_id, one.at) == (None, None)
    assert (one.value is None) == (value is None)


@pytest.mark.parametrize("ms", [-1, 10**17, 2**63 - 1])
def test_a_time_that_no_clock_shows_is_left_out(ms: int) -> None:
    assert shown(record(b"{}", timestamp_ms=ms), TOPIC, True).at is None


def test_a_long_value_is_cut_and_says_so() -> None:
    one = shown(record(json.dumps({"a": "x" * 2 * VALUE_CHARS_MAX}).encode()), TOPIC, True)
    assert one.is_cut and len(one.value or "") == VALUE_CHARS_MAX
    assert UUID(str(one.order_id)) == ORDER


def test_an_edit_changes_no_line_of_which_only_the_comma_is_new() -> None:
    def changed(before: bytes, after: bytes) -> list[str]:
        return [each for each in difference(before, after)[2:] if each.startswith(("+", "-"))]

    assert changed(b'{"a":1,"b":[{"c":2}]}', b'{"a":1,"b":[{"c":2},{"c":3}],"d":"x,"}') == [
        "+    {",
        '+      "c": 3',
        "+    }",
        '+  "d": "x,"',
    ]
    assert changed(b'{"a":"1"}', b'{"a":"1,"}') == ['-  "a": "1"', '+  "a": "1,"']
    assert changed(b"no JSON", b"no JSON,") == ["-no JSON", "+no JSON,"]
