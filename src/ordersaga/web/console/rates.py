"""How fast topics and calls advance, from what the services keep: the same in every web process. Pure."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from ordersaga.operations.flow_resources import FlowMoment

RATE_OVER: Final = timedelta(seconds=2)

Value = Callable[[FlowMoment], int | None]


def handled(topic: str) -> Value:
    """The records of a topic that its reader has handled."""
    return lambda moment: moment.topics[topic].handled if topic in moment.topics else None


def written(topic: str) -> Value:
    """The records that a topic has had."""
    return lambda moment: moment.topics[topic].written if topic in moment.topics else None


def handled_of(number: int) -> Value:
    """The position in one partition of the topic that was asked for."""
    return lambda moment: moment.partitions[str(number)].handled if str(number) in moment.partitions else None


def written_to(number: int) -> Value:
    """The end of one partition of the topic that was asked for."""
    return lambda moment: moment.partitions[str(number)].written if str(number) in moment.partitions else None


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
