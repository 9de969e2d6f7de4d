"""A bad deployment is told from bad records, and only the partitions whose records fail wait for it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from ordersaga.contracts.messages import DeliveryStartMessage
from ordersaga.messaging.bad_deployment import SUSPECTED, WINDOW_RECORDS, BadDeployment, Suspects, Suspicion
from ordersaga.messaging.handler import Incoming, Record
from ordersaga.messaging.health import Alarms, Trouble
from ordersaga.messaging.isolation import FailedRecord
from ordersaga.messaging.kafka import Partition
from ordersaga.settings import Settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = Settings(stop_failures_min=20, stop_share=0.5)


def record(partition: int = 0, offset: int = 0) -> Record:
    return Record("t", partition, offset, None, b"", None, 0)


def failures(count: int, partition: int = 0) -> list[FailedRecord]:
    message = DeliveryStartMessage(order_id=uuid4(), delivery_id=uuid4(), status="STARTED")
    return [FailedRecord(Incoming(message, record(partition, n)), "ValueError", "broken") for n in range(count)]


def test_most_of_many_records_that_fail_are_a_bad_deployment_and_its_partitions_are_named() -> None:
    suspicion = Suspicion(SETTINGS)
    suspicion.check(failures(19), 19)
    suspicion.check(failures(20), 40)
    with pytest.raises(BadDeployment, match=r"21 of 40 records failed.*ValueError: broken") as raised:
        suspicion.check([*failures(20), *failures(1, partition=2)], 40)
    assert raised.value.partitions == {Partition("t", 0), Partition("t", 2)}


def test_failures_are_counted_together_with_those_of_the_turns_before() -> None:
    suspicion = Suspicion(SETTINGS)
    for _ in range(19):
        suspicion.check(failures(1), 1)
        suspicion.add(1, 1)
    with pytest.raises(BadDeployment):
        suspicion.check(failures(1), 1)


def test_what_was_well_before_outweighs_some_failures_until_it_is_long_ago() -> None:
    suspicion = Suspicion(SETTINGS)
    suspicion.add(0, 1_000_000)
    assert len(suspicion._recent) == WINDOW_RECORDS
    suspicion.check(failures(50), 50)
    with pytest.raises(BadDeployment):
        suspicion.check(failures(51), 51)


class HeldBack:
    """An assignment that keeps what it was told to hold back."""

    def __init__(self) -> None:
        self.until: list[datetime] = []

    async def hold_back(self, held: Mapping[Partition, Trouble], until: datetime) -> None:
        self.until.append(until)


async def test_a_suspect_is_an_alarm_waits_longer_each_time_and_is_cleared_by_a_commit() -> None:
    assignment: Any = HeldBack()
    alarms = Alarms(lambda: NOW)
    suspects = Suspects(100_000, assignment, lambda: NOW, alarms)
    assert not suspects
    first, second = Partition("t", 0), Partition("t", 1)
    for _ in range(4):
        await suspects.hold_back([first], BadDeployment("broken"))
    waits = [until - NOW for until in assignment.until]
    assert waits[3] > timedelta(milliseconds=400) > waits[0]
    assert [(each.alarm, each.where) for each in alarms.now()] == [(SUSPECTED, "t/0")]
    assert bool(suspects)
    suspects.clear([second])
    assert suspects
    suspects.clear([first])
    assert not suspects and not alarms.now()


async def test_records_of_suspects_are_handled_apart_after_all_others() -> None:
    assignment: Any = HeldBack()
    suspects = Suspects(100, assignment, lambda: NOW, Alarms(lambda: NOW))
    await suspects.hold_back([Partition("t", 0), Partition("t", 2)], BadDeployment("broken"))
    records = [record(partition, offset) for offset in range(2) for partition in range(4)]
    parts = [[(each.partition, each.offset) for each in part] for part in suspects.apart(records)]
    assert parts == [[(1, 0), (3, 0), (1, 1), (3, 1)], [(0, 0), (0, 1)], [(2, 0), (2, 1)]]
    assert [list(part) for part in suspects.apart([record(2)])] == [[record(2)]]
