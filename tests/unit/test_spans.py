"""Spans of what a deadline sends, and of records whose headers are no trace: each record that is sent has one, whatever came before."""

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from ordersaga import service_context
from ordersaga.contracts.examples import EXAMPLES
from ordersaga.contracts.headers import TRACEPARENT
from ordersaga.messaging import outbox_rows, spans, timers
from ordersaga.messaging.handler import Outgoing, Record
from ordersaga.messaging.outbox_rows import OutboxRow
from ordersaga.settings import Settings
from ordersaga.tracing import Kind

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ID = UUID("f2c7b9a0-3f0f-5d7e-8c5a-0123456789ab")
TRACE = "0af7651916cd43dd8448eb211c80319c"
OWN = f"00-{TRACE}-b7ad6b7169203331-01"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


class Exported:
    """Stands for the exporter."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, str, str | None, Kind]] = []

    def span(self, name: str, own: str, parent: str | None, kind: Kind, *_: Any) -> None:
        self.spans.append((name, own, parent, kind))


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Exported:
    made = Exported()
    monkeypatch.setattr(service_context.ALONE, "exporter", made)
    return made


def row(causation_id: str | None = None) -> OutboxRow:
    return OutboxRow(1, None, "order-created", None, None, b"{}", ID, causation_id, OWN)


async def test_what_a_timer_sends_is_below_the_trace_of_its_order(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def open_one(*_: Any) -> Any:
        yield None

    async def claimed(*_: Any, **__: Any) -> list[dict[str, UUID]]:
        return [{"key": ID}]

    async def worked(*_: Any) -> list[Outgoing]:
        return [Outgoing(next(iter(EXAMPLES.values())), trace=PARENT)]

    async def written(_: Any, outgoing: list[Outgoing], *__: Any) -> list[OutboxRow]:
        return [row() for _ in outgoing]

    runtime: Any = SimpleNamespace(
        clock=lambda: NOW,
        new_id=lambda: ID,
        settings=Settings(),
        pool=SimpleNamespace(acquire=open_one),
        outbox=SimpleNamespace(publish_soon=lambda *_: None),
    )
    monkeypatch.setattr(timers, "begin", open_one)
    monkeypatch.setattr(timers, "sql", SimpleNamespace(claim_timers=claimed))
    monkeypatch.setattr(outbox_rows, "write_output", written)
    await timers.Timers(runtime, worked)._fire_some()
    assert exported.spans == [("create order-created", OWN, PARENT, Kind.PRODUCER)]


@pytest.mark.parametrize("header", [None, b"\xff", b"no trace"])
def test_a_record_without_a_trace_is_in_the_one_that_its_output_begins(
    exported: Exported, header: bytes | None
) -> None:
    headers = None if header is None else ((TRACEPARENT, header),)
    record = Record("stock-response-topic", 0, 7, None, None, headers, 0)
    spans.of_turn("order", NOW, [(record, ID)], [row("stock-response-topic/0/7")], {})
    [handled, sent] = exported.spans
    assert handled[0] == "process stock-response-topic"
    assert handled[1].startswith(f"00-{TRACE}-")
    assert sent == ("create order-created", OWN, handled[1], Kind.PRODUCER)
