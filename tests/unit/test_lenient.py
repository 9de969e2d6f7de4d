"""What Java's Jackson reads and the strict decoder does not is taken where its meaning is plain; anything else is refused with its place.

Each row that says what Jackson does was seen with jackson-databind 2.19.2 and 3.1.0, configured as Spring Kafka configures it.
"""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from ordersaga.contracts import codec, topics
from ordersaga.contracts import messages as m
from ordersaga.contracts.codec import Undecodable, declare, decode
from ordersaga.contracts.topics import Topic
from ordersaga.messaging.acts import NotPossible
from ordersaga.messaging.dead_letters import order_key
from ordersaga.operations.letters import check_value

ORDER = UUID("8b91c74c-f28d-4f11-823a-8e727ff052c2")
OTHER = UUID("c40e15db-f0a8-4d39-9d8f-af94768c83f6")
STOCK, PAID, PRICE, CREATED = "stock-response-topic", "payment-success-topic", "product-price-topic", "order-created"


def paid(amount: str) -> bytes:
    return b'{"orderId":"%s","paymentKey":"k","amount":%s,"status":"SUCCESS"}' % (str(ORDER).encode(), amount.encode())


def answer(**fields: str) -> bytes:
    """An answer of Stock; the fields are JSON."""
    given = {"orderId": f'"{ORDER}"', "status": '"FAILED"'} | fields
    return ("{" + ",".join(f'"{name}":{value}' for name, value in given.items()) + "}").encode()


def price(**fields: str) -> bytes:
    given = {"productId": f'"{OTHER}"', "price": "1", "changedAt": '"2026-11-23T01:02:03Z"'} | fields
    return ("{" + ",".join(f'"{name}":{value}' for name, value in given.items()) + "}").encode()


@pytest.mark.parametrize(
    "written", ["25000.00", "2.5e4", "25000.0E0", '"25000"', '" 25000 "', '"+25000"', '"25000.00"']
)
def test_a_whole_number_is_taken_however_it_is_written(written: str) -> None:
    assert decode(PAID, paid(written)).amount == 25_000  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("1.5", "expected a whole number, got 1.5"),  # Jackson makes it 1
        ('"1.5"', 'expected a whole number, got "1.5"'),
        ("1.0000001", "got 1.0000001"),
        ("true", "got true"),
        ('"null"', 'got "null"'),
        ('"0x10"', "0x10"),
        ("[5]", "got a list"),
        ("{}", "got an object"),
        ("2147483648", "<= 2147483647"),
        ('"2147483648"', "<= 2147483647"),
        ("-1.0", ">= 0"),
        ("1e30", "1e30 is too large"),
        ("1e999999999999", "expected a whole number"),
        ("9" * 5_000, "is too large"),
    ],
)
def test_what_is_no_whole_number_of_32_bits_is_refused_with_its_place(written: str, shown: str) -> None:
    with pytest.raises(Undecodable) as refused:
        decode(PAID, paid(written))
    assert shown in str(refused.value)
    assert "`$.amount`" in str(refused.value)
    assert len(str(refused.value)) <= codec.REASON_CHARS_MAX


def test_of_an_edited_letter_only_the_fields_are_named_that_are_wrong() -> None:
    with pytest.raises(NotPossible) as refused:
        check_value(PAID, paid("25000.00").replace(b"SUCCESS", b"DONE"))
    assert [each.field for each in refused.value.errors] == ["value.status"]
    check_value(PAID, paid("25000.00").replace(b"SUCCESS", b"success"))


def test_an_absent_amount_is_no_zero() -> None:
    absent = b'{"productId":"%s","changedAt":"2026-11-23T01:02:03Z"}' % str(OTHER).encode()
    for value in (absent, price(price="null"), price(price='""')):
        with pytest.raises(Undecodable, match="price"):
            decode(PRICE, value)


@pytest.mark.parametrize("written", ['""', '" "', '"\\t"', "null"])
def test_an_empty_text_is_no_value_where_none_is_needed(written: str) -> None:
    assert decode(PAID, paid(written)).amount is None  # type: ignore[attr-defined]
    assert decode(STOCK, answer(productId=written)).product_id is None  # type: ignore[attr-defined]
    read = decode(PRICE, price(version=written, active=written))
    assert (read.version, read.active) == (None, None)  # type: ignore[attr-defined]
    with pytest.raises(Undecodable, match=r"`\$\.changedAt`"):
        decode(PRICE, price(changedAt=written))


def test_an_empty_text_stays_one_where_a_text_is_meant() -> None:
    assert decode(STOCK, answer(productId='""', message='""')).message == ""  # type: ignore[attr-defined]


def test_a_number_of_64_bits_loses_no_digit() -> None:
    read = decode(PRICE, price(version='"9223372036854775807"'))
    assert read.version == 9_223_372_036_854_775_807  # type: ignore[attr-defined]
    with pytest.raises(Undecodable, match=r"\$.version"):
        decode(PRICE, price(version="9223372036854775808.0"))


@pytest.mark.parametrize(
    "written",
    [
        "i5HHTPKNTxGCOo5yf/BSwg==",
        "i5HHTPKNTxGCOo5yf_BSwg==",
        "i5HHTPKNTxGCOo5yf/BSwg",
        f" {ORDER} ",
        str(ORDER).upper(),
        ORDER.hex,
    ],
)
def test_a_uuid_is_taken_in_base64_too(written: str) -> None:
    value = answer(orderId=json.dumps(written))
    assert decode(STOCK, value).order_id == ORDER  # type: ignore[attr-defined]
    assert order_key(STOCK, None, value) == ORDER


@pytest.mark.parametrize(
    "written", ["", "x", "1-1-1-1-1", f"{{{ORDER}}}", "i5HHTPKNTxGCOo5yf/BSw!==", "i5HHTPKNTxGCOo5yf"]
)
def test_what_is_no_uuid_is_refused_with_its_place(written: str) -> None:
    with pytest.raises(Undecodable, match=r"expected a UUID, got .* at `\$\.orderId`"):
        decode(STOCK, answer(orderId=json.dumps(written)))


@pytest.mark.parametrize("value", [b"\\" * 1_000_000, b'"orderId' + b"\\" * 1_000_000, b'"orderId":' * 100_000])
def test_an_id_is_looked_for_in_a_large_broken_value_at_once(value: bytes) -> None:
    began = time.process_time()
    assert order_key(STOCK, None, value) is None
    assert order_key(STOCK, None, value + b'"orderId": "%b"' % str(ORDER).encode()) == ORDER
    assert order_key(STOCK, None, value + rb"{\"orderId\": \"%b\"" % str(ORDER).encode()) == ORDER
    assert time.process_time() - began < 2


SECONDS = datetime(2026, 11, 23, 1, 19, 49, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("1795396789", SECONDS),
        ("1795396789.620000000", SECONDS + timedelta(milliseconds=620)),
        ("1795396789620", SECONDS + timedelta(milliseconds=620)),  # java.util.Date
        ('"1795396789.62"', SECONDS + timedelta(milliseconds=620)),
        ('"2026-11-23T10:19:49+09:00"', SECONDS),
        ('"2026-11-23T10:19:49+0900"', SECONDS),
        ('"2026-11-23T10:19:49+09:00[Asia/Seoul]"', SECONDS),
        ('"2026-11-23T01:19:49.123456789Z"', SECONDS + timedelta(microseconds=123_457)),
        ('"2026-11-22T24:00:00Z"', datetime(2026, 11, 23, tzinfo=UTC)),
        ('"2026-11-22T24:00+09:00"', datetime(2026, 11, 22, 15, tzinfo=UTC)),
        ('"2026-12-31T23:59:60Z"', datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)),  # a leap second
        ("-1.5", datetime(1969, 12, 31, 23, 59, 58, 500_000, tzinfo=UTC)),
    ],
)
def test_a_time_is_taken_as_a_number_too(written: str, moment: datetime) -> None:
    assert decode(PRICE, price(changedAt=written)).changed_at == moment  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "written", ['"2026-11-23T01:19:49"', "[2026,11,23,1,19,49]", '"2026-11-23"', '"x"', "1e300", "true",
                '"2026-11-22T24:00:01Z"', '"2026-11-22T22:59:60Z"', '"9999-12-31T24:00:00Z"']
)  # fmt: skip
def test_a_time_without_a_zone_or_beyond_all_years_is_refused_with_its_place(written: str) -> None:
    with pytest.raises(Undecodable, match=r"`\$\.changedAt`"):
        decode(PRICE, price(changedAt=written))


@pytest.mark.parametrize("written", ["1e999990", "1e1000000", "-1e999999999", '"1e999990"', "9" * 5_000])
def test_a_time_of_very_many_digits_is_refused_at_once(written: str) -> None:
    began = time.process_time()
    with pytest.raises(Undecodable, match=r"is too large - at `\$\.changedAt`"):
        decode(PRICE, price(changedAt=written))
    assert time.process_time() - began < 1


@pytest.mark.parametrize("written", ["success", "Success", " SUCCESS ", "sUCCESS"])
def test_a_status_is_taken_in_any_case(written: str) -> None:
    assert decode(STOCK, answer(status=json.dumps(written))).status == "SUCCESS"  # type: ignore[attr-defined]


@pytest.mark.parametrize("written", ["0", '"0"', '""', '"MAYBE"', '"SUCCES"', '"ſUCCESS"', "null", "true"])
def test_another_word_is_refused_with_its_place(written: str) -> None:
    with pytest.raises(Undecodable, match=r"expected FAILED or SUCCESS, got .*`\$\.status`"):
        decode(STOCK, answer(status=written))


def test_a_lone_surrogate_of_a_text_for_people_becomes_a_replacement_character() -> None:
    read = decode(STOCK, answer(message=r'"cut \ud83d, \ude00 and whole \ud83d\ude00"'))
    assert read.message == "cut \ufffd, \ufffd and whole 😀"  # type: ignore[attr-defined]
    with pytest.raises(Undecodable, match=r"lone surrogate.*`\$\.paymentKey`"):
        decode(PAID, paid("1").replace(b'"k"', rb'"k\ud83d"'))


def test_scalars_are_taken_as_text_and_words_as_booleans() -> None:
    assert [decode(STOCK, answer(message=each)).message for each in ("5", "1.50", "true", "null")] == [  # type: ignore[attr-defined]
        "5",
        "1.50",
        "true",
        None,
    ]
    actives = [decode(PRICE, price(active=each)).active for each in ('"true"', '"FALSE"', "1", "0", "null")]  # type: ignore[attr-defined]
    assert actives == [True, False, True, False, None]
    with pytest.raises(Undecodable, match=r"`\$\.active`"):
        decode(PRICE, price(active="2"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_byte_order_mark_and_wider_encodings_are_read(encoding: str) -> None:
    value = f'{{"orderId":"{ORDER}","status":"FAILED","message":"품절"}}'
    assert decode(STOCK, value.encode(encoding)) == decode(STOCK, value.encode())


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (answer() + b" rest", r"trailing characters \(byte \d+\)"),  # Jackson 2 does not look behind the JSON
        (answer() + answer(), r"trailing characters \(byte \d+\)"),
        (b"\xef\xbb\xbf" + answer() + b"x", r"malformed.*"),
        (answer(message='"?"').replace(b"?", b"\xff"), r"not UTF-8: invalid start byte, 0xff \(byte 79\)"),
        (answer(message='"ab?"').replace(b"?", b"\xed\xa0\xbd"), r"not UTF-8: .* 0xed \(byte 81\)"),
        (b"\xef\xbb\xbf" + answer(message='"?"').replace(b"?", b"\xc3"), r"not UTF-8: .* 0xc3 \(byte 82\)"),
        (b"\xef\xbb\xbf" + answer()[:-1], r"malformed: .*\(character 67\)"),
        (answer()[:-1].decode().encode("utf-16"), r"\(character 67\)"),
        (b"\0\0\0\1\2" + answer(), "begins with the five bytes of a Schema Registry"),
        (answer(message='"a\tb"'), "malformed"),
        (answer(message='"\\u0000"'), r"NUL .* - at `\$\.message`"),
        (b"\xef\xbb\xbf" + answer(message='"\\u0000"'), "NUL"),
        (answer(orderId='"x"') + b"}", "malformed"),
        (answer(amount="NaN"), "malformed"),
        (b'[{"orderId":1}]', r"expected an object, got a list - at `\$`"),
        (b'{"orderId":' + b"[" * 100_000, "nested too deeply|malformed|UUID"),
    ],
)
def test_what_is_no_json_is_refused(value: bytes, said: str) -> None:
    with pytest.raises(Undecodable, match=said):
        decode(STOCK, value)


@pytest.mark.parametrize(
    "value",
    [
        b'{"orderId":"%s","productId":null,"status":"FAILED","orderId":"%s"}',
        b'{"orderId":"%s","status":"FAILED","orderId":"%s"}',
        b'{"orderId":"%s","status":"FAILED","\\u006frderId":"%s"}',
        b'\xef\xbb\xbf{"orderId":"%s","status":"FAILED","orderId":"%s"}',
        b'{"orderId":"%s","status":"failed","userId":7,"orderId" :\n"%s"}',
    ],
)
def test_an_id_that_is_there_twice_is_refused_unless_both_are_the_same(value: bytes) -> None:
    first, second = str(ORDER).encode(), str(OTHER).encode()
    with pytest.raises(Undecodable, match=r"orderId is there twice with different values - at `\$\.orderId`"):
        decode(STOCK, value % (first, second))
    assert decode(STOCK, value % (first, first.upper())).order_id == ORDER  # type: ignore[attr-defined]


def test_every_id_counts_also_that_of_a_line_and_the_payments_key() -> None:
    line = b'{"productId":"%s","quantity":1,"productId":"%s"}' % (str(OTHER).encode(), str(ORDER).encode())
    for topic, value, where in (
        (CREATED, b'{"orderId":"%s","products":[%s]}' % (str(ORDER).encode(), line), r"\$\.products\[0\]\.productId"),
        (STOCK, answer(productId=f'"{OTHER}","productId":"{ORDER}"'), r"\$\.productId"),
        (STOCK, answer(productId=f'"{OTHER}","productId":null'), r"\$\.productId"),
        (PAID, paid('1,"paymentKey":"other"'), r"\$\.paymentKey"),
    ):
        with pytest.raises(Undecodable, match=f"twice.*{where}"):
            decode(topic, value)


def test_of_another_field_that_is_there_twice_the_last_value_counts_as_in_jackson_3() -> None:
    assert decode(STOCK, answer(message='"first","message":"last"')).message == "last"  # type: ignore[attr-defined]


def test_names_of_ids_elsewhere_do_no_harm() -> None:
    nested = answer(message='"no such orderId"', user='{"orderId":1,"orderId":2}', more='"\\"orderId\\":1"')
    assert decode(STOCK, nested).message == "no such orderId"  # type: ignore[attr-defined]


def test_a_partner_who_writes_everything_otherwise_is_understood() -> None:
    value = (
        '{"products": [{"quantity": "2", "extra": 1.5, "productId": "xA4V2/CoTTmdj6+Udoyjwg=="}, '
        f'{{"quantity": 1.0, "productId": "{OTHER}"}}], "orderId": "{ORDER}", "at": 1.5}}'
    )
    read = decode(CREATED, value.encode("utf-8-sig"))
    assert isinstance(read, m.StockDecreaseRequestMessage)
    assert [line.quantity for line in read.products] == [2, 1]
    with pytest.raises(Undecodable, match=r"got 1\.5 - at `\$\.products\[1\]\.quantity`"):
        decode(CREATED, value.replace("1.0", "1.5").encode())


DEBEZIUM = {"op": "c", "before": None, "after": {"orderId": str(ORDER)}, "source": {}}
CONNECT = {"schema": {"type": "struct"}, "payload": json.loads(answer())}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (CONNECT, "envelope of Kafka Connect"),
        ({"schema": None, "payload": answer().decode()}, "envelope of Kafka Connect"),
        ({"schema": {}, "payload": DEBEZIUM}, "envelope of Kafka Connect .* of a Debezium change event"),
        (DEBEZIUM, "change event of Debezium"),
        (answer().decode(), "JSON inside a JSON string"),
        (json.dumps(answer().decode()), "JSON inside a JSON string"),
    ],
)
def test_a_wrapped_message_is_refused_by_what_it_is_and_found_under_its_order(value: Any, said: str) -> None:
    written = json.dumps(value).encode()
    with pytest.raises(Undecodable, match=said):
        decode(STOCK, written)
    assert order_key(STOCK, None, written) == ORDER


@pytest.mark.parametrize("key", [f'"{ORDER}"', f'{{"schema":{{"type":"string"}},"payload":"{ORDER}"}}', str(ORDER)])
def test_a_wrapped_key_is_an_id_too(key: str) -> None:
    assert order_key(STOCK, key.encode(), b"?") == ORDER


def test_bytes_in_base64_are_named() -> None:
    with pytest.raises(Undecodable, match="base64"):
        decode(STOCK, b'"eyJvcmRlcklkIjoxfQ=="')


def test_a_refusal_repeats_no_text_of_a_person() -> None:
    value = b'{"orderId":"%s","customerId":"%s","phone":{"x":"010-1234"}}' % (str(ORDER).encode(), str(OTHER).encode())
    with pytest.raises(Undecodable, match=r"expected a text - at `\$\.phone`") as refused:
        decode("delivery-request-topic", value)
    assert "010" not in str(refused.value)


class Reading(m.Message, frozen=True):
    """A message of another system, with types that ours have not."""

    sensor: UUID
    celsius: float
    tags: dict[str, list[int]]
    other_id: UUID | None = None
    third_id: UUID | None = None


def test_a_message_of_another_system_is_read_leniently_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(topics.BY_NAME, "readings", None)  # undone at the end, as is what `declare` adds
    monkeypatch.setitem(topics.BY_MESSAGE, Reading, None)  # type: ignore[misc]
    declare(Topic("readings", Reading, key="sensor"))
    value = f'{{"sensor":"{ORDER}","celsius":-1.5e1,"tags":{{"a":[1,2]}}}}'
    for encoding in ("utf-8", "utf-8-sig"):
        read = decode("readings", value.encode(encoding))
        assert msgspec.to_builtins(read)["celsius"] == -15.0
        assert isinstance(read, Reading) and read.tags == {"a": [1, 2]}
    with pytest.raises(Undecodable, match="sensor is there twice"):
        decode("readings", value.replace("{", f'{{"sensor":"{OTHER}",', 1).encode())
