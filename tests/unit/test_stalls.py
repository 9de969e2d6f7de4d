"""Alarms about a turn that does not end, and about Kafka's silence."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from ordersaga.messaging import stalls as stalls_module
from ordersaga.messaging.health import Alarms
from ordersaga.messaging.stalls import AWAY, AWAY_S, LONG, Stalls

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Stand:
    """The alarms over a consumer whose silence is given."""

    def __init__(self) -> None:
        consumer: Any = SimpleNamespace(silent_s=0.0)
        self.consumer = consumer
        self.alarms = Alarms(lambda: NOW)
        self.stalls = Stalls(consumer, "kafka:9092", lambda: NOW, self.alarms)

    def check(self) -> set[str]:
        self.stalls.check()
        return {each.alarm for each in self.alarms.now()}


async def test_a_silent_kafka_is_an_alarm_with_its_age() -> None:
    stand = Stand()
    assert not stand.check()
    stand.consumer.silent_s = AWAY_S + 1
    assert stand.check() == {AWAY}
    assert stand.alarms.now()[0].age_s == AWAY_S + 1
    stand.consumer.silent_s = 0.0
    assert not stand.check()


async def test_a_turn_that_does_not_end_is_an_alarm_until_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stalls_module, "LONG_S", -1.0)
    stand = Stand()
    stand.stalls.turn_began()
    assert stand.check() == {LONG}
    monkeypatch.setattr(stalls_module, "LONG_S", 15.0)
    stand.stalls.turn_ended()
    assert not stand.check()


async def test_the_time_of_a_turn_is_no_silence_of_kafka() -> None:
    stand = Stand()
    stand.stalls.turn_began()
    assert stand.stalls._began_at_s is not None
    stand.stalls._began_at_s -= 8.0
    stand.consumer.silent_s = AWAY_S + 5
    assert not stand.check()


async def test_after_the_end_kafka_away_stays_and_nothing_is_raised() -> None:
    stand = Stand()
    stand.consumer.silent_s = AWAY_S + 1
    stand.check()
    stand.stalls.end()
    stand.consumer.silent_s = 0.0
    assert stand.check() == {AWAY}
