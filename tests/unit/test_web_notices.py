"""What a page says of a refused act: why, and that somebody else has acted only if a service says so."""

import pytest

from ordersaga.messaging.acts import REFUSED, STALE
from ordersaga.said import Saying
from ordersaga.web.console.frame import notice_of
from ordersaga.web.desk import NOTICE
from ordersaga.web.notices import WHY_CHARS_MAX, Told, refused_as
from ordersaga.web.services import ProblemAnswer, Refused, WrongField
from ordersaga.web.signing import Signer

SAID = [Saying("refused.parked", {"record": "a/1/2"})]


@pytest.mark.parametrize(
    ("status", "problem", "told"),
    [
        (409, ProblemAnswer(STALE, "it is CLOSED now"), Told("console.stale")),
        (
            409,
            ProblemAnswer(REFUSED, "a/1/2 is parked already", [], SAID),
            Told("console.refused", "a/1/2 is parked already", SAID),
        ),
        (404, ProblemAnswer("Not found", "there is none"), Told("console.gone")),
        (
            400,
            ProblemAnswer("The request is not valid", "x", [WrongField("at", "is no offset")]),
            Told("console.wrong", "at: is no offset"),
        ),
    ],
    ids=["stale", "refused", "gone", "wrong"],
)
def test_the_notice_of_a_refused_act_tells_why(status: int, problem: ProblemAnswer, told: Told) -> None:
    assert notice_of(Refused(status, problem)) == told


def test_another_refusal_is_no_notice() -> None:
    with pytest.raises(Refused):
        notice_of(Refused(403, ProblemAnswer("Forbidden")))


def test_a_long_reason_fits_a_cookie() -> None:
    said = [Saying("x", {"words": "찻" * 2 * WHY_CHARS_MAX})]
    assert len(Signer(b"secret").sign(NOTICE, refused_as("console.refused", "찻" * 9_000, said))) < 4_000
