"""Closing a consumer does not keep the process, whatever the broker does."""

import threading
import time
from typing import Any

from ordersaga.messaging.kafka.client import close_consumer


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
