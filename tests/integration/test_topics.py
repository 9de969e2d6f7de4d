"""Topics are made with their purpose, compared with it, and brought there only when that is asked for."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from typer.testing import CliRunner, Result

from ordersaga.cli.main import commands
from ordersaga.contracts.topics import TOPICS
from ordersaga.devstack import DevStack
from ordersaga.messaging.kafka import Topics, TopicState
from ordersaga.settings import Settings

DAY_MS = 86_400_000
MISSING, NARROW = "order-created", "stock-response-topic"
NAMES = [name for each in TOPICS for name in (each.name, each.dead_letters)]


@pytest.fixture(scope="module")
def kafka() -> Iterator[DevStack]:
    """A Kafka of this file's own, with nothing on it."""
    with DevStack.start(postgres=False) as running:
        yield running


@pytest.fixture
def settings(kafka: DevStack) -> Iterator[Settings]:
    made = Settings.model_validate({"kafka_bootstrap_servers": kafka.bootstrap_servers})
    yield made
    there = asyncio.run(Topics(made).ids(NAMES))
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    for gone in (admin.delete_topics(list(there)) if there else {}).values():
        gone.result(20)
    while asyncio.run(Topics(made).ids(NAMES)):
        time.sleep(0.05)


def topics(settings: Settings, *arguments: str, code: int = 0, **changed: str) -> Result:
    """Type `ordersaga topics ...`."""
    servers = {"ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers}
    result = CliRunner().invoke(commands(), ["topics", *arguments], env=servers | changed)
    assert result.exit_code == code, result.output
    return result


def states(settings: Settings) -> dict[str, TopicState]:
    async def look() -> dict[str, TopicState]:
        return await Topics(settings).states(NAMES, configs=True)

    return asyncio.run(look())


def make(settings: Settings, name: str, partitions: int, **config: Any) -> None:
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    new = NewTopic(name, partitions, 1, config={key.replace("_", "."): str(value) for key, value in config.items()})
    admin.create_topics([new])[name].result(20)
    while not asyncio.run(Topics(settings).ids([name])):
        time.sleep(0.05)


def test_each_topic_is_made_for_what_it_is_for_and_then_nothing_is_wrong(settings: Settings) -> None:
    made = topics(settings, "create").output
    found = states(settings)
    for topic in TOPICS:
        assert f"{topic.name}: created with 12 partitions" in made
        config, letters = found[topic.name].config or {}, found[topic.dead_letters].config or {}
        if topic.name == "product-price-topic":
            assert config["cleanup.policy"] == "compact"
        else:
            assert config["cleanup.policy"] == "delete"
            assert int(config["retention.ms"]) >= 7 * DAY_MS
        assert int(letters["retention.ms"]) == 90 * DAY_MS
        assert int(letters["max.message.bytes"]) == int(config["max.message.bytes"]) + 64 * 1024
    topics(settings, "check")
    assert "0 changes; 26 topics existed already" in topics(settings, "create").output


def test_a_dead_letter_topic_becomes_as_wide_as_its_topic_is_and_as_large_as_its_records_may_be(
    settings: Settings,
) -> None:
    make(settings, NARROW, 14, max_message_bytes=3_000_000)
    make(settings, NARROW + "-dlt", 1)
    make(settings, MISSING, 5, max_message_bytes=3_000_000)
    wrong = topics(settings, "check", code=1).output
    assert f"{NARROW}-dlt: it has 1 partition, its topic 14; `ordersaga topics create`" in wrong
    assert f"{NARROW}-dlt: max.message.bytes is 1048588, 3065536 is wanted; `ordersaga topics create --apply`" in wrong
    assert f"{MISSING}-dlt: it is missing; `ordersaga topics create`" in wrong
    made = topics(settings, "create").output
    assert f"{NARROW}-dlt: widened from 1 to 14 partitions" in made
    found = states(settings)
    assert (found[NARROW + "-dlt"].partitions, found[MISSING + "-dlt"].partitions) == (14, 5)
    assert (found[MISSING + "-dlt"].config or {})["max.message.bytes"] == "3065536"


def test_somebody_elses_configs_are_told_and_left_and_changed_only_when_asked(settings: Settings) -> None:
    make(settings, NARROW, 3, retention_ms=3_600_000, cleanup_policy="compact", retention_bytes=1_000_000)
    topics(settings, "create")
    assert (states(settings)[NARROW].config or {})["retention.ms"] == "3600000"
    wrong = topics(settings, "check", code=1).output
    assert f"{NARROW}: cleanup.policy is compact, delete is wanted; `ordersaga topics create --apply`" in wrong
    assert f"{NARROW}: retention.ms is 0.0416667 days, 7 days is wanted" in wrong
    applied = topics(settings, "create", "--apply").output
    assert f"{NARROW}: set to cleanup.policy delete, retention.ms 7 days" in applied
    topics(settings, "check")


def test_a_longer_retention_than_ours_is_nothing_wrong(settings: Settings) -> None:
    make(settings, NARROW, 3, retention_ms=-1)
    topics(settings, "create")
    topics(settings, "check")


def test_too_few_replicas_are_told_where_a_number_is_wanted(settings: Settings) -> None:
    make(settings, NARROW, 3, min_insync_replicas=2)
    topics(settings, "create")
    wrong = topics(settings, "check", code=1, ORDERSAGA_TOPIC_REPLICATION_FACTOR="3").output
    assert f"{NARROW}: 1 replica instead of 3" in wrong
    assert f"{NARROW}: min.insync.replicas is 2, with 1 replica" in wrong


def test_check_says_that_it_could_not_ask() -> None:
    nowhere = Settings.model_validate({"kafka_bootstrap_servers": "127.0.0.1:1"})
    assert "127.0.0.1:1" in topics(nowhere, "check", code=2).output
