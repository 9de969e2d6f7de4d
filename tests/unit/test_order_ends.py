"""How orders end, as the metric tells it: each reason with the status that the saga gives it."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from prometheus_client import generate_latest

from ordersaga.order import states, store
from ordersaga.order.model import ENDS, Reason
from ordersaga.service_context import ALONE

SAGA = Path(__file__).parents[2] / "docs" / "saga.md"


def test_each_reason_has_the_status_that_the_saga_gives_it() -> None:
    table = SAGA.read_text()
    told = set(re.findall(r"\| (FAILED|CANCELLED) \((\w+)\) \|", table))
    assert told == {(status, reason) for reason, status in ENDS.items()}
    assert set(get_args(Reason)) == set(ENDS)


async def test_every_end_is_a_series_also_one_that_no_order_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it a dashboard would have a gap where no order has ended so."""

    async def counts(*_: object) -> dict[str, int]:
        return {"PENDING": 1, "COMPLETED": 7, "FAILED": 2, "CANCELLED": 0}

    async def reasons(*_: object) -> dict[str, int]:
        return {**dict.fromkeys(ENDS, 0), "OUT_OF_STOCK": 2}

    async def nothing(_: object) -> None:
        return None

    monkeypatch.setattr(store, "counts", counts)
    monkeypatch.setattr(store, "reasons", reasons)
    monkeypatch.setattr(store, "oldest_pending", nothing)
    await states.measure(runtime())
    told = re.findall(
        r"^ordersaga_order_ended_orders\{(.+)\} (\S+)$", generate_latest(ALONE.of_service).decode(), re.MULTILINE
    )
    assert dict(told) == {f'reason="{reason}",status="{status}"': "0.0" for reason, status in ENDS.items()} | {
        'reason="",status="COMPLETED"': "7.0",
        'reason="OUT_OF_STOCK",status="FAILED"': "2.0",
    }


def runtime() -> Any:
    """A runtime whose reads are those of the test."""

    @asynccontextmanager
    async def searching() -> AsyncIterator[None]:
        yield None

    return SimpleNamespace(clock=lambda: datetime(2026, 1, 1, tzinfo=UTC), searching=searching)
