"""Back-off of the turns."""

import asyncio
from datetime import UTC, datetime
from unittest.mock import Mock

import asyncpg
import pytest

from ordersaga.messaging import backoff
from ordersaga.messaging.backoff import FAILED, Backoff, backoff_s, is_retriable
from ordersaga.messaging.health import Alarms
from ordersaga.messaging.kafka import KafkaUnavailable
from ordersaga.messaging.log_limit import LogLimit

MS_MAX = 400


@pytest.fixture
def alarms() -> Alarms:
    return Alarms(lambda: datetime.now(UTC))


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Mock:
    monkeypatch.setattr(backoff, "log", logged := Mock())
    return logged


def test_the_wait_doubles_up_to_its_most_with_jitter_of_half_of_it() -> None:
    for tries, ceiling_s in [(1, 0.1), (2, 0.2), (3, 0.4), (4, 0.4), (100_000, 0.4)]:
        waits = [backoff_s(tries, MS_MAX) for _ in range(100)]
        assert all(ceiling_s / 2 <= wait_s <= ceiling_s for wait_s in waits)
        assert len(set(waits)) > 1


@pytest.mark.parametrize(
    ("error", "retriable"),
    [
        (KafkaUnavailable("no broker"), True),
        (asyncpg.DeadlockDetectedError("in a test"), True),
        (ConnectionResetError(), True),
        (asyncpg.UndefinedColumnError("in a test"), False),
        (ValueError("a record"), False),
    ],
)
async def test_an_error_is_retriable_if_no_record_is_to_blame(error: Exception, retriable: bool) -> None:
    assert is_retriable(error) is retriable


@pytest.mark.parametrize(
    ("error", "longest_s"),
    [
        (KafkaUnavailable("no broker"), 1.0),
        (ConnectionRefusedError(), 1.0),
        (asyncpg.TargetServerAttributeNotMatched("a standby"), 1.0),
        (asyncpg.DeadlockDetectedError("in a test"), 5.0),
        (ValueError("a bug"), 5.0),
    ],
)
async def test_a_server_that_was_away_is_found_soon_after_it_is_back(
    alarms: Alarms, log: Mock, error: Exception, longest_s: float
) -> None:
    turns = Backoff(5_000, alarms, LogLimit())
    for _ in range(20):
        turns.failed(error)
    waits = [turns.wait_s() for _ in range(100)]
    assert longest_s / 2 <= min(waits) and max(waits) <= longest_s


async def test_failures_are_an_alarm_until_a_turn_has_handled_records(alarms: Alarms, log: Mock) -> None:
    turns = Backoff(MS_MAX, alarms, LogLimit())
    turns.failed(KafkaUnavailable("no broker"))
    turns.failed(KafkaUnavailable("no broker"))
    assert turns.failures == 2
    assert [(each.alarm, each.what) for each in alarms.now()] == [
        (FAILED, "the last turn failed: KafkaUnavailable: no broker")
    ]
    turns.succeeded(handled=False)
    assert turns.failures == 2 and alarms.now()
    turns.succeeded(handled=True)
    assert turns.failures == 0 and not alarms.now()


async def test_after_twice_the_longest_wait_a_turn_without_records_clears_the_alarm(alarms: Alarms, log: Mock) -> None:
    turns = Backoff(50, alarms, LogLimit())
    turns.failed(KafkaUnavailable("no broker"))
    await asyncio.sleep(0.12)
    turns.succeeded(handled=False)
    assert turns.failures == 0 and not alarms.now()


async def test_a_failure_that_goes_on_is_logged_at_first_and_then_now_and_then(alarms: Alarms, log: Mock) -> None:
    turns = Backoff(MS_MAX, alarms, LogLimit())
    for _ in range(20):
        turns.failed(ValueError("a bug"))
    assert log.log.call_count == 2
    assert log.log.call_args.kwargs["exc_info"] is not None
