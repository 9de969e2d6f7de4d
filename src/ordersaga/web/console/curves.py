"""The last minutes as curves: how fast orders come and end, how long they take, and how far each service is behind. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from ordersaga.operations.load_figures import Figures
from ordersaga.operations.moments import KEPT_S, Moment
from ordersaga.web.console.snapshot import Snapshot

WIDTH: Final = 320
HEIGHT: Final = 90
TOPS: Final = (1, 2, 5)


class Line(Struct, frozen=True):
    """A curve with its name, the value at its end, and its points as SVG writes them; a gap where nothing was known."""

    name: str
    value: float | None
    paths: list[str]


class Chart(Struct, frozen=True):
    """Curves over one scale, from 0 to `top`. `name`: the end of a key `console.faults.chart.…`."""

    name: str
    top: float
    lines: list[Line]


def lags(snapshot: Snapshot) -> dict[str, int]:
    """How many records each service of ours is behind, over all its topics."""
    return {
        name: sum(read.lag or 0 for read in view.topics.values())
        for name, view in snapshot.services.items()
        if view.topics is not None and not view.foreign
    }


def charts(moments: Sequence[Moment], services: Sequence[str]) -> list[Chart]:
    """Three charts of these moments, the last of which is at the right edge."""

    def of_figures(value: Callable[[Figures], float | None]) -> Callable[[Moment], float | None]:
        return lambda moment: None if moment.figures is None else value(moment.figures)

    def of_service(name: str) -> Callable[[Moment], float | None]:
        return lambda moment: moment.lags.get(name)

    return [
        _chart(
            "rate",
            moments,
            {
                "rate": of_figures(lambda each: each.rate if each.left_s else 0.0),
                "completed": of_figures(lambda each: each.completed_a_second),
            },
        ),
        _chart(
            "took",
            moments,
            {"p50": of_figures(lambda each: each.p50_ms), "p99": of_figures(lambda each: each.p99_ms)},
        ),
        _chart("lag", moments, {name: of_service(name) for name in services}),
    ]


def _chart(name: str, moments: Sequence[Moment], values: Mapping[str, Callable[[Moment], float | None]]) -> Chart:
    known = [value for of in values.values() for each in moments if (value := of(each)) is not None]
    top = _top(max(known, default=0.0))
    last = moments[-1] if moments else None
    lines = [Line(which, None if last is None else of(last), _paths(moments, of, top)) for which, of in values.items()]
    return Chart(name, top, lines)


def _paths(moments: Sequence[Moment], of: Callable[[Moment], float | None], top: float) -> list[str]:
    paths: list[list[str]] = [[]]
    for each in moments:
        value = of(each)
        if value is None:
            paths.append([])
            continue
        x = WIDTH * (1 - (moments[-1].at_s - each.at_s) / KEPT_S)
        paths[-1].append(f"{x:.1f},{HEIGHT * (1 - value / top):.1f}")
    return [" ".join(each) for each in paths if each]


def _top(highest: float) -> float:
    """The scale's end: 1, 2 or 5 times a power of ten, at least 10."""
    power = 10.0
    while True:
        for factor in TOPS:
            if highest <= factor * power:
                return factor * power
        power *= 10
