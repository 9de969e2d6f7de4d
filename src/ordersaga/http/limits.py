"""Limits on what one process accepts from clients and how long it waits for them, and the count of open event streams."""

import contextlib
import math
import re
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct
from prometheus_client import Counter as Metric

from ordersaga.service_context import metric
from ordersaga.settings import Settings

RETRY_AFTER_S: Final = "1"
BURST_S: Final = 10.0
CALLERS_MAX: Final = 100_000
"""Of whom requests are counted: the others have made none for longer."""
EDIT: Final = re.compile(rb"/(?:api/v1/operations/dead-letters|console/letters/[a-z]+)/[0-9a-f-]{36}/edit(?:\?|$)")
"""Where a whole record is sent. Only an operator's body is read there."""
LIMITED: Final = metric(
    Metric,
    "ordersaga_http_limited",
    "Requests that were 429, since their caller, or the address of those without one, made too many",
    "by",
)


class Limits(Struct, frozen=True):
    """The `http_*` settings that a connection reads for each request. Bytes and seconds."""

    head_bytes_max: int
    headers_max: int
    body_bytes_max: int
    edit_bytes_max: int
    head_s: float
    body_s: float
    body_bytes_per_s_min: int
    answer_s: float
    pipelined_max: int
    connections_max: int
    requests_max: int

    def body_max(self, url: bytes) -> int:
        """How many bytes the body of a request to this path may have."""
        return max(self.edit_bytes_max, self.body_bytes_max) if EDIT.match(url) else self.body_bytes_max

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        return cls(**{name: getattr(settings, f"http_{name}") for name in cls.__struct_fields__})


class TooManyStreams(Exception):
    """Another event stream would exceed the limit of this process, or of this caller (`own`)."""

    def __init__(self, own: bool) -> None:
        super().__init__("too many event streams are open")
        self.own: Final = own


class Streams:
    """The open event streams of this process. They last for hours, so they have their own limits and are not requests in flight."""

    def __init__(self, streams_max: int, per_caller_max: int) -> None:
        self._max: Final = streams_max
        self._per_caller_max: Final = per_caller_max
        self._open: Final[Counter[UUID]] = Counter()
        self.count = 0

    def check(self, caller: UUID) -> None:
        """Raises `TooManyStreams` if this caller cannot open another stream now."""
        if self._open[caller] >= self._per_caller_max:
            raise TooManyStreams(own=True)
        if self.count >= self._max:
            raise TooManyStreams(own=False)

    @contextlib.contextmanager
    def opened(self, caller: UUID) -> Iterator[None]:
        """Count a stream while it is open."""
        self.count += 1
        self._open[caller] += 1
        try:
            yield
        finally:
            self.count -= 1
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]


class Pace:
    """How many requests a second each caller, or each address, may make of this process, on average; `BURST_S` seconds' worth may come at once.

    Of each it keeps the time at which all requests so far would have come, had they come evenly.
    """

    def __init__(
        self, per_s: float, by: Literal["caller", "address"], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._each_s: Final = 1 / per_s
        self._by: Final = by
        self._clock: Final = clock
        self._even: Final[OrderedDict[Hashable, float]] = OrderedDict()

    def wait_s(self, caller: Hashable) -> int:
        """0: the request is taken, and counts. Otherwise it is not, and in so many seconds one would be."""
        now = self._clock()
        even = max(now, self._even.get(caller, now)) + self._each_s
        if even - now > max(BURST_S, self._each_s):
            LIMITED.labels(self._by).inc()
            return math.ceil(even - now - max(BURST_S, self._each_s))
        self._even[caller] = even
        self._even.move_to_end(caller)
        if len(self._even) > CALLERS_MAX:
            self._even.popitem(last=False)
        return 0
