"""The last hours as curves, from what the services keep: orders, lag, the gateway's answers, and each topic's throughput.

A service writes down where it stands whether somebody looks or not, so the curves show a night that nobody watched. The window is in the page's
address.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from litestar.types import ControllerRouterHandler

from ordersaga.contracts.topics import TOPICS
from ordersaga.operations.flow import LOOK_EVERY_S
from ordersaga.operations.flow_resources import FlowMoment
from ordersaga.web.accounts import User
from ordersaga.web.console.curves import Chart, Points, chart
from ordersaga.web.console.frame import Console
from ordersaga.web.console.rates import Value, called, handled, lag_of, written
from ordersaga.web.console.renewed import renewed
from ordersaga.web.console.staff import HOME
from ordersaga.web.desk import AnyRequest
from ordersaga.web.services import side_by_side

PATH: Final = f"{HOME}/history"
MINUTES: Final = (15, 60, 180)
MINUTES_FIRST: Final = 60
POINTS: Final = 120
COMPLETED: Final = "order-completed-topic"

Kept = Mapping[str, Sequence[FlowMoment]]


def charts(kept: Kept, end: datetime, seconds: int) -> list[Chart]:
    """The charts of the whole system: those that none of our services tells of are left out."""
    order, payment = kept.get("order", ()), kept.get("payment", ())
    found = [
        ("orders", {"placed": _rates(order, called("place-order")), "completed": _rates(order, written(COMPLETED))}),
        ("lag", {name: _lags(moments) for name, moments in kept.items()}),
        (
            "gateway",
            {which: _rates(payment, called(f"gateway-{which}")) for which in ("approved", "declined", "unclear")},
        ),
    ]
    return [
        chart(name, end.timestamp(), seconds, curves)
        for name, curves in found
        if any(points for points in curves.values())
    ]


def topic_charts(kept: Kept, end: datetime, seconds: int) -> list[Chart]:
    """How fast the records of each topic came, and were handled by the reader that is ours."""
    found = []
    for topic in TOPICS:
        curves: dict[str, Points] = {}
        for name in (*topic.consumers, topic.producer):
            moments = [each for each in kept.get(str(name), ()) if topic.name in each.topics]
            if moments and "in" not in curves:
                curves["in"] = _rates(moments, written(topic.name))
            if moments and name in topic.consumers:
                curves["out"] = _rates(moments, handled(topic.name))
        if curves:
            found.append(chart(topic.name, end.timestamp(), seconds, curves))
    return found


def _rates(moments: Sequence[FlowMoment], value: Value) -> Points:
    """How many a second between one moment and the next; None after a gap, in which nobody looked."""
    longest = _longest(moments)
    points: list[tuple[float, float | None]] = []
    for before, after in pairwise(moments):
        first, last, between = value(before), value(after), (after.at - before.at).total_seconds()
        is_known = first is not None and last is not None and last >= first and between <= longest
        points.append((after.at.timestamp(), ((last or 0) - (first or 0)) / between if is_known else None))
    return points


def _lags(moments: Sequence[FlowMoment]) -> Points:
    """How many records the service was behind, over all its topics."""
    points: list[tuple[float, float | None]] = []
    longest, before = _longest(moments), None
    for each in moments:
        if before is not None and (each.at - before).total_seconds() > longest:
            points.append((before.timestamp(), None))
        points.append((each.at.timestamp(), lag_of(each)))
        before = each.at
    return points


def _longest(moments: Sequence[FlowMoment]) -> float:
    """So long two moments may be apart: three times the usual distance."""
    between = sorted((after.at - at.at).total_seconds() for at, after in pairwise(moments))
    return 3 * max(LOOK_EVERY_S, between[len(between) // 2] if between else 0.0)


def routes(console: Console) -> list[ControllerRouterHandler]:
    """The routes."""
    reading = console.reading

    async def found(request: AnyRequest, user: User) -> dict[str, Any]:
        asked = str(request.query_params.get("minutes", ""))
        minutes = next((each for each in MINUTES if str(each) == asked), MINUTES_FIRST)
        seconds = minutes * 60
        query = {"seconds": str(seconds), "everySeconds": str(max(1, seconds // POINTS))}
        moments = await side_by_side(*(reading.flow(name, user, query) for name in reading.ours))
        kept, end = dict(zip(reading.ours, moments, strict=True)), datetime.now(UTC)
        return {
            "minutes": minutes,
            "choices": MINUTES,
            "begin": end - timedelta(seconds=seconds),
            "end": end,
            "away": [name for name, several in kept.items() if not several],
            "charts": charts(kept, end, seconds),
            "topics": topic_charts(kept, end, seconds),
        }

    return renewed(console, PATH, "history.html", "_history.html", found)
