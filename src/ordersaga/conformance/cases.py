"""What a case is: a name, the promise that it checks, tags, and a coroutine that plays it."""

import difflib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Literal

from msgspec import Struct

from ordersaga.conformance.scene import Scene
from ordersaga.conformance.tally import Surplus

Phase = Literal["together", "shape", "restart", "poison"]
"""When a case is played. `together`: beside other cases. `shape`: after those, one at a time for each `noun`. `restart`: alone, while the service
is started again. `poison`: alone and last, since a service that such a record has stopped answers nothing afterwards."""
Play = Callable[[Scene], Awaitable[None]]
LastLook = Callable[[Scene], Surplus | None]


class Case(Struct, frozen=True):
    """One case. `promise`: the guide's clause, or the promise that the case checks, in a sentence. `last_look`: judges, at the end of the run, what
    came for the orders of all cases; what it finds fails the case. `noun`: the request that its exchange makes."""

    name: str
    promise: str
    tags: frozenset[str]
    play: Play
    phase: Phase = "together"
    last_look: LastLook | None = None
    noun: str = ""


class Cases:
    """The cases of a role, in their order."""

    def __init__(self) -> None:
        self.all: list[Case] = []

    def case(
        self, name: str, promise: str, *tags: str, phase: Phase = "together", last_look: LastLook | None = None
    ) -> Callable[[Play], Play]:
        """Make the decorated coroutine a case."""

        def add(play: Play) -> Play:
            self.add(Case(name, promise, frozenset(tags), play, phase, last_look))
            return play

        return add

    def add(self, *cases: Case) -> None:
        """Add cases that are made by a function."""
        for each in cases:
            if any(each.name == other.name for other in self.all):
                raise ValueError(f"two cases are called {each.name!r}")
            self.all.append(each)


class NoSuchCase(ValueError):
    """A selection that selects nothing. The text names what is near."""


def select(cases: Sequence[Case], only: Iterable[str]) -> list[Case]:
    """The cases that have one of these tags, or one of these texts in their name; all cases if `only` is empty. Raises `NoSuchCase`."""
    wanted = list(only)
    tags = sorted({tag for case in cases for tag in case.tags})
    for text in wanted:
        if text not in tags and not any(text.lower() in case.name.lower() for case in cases):
            near = difflib.get_close_matches(text, [*tags, *(case.name for case in cases)], n=3, cutoff=0.4)
            meant = f"; near it: {', '.join(near)}" if near else ""
            raise NoSuchCase(f"no case has the tag or name {text!r}{meant}. Tags: {', '.join(tags)}")
    return [
        case
        for case in cases
        if not wanted or any(text in case.tags or text.lower() in case.name.lower() for text in wanted)
    ]
