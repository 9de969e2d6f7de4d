"""Refused commands over HTTP: each kind of refusal has one status, and the refusal's words come through."""

from typing import get_args

import msgspec
import pytest

from ordersaga.http.problems import REFUSAL_STATUS, Problem, invalid, unless_refused
from ordersaga.messaging.refusal import Refusal, RefusalKind, no_such, wrong_field


def test_each_kind_has_a_status_that_says_whose_fault_it_is() -> None:
    assert set(REFUSAL_STATUS) == set(get_args(RefusalKind))
    assert all(400 <= status < 500 for status in REFUSAL_STATUS.values())


@pytest.mark.parametrize(
    ("refusal", "body"),
    [
        (no_such("order"), {"title": "There is no such order", "status": 404}),
        (Refusal("CONFLICT", "Too late", "it is sent"), {"title": "Too late", "status": 409, "detail": "it is sent"}),
        (
            wrong_field("amount", "is off", "mismatch"),
            msgspec.to_builtins(invalid("amount", "is off", "mismatch").body),
        ),
    ],
)
def test_a_refusal_is_raised_as_a_problem_with_its_words(refusal: Refusal, body: dict[str, object]) -> None:
    with pytest.raises(Problem) as problem:
        unless_refused(refusal)
    assert msgspec.to_builtins(problem.value.body) == body


def test_any_other_answer_comes_through() -> None:
    answer: str | Refusal = "done"
    assert unless_refused(answer) == "done"
