"""What happens once is also true again: the runtime's loops go on after the trouble that they were made for."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from ordersaga.devstack import DevStack
from ordersaga.messaging import outbox
from ordersaga.messaging.kafka import Publisher
from ordersaga.messaging.runtime import Runtime
from tests.contract.rig import Rig, rig, told, until


@pytest.fixture
async def service(stack: DevStack) -> AsyncIterator[Rig]:
    async with rig(stack) as made:
        yield made


async def leave_a_row(runtime: Runtime) -> None:
    """What an HTTP request leaves whose process died before it could publish."""
    async with runtime.pool.acquire() as db, db.transaction():
        ids = outbox.MessageIds("", {}, uuid4)
        rows = outbox.compose([outbox.Outgoing(told(uuid4()))], await outbox.first_id(db), ids, {})
        await outbox.write(db, rows, outbox.adopt_at(runtime.clock(), runtime.settings))


async def test_rows_without_a_partition_are_adopted_also_after_publishing_began_anew(
    service: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = asyncio.Event()

    def never_acknowledged(*_: object) -> "asyncio.Future[list[object]]":
        waiting.set()
        return asyncio.get_running_loop().create_future()

    async with service.instance() as runtime:
        with monkeypatch.context() as patch:
            patch.setattr(Publisher, "publish", never_acknowledged)
            await leave_a_row(runtime)
            await asyncio.wait_for(waiting.wait(), 10)
            runtime.outbox.failed = True
            await until(lambda: begun_anew(runtime))
        await leave_a_row(runtime)
        await until(lambda: published(service, 1))


async def begun_anew(runtime: Runtime) -> bool:
    return not runtime.outbox.broken


async def published(service: Rig, left: int) -> bool:
    """The first row is adopted again only after half a minute; it is the second that shows whether anybody looks."""
    return await service.count("outbox") == left
