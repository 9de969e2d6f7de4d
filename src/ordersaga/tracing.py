"""Traces: the W3C `traceparent` of what this process does, and the spans that it exports by OTLP where `ORDERSAGA_TRACES_URL` is set.

A span is known by its `traceparent`, a text that also travels in records' headers. Without the setting no span is made and OpenTelemetry
is not imported; a caller's trace is passed on all the same.
"""

import random
import re
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from enum import Enum
from typing import Any, Final

from ordersaga import __version__, service_context
from ordersaga.contracts.personal import hidden_in_own_words
from ordersaga.masking import masked
from ordersaga.settings import Settings

FLUSH_S: Final = 3.0
RANDOM_BITS: Final = 56
SAMPLED: Final = 1

_traceparent: Final = re.compile(
    r"[ \t]*(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})"
).match
"""Takes a W3C `traceparent` apart: version, trace id, span id, flags."""

current: Final[ContextVar[str | None]] = ContextVar("traceparent", default=None)
"""The `traceparent` of the request that this task answers."""


class Kind(Enum):
    """What a span is to those before and after it, by OpenTelemetry's names."""

    SERVER = "SERVER"
    CLIENT = "CLIENT"
    CONSUMER = "CONSUMER"
    PRODUCER = "PRODUCER"


def taken_apart(traceparent: str | None) -> tuple[str, str, str] | None:
    """Trace id, span id and flags; None if it is no `traceparent`."""
    found = _traceparent(traceparent) if traceparent else None
    if not traceparent or not found:
        return None
    version, trace_id, span_id, flags = found.groups()
    rest = traceparent[found.end() :].rstrip(" \t")
    if rest and (rest[0] != "-" or version == "00"):  # a later version may have further fields
        return None
    return trace_id, span_id, flags


def trace_id_of(traceparent: str | None) -> str | None:
    """The id of its trace."""
    found = taken_apart(traceparent)
    return found and found[0]


def plain(traceparent: str | None) -> str | None:
    """A `traceparent` of this version, whose length is known: a later one may have any further fields."""
    found = taken_apart(traceparent)
    return found and "-".join(("00", *found))


def is_sampled(traceparent: str | None) -> bool:
    """Whether the spans of its trace are exported."""
    found = taken_apart(traceparent)
    return found is not None and bool(int(found[2], 16) & SAMPLED)


def child_of(parent: str | None, trace_id: str | None = None) -> str:
    """The `traceparent` of a new span below this one; without a parent it begins a trace, with this id or a new one."""
    span_id = f"{random.getrandbits(64) or 1:016x}"
    if found := taken_apart(parent):
        return f"00-{found[0]}-{span_id}-{found[2]}"
    trace_id = trace_id or f"{random.getrandbits(128) or 1:032x}"
    return f"00-{trace_id}-{span_id}-{flags_of(trace_id)}"


def flags_of(trace_id: str) -> str:
    """The flags of a trace that begins here. The ratio is judged by the id's random end, so that all who see it judge alike."""
    if _ratio >= 1:
        return "01"
    return "01" if int(trace_id[-RANDOM_BITS // 4 :], 16) >= (1 - _ratio) * 2**RANDOM_BITS else "00"


class Exporter:
    """Sends spans by OTLP, in a thread of its own. What the collector does not take in time is dropped; the services go on."""

    def __init__(self, url: str, service: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        self._resource: Final = Resource.create(
            {"service.name": service, "service.namespace": "ordersaga", "service.version": __version__}
        )
        self._scope: Final = InstrumentationScope("ordersaga", __version__)
        self._processor: Final[BatchSpanProcessor] = BatchSpanProcessor(OTLPSpanExporter(endpoint=url))

    def span(
        self,
        name: str,
        own: str,
        parent: str | None,
        kind: Kind,
        began_ns: int,
        ended_ns: int,
        attributes: Mapping[str, Any],
        failure: str | None = None,
    ) -> None:
        """Export a span that has ended, if its trace is sampled. Attributes that are None are left out, and so are secrets and personal data in
        the words of a failure."""
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanKind, Status, StatusCode

        if not is_sampled(own):
            return
        self._processor.on_end(
            ReadableSpan(
                name,
                _context(own, is_remote=False),
                _context(parent, is_remote=kind in (Kind.SERVER, Kind.CONSUMER)),
                self._resource,
                {name: value for name, value in attributes.items() if value is not None},
                kind=SpanKind[kind.value],
                status=Status(StatusCode.UNSET)
                if failure is None
                else Status(StatusCode.ERROR, masked(hidden_in_own_words(failure))),
                start_time=began_ns,
                end_time=max(began_ns, ended_ns),
                instrumentation_scope=self._scope,
            )
        )

    def close(self) -> None:
        """Send what waits; a collector that does not answer is given `FLUSH_S`, for the library would wait half a minute."""
        ending = threading.Thread(target=self._processor.shutdown, daemon=True)
        ending.start()
        ending.join(FLUSH_S)


def _context(traceparent: str | None, is_remote: bool) -> Any:
    from opentelemetry.trace import SpanContext, TraceFlags

    found = taken_apart(traceparent)
    if found is None:
        return None
    trace_id, span_id, flags = (int(each, 16) for each in found)
    return SpanContext(trace_id, span_id, is_remote, TraceFlags(flags))


class NotInstalled(Exception):
    """`ORDERSAGA_TRACES_URL` is set, and the packages that export spans are missing."""


_ratio: float = 1.0


def exporting() -> Exporter | None:
    """The exporter of the service whose task asks; None: no spans are made."""
    found: Exporter | None = service_context.current().exporter
    return found


def start(settings: Settings, service: str) -> None:
    """Export spans from now on, where the settings say so. Raises `NotInstalled`."""
    global _ratio
    _ratio = settings.traces_ratio
    if settings.traces_url is None:
        return
    try:
        service_context.current().exporter = Exporter(settings.traces_url, service)
    except ImportError as error:
        raise NotInstalled(
            f"ORDERSAGA_TRACES_URL is set, and {error.name} is not installed: pip install 'ordersaga[traces]', or unset it"
        ) from error


def stop() -> None:
    """Send the spans that wait, and export no more."""
    here = service_context.current()
    if here.exporter is not None:
        here.exporter.close()
        here.exporter = None
