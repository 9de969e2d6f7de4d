"""The JSON of partitions and of the outbox."""

from datetime import datetime

from msgspec import Struct

from ordersaga.messaging.texts import read_sayings
from ordersaga.operations.partitions import PartitionState
from ordersaga.said import Saying


class PartitionResource(Struct, rename="camel", kw_only=True):
    """A partition that the service reads. `position`: the next offset to handle. `end`, `lag`: null while Kafka does not answer.

    `state`: READING, STOPPED (for the reason in `problem`), PAUSED by an operator, or NOT_ASSIGNED: no live process has it.

    `problemSaid`, `todoSaid`: the same as codes with values, for pages in another language.
    """

    topic: str
    partition: int
    version: str
    state: str
    position: int
    end: int | None
    lag: int | None
    owner: str | None
    problem: str | None
    todo: str | None
    reported_at: datetime | None
    paused_by: str | None
    pause_reason: str | None
    paused_at: datetime | None
    problem_said: list[Saying] = []
    todo_said: list[Saying] = []


class TopicActResource(Struct):
    """The partitions of a topic that an act on all of them has changed."""

    topic: str
    partitions: list[PartitionResource]


class AcceptedResource(Struct):
    """The topic and number of the partition that goes on."""

    topic: str
    partition: int


class OutboxTopicResource(Struct, rename="camel", kw_only=True):
    """The rows of the outbox for one topic."""

    topic: str
    rows: int
    oldest_age_s: float


class OutboxResource(Struct, rename="camel", kw_only=True):
    """The records that are committed and not yet known to be in Kafka, and the age of the oldest in seconds."""

    rows: int
    oldest_age_s: float
    topics: list[OutboxTopicResource]


def partition_resource(state: PartitionState) -> PartitionResource:
    """The JSON of a partition."""
    return PartitionResource(
        topic=state.partition.topic,
        partition=state.partition.partition,
        version=state.version,
        state=state.state,
        position=state.position,
        end=state.end,
        lag=state.lag,
        owner=state.owner,
        problem=state.problem,
        todo=state.todo,
        reported_at=state.reported_at,
        paused_by=state.paused_by,
        pause_reason=state.pause_reason,
        paused_at=state.paused_at,
        problem_said=read_sayings(state.problem_said),
        todo_said=read_sayings(state.todo_said),
    )
