"""Taking over from another consumer group: begun where that group was, and never where nobody knows where it was."""

import asyncio
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, TopicPartition

from ordersaga.cli.supervisor import CANNOT_START
from ordersaga.devstack import DevStack
from ordersaga.messaging.errors import CannotStart
from ordersaga.messaging.kafka import Publication, Sender
from ordersaga.messaging.runtime import Ports, Runtime
from tests.contract.rig import INPUT, Rig, rig, told, until
from tests.integration.payment_rig import free_port


def commit(service: Rig, group: str, *partitions: int) -> None:
    """What another team's consumer leaves that has handled all there is in these partitions."""
    consumer = Consumer({"bootstrap.servers": service.settings.kafka_bootstrap_servers, "group.id": group})
    places = [TopicPartition(INPUT, number) for number in partitions]
    ends = [TopicPartition(INPUT, each.partition, consumer.get_watermark_offsets(each, 10)[1]) for each in places]
    consumer.commit(offsets=ends, asynchronous=False)
    consumer.close()


async def refused(service: Rig) -> str:
    """What a process says that ends because it cannot start."""
    ended = asyncio.Event()
    with pytest.raises(CannotStart) as said:
        async with Runtime(service.settings, "delivery", service.handler, ports=Ports(end_process=ended.set)):
            await asyncio.wait_for(ended.wait(), 30)
    return str(said.value)


async def test_a_group_that_has_committed_nothing_is_refused_at_start_and_nothing_is_written(stack: DevStack) -> None:
    async with rig(stack, start_at="group:typo") as service:
        service.send(told(uuid4()))
        sentence = await refused(service)
        assert "ORDERSAGA_START_AT is group:typo" in sentence
        assert INPUT in sentence
        assert await service.count("ledger") == 0
        assert await service.effects() == []


async def test_it_begins_where_the_group_was_and_at_the_first_record_of_a_partition_that_it_never_handled(
    stack: DevStack,
) -> None:
    group = f"theirs-{uuid4().hex[:8]}"
    async with rig(stack, start_at=f"group:{group}") as service:
        service.send(*[told(uuid4()) for _ in range(50)])
        commit(service, group, 0, 1)
        before = datetime.now(UTC)
        later = [told(uuid4()) for _ in range(20)]
        service.send(*later)
        async with service.instance():
            wanted = {each.delivery_id for each in later}

            async def all_took_effect() -> bool:
                return wanted <= set(await service.effects())

            await until(all_took_effect)
            effects = set(await service.effects())
        first = await service.db.fetch("SELECT partition, next_offset FROM ledger")
        assert len(first) == 3
        noted = await service.db.fetch("SELECT partition, name, handled_until FROM predecessor ORDER BY partition")
        assert {(each["partition"], each["name"]) for each in noted} == {(n, f"group:{group}") for n in range(3)}
        assert all(each["handled_until"] < before - timedelta(seconds=50) for each in noted), (
            "each partition had records left: what they ask may have been asked a minute before"
        )
        seen = await service.published()
        assert len(effects) > 20, "what was in the third partition before is handled, too"
        assert len(seen) >= len(effects)


async def test_a_group_that_left_nothing_handled_all_until_now_and_a_time_is_until_then(stack: DevStack) -> None:
    group = f"theirs-{uuid4().hex[:8]}"
    async with rig(stack, start_at=f"group:{group}") as service:
        service.send(*[told(uuid4()) for _ in range(50)])
        commit(service, group, 0, 1, 2)
        sender = Sender(service.settings)
        await sender.send_in_transaction([Publication(0, INPUT, 0, None, b"{}", [])], commit=False)
        sender.close()
        before = datetime.now(UTC)
        async with service.instance():
            pass
        noted = await service.db.fetch("SELECT handled_until FROM predecessor")
        assert len(noted) == 3 and all(before < each["handled_until"] < datetime.now(UTC) for each in noted), noted
    at = "2026-11-24T09:30:00+09:00"
    for start_at, told_until in (
        (at, {datetime.fromisoformat(at) - timedelta(minutes=1)}),
        ("earliest", set()),
        ("latest", set()),
    ):
        async with rig(stack, start_at=start_at) as service:
            async with service.instance():
                pass
            noted = await service.db.fetch("SELECT handled_until FROM predecessor")
            assert {each["handled_until"] for each in noted} == told_until, noted


async def test_the_setting_does_not_matter_where_the_service_knows_its_position(stack: DevStack) -> None:
    async with rig(stack) as service:
        async with service.instance():
            pass
        await service.db.execute("DELETE FROM ledger WHERE partition = 1")  # as one that the topic got since
        async with service.instance(start_at="group:typo"):
            later = told(uuid4())
            service.send(later)
            await until(lambda: handled(service, later.delivery_id))


async def handled(service: Rig, delivery_id: object) -> bool:
    return delivery_id in await service.effects()


async def test_serve_ends_with_a_sentence_and_all_its_workers_with_it(service: Rig) -> None:
    service.produce_to("delivery-request-topic", b"{}")
    environment = {
        "ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS": service.settings.kafka_bootstrap_servers,
        "ORDERSAGA_DELIVERY_DATABASE_URL": service.settings.database_url("delivery"),
        "ORDERSAGA_DELIVERY_GROUP": service.settings.delivery_group,
        "ORDERSAGA_DEVELOPMENT": "true",
        "ORDERSAGA_TRUST_GATEWAY_HEADERS": "true",
        "ORDERSAGA_HTTP_PORT": str(free_port()),
        "ORDERSAGA_START_AT": "group:typo",
    }
    command = [sys.executable, "-m", "ordersaga", "serve", "delivery", "--workers", "2"]
    ended = await asyncio.to_thread(
        subprocess.run, command, env=os.environ | environment, capture_output=True, text=True, timeout=90, check=False
    )
    assert ended.returncode == CANNOT_START, ended.stderr[-2_000:]
    assert "ORDERSAGA_START_AT is group:typo" in ended.stderr.splitlines()[-1]
    assert await service.count("ledger") == 0
