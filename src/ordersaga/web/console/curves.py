"""Curves over one scale, as SVG draws them. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

WIDTH: Final = 320
HEIGHT: Final = 90
TOPS: Final = (1, 2, 5)

Points = Sequence[tuple[float, float | None]]
"""The values of a curve, each at a time in seconds, the oldest first; None: nothing was known."""


class Line(Struct, frozen=True):
    """A curve with its name, the value at its end, the highest, and its points as SVG writes them; a gap where nothing was known."""

    name: str
    value: float | None
    paths: list[str]
    highest: float | None = None


class Chart(Struct, frozen=True):
    """Curves over one scale, from 0 to `top`. `name`: the end of a text's key, or a topic."""

    name: str
    top: float
    lines: list[Line]

    @property
    def is_busy(self) -> bool:
        """Whether a curve has ever been above 0."""
        return any(line.highest for line in self.lines)


def chart(name: str, end_s: float, seconds: float, curves: Mapping[str, Points]) -> Chart:
    """A chart of the `seconds` before `end_s`, which is its right edge."""
    known = {which: [value for _, value in points if value is not None] for which, points in curves.items()}
    top = _top(max((value for values in known.values() for value in values), default=0.0))

    def at(point_s: float, value: float) -> str:
        return f"{WIDTH * (1 - (end_s - point_s) / seconds):.1f},{HEIGHT * (1 - value / top):.1f}"

    def paths(points: Points) -> list[str]:
        found: list[list[str]] = [[]]
        for point_s, value in points:
            if value is None:
                found.append([])
            elif point_s >= end_s - seconds:
                found[-1].append(at(point_s, value))
        return [" ".join(each) for each in found if each]

    lines = [
        Line(which, points[-1][1] if points else None, paths(points), max(known[which], default=None))
        for which, points in curves.items()
    ]
    return Chart(name, top, lines)


def _top(highest: float) -> float:
    """The scale's end: 1, 2 or 5 times a power of ten, at least 1."""
    power = 1.0
    while True:
        for factor in TOPS:
            if highest <= factor * power:
                return factor * power
        power *= 10
