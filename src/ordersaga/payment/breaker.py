"""A circuit breaker: stops asking a dead gateway for a while, then lets one probe decide.

Our own, since the kept libraries count exceptions around a call, and here an answer, not an exception, says how the gateway is.
"""

import time
from collections.abc import Callable
from enum import Enum

import msgspec

from ordersaga.payment.gateway import GatewayHealth


class Verdict(Enum):
    """What a call taught about the gateway."""

    ALIVE = "alive"
    SICK = "sick"
    OUR_FAULT = "our fault"
    NOTHING = "nothing"


class Pass(msgspec.Struct, frozen=True):
    """Leave to make one call, given by `Breaker.admit` and handed back with its verdict."""

    epoch: int
    probe: bool


class Breaker:
    """Closed until `sick_max` calls in a row found the gateway sick; then open for `open_s`; then one probe closes or opens it.

    Promise: at most one call is out while half-open, and a pass that is handed back always frees the probe's place. A verdict from
    before the last change of state counts for nothing: thousands of calls may still be out when the breaker opens, and a late
    success among them must not close it.
    """

    def __init__(self, sick_max: int, open_s: float, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._sick_max = sick_max
        self._open_s = open_s
        self._clock_s = clock_s
        self._epoch = 0
        self._sick = 0
        self._open_until_s: float | None = None
        self._probe_is_out = False
        self._reason: str | None = None

    @property
    def health(self) -> GatewayHealth:
        """The state for the alarm, with the reason of the last opening while it lasts."""
        if self._open_until_s is None:
            return GatewayHealth("closed", None, 0.0)
        remaining_s = self._open_until_s - self._clock_s()
        return GatewayHealth("open" if remaining_s > 0 else "half-open", self._reason, max(0.0, remaining_s))

    def admit(self) -> Pass | None:
        """A pass for one call, or None: do not send it."""
        if self._open_until_s is None:
            return Pass(self._epoch, probe=False)
        if self._clock_s() < self._open_until_s or self._probe_is_out:
            return None
        self._probe_is_out = True
        return Pass(self._epoch, probe=True)

    def hand_back(self, given: Pass, verdict: Verdict, reason: str) -> bool:
        """Count what the call taught. True if this opened the breaker, so that the caller can say so once."""
        if given.epoch != self._epoch:
            return False
        if given.probe:
            self._probe_is_out = False
        match verdict:
            case Verdict.NOTHING:
                return False
            case Verdict.ALIVE:
                self._sick = 0
                if given.probe:
                    self._close()
                return False
            case Verdict.SICK:
                self._sick += 1
                if not given.probe and self._sick < self._sick_max:
                    return False
            case Verdict.OUR_FAULT:
                pass
        self._open(reason)
        return True

    def _open(self, reason: str) -> None:
        self._epoch += 1
        self._open_until_s = self._clock_s() + self._open_s
        self._reason = reason

    def _close(self) -> None:
        self._epoch += 1
        self._sick = 0
        self._open_until_s = None
        self._reason = None
