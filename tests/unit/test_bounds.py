"""Bounds of partitions while a broker is away: those that other brokers lead are told, and a silent leader is waited for once."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from ordersaga.messaging.kafka.client import Partition, bounds_where_answered

SILENT = 2
NONE = -1


class Cluster:
    """A consumer of a cluster in which one broker does not answer. `leaders`: of each partition of the topic `t`."""

    def __init__(self, *leaders: int) -> None:
        self._leaders = leaders
        self.asked: list[int] = []

    def list_topics(self, timeout: float) -> Any:
        partitions = {n: SimpleNamespace(leader=leader) for n, leader in enumerate(self._leaders)}
        return SimpleNamespace(topics={"t": SimpleNamespace(partitions=partitions)})

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:
        self.asked.append(partition.partition)
        if self._leaders[partition.partition] == SILENT:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return 0, partition.partition


def told(cluster: Any, *topics: str) -> list[int]:
    asked = [Partition(topic, n) for topic in topics or ("t",) for n in range(len(cluster._leaders))]
    return [each.partition for each in bounds_where_answered(cluster, asked)]


def test_partitions_of_brokers_that_answer_are_told_and_a_silent_one_is_asked_once() -> None:
    cluster = Cluster(1, SILENT, 3, NONE, SILENT, 1)
    assert told(cluster) == [0, 2, 5]
    assert cluster.asked == [0, 1, 2, 5]


@pytest.mark.parametrize("leaders", [(SILENT, SILENT), (NONE,), (NONE, SILENT)])
def test_it_is_an_error_where_no_partition_is_told(leaders: tuple[int, ...]) -> None:
    with pytest.raises(KafkaException):
        told(Cluster(*leaders))


def test_a_topic_that_the_cluster_does_not_name_has_no_leader() -> None:
    assert told(Cluster(1, 3), "gone", "t") == [0, 1]
    with pytest.raises(KafkaException):
        told(Cluster(1), "gone")


def test_nothing_is_asked_for_no_partitions() -> None:
    assert told(Cluster()) == []
