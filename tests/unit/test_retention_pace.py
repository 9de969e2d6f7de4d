"""The retention of personal data gives a sign of life often enough: a loop that gives none is cancelled, and its set would begin anew for ever."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from ordersaga.messaging.loops import LIMIT_S
from ordersaga.operations import retention
from ordersaga.operations.retention import ORDERS, SET_MAX, Looked, Retention


class Pool:
    """Gives itself as the connection."""

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator["Pool"]:
        yield self

    transaction = acquire


def test_the_time_between_two_rounds_is_not_taken_for_a_hanging_loop() -> None:
    assert retention.LOOK_EVERY_S <= LIMIT_S / 2


async def test_neither_a_set_nor_the_pause_after_it_counts_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    found = iter([SET_MAX, SET_MAX, 1])

    async def work(*_: object) -> Looked:
        done.append("set")
        return Looked(next(found), 0)

    async def pause(_: float) -> None:
        done.append("pause")

    monkeypatch.setattr(asyncio, "sleep", pause)
    one = Retention(cast(Any, Pool()), lambda: datetime(2026, 11, 30, tzinfo=UTC), 30, None)
    await one._sets(ORDERS, work, lambda well=True: done.append("beat"))
    assert done == ["set", "beat", "pause", "beat"] * 3
