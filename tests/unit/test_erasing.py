"""How the values of an address are removed from texts and records that repeat them."""

import json

import pytest

from ordersaga.operations.erasing import Words

WORDS = Words(["Kim Hana", "63000", "1 Sejong-daero (Jung-gu)", "a", " "])


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("nothing is delivered to zipcode 63000", "nothing is delivered to zipcode ***"),
        ("call Kim Hana, 1 Sejong-daero (Jung-gu)", "call ***, ***"),
        ("order 5630001 is a long one", "order 5630001 is a long one"),
        ('no JSON: {"phone": "010-1", "total', 'no JSON: {"phone": "***", "total'),
        ("Failing row contains (1, Seoul).", "Failing row contains (***)"),
    ],
)
def test_values_are_removed_as_whole_words_and_fields_by_their_names(text: str, left: str) -> None:
    assert WORDS.without(text) == left


def test_in_json_numbers_and_names_stay_and_texts_in_texts_are_cleared() -> None:
    record = {"amount": 63000, "63000": None, "said": ["to 63000"], "inner": json.dumps({"name": "Lee", "x": 1})}
    cleared = json.loads(WORDS.without_in_json(json.dumps(record)))
    assert cleared["amount"] == 63000 and "63000" in cleared and cleared["said"] == ["to ***"]
    assert json.loads(cleared["inner"]) == {"name": "***", "x": 1}


@pytest.mark.parametrize("record", [None, b"", b'{"orderId":  "1", "total": 1.50}', b"\x00\xffno text", b"[" * 9_000])
def test_a_record_without_personal_data_keeps_its_bytes(record: bytes | None) -> None:
    assert WORDS.without_in_record(record) == record


def test_a_record_that_is_no_text_is_cleared_as_it_is_read() -> None:
    assert WORDS.without_in_record(b"\xff Kim Hana") == b"\\xff ***"
    assert Words([]).without("63000") == "63000"
