"""The last minutes of a demonstration as curves: how fast orders come and end, how long they take, and how far each service is behind. Pure."""

from collections.abc import Callable, Sequence

from ordersaga.operations.load_figures import Figures
from ordersaga.operations.moments import KEPT_S, Moment
from ordersaga.web.console.curves import Chart, Points, chart
from ordersaga.web.console.snapshot import Snapshot


def lags(snapshot: Snapshot) -> dict[str, int]:
    """How many records each service of ours is behind, over all its topics."""
    return {
        name: sum(read.lag or 0 for read in view.topics.values())
        for name, view in snapshot.services.items()
        if view.topics is not None and not view.foreign
    }


def charts(moments: Sequence[Moment], services: Sequence[str]) -> list[Chart]:
    """Three charts of these moments, the last of which is at the right edge."""
    end_s = moments[-1].at_s if moments else 0.0

    def of_figures(value: Callable[[Figures], float | None]) -> Points:
        return [(each.at_s, None if each.figures is None else value(each.figures)) for each in moments]

    return [
        chart(
            "rate",
            end_s,
            KEPT_S,
            {
                "rate": of_figures(lambda each: each.rate if each.left_s else 0.0),
                "completed": of_figures(lambda each: each.completed_a_second),
            },
        ),
        chart(
            "took",
            end_s,
            KEPT_S,
            {"p50": of_figures(lambda each: each.p50_ms), "p99": of_figures(lambda each: each.p99_ms)},
        ),
        chart(
            "lag", end_s, KEPT_S, {name: [(each.at_s, each.lags.get(name)) for each in moments] for name in services}
        ),
    ]
