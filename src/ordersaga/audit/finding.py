"""One invariant of the system, with the audit's result for it."""

from datetime import datetime, timedelta
from typing import Final, Literal, get_args

from msgspec import Struct, field

from ordersaga.said import Saying, length, sayings_of

NAMED_MAX: Final = 1_000
CLOCKS_APART: Final = timedelta(minutes=10)
"""A time further ahead than this is wrong. The clocks of two machines differ by less."""

Code = Literal[
    "stock",
    "completed",
    "recorded",
    "given_back",
    "in_time",
    "timed",
    "told",
    "agreed",
    "known",
    "prices",
    "settled",
    "books",
    "published",
    "handled",
    "letters",
    "parked",
]
"""Stands for an invariant in programs, while its sentence is for people. In the order in which `verify` answers."""
INVARIANTS: Final[tuple[Code, ...]] = get_args(Code)

Judgement = Literal["holds", "broken", "could not be judged", "not applicable"]


class Finding(Struct):
    """An invariant with what was counted for it, what breaks it, what is in flight, and what could not be judged with the reason.

    At most `NAMED_MAX` of each are named. `notes` explain the count and do not change the outcome. `left_out` is why the invariant does not
    apply here. `sayings`: the codes and values of these texts, by the text.
    """

    invariant: str
    code: Code
    count: int = 0
    unit: str = "orders"
    broken: list[str] = field(default_factory=list)
    in_flight: list[str] = field(default_factory=list)
    unjudged: list[str] = field(default_factory=list)
    broken_count: int = 0
    in_flight_count: int = 0
    unjudged_count: int = 0
    notes: list[str] = field(default_factory=list)
    left_out: str | None = None
    sayings: dict[str, tuple[Saying, ...]] = field(default_factory=dict)

    @property
    def outcome(self) -> Judgement:
        if self.broken_count:
            return "broken"
        if self.unjudged_count:
            return "could not be judged"
        return "holds" if self.left_out is None else "not applicable"

    @property
    def holds(self) -> bool:
        """Whether nothing is broken and nothing unknown."""
        return self.outcome in ("holds", "not applicable")

    @property
    def counted(self) -> str:
        waiting = f", {self.in_flight_count:,} in flight" if self.in_flight_count else ""
        return f"{self.count:,} {self.unit}{waiting}"

    def breaks(self, what: str) -> None:
        """Name what breaks the invariant."""
        self.broken_count += 1
        if len(self.broken) < NAMED_MAX:
            self.broken.append(self._kept(what))

    def waits(self, what: str) -> None:
        """Name what is in flight."""
        self.in_flight_count += 1
        if len(self.in_flight) < NAMED_MAX:
            self.in_flight.append(self._kept(what))

    def unknown(self, why: str) -> None:
        """Name what could not be judged, with the reason."""
        self.unjudged_count += 1
        if len(self.unjudged) < NAMED_MAX:
            self.unjudged.append(self._kept(why))

    def notes_that(self, what: str) -> None:
        """Explain the count."""
        self.notes.append(self._kept(what))

    def is_left_out(self, why: str) -> None:
        """Say why the invariant does not apply here."""
        self.left_out = self._kept(why)

    def _kept(self, text: str) -> str:
        """The text alone; its sayings are kept beside it."""
        plain = str(text)
        if sayings := sayings_of(text):
            self.sayings[plain] = sayings
        return plain


class Moment(Struct, frozen=True):
    """When the audit began, and for how many seconds a row must be unchanged to be judged. 0: the system is at rest, every row is judged."""

    now: datetime
    unchanged_for_s: float

    @property
    def at_rest(self) -> bool:
        return self.unchanged_for_s == 0

    @property
    def cutoff(self) -> datetime:
        """A row that changed after this is in flight."""
        return self.now - timedelta(seconds=self.unchanged_for_s)

    def is_recent(self, at: datetime) -> bool:
        """Whether a row that changed at `at` is in flight. A time more than `CLOCKS_APART` ahead is wrong; such a row is not in flight."""
        return not self.at_rest and self.cutoff < at <= self.now + CLOCKS_APART


def ago(now: datetime, then: datetime) -> str:
    """An age in words."""
    return length(now - then)
