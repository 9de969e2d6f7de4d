"""Neither a consumer that is closed nor a tap that is opened keeps its caller or the process, whatever the broker does."""

import asyncio
import socket
import threading
import time
from typing import Any

import pytest

from ordersaga.messaging.kafka import KafkaUnavailable, Tap, client, tap
from ordersaga.messaging.kafka.client import close_consumer
from ordersaga.settings import Settings


class Consumer:
    """One whose `close` blocks until it is told to return."""

    def __init__(self) -> None:
        self.may_close = threading.Event()

    def close(self) -> None:
        self.may_close.wait()


def test_a_consumer_that_does_not_close_keeps_neither_its_caller_nor_the_process() -> None:
    consumer: Any = Consumer()
    begun_s = time.monotonic()
    assert not close_consumer(consumer, limit_s=0.05)
    assert time.monotonic() - begun_s < 5
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "consumer-close")
    consumer.may_close.set()
    assert close_consumer(consumer)


async def test_a_kafka_that_is_away_is_told_in_time_and_holds_no_other_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tap may wait for Kafka in its thread, also after it was cancelled. The event loop goes on."""
    monkeypatch.setattr(client, "CALL_TIMEOUT_S", 0.5)
    monkeypatch.setattr(tap, "REPEATED_CALL_TIMEOUT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        nowhere = Settings(kafka_bootstrap_servers=f"127.0.0.1:{nobody.getsockname()[1]}")
    begun_s = time.monotonic()
    with pytest.raises(KafkaUnavailable):
        await Tap.open(nowhere, ["order-created"])
    assert time.monotonic() - begun_s < 5
    monkeypatch.setattr(tap, "REPEATED_CALL_TIMEOUT_S", 8.0)
    begun_s = time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await Tap.open(nowhere, ["order-created"])
    assert time.monotonic() - begun_s < 6
