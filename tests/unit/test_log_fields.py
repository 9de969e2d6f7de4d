"""Log lines about a record name its order and its trace."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
import structlog
from litestar import Request
from structlog.testing import capture_logs

from ordersaga.contracts.headers import TRACEPARENT
from ordersaga.http.problems import on_error, on_not_begun, on_unknown_outcome
from ordersaga.messaging import log_fields
from ordersaga.messaging.dead_letters import REJECTED, GivenUp, _letter
from ordersaga.messaging.gather import OutcomeUnknown
from ordersaga.messaging.handler import Record, Rejected
from ordersaga.messaging.ids import MessageIds, new_id
from ordersaga.observability import add_trace, mask_secrets
from ordersaga.payment.commands import Advance
from ordersaga.payment.intents import Intents
from ordersaga.payment.model import Intent
from ordersaga.payment.toss import TossGateway
from ordersaga.payment.waiting import Waiting
from ordersaga.settings import Settings
from ordersaga.tracing import current
from tests.unit.gateway_servers import settings

ORDER = UUID("01a22bc6-bde2-755c-80d3-3088be4759ab")
TRACE = "0af7651916cd43dd8448eb211c80319c"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
END_S = 30.0
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def record(topic: str, traceparent: bytes | None = PARENT.encode()) -> Record:
    headers = ((TRACEPARENT, traceparent),) if traceparent is not None else None
    return Record(topic, 1, 2, str(ORDER).encode(), b"{", headers, 0)


@pytest.mark.parametrize(
    ("topic", "named"), [("order-created", "order_id"), ("product-price-topic", "product_id"), ("visits", "key")]
)
def test_a_record_is_named_by_its_order_or_product_and_its_trace(topic: str, named: str) -> None:
    at = {"topic": topic, "partition": 1, "offset": 2}
    assert log_fields.of_record(record(topic), ORDER) == at | {named: str(ORDER), "trace_id": TRACE}
    assert log_fields.of_record(record(topic, None), None) == at
    assert log_fields.of_record(record(topic, b"\xff"), None) == at


def test_the_line_of_a_dead_letter_has_its_order_and_trace_even_if_it_cannot_be_decoded() -> None:
    given_up = GivenUp(Rejected(record("order-created"), "no JSON"), REJECTED)
    with capture_logs() as lines:
        _letter(given_up, MessageIds("stock", {"order-created": "a"}, new_id))
    [line] = lines
    assert (line["order_id"], line["trace_id"]) == (str(ORDER), TRACE)


def test_a_record_that_we_send_is_named_by_its_order_and_its_trace() -> None:
    headers = {TRACEPARENT: PARENT.encode()}
    assert log_fields.of_sent("order-created", str(ORDER).encode(), headers) == {
        "order_id": str(ORDER),
        "trace_id": TRACE,
    }
    assert log_fields.of_sent("order-created-dlt", b"\xff" * 10_000, {}) == {"key": "\ufffd" * log_fields.CHARS_MAX}
    assert log_fields.of_sent("order-created", None, {TRACEPARENT: None}) == {}


def test_the_lines_of_a_request_have_its_trace() -> None:
    token = current.set(PARENT)
    try:
        assert add_trace(structlog.get_logger(), "info", {})["trace_id"] == TRACE
        assert add_trace(structlog.get_logger(), "info", {"trace_id": "own"})["trace_id"] == "own"
    finally:
        current.reset(token)
    assert "trace_id" not in add_trace(structlog.get_logger(), "info", {})


@pytest.mark.parametrize("answered", [on_error, on_not_begun, on_unknown_outcome])
def test_the_line_of_a_request_that_failed_has_its_path_and_the_order_of_the_path(answered: Callable[..., Any]) -> None:
    path = f"/api/v1/orders/{ORDER}/cancel/before-delivery"
    request: Request[Any, Any, Any] = Request({"type": "http", "path": path, "path_params": {"order_id": ORDER}})  # type: ignore[arg-type]
    with capture_logs() as lines:
        answered(request, OutcomeUnknown("a test"))
    [line] = lines
    assert (line["path"], line["order_id"]) == (path, str(ORDER))


async def test_every_line_of_a_call_to_the_gateway_has_its_order_and_trace() -> None:
    """In the task of the intent: also the lines of the adapter, which knows no order."""

    async def advanced(_: Advance) -> bool:
        return True

    runtime: Any = SimpleNamespace(settings=Settings(), clock=lambda: NOW)
    with closed_port() as port, capture_logs([structlog.contextvars.merge_contextvars, add_trace]) as lines:
        async with TossGateway(settings(f"http://127.0.0.1:{port}")) as gateway:
            intents = Intents(runtime, gateway, Waiting(runtime))
            intents.advance = advanced  # type: ignore[assignment]
            intents.start(
                Intent(ORDER, "CONFIRM", "a-key", ORDER, 1_000, "", NOW, NOW, traceparent=PARENT), claimed=True
            )
            await intents.close(END_S)
    assert {each["event"] for each in lines} == {"gateway_connection_lost", "an intent is postponed"}
    assert {(each["order_id"], each["trace_id"]) for each in lines} == {(str(ORDER), TRACE)}
    assert "order_id" not in structlog.contextvars.get_contextvars()


@contextmanager
def closed_port() -> Iterator[int]:
    """A port on which nobody listens, and which nobody else gets."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_a_line_has_no_personal_data_of_a_row_that_does_not_fit_nor_of_a_record() -> None:
    reason = "violates a check\nDETAIL:  Failing row contains (1, Kim Hana, 010-1)."
    line = mask_secrets(
        None,
        "",
        {"reason": reason, "error": ValueError('{"name": "Kim Hana", "x": 1'), "exception": f"Traceback\n{reason}"},
    )
    assert line == {
        "reason": "violates a check\nDETAIL:  Failing row contains (***)",
        "error": '{"name": "***", "x": 1',
        "exception": "Traceback\nviolates a check\nDETAIL:  Failing row contains (***)",
    }
