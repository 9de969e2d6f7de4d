"""Isolation of one bad item among many: a set that fails is halved until each failing item stands alone, and all others take effect.

`narrow` does this for records, gathered requests, timers and watched orders. `isolate` does it for the records of one transaction, each
part in a savepoint of its own.

A row that another transaction has locked, such as an operator's, delays only the records that need this row: `LockedRows` remembers for a
while that a turn met one, and `set_locked_aside` then isolates those records, too.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar
from uuid import UUID

from msgspec import Struct

from ordersaga.messaging.database import Connection
from ordersaga.messaging.handler import Batch, Handle, Incoming, Outgoing, Rejected
from ordersaga.messaging.sqlstate import is_deployment, is_locked, is_too_large, is_transient
from ordersaga.said import words_of

Item = TypeVar("Item")

LOCK_WAIT_MS: Final = 1_000
"""Lock timeout of a turn that expects locked rows."""
LATER_LOCK_WAIT_MS: Final = 100
"""Lock timeout of the later parts of a batch, once one part has waited in vain for a locked row."""
LOCKED_MAX: Final = 20
"""Records of one turn that are set aside because of locked rows. Each costs some lock waits, so more of them mean a smaller turn."""
WARY_S: Final = 30.0
"""How long turns expect locked rows after one met one. Not longer: rows in demand among our own processes look locked, too."""

QueueKey = tuple[str, int, UUID]
"""Topic, partition and business key: records with the same queue key keep their order."""


async def narrow(
    items: Sequence[Item],
    attempt: Callable[[Sequence[Item]], Awaitable[None]],
    divides: Callable[[Exception], bool],
    fails: Callable[[Sequence[Item], Exception], Awaitable[None]],
    failed: Exception | None = None,
) -> None:
    """Try all items at once, and each half of a part that fails, in their order. One bad item among n costs about 2 log2(n) attempts.

    `attempt` keeps or commits the work for its part, or undoes all of it and raises. `divides(error)` says whether one item of the part
    may have caused the error. `fails(part, error)` gets each part that is not divided further: a single item, or several for an error that
    no single item causes. `fails` raises to end the search. `failed`: all items together have been tried before, and failed with this error.
    """
    parts = [items]
    while parts:
        part = parts.pop()
        failure, failed = failed, None
        if failure is None:
            try:
                await attempt(part)
                continue
            except Exception as error:
                failure = error
        # Outside of the except block: otherwise each later error is chained to those before it, and its log line has all their traces.
        if len(part) > 1 and divides(failure):
            middle = len(part) // 2
            parts += (part[middle:], part[:middle])
        else:
            await fails(part, failure)


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
    """Handle a batch, each part of it in a savepoint of its own where the whole fails. Needs an open transaction.

    Once a record has been tried and `is_over()` is true, the rest is `untried`. Up to `locked_max` records are set aside because another
    transaction has locked a row that they need. With `slow_is_at_fault`, a record that exceeds `statement_timeout` in a batch of its own
    has failed. Raises transient errors and those of a bad deployment.
    """
    handled = HandledBatch([], [], [], [])
    blocked: set[QueueKey] = set()
    tried = 0

    async def attempt(incoming: Sequence[Incoming]) -> None:
        nonlocal tried
        some = [each for each in incoming if queue_key(each) not in blocked] if blocked else incoming
        if some and tried and is_over():
            handled.untried.extend(some)
        elif some:
            part = Batch(some, batch.now, batch.new_id, batch.is_rehearsal)
            try:
                async with db.transaction():
                    outgoing = await handle(part, db)
            except Exception as error:
                if is_set_aside(error) and not handled.locked:
                    await db.execute(f"SET LOCAL lock_timeout = {LATER_LOCK_WAIT_MS}")
                raise
            tried += len(some)
            handled.outgoing.extend(outgoing)
            handled.rejected.extend(part.rejected)
        if len(some) < len(incoming):
            handled.queued.extend(each for each in incoming if queue_key(each) in blocked)

    def is_set_aside(error: Exception) -> bool:
        return is_locked(error) and len(handled.locked) < locked_max

    def divides(error: Exception) -> bool:
        return is_set_aside(error) or not (is_transient(error) or is_deployment(error))

    async def fails(incoming: Sequence[Incoming], error: Exception) -> None:
        too_much_alone = slow_is_at_fault and is_too_large(error) and len(batch.incoming) == 1
        if not (divides(error) or too_much_alone):
            raise error
        nonlocal tried
        tried += 1
        [one] = incoming
        kind = handled.locked if is_set_aside(error) else handled.failed
        kind.append(FailedRecord(one, type(error).__name__, words_of(error)))
        blocked.add(queue_key(one))

    await narrow(batch.incoming, attempt, divides, fails)
    return handled


class LockedRows:
    """Whether a turn should expect locked rows."""

    def __init__(self) -> None:
        self._expected_until_s = 0.0

    def met(self) -> None:
        """A turn has waited in vain for a locked row."""
        self._expected_until_s = _now_s() + WARY_S

    @property
    def expected(self) -> bool:
        return _now_s() < self._expected_until_s


async def set_locked_aside(db: Connection, handle: Handle, batch: Batch) -> HandledBatch:
    """Isolate a batch with a short lock timeout: records that need a locked row come out as `locked`."""
    await db.execute(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}")
    handled = await isolate(db, handle, batch, locked_max=LOCKED_MAX, slow_is_at_fault=True)
    await db.execute("SET LOCAL lock_timeout TO DEFAULT")
    return handled


def _now_s() -> float:
    return asyncio.get_running_loop().time()
