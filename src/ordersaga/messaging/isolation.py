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
"""Topic, partition and business key: records with the same one keep their order."""


class Failure(Struct, frozen=True):
    """A record whose handling failed, with the error's class and text."""

    incoming: Incoming
    cause: str
    reason: str


class Outcome(Struct):
    """What became of each record of a batch.

    `held` must queue behind a failed record of their key, `left` were not tried for lack of time, `locked` need a row that another
    transaction has locked. The records of `outgoing` come from the others.
    """

    outgoing: list[Outgoing]
    rejected: list[Rejected]
    failed: list[Failure]
    held: list[Incoming]
    left: list[Incoming] = []
    locked: list[Failure] = []


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
) -> Outcome:
    """Handle a batch, each half of it in a savepoint of its own where the whole fails. Needs an open transaction.

    One bad record among n costs about 2 log2(n) attempts. Once `is_over` returns True and a record has been tried, the rest is left. Up
    to `locked_max` records are set aside because another transaction has locked a row that they need. With `slow_is_at_fault`, a
    record that exceeds `statement_timeout` in a batch of its own has failed. Raises transient errors and those of a bad deployment.
    """
    outcome = Outcome([], [], [], [])
    blocked: set[QueueKey] = set()
    tried = 0

    async def attempt(incoming: Sequence[Incoming]) -> None:
        held = [each for each in incoming if queue_key(each) in blocked]
        outcome.held.extend(held)
        some = [each for each in incoming if queue_key(each) not in blocked] if held else incoming
        if not some:
            return
        nonlocal tried
        if tried and is_over():
            outcome.left.extend(some)
            return
        part = Batch(some, batch.now, batch.new_id)
        try:
            async with db.transaction():
                outgoing = await handle(part, db)
        except Exception as error:
            locked = is_locked(error) and len(outcome.locked) < locked_max
            too_much_alone = slow_is_at_fault and is_too_large(error) and len(batch.incoming) == 1
            if not (locked or too_much_alone) and (is_transient(error) or is_deployment(error)):
                raise
            if locked and not outcome.locked:
                await db.execute(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}")
            if len(some) == 1:
                blocked.add(queue_key(some[0]))
                kind = outcome.locked if locked else outcome.failed
                kind.append(Failure(some[0], type(error).__name__, str(error)))
                tried += 1
                return
            middle = len(some) // 2
            await attempt(some[:middle])
            await attempt(some[middle:])
            return
        tried += len(some)
        outcome.outgoing.extend(outgoing)
        outcome.rejected.extend(part.rejected)

    await attempt(batch.incoming)
    return outcome
