"""A reader of the operators' face sees no personal data: not in a record, whatever is wrong with it, and not in the words of an error."""

import json
from uuid import UUID

import msgspec
import pytest

from ordersaga.contracts.personal import hidden_in_words
from ordersaga.http.caller import Caller
from ordersaga.operations.personal import hidden_in_value, words_for

ORDER = {
    "orderId": str(UUID(int=1)),
    "name": "Kim Hana",
    "phone": "010-1234",
    "address": 'the "Mews" \\',
    "zipcode": None,
}
SECRETS = ("Kim", "Hana", "010", "Mews")


@pytest.mark.parametrize(
    "value",
    [
        ORDER,
        [ORDER],
        {"payload": ORDER},
        json.dumps(ORDER),
        "Kim Hana, 010-1234",
        {"payload": json.dumps(ORDER)},
        {"payload": json.dumps({"inner": json.dumps(ORDER)})},
    ],
    ids=["an object", "a list", "nested", "encoded twice", "a text", "a text of JSON in it", "a text in a text"],
)
def test_a_value_has_no_personal_data_however_it_is_wrapped(value: object) -> None:
    hidden = hidden_in_value(json.dumps(value))
    assert not any(each in hidden for each in SECRETS), hidden
    assert "***" in hidden


def test_a_value_that_is_no_json_is_hidden_as_a_whole() -> None:
    assert hidden_in_value('{"name": "Kim') == "***"


def test_half_of_a_pair_of_surrogates_in_a_value_can_be_sent() -> None:
    hidden = hidden_in_value('{"orderId": "1", "note": "\\ud83d"}')
    assert json.loads(msgspec.json.decode(msgspec.json.encode(hidden))) == {"orderId": "1", "note": "\ud83d"}


@pytest.mark.parametrize(
    "text",
    [
        f'Unexpected character at [Source: (byte[])"{json.dumps(ORDER)}"; line: 1, column: 9]',
        'at [Source: (byte[])"{"phone":"010-1234","name":"Kim Ha',
        f"Cannot parse {json.dumps(json.dumps(ORDER))}",
        '{"phone":0101234, "name" : "Kim"}',
        "DeliveryRequest(orderId=1, name=Kim Hana, phone=010-1234)",
        "violates check constraint\nDETAIL:  Failing row contains (1, Kim Hana, 010-1234, null).",
    ],
    ids=["Jackson's source", "cut off", "escaped", "a number", "Java's toString", "PostgreSQL's row"],
)
def test_words_of_an_error_repeat_no_personal_data(text: str) -> None:
    hidden = hidden_in_words(text)
    assert not any(each in hidden for each in SECRETS), hidden
    assert words_for(Caller(UUID(int=7), frozenset({"OPERATOR"})), text) == text


@pytest.mark.parametrize(
    "text",
    [
        "the carrier is away",
        "not a DeliveryRequestMessage: Object missing required field `orderId`",
        '{"name":null,"zipcode":null}',
        "java.lang.IllegalStateException: no bean named 'phone'",
    ],
)
def test_other_words_stay_as_they_are(text: str) -> None:
    assert hidden_in_words(text) == text
