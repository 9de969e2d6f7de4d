"""A circuit breaker: sends no calls to a dead gateway for a while, then one probe decides.

Our own, because maintained libraries count exceptions around a call, and here an answer says how healthy the gateway is.
"""

import time
from collections.abc import Callable
from enum import Enum

import msgspec

from ordersaga.payment.gateway import GatewayHealth


class HealthSign(Enum):
    """What a call's answer says about the gateway's health. NOTHING: the call was cancelled and has no answer."""

    ALIVE = "alive"
    SICK = "sick"
    OUR_FAULT = "our fault"
    NOTHING = "nothing"


class Pass(msgspec.Struct, frozen=True):
    """Permission for one call, from `Breaker.admit`. It must be handed back with the call's sign."""

    epoch: int
    probe: bool


class Breaker:
    """Closed until `sick_max` calls in a row found the gateway sick, then open for `open_s`, then half-open: one probe closes or opens it.

    Promise: while half-open at most one call is in flight; the next probe is admitted when its pass is handed back. The sign of a call that
    was admitted before the last change of state is ignored: thousands of calls may be in flight when the breaker opens, and a late success
    must not close the breaker.
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
        """The state for the alarm; while not closed, with the reason why the breaker opened."""
        if self._open_until_s is None:
            return GatewayHealth("closed", None, 0.0)
        remaining_s = self._open_until_s - self._clock_s()
        return GatewayHealth("open" if remaining_s > 0 else "half-open", self._reason, max(0.0, remaining_s))

    def admit(self) -> Pass | None:
        """A pass for one call. None: do not send it."""
        if self._open_until_s is None:
            return Pass(self._epoch, probe=False)
        if self._clock_s() < self._open_until_s or self._probe_is_out:
            return None
        self._probe_is_out = True
        return Pass(self._epoch, probe=True)

    def hand_back(self, given: Pass, sign: HealthSign, reason: str) -> bool:
        """Count the sign. True: this call opened the breaker, and the caller logs it."""
        if given.epoch != self._epoch:
            return False
        if given.probe:
            self._probe_is_out = False
        match sign:
            case HealthSign.NOTHING:
                return False
            case HealthSign.ALIVE:
                self._sick = 0
                if given.probe:
                    self._close()
                return False
            case HealthSign.SICK:
                self._sick += 1
                if not given.probe and self._sick < self._sick_max:
                    return False
            case HealthSign.OUR_FAULT:
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
