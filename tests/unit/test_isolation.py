"""Isolation of failing records by halving."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from ordersaga.contracts import codec
from ordersaga.contracts.messages import DeliveryStartMessage
from ordersaga.messaging.handler import Batch, Incoming, Outgoing, Record
from ordersaga.messaging.isolation import HandledBatch, LockedRows, isolate, narrow, set_locked_aside

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Database:
    """A connection that only counts."""

    def __init__(self) -> None:
        self.savepoints = 0
        self.executed: list[str] = []

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        self.savepoints += 1
        yield

    async def execute(self, statement: str) -> None:
        self.executed.append(statement)


def incoming(offset: int, key: UUID | None = None, partition: int = 0) -> Incoming:
    message = DeliveryStartMessage(order_id=key or uuid4(), delivery_id=uuid4(), status="STARTED")
    return Incoming(message, Record("t", partition, offset, None, codec.encode(message), None, 0))


class Attempt:
    """One call of `isolate`, with a handler that fails for the records at these offsets."""

    def __init__(self, records: list[Incoming], errors: Mapping[int, Exception]) -> None:
        self.db: Any = Database()
        self.sizes: list[int] = []
        self._records = records
        self._errors = errors

    async def handle(self, batch: Batch, _: Any) -> list[Outgoing]:
        self.sizes.append(len(batch.incoming))
        for each in batch.incoming:
            if each.record.offset in self._errors:
                raise self._errors[each.record.offset]
        return [Outgoing(each.message, each) for each in batch.incoming]

    async def isolate(self, **how: Any) -> HandledBatch:
        return await isolate(self.db, self.handle, Batch(self._records, NOW, uuid4), **how)


def offsets(found: list[Any], offset: Callable[[Any], int] = lambda each: each.record.offset) -> list[int]:
    return [offset(each) for each in found]


async def test_only_the_failing_record_fails_and_all_others_take_effect_in_order() -> None:
    attempt = Attempt([incoming(n) for n in range(100)], {37: ValueError("poison")})
    outcome = await attempt.isolate()
    assert [(each.incoming.record.offset, each.cause, each.reason) for each in outcome.failed] == [
        (37, "ValueError", "poison")
    ]
    assert offsets(outcome.outgoing, lambda each: each.cause.record.offset) == [n for n in range(100) if n != 37]
    assert len(attempt.sizes) <= 2 * 7 + 1


@pytest.mark.parametrize("bad", [{37}, {0, 1}, {99}, set(range(100))])
async def test_what_fails_is_narrowed_down_to_single_items_and_all_others_are_tried_in_order(bad: set[int]) -> None:
    worked: list[int] = []
    failed: list[int] = []
    attempts = 0

    async def attempt(some: Sequence[int]) -> None:
        nonlocal attempts
        attempts += 1
        if bad.intersection(some):
            raise ValueError("poison")
        worked.extend(some)

    async def fails(some: Sequence[int], error: Exception) -> None:
        assert isinstance(error, ValueError)
        failed.extend(some)

    await narrow(range(100), attempt, lambda _: True, fails)
    assert failed == sorted(bad)
    assert worked == [n for n in range(100) if n not in bad]
    assert attempts <= 1 + 2 * 7 * len(bad)


async def test_a_set_is_not_divided_for_an_error_that_no_single_item_causes_and_an_error_of_fails_ends_the_search() -> (
    None
):
    tried: list[Sequence[int]] = []

    async def attempt(some: Sequence[int]) -> None:
        tried.append(some)
        raise ValueError("in a test")

    async def fails(some: Sequence[int], error: Exception) -> None:
        raise error

    with pytest.raises(ValueError, match="in a test"):
        await narrow([1, 2, 3, 4], attempt, lambda _: False, fails)
    assert tried == [[1, 2, 3, 4]]
    with pytest.raises(ValueError, match="in a test"):
        await narrow([1, 2, 3, 4], attempt, lambda _: True, fails, ValueError("before"))
    assert tried[1:] == [[1, 2], [1]], "all four had been tried before"


async def test_later_records_of_a_failed_key_are_held_unless_they_are_of_another_partition() -> None:
    key = uuid4()
    records = [incoming(0, key), incoming(1), incoming(2, key), incoming(3, key, partition=1)]
    outcome = await Attempt(records, {0: ValueError("poison")}).isolate()
    assert offsets(outcome.queued) == [2]
    assert offsets(outcome.outgoing, lambda each: each.cause.record.offset) == [1, 3]


@pytest.mark.parametrize(
    "error", [asyncpg.DeadlockDetectedError("in a test"), asyncpg.UndefinedColumnError("in a test")]
)
async def test_an_error_for_which_no_record_is_to_blame_is_raised(error: Exception) -> None:
    with pytest.raises(type(error)):
        await Attempt([incoming(n) for n in range(4)], {2: error}).isolate()


async def test_when_the_time_is_over_the_rest_is_left() -> None:
    attempt = Attempt([incoming(n) for n in range(8)], {0: ValueError("poison")})
    outcome = await attempt.isolate(is_over=lambda: True)
    assert offsets(outcome.untried) == list(range(1, 8))
    assert len(outcome.failed) == 1


async def test_records_that_need_a_locked_row_are_set_aside_up_to_a_limit() -> None:
    locked = asyncpg.LockNotAvailableError("in a test")
    attempt = Attempt([incoming(n) for n in range(8)], {2: locked, 5: locked})
    outcome = await attempt.isolate(locked_max=20)
    assert [each.incoming.record.offset for each in outcome.locked] == [2, 5]
    assert not outcome.failed and len(outcome.outgoing) == 6
    assert set(attempt.db.executed) == {"SET LOCAL lock_timeout = 100"}
    with pytest.raises(asyncpg.LockNotAvailableError):
        await Attempt([incoming(n) for n in range(8)], {2: locked, 5: locked}).isolate(locked_max=1)


async def test_a_slow_record_in_a_batch_of_its_own_has_failed_where_it_is_at_fault() -> None:
    slow = {0: asyncpg.QueryCanceledError("in a test")}
    outcome = await Attempt([incoming(0)], slow).isolate(slow_is_at_fault=True)
    assert offsets(outcome.failed, lambda each: each.incoming.record.offset) == [0]
    for records in ([incoming(0)], [incoming(0), incoming(1)]):
        with pytest.raises(asyncpg.QueryCanceledError):
            await Attempt(records, slow).isolate(slow_is_at_fault=len(records) > 1)


async def test_locked_rows_are_expected_for_a_while_after_one_was_met(monkeypatch: pytest.MonkeyPatch) -> None:
    from ordersaga.messaging import isolation

    rows = LockedRows()
    assert not rows.expected
    monkeypatch.setattr(isolation, "WARY_S", 0.05)
    rows.met()
    assert rows.expected
    await asyncio.sleep(0.06)
    assert not rows.expected


async def test_a_turn_that_expects_locked_rows_waits_for_each_lock_only_shortly() -> None:
    attempt = Attempt([incoming(0), incoming(1)], {1: asyncpg.LockNotAvailableError("in a test")})
    outcome = await set_locked_aside(attempt.db, attempt.handle, Batch(attempt._records, NOW, uuid4))
    assert [each.incoming.record.offset for each in outcome.locked] == [1]
    first, *between, last = attempt.db.executed
    assert (first, last) == ("SET LOCAL lock_timeout = 1000", "SET LOCAL lock_timeout TO DEFAULT")
    assert set(between) == {"SET LOCAL lock_timeout = 100"}
