"""What an examination finds."""

from typing import Final, Literal

from msgspec import Struct

CLOCK_S_MAX: Final = 2.0
"""Clocks that differ by more are wrong: times in timelines and letters mislead, and tokens are refused early or accepted late."""


class Finding(Struct, frozen=True):
    """One thing that was looked at. `note`: it works, and an operator should know. `unknown`: it could not be looked at; `what` says why."""

    check: str
    where: str
    outcome: Literal["ok", "note", "wrong", "unknown"]
    what: str
    todo: str = ""
