"""Sets up logging: one JSON object a line in production, readable lines on a terminal. Secrets are masked, also in the lines of
libraries."""

import logging
import sys
import threading
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import structlog

from ordersaga import service_context
from ordersaga.contracts.personal import hidden_in_own_words
from ordersaga.masking import masked, remember
from ordersaga.settings import Settings
from ordersaga.tracing import current, taken_apart

NESTED_MAX: Final = 6


def log_to_stderr(settings: Settings, service: str) -> None:
    """Set up logging for one process; every line says which service wrote it: this one, or the one whose task writes it."""
    remember(settings.secrets())
    structlog.configure(
        [
            structlog.contextvars.merge_contextvars,
            partial(add_service, service),
            add_trace,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            mask_secrets,
            _renderer(settings),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.log_level.upper()]),
        # One write a line: workers share one standard error, which may be unbuffered.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Passed()], level=logging.WARNING, force=True)
    threading.excepthook = _thread_ended


def add_service(process: str, _: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Name the service. A line of the process itself, or of a library's thread, has the name of the process."""
    event["service"] = service_context.current().service or process
    return event


def add_trace(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Name the trace of the request that is being answered, in each of its lines."""
    if "trace_id" not in event and (found := taken_apart(current.get())):
        event["trace_id"] = found[0]
    return event


def _renderer(settings: Settings) -> structlog.typing.Processor:
    if settings.log_format == "json":
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)


def mask_secrets(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Mask secrets in every value of a log line, nested ones included, and in its traceback, and the personal data of a record there."""
    return {name: _shown(value) for name, value in event.items()}


def _shown(value: Any, depth: int = 0) -> Any:
    if isinstance(value, bool | int | float | None):
        return value
    if isinstance(value, bytes):
        value = value.decode(errors="backslashreplace")
    if isinstance(value, Mapping) and depth < NESTED_MAX:
        return {masked(str(name)): _shown(each, depth + 1) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and depth < NESTED_MAX:
        return [_shown(each, depth + 1) for each in value]
    text = value if isinstance(value, str) else str(value) if isinstance(value, Exception) else repr(value)
    return masked(hidden_in_own_words(text))


def _thread_ended(ended: threading.ExceptHookArgs) -> None:
    name = ended.thread.name if ended.thread else "?"
    structlog.get_logger().error("a thread ended with an error", thread=name, exc_info=ended.exc_value)


class _Passed(logging.Handler):
    """Sends log lines of libraries (asyncio's lost exceptions, uvicorn's errors) through structlog, like our own lines."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        log.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)
