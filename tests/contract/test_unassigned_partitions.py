"""A static member that comes back after a kill gets the assignment from before the kill, and Kafka does not rebalance. The runtime notices
partitions that no member has, and joins the group again."""

import asyncio
import time
from uuid import uuid4

import pytest
from confluent_kafka import Consumer

from ordersaga.messaging import watching
from ordersaga.messaging.kafka import Topics
from tests.contract.rig import LIMIT_S, OUTPUT, Rig, told, took_effect, until, well


def killed_member(service: Rig) -> None:
    """A member of the service's group that had another topic when it was killed: Kafka keeps its assignment until its session ends."""
    member = Consumer(
        {
            "bootstrap.servers": service.settings.kafka_bootstrap_servers,
            "group.id": service.settings.delivery_group,
            "group.instance.id": f"{service.settings.delivery_group}-0",
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": 60_000,
        }
    )
    member.subscribe([OUTPUT])
    end = time.monotonic() + LIMIT_S
    while not member.assignment():
        member.poll(0.1)
        assert time.monotonic() < end, "the group assigned nothing"
    member.close()  # without `unsubscribe` it does not leave the group


async def test_partitions_that_no_member_has_are_read_after_a_while(
    service: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "CHECK_EVERY_S", 0.5)
    async with service.instance():
        pass  # the ledger has its rows
    await asyncio.to_thread(killed_member, service)
    async with service.instance() as runtime:
        had = await Topics(service.settings).assigned(service.settings.delivery_group) or set()
        assert {partition.topic for partition in had} == {OUTPUT}, "Kafka rebalanced, so this test shows nothing"
        service.send(message := told(uuid4()))
        await until(lambda: took_effect(service, 1))
        assert await service.effects() == [message.delivery_id]
        await until(lambda: well(runtime))
