"""Faults on demand: by card, by order id, by percentage; reproducible from a seed.

An *outcome* is a name: `approve`, one of Toss's error codes, or one of the constants below. A card, an order's fault and a percentage of
all calls each name an outcome.
"""

import random
from typing import Final

import msgspec

from ordersaga.sandbox.errors import STATUS_BY_CODE, Call

APPROVE: Final = "approve"
SLOW: Final = "slow"
"""The call is carried out and answered after `slowMs`."""
DROPPED: Final = "dropped"
"""The connection is cut before the call is carried out."""
ANSWER_LOST: Final = "answer-lost"
"""The call is carried out, and the connection is cut before the answer."""
ANSWER_TRUNCATED: Final = "answer-truncated"
"""The call is carried out, and the connection is cut in the middle of the answer."""
BAD_GATEWAY: Final = "bad-gateway"
"""The call is not carried out; the answer is a proxy's HTML page with status 502."""
ANSWER_LOST_BAD_GATEWAY: Final = "answer-lost-bad-gateway"
"""The call is carried out; the answer is a proxy's HTML page."""
DONE_BUT: Final = "done-but-"
"""Prefix of an error code: the call is carried out, but answered with that error, which is stored for the idempotency key."""

_PLAIN: Final = frozenset({APPROVE, SLOW, DROPPED, ANSWER_LOST, ANSWER_TRUNCATED, BAD_GATEWAY, ANSWER_LOST_BAD_GATEWAY})


def is_outcome(name: str, call: Call) -> bool:
    """Whether `call` can have the outcome `name`."""
    return name in _PLAIN or name.removeprefix(DONE_BUT) in STATUS_BY_CODE[call]


class OrderFault(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The outcome of the next `times` calls of one kind about one order; without `times`, of all."""

    outcome: str = APPROVE
    times: int | None = None
    latency_ms: float | None = None


class Faults(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The body of `PUT /sandbox/faults`. Milliseconds and percent. By default the gateway never fails."""

    seed: int | None = None
    latency_ms: float = 0.0
    jitter_ms: float = 0.0
    slow_ms: float = 8_000.0
    percent: dict[Call, dict[str, float]] = {}
    orders: dict[str, dict[Call, OrderFault]] = {}
    duplicate_webhook_percent: float = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError with a sentence for faults that cannot happen."""
        if min(self.latency_ms, self.jitter_ms, self.slow_ms, self.duplicate_webhook_percent) < 0:
            raise ValueError("milliseconds and percentages cannot be negative")
        for call, shares in self.percent.items():
            if min(shares.values(), default=0.0) < 0 or sum(shares.values()) > 100:
                raise ValueError(f"the percentages of {call} must be 0 or more and at most 100 together")
        named = [(name, call) for call, shares in self.percent.items() for name in shares]
        named += [(fault.outcome, call) for faults in self.orders.values() for call, fault in faults.items()]
        for name, call in named:
            if not is_outcome(name, call):
                raise ValueError(f"{name!r} is no outcome of {call}")


class FaultPlan:
    """The faults in force; `draw` says which of them a call gets.

    With a seed, the n-th call of a kind about an order always gets the same outcome and latency, however calls interleave.
    """

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.drawn: dict[Call, dict[str, int]] = {}
        """How many calls of each kind had each outcome."""
        self._calls_seen: dict[str, int] = {}
        self._times_left = {
            (order_id, call): fault.times
            for order_id, by_call in faults.orders.items()
            for call, fault in by_call.items()
            if fault.times is not None
        }

    def draw(self, call: Call, order_id: str) -> tuple[str, float]:
        """The outcome of this call and its duration in seconds. An order's own fault goes before the percentages."""
        faults = self.faults
        latency_ms = faults.latency_ms
        if faults.jitter_ms:
            latency_ms += faults.jitter_ms * self._random(f"jitter/{call}", order_id)
        fault = self._of_order(call, order_id) if faults.orders else None
        if fault is not None:
            outcome = fault.outcome
            latency_ms = latency_ms if fault.latency_ms is None else fault.latency_ms
        elif shares := faults.percent.get(call):
            outcome = _pick(shares, self._random(call, order_id) * 100)
        else:
            outcome = APPROVE
        counts = self.drawn.setdefault(call, {})
        counts[outcome] = counts.get(outcome, 0) + 1
        return outcome, (latency_ms + (faults.slow_ms if outcome == SLOW else 0.0)) / 1_000

    def duplicates_webhook(self, order_id: str) -> bool:
        """Whether the webhook of this change is sent twice."""
        percent = self.faults.duplicate_webhook_percent
        return percent > 0 and self._random("webhook", order_id) * 100 < percent

    def _of_order(self, call: Call, order_id: str) -> OrderFault | None:
        fault = self.faults.orders.get(order_id, {}).get(call)
        if fault is None or fault.times is None:
            return fault
        left = self._times_left[order_id, call]
        self._times_left[order_id, call] = left - 1
        return fault if left > 0 else None

    def _random(self, what: str, order_id: str) -> float:
        if self.faults.seed is None:
            return random.random()
        name = f"{what}/{order_id}"
        nth = self._calls_seen[name] = self._calls_seen.get(name, 0) + 1
        return random.Random(f"{self.faults.seed}/{name}/{nth}").random()


def _pick(shares: dict[str, float], point: float) -> str:
    for outcome, share in shares.items():
        point -= share
        if point < 0:
            return outcome
    return APPROVE
