"""Output of a turn that is in the outbox and that nobody is publishing goes out all the same, without a restart."""

from datetime import timedelta
from uuid import uuid4

from ordersaga.messaging import outbox_rows
from ordersaga.messaging.kafka import Partition
from ordersaga.messaging.outbox_rows import OutboxRow
from ordersaga.messaging.runtime import Runtime
from tests.contract.rig import INPUT, OUTPUT, Rig, nothing_left, told, took_effect, until


async def bring_back(service: Rig, runtime: Runtime) -> OutboxRow:
    """A row of a turn whose deletion PostgreSQL lost in a crash: old, of a partition that its owner has long gone on with."""
    partition = await service.db.fetchval(
        "SELECT partition FROM ledger WHERE topic = $1 AND next_offset > 0 LIMIT 1", INPUT
    )
    async with runtime.pool.acquire() as db, db.transaction():
        first = await outbox_rows.first_id(db)
        row = OutboxRow(
            first,
            Partition(INPUT, partition),
            OUTPUT,
            None,
            b"key",
            b"{}",
            uuid4(),
            None,
            f"00-{uuid4().hex}-{'1' * 16}-01",
        )
        await outbox_rows.write(db, [row], runtime.clock() - timedelta(minutes=1))
    return row


async def test_a_row_that_came_back_in_a_database_crash_is_published_though_no_turn_failed(service: Rig) -> None:
    async with service.instance() as runtime:
        service.send(told(uuid4()))
        await until(lambda: took_effect(service, 1))
        row = await bring_back(service, runtime)
        await until(lambda: nothing_left(service))
        ids = [dict(record.headers())["message-id"] for record in await service.published()]
        assert str(row.message_id).encode() in ids
