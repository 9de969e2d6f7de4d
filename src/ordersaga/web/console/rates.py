"""How fast topics and calls advance, from what the services keep: the same in every web process. Pure."""

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from ordersaga.operations.flow_resources import FlowMoment

RATE_OVER: Final = timedelta(seconds=2)
RATE_OVER_S_MAX: Final = 60.0

Value = Callable[[FlowMoment], int | None]


def handled(topic: str) -> Value:
    """The records of a topic that its reader has handled."""
    return lambda moment: moment.topics[topic].handled if topic in moment.topics else None


def written(topic: str) -> Value:
    """The records that a topic has had."""
    return lambda moment: moment.topics[topic].written if topic in moment.topics else None


def lag_of(moment: FlowMoment) -> int | None:
    """How many records the service was behind, over all topics that it reads; None: Kafka did not answer."""
    lags = [each.lag for each in moment.topics.values() if each.handled is not None]
    return None if None in lags else sum(each or 0 for each in lags)


def called(name: str) -> Value:
    """The calls of a name."""
    return lambda moment: moment.calls.get(name, 0)


def rate_of(moments: Sequence[FlowMoment], value: Value) -> float | None:
    """How many a second between the last moment and the last one that is `RATE_OVER` older; None: not known yet."""
    known = [(each.at, count) for each in moments if (count := value(each)) is not None]
    for at, before in reversed(known):
        if known[-1][0] - at >= RATE_OVER:
            return max(0, known[-1][1] - before) / (known[-1][0] - at).total_seconds()
    return None


class PartitionRates:
    """How fast the partitions of one topic advance, from two looks of this process."""

    def __init__(self) -> None:
        self._seen: Final[dict[tuple[str, str], tuple[float, int, float | None]]] = {}

    def rate(self, way: str, partition: str, position: int) -> float | None:
        """Records a second since the last call that was at least `RATE_OVER` ago; None: nobody has looked for a while."""
        now = time.monotonic()
        at, before, rate = self._seen.get((way, partition), (now, position, None))
        if now - at > RATE_OVER_S_MAX:
            at, before, rate = now, position, None
        if now - at >= RATE_OVER.total_seconds():
            rate = max(0, position - before) / (now - at)
            at, before = now, position
        self._seen[way, partition] = at, before, rate
        return rate
