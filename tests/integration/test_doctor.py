"""`ordersaga doctor` beside a real Kafka and a real PostgreSQL: nothing is wrong with a fresh system, and each thing that is made wrong is told."""

import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import asyncpg
import pytest
from confluent_kafka import Producer

from ordersaga.devstack import DevStack
from ordersaga.doctor import Finding, databases, examine
from ordersaga.messaging.kafka import Partition, Topics, create_missing_topics
from ordersaga.messaging.kafka.cluster import logs
from ordersaga.settings import Settings
from tests.commands import type_command
from tests.integration.service import Bench
from tests.integration.stock_rig import stock_bench

TOPIC = "order-created"
NOWHERE = "127.0.0.1:1"


@pytest.fixture(scope="module")
async def shop(stack: DevStack) -> AsyncIterator[Bench]:
    async with stock_bench(stack) as one:
        await create_missing_topics(one.settings)
        yield one


async def looked_at(one: Bench, clock: Any = time.time, **changed: Any) -> dict[tuple[str, str], list[Finding]]:
    """The findings about one service by what was looked at, and with what outcome."""
    settings = Settings.model_validate(one.settings.model_dump() | changed)
    found: dict[tuple[str, str], list[Finding]] = {}
    for each in await examine(settings, [one.service], clock=clock):
        assert each.todo or each.outcome == "ok", f"what to do about it? {each}"
        found.setdefault((each.check, each.outcome), []).append(each)
    return found


def environment(one: Bench, **changed: str) -> Mapping[str, str]:
    return {
        "ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS": one.settings.kafka_bootstrap_servers,
        "ORDERSAGA_STOCK_DATABASE_URL": one.settings.database_url("stock"),
    } | changed


async def test_nothing_is_wrong_with_a_fresh_service(shop: Bench) -> None:
    found = await looked_at(shop)
    for check in ("clock", "server", "time-outs", "connections", "schema"):
        assert [each.where for each in found[check, "ok"]][-1] == "stock", check
    wrong = [each for (_, outcome), all_of_it in found.items() if outcome != "ok" for each in all_of_it]
    assert not [each for each in wrong if each.where == "stock"]


async def test_settings_of_the_server_that_break_a_promise_are_told(shop: Bench) -> None:
    database = await shop.pool.fetchval("SELECT current_database()")
    wanted = {"synchronous_commit": "off", "idle_session_timeout": "1000", "transaction_timeout": "1000"}
    for name, value in wanted.items():
        await shop.pool.execute(f"ALTER DATABASE {database} SET {name} = {value}")
    try:
        found = await looked_at(shop)
    finally:
        await shop.pool.execute(f"ALTER DATABASE {database} RESET ALL")
    [server], time_outs = found["server", "wrong"], found["time-outs", "wrong"]
    assert "synchronous_commit is off" in server.what
    assert [each.what.split()[2] for each in time_outs] == ["transaction_timeout", "idle_session_timeout"]


async def test_orders_that_keep_their_personal_data_beyond_its_retention_are_told(shop: Bench) -> None:
    assert ("personal data", "ok") not in await looked_at(shop), "there is no retention"
    assert ("personal data", "ok") in await looked_at(shop, personal_data_kept_days=30)
    await shop.pool.execute(
        "INSERT INTO personal_data_later SELECT gen_random_uuid(), now(), n > 1 FROM generate_series(1, 3) AS n"
    )
    try:
        [held] = (await looked_at(shop, personal_data_kept_days=30))["personal data", "note"]
    finally:
        await shop.pool.execute("DELETE FROM personal_data_later")
    assert "2 orders" in held.what


async def test_clocks_that_differ_are_told(shop: Bench) -> None:
    [wrong] = (await looked_at(shop, clock=lambda: time.time() - 60))["clock", "wrong"][-1:]
    assert wrong.where == "stock" and "ahead" in wrong.what


@pytest.mark.parametrize(
    ("marks", "outcome", "told"),
    [
        ("WHERE migration_id < '0100'", "wrong", "from 0100.stock on"),
        ("WHERE false", "wrong", "from 0001.runtime on"),
        ("UNION ALL SELECT '0999.of_tomorrow'", "note", "0999.of_tomorrow is not known here"),
    ],
)
async def test_missing_steps_and_those_of_a_newer_version_are_told(
    shop: Bench, marks: str, outcome: str, told: str
) -> None:
    await shop.pool.execute("ALTER TABLE _yoyo_migration RENAME TO kept")
    try:
        await shop.pool.execute(f"CREATE TABLE _yoyo_migration AS SELECT migration_id FROM kept {marks}")
        [found] = (await looked_at(shop))["schema", outcome]
        await shop.pool.execute("DROP TABLE _yoyo_migration")
        [without] = (await looked_at(shop))["schema", "wrong"]
    finally:
        await shop.pool.execute("DROP TABLE IF EXISTS _yoyo_migration")
        await shop.pool.execute("ALTER TABLE kept RENAME TO _yoyo_migration")
    assert told in found.what
    assert "ordersaga migrate --only stock" in without.todo


async def test_too_few_connections_and_brokers_are_told(shop: Bench) -> None:
    found = await looked_at(shop, database_connections_max=1_000, topic_replication_factor=3)
    assert "1002" in found["connections", "wrong"][0].what
    assert "TOPIC_REPLICATION_FACTOR" in found["brokers", "wrong"][0].what


async def test_connections_whose_kind_postgresql_hides_are_counted(shop: Bench) -> None:
    """A role of a service sees that another's connections are there, and no more of them."""
    url = shop.settings.database_url("stock")
    await shop.pool.execute("CREATE ROLE of_one_service LOGIN")
    held = [await asyncpg.connect(url) for _ in range(3)]
    try:
        one = await asyncpg.connect(url, user="of_one_service")
        kinds = await one.fetch(
            "SELECT backend_type FROM pg_stat_activity WHERE pid = ANY($1)", [pid(each) for each in held]
        )
        used = await one.fetchval(databases.OTHERS)
        await one.close()
    finally:
        for each in held:
            await each.close()
        await shop.pool.execute("DROP ROLE of_one_service")
    assert [kind[0] for kind in kinds] == [None] * 3, "PostgreSQL hides them no longer: the query can be simpler"
    assert used >= 3


def pid(connection: Any) -> int:
    number: int = connection.get_server_pid()
    return number


@pytest.mark.parametrize(
    ("topic_id", "offset", "told"),
    [
        ("another", 0, "deleted and created again"),
        (None, 10_000_000, "brokers have lost records"),
        (None, -5, "were removed"),
    ],
)
async def test_a_position_that_is_not_in_its_log_is_told(
    shop: Bench, topic_id: str | None, offset: int, told: str
) -> None:
    there = (await Topics(shop.settings).ids([TOPIC]))[TOPIC]
    insert = "INSERT INTO ledger (topic, partition, topic_id, epoch, next_offset) VALUES ($1, 0, $2, 1, $3)"
    await shop.pool.execute(insert, TOPIC, topic_id or there, offset)
    try:
        [wrong] = (await looked_at(shop))["positions", "wrong"]
    finally:
        await shop.pool.execute("DELETE FROM ledger")
    assert told in wrong.what and f"topics accept {TOPIC}" in wrong.todo


async def test_a_position_that_moves_on_while_doctor_looks_is_in_its_log(shop: Bench) -> None:
    """A running service handles a record that came after doctor looked at Kafka, and before it looks at the database."""
    there = (await Topics(shop.settings).ids([TOPIC]))[TOPIC]
    partition = Partition(TOPIC, 0)
    end = logs(shop.settings, [partition])[partition].end
    insert = "INSERT INTO ledger (topic, partition, topic_id, epoch, next_offset) VALUES ($1, 0, $2, 1, $3)"
    await shop.pool.execute(insert, TOPIC, there, end + 1)
    producer = Producer({"bootstrap.servers": shop.settings.kafka_bootstrap_servers})

    def write_beside(looked_at: str) -> None:
        if "database" in looked_at:
            producer.produce(TOPIC, b"{}", partition=0)
            assert producer.flush(60) == 0

    try:
        found = await examine(shop.settings, [shop.service], write_beside)
    finally:
        await shop.pool.execute("DELETE FROM ledger")
    [positions] = [each for each in found if each.check == "positions"]
    assert (positions.outcome, positions.what) == ("ok", "1 partition is in its log; 0 records wait")


async def test_servers_that_do_not_answer_are_unknown_and_the_others_are_looked_at(shop: Bench) -> None:
    found = await looked_at(shop, kafka_bootstrap_servers=NOWHERE)
    assert found["Kafka", "unknown"] and found["schema", "ok"]
    away = await looked_at(shop, stock_database_url=f"postgresql://u@{NOWHERE}/stock")
    assert away["database", "unknown"]


async def test_the_exit_code_tells_the_outcome(shop: Bench) -> None:
    away = type_command(
        ["doctor", "--only", "stock", "--json"], environment(shop, ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS=NOWHERE)
    )
    assert away.code == 2 and "unknown" in {each["outcome"] for each in json.loads(away.out)}
    many = {"ORDERSAGA_DATABASE_CONNECTIONS_MAX": "1000"}
    wrong = type_command(["doctor", "--only", "stock"], environment(shop, **many))
    assert wrong.code == 1 and "max_connections" in wrong.out
