"""What lies between a position and a log's end is told from what Kafka holds: records, nothing, an open transaction, or a reason."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from ordersaga.devstack import DevStack
from ordersaga.messaging.kafka import Gap, Partition, Topics, gaps_of
from ordersaga.settings import Settings

SENT_MS = 1_700_000_000_000
FOR_EVER = {"retention.ms": "-1"}  # SENT_MS is years ago: the broker would remove such records whenever it looks


class Log:
    """A topic of one partition, and whoever writes to it."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self.settings, self.topic, self.partition = settings, topic, Partition(topic, 0)
        self._config = {"bootstrap.servers": settings.kafka_bootstrap_servers}
        self._writers: list[Producer] = []

    def write(self, count: int, **options: Any) -> None:
        self._send(Producer(self._config), count, **options)

    def transaction(self, count: int) -> Producer:
        """Records of a transaction that is open until `commit_transaction` or `abort_transaction`."""
        producer = Producer(self._config | {"transactional.id": uuid4().hex, "transaction.timeout.ms": 60_000})
        producer.init_transactions(30)
        producer.begin_transaction()
        self._send(producer, count)
        self._writers.append(producer)
        return producer

    def _send(self, producer: Producer, count: int, **options: Any) -> None:
        for n in range(count):
            producer.produce(self.topic, b"{}", partition=0, timestamp=SENT_MS + n, **options)
        assert producer.flush(30) == 0

    def gap(self, position: int) -> Gap:
        return gaps_of(self.settings, {self.partition: position})[self.partition]

    def settled(self, position: int, high: int) -> Gap:
        """The gap once the broker has written its marker: that comes after `commit_transaction` has answered."""
        until = time.monotonic() + 20
        while (found := self.gap(position)).high < high or found.is_open:
            assert time.monotonic() < until, found
        return found

    def close(self) -> None:
        for writer in self._writers:
            writer.purge()


@pytest.fixture
def log(stack: DevStack) -> Iterator[Log]:
    settings = Settings(kafka_bootstrap_servers=stack.bootstrap_servers)
    topic = f"gap-{uuid4().hex[:8]}"
    asyncio.run(Topics(settings).create([(topic, FOR_EVER)], 1, 1))
    made = Log(settings, topic)
    yield made
    made.close()


def test_at_the_logs_end_there_is_nothing_and_before_it_the_first_record_is_told_with_its_time(log: Log) -> None:
    log.write(3)
    assert log.gap(3) == Gap(3, low=0, stable=3, high=3)
    assert log.gap(1) == Gap(1, low=0, stable=3, high=3, first=1, first_ms=SENT_MS + 1)
    assert log.gap(3).empty_until == 3 and log.gap(1).empty_until == 1


def test_markers_and_aborted_records_are_no_records(log: Log) -> None:
    log.transaction(2).commit_transaction(30)
    assert log.settled(0, 3).first == 0
    behind_the_last_record = log.gap(2)
    assert (behind_the_last_record.first, behind_the_last_record.empty_until) == (None, 3)
    log.transaction(4).abort_transaction(30)
    aborted = log.settled(2, 8)
    assert not aborted.has_records and not aborted.is_open and aborted.empty_until == 8
    log.write(1)
    assert log.gap(2).first == log.gap(2).empty_until == 8


def test_an_open_transaction_is_told_with_the_time_of_its_first_record_and_holds_what_follows_it(log: Log) -> None:
    log.write(1)
    transaction = log.transaction(2)
    log.write(1)
    found = log.gap(1)
    assert found.is_open and not found.has_records
    assert (found.empty_until, found.stable, found.high, found.open_ms) == (1, 1, 4, SENT_MS)
    assert log.gap(0).first == 0 and log.gap(0).is_open
    transaction.commit_transaction(30)
    assert log.settled(1, 5).first == 1


def test_a_position_before_the_logs_start_is_looked_at_from_there_and_one_past_its_end_shows_that(log: Log) -> None:
    log.write(5)
    admin = AdminClient({"bootstrap.servers": log.settings.kafka_bootstrap_servers})
    admin.delete_records([TopicPartition(log.topic, 0, 3)])[TopicPartition(log.topic, 0)].result(30)
    assert log.gap(1) == Gap(1, low=3, stable=5, high=5, first=3, first_ms=SENT_MS + 3)
    past = log.gap(9)
    assert past.position > past.high and not past.has_records and past.empty_until == 9


def test_a_partition_that_kafka_does_not_have_says_why_and_hides_no_other(log: Log) -> None:
    log.write(1)
    nowhere, beyond = Partition(f"no-{log.topic}", 0), Partition(log.topic, 7)
    found = gaps_of(log.settings, {nowhere: 4, beyond: 0, log.partition: 0})
    assert found[log.partition].first == 0
    for missing in (nowhere, beyond):
        assert found[missing].why and not found[missing].has_records and not found[missing].is_open
    assert found[nowhere].empty_until == 4


def test_a_record_that_the_client_cannot_decode_counts_as_one_and_hides_no_other(log: Log) -> None:
    other = Log(log.settings, f"{log.topic}-other")
    asyncio.run(Topics(log.settings).create([(other.topic, FOR_EVER)], 1, 1))
    log.write(1)
    log.write(1, headers=[(b"\xff", b"the name of this header is not UTF-8")])
    other.write(3)
    found = gaps_of(log.settings, {log.partition: 1, other.partition: 2})
    assert found[log.partition].first == 1 and found[log.partition].empty_until == 1
    assert found[other.partition].first == 2
