"""`Prefer` and `Idempotency-Key`, of every shape: what is understood counts, and nothing makes a request fail that could be answered."""

from typing import Any
from uuid import UUID

import pytest
from litestar import Request

from ordersaga.http.problems import Problem
from ordersaga.http.requests import WAIT_S_DEFAULT, WAIT_S_MAX, idempotency_key, wait_s

USER = UUID(int=1)


def request(name: bytes, *values: str) -> Request[Any, Any, Any]:
    headers = [(name, value.encode("latin-1")) for value in values]
    return Request({"type": "http", "headers": headers, "method": "GET", "path": "/"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ([], WAIT_S_DEFAULT),
        (["wait=0"], 0.0),
        (["wait=5"], 5.0),
        (['wait="5"'], 5.0),
        (["Wait = 5 ; x=y"], 5.0),
        (["wait=31"], WAIT_S_MAX),
        (["wait=" + "9" * 5_000], WAIT_S_MAX),
        (["respond-async"], 0.0),
        (["respond-async, wait=10"], 0.0),
        (["return=minimal, wait=3"], 3.0),
        (["return=minimal", "wait=3"], 3.0),
        (["wait=\xb2"], WAIT_S_DEFAULT),
        (["wait=-1"], WAIT_S_DEFAULT),
        (["wait=1.5"], WAIT_S_DEFAULT),
        (["wait=1e3"], WAIT_S_DEFAULT),
        (["wait=inf"], WAIT_S_DEFAULT),
        (["wait=nan"], WAIT_S_DEFAULT),
        (["wait"], WAIT_S_DEFAULT),
        (["wait="], WAIT_S_DEFAULT),
        (["=5"], WAIT_S_DEFAULT),
        ([",,;;=="], WAIT_S_DEFAULT),
        (["nonsense wait=5"], WAIT_S_DEFAULT),
    ],
)
def test_a_preference_counts_as_far_as_it_is_understood(values: list[str], seconds: float) -> None:
    assert wait_s(request(b"prefer", *values)) == seconds


@pytest.mark.parametrize("values", [[""], ["x" * 301], ["\xe9"], ["a\tb"], ["\xa0"], ["a", "a"], ["a", "b"]])
def test_a_key_that_is_none_is_refused(values: list[str]) -> None:
    with pytest.raises(Problem) as refused:
        idempotency_key(request(b"idempotency-key", *values), USER, "POST /", b"", UUID(int=2))
    assert refused.value.status == 400


@pytest.mark.parametrize("key", ["a", "x" * 300, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "a b"])
def test_a_key_is_taken_as_it_is(key: str) -> None:
    found = idempotency_key(request(b"idempotency-key", key), USER, "POST /", b"", UUID(int=2))
    assert found is not None and found.key == key
