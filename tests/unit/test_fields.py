"""All errors of a body at once, each with its field and a code that stays."""

from typing import Any

import msgspec
import pytest

from ordersaga.http.fields import ERRORS_MAX, find_wrong_fields
from ordersaga.http.problems import Problem
from ordersaga.http.requests import decoded
from ordersaga.order.resources import PlaceOrder
from ordersaga.payment.resources import ConfirmPayment

GOOD: dict[str, Any] = {
    "orderName": "a",
    "totalAmount": 1_000,
    "address": "a",
    "zipcode": "a",
    "phone": "a",
    "name": "a",
    "items": [{"productId": "00000000-0000-0000-0000-000000000001", "quantity": 1}],
}
ITEM = GOOD["items"][0]
ONE: list[tuple[dict[str, Any], str, str]] = [
    ({"orderName": ""}, "orderName", "too_short"),
    ({"orderName": "x" * 201}, "orderName", "too_long"),
    ({"orderName": 5}, "orderName", "type"),
    ({"orderName": None}, "orderName", "type"),
    ({"orderName": "a\0b"}, "orderName", "pattern"),
    ({"deliveryMemo": "a\0b"}, "deliveryMemo", "pattern"),
    ({"deliveryMemo": "x" * 501}, "deliveryMemo", "too_long"),
    ({"totalAmount": 999}, "totalAmount", "too_small"),
    ({"totalAmount": 2**31}, "totalAmount", "too_large"),
    ({"totalAmount": 2**70}, "totalAmount", "too_large"),
    ({"totalAmount": 10**400}, "totalAmount", "too_large"),
    ({"totalAmount": 1e3}, "totalAmount", "type"),
    ({"totalAmount": True}, "totalAmount", "type"),
    ({"totalAmount": "1000"}, "totalAmount", "type"),
    ({"items": []}, "items", "too_short"),
    ({"items": [ITEM] * 101}, "items", "too_long"),
    ({"items": {}}, "items", "type"),
    ({"items": [ITEM, 5]}, "items[1]", "type"),
    ({"items": [ITEM | {"productId": "x"}]}, "items[0].productId", "format"),
    ({"items": [{"productId": ITEM["productId"]}]}, "items[0].quantity", "missing"),
]


@pytest.mark.parametrize(("changed", "field", "code"), ONE)
def test_a_wrong_field_has_a_name_and_a_code(changed: dict[str, Any], field: str, code: str) -> None:
    body = msgspec.json.encode(GOOD | changed) if changed.get("totalAmount") != 10**400 else None
    if body is None:
        body = msgspec.json.encode(GOOD).replace(b"1000", b"1" + b"0" * 400)
    with pytest.raises(Problem) as refused:
        decoded(body, msgspec.json.Decoder(PlaceOrder))
    assert refused.value.status == 400
    errors = refused.value.body.errors
    assert isinstance(errors, list)
    assert [(error.field, error.code) for error in errors] == [(field, code)]


def test_all_wrong_fields_are_named_at_once() -> None:
    bad = {
        "orderName": "",
        "totalAmount": 1,
        "address": "a\0",
        "phone": 5,
        "name": "a",
        "items": [{"quantity": 0}, ITEM, None],
    }
    found = {(error.field, error.code) for error in find_wrong_fields(PlaceOrder, msgspec.json.encode(bad))}
    assert found == {
        ("orderName", "too_short"),
        ("totalAmount", "too_small"),
        ("address", "pattern"),
        ("zipcode", "missing"),
        ("phone", "type"),
        ("items[0].productId", "missing"),
        ("items[0].quantity", "too_small"),
        ("items[2]", "type"),
    }


def test_errors_are_only_so_many() -> None:
    assert len(find_wrong_fields(PlaceOrder, msgspec.json.encode(GOOD | {"items": [{}] * 100}))) == ERRORS_MAX


@pytest.mark.parametrize(
    "raw", [b'{"a":"\\ud800"}', b'{"a":"\\udc00x"}', b'"\xed\xa0\x80"', b'{"a":"x\x00"}', b"\xef\xbb\xbf{}"]
)
def test_what_is_no_text_is_no_json(raw: bytes) -> None:
    with pytest.raises(Problem) as refused:
        decoded(raw, msgspec.json.Decoder(PlaceOrder))
    assert refused.value.status == 400


def test_a_backslash_before_u0000_is_no_nul() -> None:
    body = msgspec.json.encode(GOOD | {"name": "\\u0000"})
    assert decoded(body, msgspec.json.Decoder(PlaceOrder)).name == "\\u0000"


@pytest.mark.parametrize("key", ["", "a b", "a/b", "a\n", "한", "a" * 201])
def test_a_payment_key_is_what_may_stand_in_a_path(key: str) -> None:
    body = {"paymentKey": key, "orderId": "00000000-0000-0000-0000-000000000001", "amount": 1_000}
    with pytest.raises(Problem):
        decoded(msgspec.json.encode(body), msgspec.json.Decoder(ConfirmPayment))


@pytest.mark.parametrize(
    "rest",
    [b"", b',"phone":NaN}', b',"phone":"\\ud800"}', b',"phone":"\xff"}', b',"phone":' + b"[" * 5_000],
    ids=["cut off", "NaN", "half a surrogate", "no UTF-8", "nested"],
)
def test_a_body_that_is_no_json_behind_a_wrong_field_is_refused_as_no_json(rest: bytes) -> None:
    with pytest.raises(Problem) as refused:
        decoded(b'{"orderName":5' + rest, msgspec.json.Decoder(PlaceOrder))
    assert (refused.value.status, refused.value.body.title) == (400, "The body is not JSON")
