"""How the values of an address are removed from texts and records that repeat them."""

import json
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import msgspec
import pytest

from ordersaga.operations.erasing import Theirs, Words, erase
from ordersaga.order.erasing import NOTHING, _erasables
from ordersaga.order.model import Facts

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


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("김하나님이 김하나에게: 63000으로 보냄", "***님이 ***에게: ***으로 보냄"),
        ("고객김하나", "고객***"),
        ("11동 at 2026-11-30T10:11:12+09:00, 2026-11-30 11:00:00", "***동 at 2026-11-30T10:11:12+09:00, 2026-11-30 11:00:00"),
        ("0192aa11-1203-7000-8000-0123456789AB in 1203", "0192aa11-1203-7000-8000-0123456789AB in ***"),
    ],
)  # fmt: skip
def test_a_particle_may_follow_a_value_and_ids_and_times_stay_whole(text: str, left: str) -> None:
    words = Words(["김하나", "63000", "11", "1203"])
    assert words.without(text) == left
    assert json.loads(words.without_in_json(json.dumps({"a": [text]}))) == {"a": [left]}


def test_the_codes_of_sayings_stay() -> None:
    stored = json.dumps([{"code": "refusal.not_served", "values": {"zipcode": "63000"}}])
    words = Words(["refusal", "63000"])
    assert json.loads(words.without_in_stored(stored) or "") == [
        {"code": "refusal.not_served", "values": {"zipcode": "***"}}
    ]
    assert words.without_in_stored(None) is None
    assert words.without_in_stored("what this version cannot read") == "what this version cannot read"


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


class Asked:
    """A database without rows, and what it was asked for."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    async def fetch(self, query: str, *_: Any) -> list[Any]:
        self.statements.append(query)
        return []


async def test_an_order_without_letters_reads_no_job() -> None:
    """Jobs have their letters' ids in no index: each order of years would read all letters of all jobs, and hold its locks meanwhile."""
    db, now = Asked(), datetime(2026, 11, 30, tzinfo=UTC)
    assert await erase(cast(Any, db), Theirs([UUID(int=1)], []), WORDS, now) == (0, 0)
    assert not [each for each in db.statements if "operator_job" in each] and len(db.statements) == 1
    await erase(cast(Any, db), Theirs([UUID(int=1)], [UUID(int=2)]), WORDS, now)
    assert len([each for each in db.statements if "operator_job_item" in each]) == 2


@pytest.mark.parametrize(
    ("status", "facts", "needs"),
    [
        ("PENDING", Facts(()), True),
        ("CANCELLED", Facts((), delivery="REQUESTED"), True),
        ("COMPLETED", Facts((), delivery="STARTED", returning="REQUESTED"), True),
        ("COMPLETED", Facts((), delivery="STARTED", returning="REFUSED"), False),
        ("COMPLETED", Facts((), delivery="STARTED"), False),
        ("FAILED", Facts(()), False),
    ],
)
def test_an_order_keeps_its_address_while_goods_may_go_either_way(status: str, facts: Facts, needs: bool) -> None:
    row = {
        "order_id": UUID(int=1),
        "status": status,
        "facts": msgspec.json.encode(facts),
        "recipient": NOTHING,
        "erased_at": None,
        "last_at": datetime(2026, 11, 30, tzinfo=UTC),
        "detail": None,
    }
    assert [each.needs_its_address for each in _erasables([row])] == [needs]
