"""Alarms: raised once, with an age, until they are cleared."""

from datetime import UTC, datetime, timedelta

from ordersaga.messaging.health import ALARM_SINCE, Alarms, Trouble

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    now = NOW

    def __call__(self) -> datetime:
        return self.now


def test_an_alarm_is_new_once_and_keeps_its_age_while_it_is_updated() -> None:
    clock = Clock()
    alarms = Alarms(clock)
    assert alarms.tell("parked", "t/0", Trouble("one record", "look"))
    clock.now = NOW + timedelta(seconds=90)
    assert not alarms.tell("parked", "t/0", Trouble("two records", "look"))
    [alarm] = alarms.now()
    assert (alarm.what, alarm.todo, alarm.since, alarm.age_s) == ("two records", "look", NOW, 90)
    alarms.tell("parked", "t/0", None)
    assert not alarms.now()
    assert alarms.tell("parked", "t/0", Trouble("again"))


def test_an_alarm_may_be_older_than_its_first_mention() -> None:
    alarms = Alarms(Clock())
    alarms.tell("parked", "", Trouble("old"), NOW - timedelta(hours=1))
    alarms.tell("other", "", Trouble("new"))
    assert [(each.alarm, each.age_s) for each in alarms.now()] == [("parked", 3_600), ("other", 0)]


def test_only_what_is_found_stays_raised() -> None:
    alarms = Alarms(Clock())
    assert alarms.only("topic missing", {"a": Trouble("gone"), "b": Trouble("gone")}) == ["a", "b"]
    alarms.tell("other", "a", Trouble("of another kind"))
    assert alarms.only("topic missing", {"b": Trouble("gone"), "c": Trouble("gone")}) == ["c"]
    assert {(each.alarm, each.where) for each in alarms.now()} == {
        ("topic missing", "b"),
        ("topic missing", "c"),
        ("other", "a"),
    }


def test_the_metric_has_a_sample_only_while_the_alarm_is_raised() -> None:
    def samples() -> list[float]:
        metric = next(iter(ALARM_SINCE.collect()))
        return [each.value for each in metric.samples if each.labels == {"alarm": "metric test", "where": "x"}]

    alarms = Alarms(Clock())
    alarms.tell("metric test", "x", Trouble("y"))
    assert samples() == [NOW.timestamp()]
    alarms.tell("metric test", "x", None)
    assert not samples()
