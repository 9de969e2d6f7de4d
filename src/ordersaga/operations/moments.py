"""The last two minutes of a demonstration, for curves: what each look at the page of faults found.

The sandbox keeps them for all web processes, so that every one of them draws the same curves.
"""

import time
from collections import deque
from collections.abc import Mapping
from typing import Annotated, Final

from msgspec import Meta, Struct

from ordersaga.operations.load_figures import Figures, LoadNow

KEPT_S: Final = 120.0
EVERY_S: Final = 0.9

Lag = Annotated[int, Meta(ge=0)]


class Moment(Struct, rename="camel", frozen=True):
    """What was known at a time. `lags`: records behind, by service; a service that does not answer is left out."""

    at_s: float
    figures: Figures | None
    lags: Mapping[str, int]


class LookBody(Struct):
    """What a look at the services found: the records that each is behind."""

    lags: Annotated[dict[str, Lag], Meta(max_length=20)]


class Looked(Struct, rename="camel", frozen=True):
    """The load generator now, and the moments of the last minutes, the oldest first."""

    load: LoadNow
    moments: list[Moment]


class Past:
    """The moments of the last minutes, as far as somebody looked."""

    def __init__(self) -> None:
        self._moments: Final[deque[Moment]] = deque()

    def look(self, lags: Mapping[str, int], load: LoadNow) -> Looked:
        """Add this moment, unless another one has just been added."""
        now = time.monotonic()
        while self._moments and now - self._moments[0].at_s > KEPT_S:
            self._moments.popleft()
        if not self._moments or now - self._moments[-1].at_s >= EVERY_S:
            self._moments.append(Moment(now, load.figures if load.is_running else None, lags))
        return Looked(load, list(self._moments))
