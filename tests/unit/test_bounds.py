"""Bounds of partitions while a broker is away: those that other brokers lead are told, and a silent leader is waited for seldom."""

from functools import partial
from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

from ordersaga.messaging.kafka.client import Partition
from ordersaga.messaging.kafka.leaders import Leaders

SILENT = 2
NONE = -1
LOOK_EVERY_S = 0.5
"""About as often as partitions without a leader are taken again."""


class Cluster:
    """A client of a cluster in which one broker does not answer. `leaders`: of each partition of the topic `t`."""

    def __init__(self, *leaders: int) -> None:
        self.leaders = list(leaders)
        self.is_cut_off = True
        self.refused: set[int] = set()
        self.refuses_late = False
        self.asked: list[list[int]] = []
        self.now_s = 100.0
        self.waited_s = 0.0
        self._leaders = Leaders(lambda: self, lambda: self.now_s)  # type: ignore[arg-type,return-value]

    def list_topics(self, timeout: float) -> Any:
        partitions = {n: SimpleNamespace(leader=leader) for n, leader in enumerate(self.leaders)}
        return SimpleNamespace(topics={"t": SimpleNamespace(partitions=partitions)})

    def list_offsets(
        self, asked: dict[TopicPartition, OffsetSpec], request_timeout: float
    ) -> dict[TopicPartition, Any]:
        """One request of one leader: its answer, or the error of each partition."""
        [spec] = set(map(type, asked.values()))
        is_end = spec is type(OffsetSpec.latest())  # type: ignore[no-untyped-call]
        numbers = [each.partition for each in asked]
        [leader] = {self.leaders[n] for n in numbers}
        if is_end:
            self.asked.append(numbers)
        until_s = self.now_s + request_timeout

        def answer(partition: int) -> Any:
            if self.is_cut_off and leader == SILENT:
                self.waited_s += max(0.0, until_s - self.now_s)
                self.now_s = max(self.now_s, until_s)
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            if partition in self.refused:
                self.now_s = max(self.now_s, until_s * self.refuses_late)
                raise KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
            return SimpleNamespace(offset=partition * is_end)

        return {each: SimpleNamespace(result=partial(answer, each.partition)) for each in asked}

    def told(self, *topics: str) -> list[int]:
        asked = [Partition(topic, n) for topic in topics or ("t",) for n in range(len(self.leaders))]
        return [each.partition for each in self._leaders.bounds(asked)]


def test_each_leader_is_asked_once_for_all_of_its_partitions() -> None:
    cluster = Cluster(1, SILENT, 3, NONE, SILENT, 1)
    assert sorted(cluster.told()) == [0, 2, 5]
    assert cluster.asked == [[0, 5], [1, 4], [2]]


def test_a_leader_that_others_reach_and_we_do_not_costs_little_of_the_time() -> None:
    cluster = Cluster(1, SILENT)
    cluster.told()
    began_s, cluster.waited_s = cluster.now_s, 0.0
    while cluster.now_s < began_s + 60:
        cluster.now_s += LOOK_EVERY_S
        assert cluster.told() == [0]
    assert cluster.waited_s < 60 / 8
    cluster.is_cut_off = False
    looks = 0
    while cluster.told() != [0, 1]:
        cluster.now_s += LOOK_EVERY_S
        looks += 1
    assert looks * LOOK_EVERY_S < 6


def test_a_leader_that_refuses_one_partition_is_asked_for_its_others() -> None:
    cluster = Cluster(1, 1, 3)
    cluster.refused = {0}
    assert cluster.told() == [1, 2]
    cluster.refused = set()
    assert cluster.told() == [0, 1, 2], "it is not silent"


def test_a_leader_of_which_the_client_finds_out_nothing_in_time_is_silent_whatever_the_error() -> None:
    cluster = Cluster(1, 1, 3)
    cluster.refused, cluster.refuses_late = {0, 1}, True
    for _ in range(2):
        assert cluster.told() == [2]
    assert cluster.asked == [[0, 1], [2], [2]]


def test_another_leader_is_asked_at_once() -> None:
    cluster = Cluster(1, SILENT)
    assert cluster.told() == [0]
    cluster.leaders[1] = 3
    assert cluster.told() == [0, 1]


def test_partitions_none_of_which_has_a_leader_are_no_error() -> None:
    assert Cluster(SILENT, NONE).told() == []
    assert Cluster(NONE).told() == []


def test_a_topic_that_the_cluster_does_not_name_has_no_leader() -> None:
    assert Cluster(1, 3).told("gone", "t") == [0, 1]
    assert Cluster(1).told("gone") == []


def test_nothing_is_asked_for_no_partitions() -> None:
    cluster = Cluster()
    assert cluster.told() == []
    assert cluster.asked == []
