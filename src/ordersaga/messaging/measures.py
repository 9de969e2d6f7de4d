"""Metrics of the turns.

A label has few values: topics, outcomes, alarms, routes, statuses. No order, customer, product or error text is one.
"""

from collections import Counter as Count
from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from ordersaga.messaging.handler import Coordinates, Record
from ordersaga.messaging.spans import HANDLED, Outcome
from ordersaga.service_context import metric

TURN_SECONDS: Final = metric(
    Histogram,
    "ordersaga_turn_seconds",
    "Time of a turn from its first record to its commit",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
TURN_RECORDS: Final = metric(
    Histogram,
    "ordersaga_turn_records",
    "Records in one turn, which share one transaction",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000),
)
RECORDS: Final = metric(
    Counter,
    "ordersaga_records",
    "Records that turns and retries took, by what became of them: handled, parked, waiting, dead letter",
    "topic",
    "outcome",
)
PUBLISHED: Final = metric(
    Counter,
    "ordersaga_records_published",
    "Records that Kafka has acknowledged",
    "topic",
)
LAG: Final = metric(
    Gauge,
    "ordersaga_consumer_lag_records",
    "Records of a topic in the partitions of this process that are not handled yet, as of the last fetch",
    "topic",
)


def count(records: Iterable[Record], outcomes: Mapping[Coordinates, Outcome]) -> None:
    """Count the records of a committed turn."""
    if outcomes:
        found = Count((each.topic, _what(outcomes.get(each.coordinates))) for each in records)
    else:
        found = Count({(topic, HANDLED): number for topic, number in Count(each.topic for each in records).items()})
    for (topic, outcome), number in found.items():
        RECORDS.labels(topic, outcome).inc(number)


def count_published(topics: Iterable[str]) -> None:
    """Count records by their topics."""
    for topic, number in Count(topics).items():
        PUBLISHED.labels(topic).inc(number)


def _what(outcome: Outcome | None) -> str:
    return HANDLED if outcome is None else outcome.what
