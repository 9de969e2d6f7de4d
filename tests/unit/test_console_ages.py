"""How much later something happened, as an order's story tells it."""

import pytest

from ordersaga.web.console.ages import gap
from ordersaga.web.signing import Signer
from ordersaga.web.visit import Cart, Session, Visit


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
    visit = Visit("en", Session(), Cart(), "/", Signer(b"secret"), {})
    assert gap(visit, seconds) == english
