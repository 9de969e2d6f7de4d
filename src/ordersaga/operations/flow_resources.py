"""The JSON of how far a service was in the last hours. The console reads it as it is written."""

from datetime import datetime

from msgspec import Struct


class TopicMoment(Struct, rename="camel", kw_only=True, frozen=True):
    """A topic at a time: records that the service has handled (null: it does not read the topic), that were written, and that wait for it.

    `written` and `lag` are null if Kafka did not answer. Numbers are offsets, summed over the partitions.
    """

    handled: int | None
    written: int | None
    lag: int | None


class PartitionMoment(Struct, rename="camel", kw_only=True, frozen=True):
    """One partition at a time: the position of the service and the end of the log, null as in `TopicMoment`."""

    handled: int | None
    written: int | None


class FlowMoment(Struct, rename="camel", kw_only=True, frozen=True):
    """The service at a time. `calls`: how many calls over HTTP there were, by name. `partitions`: those of the topic that was asked for, by number."""

    at: datetime
    topics: dict[str, TopicMoment]
    calls: dict[str, int]
    partitions: dict[str, PartitionMoment] = {}


class FlowResource(Struct, rename="camel", kw_only=True, frozen=True):
    """The service in the last time, the oldest moment first."""

    moments: list[FlowMoment]
