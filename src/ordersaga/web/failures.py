"""Counts the failed sign-ins of each address, so that nobody can try on and on."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

FAILURES_MAX: Final = 30
WITHIN_S: Final = 60.0
ADDRESSES_MAX: Final = 10_000


class TooManyFailures(Exception):
    """Too many sign-ins have failed."""

    def __init__(self, wait_s: int) -> None:
        super().__init__(f"wait for {wait_s} s")
        self.wait_s: Final = wait_s


class Failures:
    """The failed sign-ins of the last minute. An address is the connection's: behind a proxy, the proxy's."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock: Final = clock
        self._at: Final[OrderedDict[str, deque[float]]] = OrderedDict()

    def wait_s(self, address: str) -> int:
        """For how many seconds this address must wait before it may try again; 0: it may."""
        failed, now = self._at.get(address), self._clock()
        if failed is None or len(failed) < FAILURES_MAX or failed[0] + WITHIN_S <= now:
            return 0
        return int(failed[0] + WITHIN_S - now) + 1

    def failed(self, address: str) -> None:
        """Count a failure. Addresses that failed least recently are forgotten first."""
        self._at.setdefault(address, deque(maxlen=FAILURES_MAX)).append(self._clock())
        self._at.move_to_end(address)
        if len(self._at) > ADDRESSES_MAX:
            self._at.popitem(last=False)
