"""Isolation: a batch whose handling fails is halved until each failing record stands alone; all other records take effect."""

from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from msgspec import Struct

from ordersaga.messaging.database import Connection
from ordersaga.messaging.handler import Batch, Handle, Incoming, Outgoing, Rejected
from ordersaga.messaging.sqlstate import is_deployment, is_locked, is_too_large, is_transient

LOCK_WAIT_MS: Final = 100
"""Lock timeout of the later parts of a batch, once one part has waited in vain for a locked row."""

QueueKey = tuple[str, int, UUID]
"""Topic, partition and business key: records with the same queue key keep their order."""


class FailedRecord(Struct, frozen=True):
    """A record whose handling failed, with the error's class and text."""

    incoming: Incoming
    cause: str
    reason: str


class HandledBatch(Struct):
    """The result of each record of a batch.

    `queued` must queue behind a failed record of their key, `untried` were not tried for lack of time, `locked` need a row that another
    transaction has locked. The records of `outgoing` come from the others.
    """

    outgoing: list[Outgoing]
    rejected: list[Rejected]
    failed: list[FailedRecord]
    queued: list[Incoming]
    untried: list[Incoming] = []
    locked: list[FailedRecord] = []


def queue_key(incoming: Incoming) -> QueueKey:
    """The queue that a record joins when it is parked."""
    return incoming.record.topic, incoming.record.partition, incoming.key


def _never() -> bool:
    return False


async def isolate(
    db: Connection,
    handle: Handle,
    batch: Batch,
    is_over: Callable[[], bool] = _never,
    locked_max: int = 0,
    slow_is_at_fault: bool = False,
) -> HandledBatch:
    """Handle a batch, each half of it in a savepoint of its own where the whole fails. Needs an open transaction.

    One bad record among n costs about 2 log2(n) attempts. Once a record has been tried and `is_over()` is true, the rest is `untried`. Up to
    `locked_max` records are set aside because another transaction has locked a row that they need. With `slow_is_at_fault`, a
    record that exceeds `statement_timeout` in a batch of its own has failed. Raises transient errors and those of a bad deployment.
    """
    handled = HandledBatch([], [], [], [])
    blocked: set[QueueKey] = set()
    tried = 0

    async def attempt(incoming: Sequence[Incoming]) -> None:
        queued = [each for each in incoming if queue_key(each) in blocked]
        handled.queued.extend(queued)
        some = [each for each in incoming if queue_key(each) not in blocked] if queued else incoming
        if not some:
            return
        nonlocal tried
        if tried and is_over():
            handled.untried.extend(some)
            return
        part = Batch(some, batch.now, batch.new_id)
        try:
            async with db.transaction():
                outgoing = await handle(part, db)
        except Exception as error:
            locked = is_locked(error) and len(handled.locked) < locked_max
            too_much_alone = slow_is_at_fault and is_too_large(error) and len(batch.incoming) == 1
            if not (locked or too_much_alone) and (is_transient(error) or is_deployment(error)):
                raise
            if locked and not handled.locked:
                await db.execute(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}")
            if len(some) == 1:
                blocked.add(queue_key(some[0]))
                kind = handled.locked if locked else handled.failed
                kind.append(FailedRecord(some[0], type(error).__name__, str(error)))
                tried += 1
                return
            middle = len(some) // 2
            await attempt(some[:middle])
            await attempt(some[middle:])
            return
        tried += len(some)
        handled.outgoing.extend(outgoing)
        handled.rejected.extend(part.rejected)

    await attempt(batch.incoming)
    return handled
