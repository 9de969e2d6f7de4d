"""Log lines about a record name its order and its trace."""

from uuid import UUID

import pytest
import structlog
from structlog.testing import capture_logs

from ordersaga.contracts.headers import TRACEPARENT
from ordersaga.messaging import log_fields
from ordersaga.messaging.dead_letters import REJECTED, GivenUp, _letter
from ordersaga.messaging.handler import Record, Rejected
from ordersaga.messaging.ids import MessageIds, new_id
from ordersaga.observability import add_trace, mask_secrets
from ordersaga.tracing import current

ORDER = UUID("01a22bc6-bde2-755c-80d3-3088be4759ab")
TRACE = "0af7651916cd43dd8448eb211c80319c"
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


def test_the_lines_of_a_request_have_its_trace() -> None:
    token = current.set(PARENT)
    try:
        assert add_trace(structlog.get_logger(), "info", {})["trace_id"] == TRACE
        assert add_trace(structlog.get_logger(), "info", {"trace_id": "own"})["trace_id"] == "own"
    finally:
        current.reset(token)
    assert "trace_id" not in add_trace(structlog.get_logger(), "info", {})


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
