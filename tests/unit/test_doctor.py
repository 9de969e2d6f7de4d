"""What `ordersaga doctor` says of a Kafka that the tests' one is not: other limits, rights, retention, times and logs."""

import pytest

from ordersaga.contracts.topics import TOPICS, configs, letter_configs
from ordersaga.doctor import cluster, databases
from ordersaga.doctor.databases import Position
from ordersaga.doctor.examining import _development
from ordersaga.doctor.finding import Finding
from ordersaga.messaging.kafka import Access, Partition, TopicState
from ordersaga.messaging.kafka.cluster import (
    AUTO_CREATE,
    CONTROLLER_TIMEOUT,
    DEAD_AFTER,
    SESSION_MAX,
    SESSION_MIN,
    Brokers,
    Log,
)
from ordersaga.settings import Settings

LIMITS = {SESSION_MIN: "6000", SESSION_MAX: "1800000", AUTO_CREATE: "false"}
NOW_S = 1_800_000_000.0
PLACE = Partition("order-created", 0)


def settings(**changed: object) -> Settings:
    return Settings.model_validate(changed)


def topics(partitions: int = 12, replicas: int = 3) -> dict[str, TopicState]:
    """All topics as `topics create` makes them on three brokers."""
    made = {}
    for each in TOPICS:
        config = configs(each) | {"min.insync.replicas": "2", "max.message.bytes": "1048588"}
        config = {"retention.ms": "-1", "retention.bytes": "-1"} | config
        made[each.name] = TopicState(f"id of {each.name}", partitions, replicas, [], config)
        letters = letter_configs() | {"min.insync.replicas": "2"}
        made[each.dead_letters] = TopicState(f"id of {each.dead_letters}", partitions, replicas, [], letters)
    return made


def outcomes(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(each.check, each.outcome) for each in findings]


def test_nothing_is_wrong_with_topics_as_they_are_made() -> None:
    assert outcomes(list(cluster.topics(settings(), topics()))) == [("topics", "ok")]
    assert outcomes(list(cluster.brokers(settings(), Brokers(3, LIMITS), topics()))) == [("time-outs", "ok")]
    assert not list(cluster.retention(settings(), topics()))


def test_a_missing_topic_and_narrow_ones_are_told() -> None:
    found = topics(partitions=6)
    del found["order-created"]
    missing, narrow = cluster.topics(settings(), found)
    assert (missing.where, missing.outcome, missing.todo) == ("order-created", "wrong", "`ordersaga topics create`")
    assert narrow.outcome == "note" and "and 7 more" in narrow.what


@pytest.mark.parametrize("low_high", [("10000", "30000"), ("6000", "7000")])
def test_a_session_time_out_that_the_brokers_refuse_is_told(low_high: tuple[str, str]) -> None:
    limits = LIMITS | {SESSION_MIN: low_high[0], SESSION_MAX: low_high[1]}
    [found] = cluster.brokers(settings(), Brokers(3, limits), topics())
    assert found.outcome == "wrong" and "KAFKA_SESSION_TIMEOUT_MS is 8000" in found.what


def test_one_replica_mistyped_topics_and_unreadable_limits_are_told() -> None:
    single, created, _ = cluster.brokers(settings(), Brokers(1, LIMITS | {AUTO_CREATE: "true"}), topics(replicas=1))
    assert "one replica" in single.what and AUTO_CREATE in created.what
    [unknown] = cluster.brokers(settings(), Brokers(3, None), topics())
    assert unknown.outcome == "unknown" and "DescribeConfigs" in unknown.todo


def test_an_order_that_may_be_paid_for_longer_than_kafka_keeps_its_state_is_told() -> None:
    [found] = cluster.retention(settings(payment_deadline_s=8 * 86_400), topics())
    assert found.outcome == "wrong" and found.where == "order-payable-topic"


def test_topics_that_keep_addresses_for_longer_than_the_services_are_told() -> None:
    assert not list(cluster.retention(settings(personal_data_kept_days=90), topics()))
    [letters] = cluster.retention(settings(personal_data_kept_days=89), topics())
    assert (letters.where, letters.outcome) == ("delivery-request-topic-dlt", "note") and "for 90 days" in letters.what
    for_ever = topics()
    for_ever["delivery-request-topic"].config["retention.ms"] = "-1"  # type: ignore[index]
    [records] = cluster.retention(settings(personal_data_kept_days=90), for_ever)
    assert records.where == "delivery-request-topic" and "for ever" in records.what


def test_rights_that_a_service_lacks_are_told() -> None:
    everything = {name: Access(12, frozenset({"READ", "WRITE"})) for name in topics()}
    assert outcomes(list(cluster.rights(["stock"], everything))) == [("rights", "ok")]
    lacking = everything | {
        "order-created": Access(12, frozenset({"DESCRIBE"})),
        "order-created-dlt": Access(12, frozenset({"READ"})),
        "stock-response-topic": Access(12, frozenset({"READ"})),
        "payment-success-topic": Access(12, frozenset()),  # nothing of Stock's
    }
    found = {(each.where, each.what.split()[5]) for each in cluster.rights(["stock"], lacking)}
    assert found == {("order-created", "READ"), ("order-created-dlt", "WRITE"), ("stock-response-topic", "WRITE")}
    assert not list(cluster.rights(["stock"], {name: Access(12, None) for name in topics()})), "a Kafka without ACLs"


def test_a_record_from_the_future_is_told() -> None:
    def of(ahead_s: float) -> Finding:
        return cluster.clocks(
            {PLACE: Log(0, 5, int((NOW_S + ahead_s) * 1000)), Partition("x", 1): Log(0, 0, None)}, NOW_S
        )

    assert (of(-3600).outcome, of(0.5).outcome, of(30).outcome) == ("ok", "ok", "wrong")
    assert cluster.clocks({}, NOW_S).outcome == "ok"


def test_positions_in_their_logs_tell_how_much_waits() -> None:
    rows = [Position(PLACE, "id of order-created", 5), Position(Partition("gone", 0), "x", 1)]
    [found] = cluster.positions("stock", rows, topics(), {PLACE: Log(2, 1_205, None)})
    assert found.outcome == "ok" and "1 partition is in its log" in found.what and "1,200 records wait" in found.what
    [lost] = cluster.positions("stock", rows, topics(), {PLACE: Log(6, 9, None)})
    assert "records from 5 to 5 were removed" in lost.what


def test_a_log_that_kafka_does_not_tell_of_is_unknown() -> None:
    [found] = cluster.positions("stock", [Position(PLACE, "id of order-created", 5)], topics(), {})
    assert found.outcome == "unknown" and str(PLACE) in found.what


def test_brokers_that_do_not_tell_their_session_limits_are_a_note() -> None:
    [found] = cluster.brokers(settings(), Brokers(3, {}), topics())
    assert (found.check, found.outcome) == ("time-outs", "note") and SESSION_MIN in found.what


@pytest.mark.parametrize(("name", "default"), [(DEAD_AFTER, "9000"), (CONTROLLER_TIMEOUT, "30000")])
def test_a_broker_or_a_controller_that_is_waited_for_long_after_its_death_is_a_note(name: str, default: str) -> None:
    found = list(cluster.brokers(settings(), Brokers(3, LIMITS | {name: default}), topics()))
    assert outcomes(found) == [("time-outs", "note"), ("time-outs", "ok")] and name in found[0].todo
    for sound in (Brokers(3, LIMITS | {name: "3000"}), Brokers(1, LIMITS | {name: default})):
        assert outcomes(list(cluster.brokers(settings(), sound, topics()))) == [("time-outs", "ok")]


TWO_SERVERS = "postgresql://u@db1:5432,db2:5432/stock"


@pytest.mark.parametrize(
    ("url", "names", "connected", "told"),
    [
        ("postgresql://u@db1/stock", "", 0, []),
        (TWO_SERVERS, "", 1, [("note", "waits for no standby")]),
        (TWO_SERVERS, "*", 1, [("note", "are connected: 1.")]),
        (TWO_SERVERS, "ANY 1 (db2, db3)", 2, [("ok", "2 are connected")]),
    ],
)
def test_standbys_that_lose_commits_or_hold_them_up_are_a_note(
    url: str, names: str, connected: int, told: list[tuple[str, str]]
) -> None:
    server = {"synchronous_standby_names": names}
    found = list(databases._standbys(settings(stock_database_url=url), "stock", server, connected))
    assert [(each.outcome, what in each.what) for each, (_, what) in zip(found, told, strict=True)] == [
        (outcome, True) for outcome, _ in told
    ]


@pytest.mark.parametrize(("silence_ms", "outcome"), [(3_000, "ok"), (5_000, "note")])
def test_a_silence_that_is_longer_than_a_request_may_take_is_a_note(silence_ms: int, outcome: str) -> None:
    server = {"transaction_timeout": "0", "idle_session_timeout": "0"}
    [found] = databases._time_outs(settings(database_silence_ms=silence_ms), "stock", server)
    assert (found.check, found.outcome) == ("time-outs", outcome)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"server_version_num": "140012"}, "PostgreSQL is 14"),
        ({"server_encoding": "LATIN1"}, "encoding is LATIN1"),
        ({"fsync": "off"}, "fsync is off"),
        ({"full_page_writes": "off"}, "full_page_writes is off"),
    ],
)
def test_a_server_that_is_old_or_loses_what_it_commits_is_told(changed: dict[str, str], told: str) -> None:
    sound = {"server_version_num": "170000", "server_encoding": "UTF8"} | dict.fromkeys(databases.DURABLE, "on")
    assert outcomes(list(databases._server("stock", sound))) == [("server", "ok")]
    assert [each.outcome for each in databases._server("stock", sound | changed) if told in each.what] == ["wrong"]


def test_settings_of_development_are_noted() -> None:
    assert not list(_development(settings()))
    assert [each.outcome for each in _development(settings(development=True))] == ["note"]


async def test_a_refusal_that_names_a_password_is_told_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(url: str, *_: object) -> None:
        raise ValueError(f"invalid address {url}")

    monkeypatch.setattr(databases, "connect_alone", refused)
    away = settings(stock_database_url="postgresql://ordersaga:pa55word@db/stock")
    [found] = (await databases.examine(away, "stock")).findings
    assert found.outcome == "unknown" and "invalid address" in found.what and "pa55word" not in found.what
