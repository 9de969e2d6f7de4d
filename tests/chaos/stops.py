"""The times in which no order was completed, of a run of `make cluster`."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import Final, NamedTuple

from rich.table import Table

from ordersaga.messaging.servers import Servers
from tests.chaos.run import BACK_LIMIT_S, STEADY_S, Recovery

LAST_S: Final = 5.0
"""The last orders come one by one, since customers stop coming: the time before is judged."""


class Span(NamedTuple):
    """A time that is judged, or that is not."""

    from_s: float
    to_s: float


async def judged(url: str) -> tuple[list[float], float]:
    """The times at which orders were completed, and the time until which they are judged.

    An order that is cancelled or expires ends in Order alone, so only completions tell that all services work.
    """
    db = await Servers(url).connect()
    try:
        rows = await db.fetch("SELECT min(at) AS at FROM order_event WHERE status = 'COMPLETED' GROUP BY order_id")
        placed = await db.fetchval("SELECT max(at) FROM order_event WHERE status = 'PENDING'")
    finally:
        await db.close()
    return sorted(row["at"].timestamp() for row in rows), placed.timestamp() - LAST_S


def cuts(recoveries: Sequence[Recovery]) -> list[Span]:
    """The times in which a service was cut off from what it cannot do without: nobody can complete an order then."""
    return [Span(each.cut_s, each.since_s) for each in recoveries if each.cut_s is not None]


def longest_stop(ends: Sequence[float], from_s: float, to_s: float, without: Sequence[Span] = ()) -> float:
    """How long `longest` is."""
    found = longest(ends, from_s, to_s, without)
    return found.to_s - found.from_s


def longest(ends: Sequence[float], from_s: float, to_s: float, without: Sequence[Span] = ()) -> Span:
    """The longest time between these two in which no order ended. Of a time in `without`, what comes before and after counts."""
    stops = [Span(from_s, from_s)]
    for span in [*without, Span(to_s, to_s)]:
        moments = [from_s, *(each for each in ends if from_s < each < span.from_s), span.from_s]
        stops += [Span(*each) for each in pairwise(moments)]
        from_s = span.to_s
    return max(stops, key=lambda each: each.to_s - each.from_s)


def place(stop: Span, recoveries: Sequence[Recovery]) -> str:
    """Behind which blow a stop began, in words: a machine that comes back may cause one, too.

    A stop begins with the last order that ended, which may be just before the blow.
    """
    before = [each for each in recoveries if each.since_s <= stop.from_s + 1]
    if not before:
        return "before the first blow"
    last = max(before, key=lambda each: each.since_s)
    return f"from {max(0.0, stop.from_s - last.since_s):.1f} s after: {last.what}"


def table(recoveries: Sequence[Recovery], ends: Sequence[float]) -> Table:
    """What each kind of blow cost."""
    kinds = defaultdict(list)
    for each in recoveries:
        kinds[each.kinds[0]].append(each)
    made = Table("blow", "times", "s without a completed order: median / worst", "s until full speed: median / worst")
    for kind, found in sorted(kinds.items()):
        took = [BACK_LIMIT_S if each.back_after_s is None else each.back_after_s for each in found]
        stops = [
            longest_stop(ends, each.since_s, each.since_s + back_s + STEADY_S)
            for each, back_s in zip(found, took, strict=True)
        ]
        made.add_row(
            kind, str(len(found)), f"{median(stops):.1f} / {max(stops):.1f}", f"{median(took):.1f} / {max(took):.1f}"
        )
    return made
