"""How much later something happened, as an order's story tells it, and how much time is left."""

import pytest

from ordersaga.web.console.ages import gap, time_left
from ordersaga.web.signing import Signer
from ordersaga.web.visit import Cart, Session, Visit

VISIT = Visit("en", Session(), Cart(), "/", Signer(b"secret"), {})


@pytest.mark.parametrize(
    ("seconds", "english"),
    [
        (0.0, "0 ms"),
        (0.0364, "36 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (1.26, "1.3 s"),
        (9.96, "10.0 s"),
        (10.9, "10 s"),
        (75, "1 min"),
    ],
)
def test_a_gap_is_told_as_finely_as_it_matters(seconds: float, english: str) -> None:
    assert gap(VISIT, seconds) == english


@pytest.mark.parametrize(
    ("seconds", "english"),
    [(0.2, "1 s"), (59.4, "1 min"), (60, "1 min"), (61, "2 min"), (114, "2 min"), (120, "2 min"), (5_400, "2 h")],
)
def test_what_is_left_of_a_time_does_not_look_shorter_than_it_is(seconds: float, english: str) -> None:
    assert time_left(VISIT, seconds) == english
