"""The client of `Topics` while calls are under way: nobody waits for an answer that cannot come any more."""

import asyncio
import contextlib

import pytest

from ordersaga.messaging.kafka import Partition, Topics, lifeline, topics
from ordersaga.settings import Settings

LIMIT_S = 60.0


async def test_a_call_that_is_cancelled_ends_although_its_client_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "REPEATED_CALL_TIMEOUT_S", 2.0)
    monkeypatch.setattr(lifeline, "ANSWER_S", 0.1)
    asked = Topics(Settings.of({"ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}))
    call = asyncio.create_task(asked.ends([Partition("order-created", 0)]))
    await asyncio.sleep(0)  # it has given its work to a thread
    replacing = asyncio.create_task(asked.reachable())
    await asyncio.sleep(0)
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await call
    assert not await replacing
    async with asyncio.timeout(LIMIT_S):
        await asyncio.to_thread(asked._threads.shutdown)
