"""A log line is written at once with its end: workers share one standard error, and lines of two processes would run into each other."""

import io
import logging
import sys

import pytest
import structlog

from ordersaga.observability import log_to_stderr
from ordersaga.settings import Settings


class Writes(io.RawIOBase):
    """Keeps each write apart."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.seen.append(bytes(data))  # type: ignore[call-overload]  # any buffer of bytes
        return len(self.seen[-1])


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_line_is_one_write_also_where_python_does_not_buffer(
    log_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = Writes()
    before, handlers = structlog.get_config(), logging.getLogger().handlers[:]
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(writes, write_through=True))  # type: ignore[type-var]  # what Python does with `-u`
    try:
        log_to_stderr(Settings.model_validate({"log_format": log_format}), "order")
        structlog.get_logger().warning("an order", order_id="1")
        structlog.get_logger().error("another", error=ValueError("no"))
    finally:
        structlog.configure(**before)
        logging.getLogger().handlers[:] = handlers
    assert len(writes.seen) == 2
    assert all(each.endswith(b"\n") and each.count(b"\n") == 1 for each in writes.seen)
