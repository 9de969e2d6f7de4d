"""What a broker alone knows of its replicas, of which `make cluster` asks each broker."""

import socket

import pytest

from ordersaga.devstack.stack import DevStack
from ordersaga.messaging.kafka import Topics
from tests.chaos.in_sync import in_sync_counts
from tests.contract.rig import INPUT, Rig


async def test_a_broker_says_how_many_replicas_of_each_partition_are_in_sync(service: Rig, stack: DevStack) -> None:
    partitions = (await Topics(service.settings).partition_counts([INPUT]))[INPUT]
    counts = in_sync_counts(stack.kafka.host, stack.kafka.port)
    assert len(counts) >= partitions
    assert set(counts) == {1}


def test_a_broker_that_does_not_answer_is_an_error_of_the_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
    with pytest.raises(ConnectionRefusedError):
        in_sync_counts(host, port)
