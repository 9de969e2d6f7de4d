"""What is told of each HTTP request: its metrics, its span below the caller's, and its trace for what it causes."""

import time
from typing import Any, Final

from prometheus_client import Counter, Histogram

from ordersaga import tracing
from ordersaga.contracts.headers import TRACEPARENT
from ordersaga.service_context import metric
from ordersaga.tracing import Exporter, Kind, child_of

NOT_OBSERVED: Final = ("/health", "/metrics")
"""Asked for every few seconds by machines, about no order."""
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER: Final = "other"
"""Stands for any other method, and for any path that is no route: a client must not make new series."""
_HEADER: Final = TRACEPARENT.encode()

REQUESTS: Final = metric(
    Counter,
    "ordersaga_http_requests",
    "Requests that were answered",
    "method",
    "route",
    "status",
)
ANSWER_SECONDS: Final = metric(
    Histogram,
    "ordersaga_http_answer_seconds",
    "Time from a request to the head of its answer; a stream goes on after it, and `Prefer: wait` asks for a late one",
    "method",
    "route",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)


async def observed(app: Any, scope: Any, receive: Any, send: Any) -> None:
    """Answer a request within its trace: what it sends to Kafka goes on in the trace that its `traceparent` names, or in a new one."""
    caller = next((value.decode("latin-1") for name, value in scope["headers"] if name == _HEADER), None)
    if scope["path"].startswith(NOT_OBSERVED):
        await app(scope, receive, send)
        return
    exporter = tracing.exporting()
    own = child_of(caller) if exporter else caller
    if tracing.taken_apart(own):
        tracing.current.set(own)
    status: int | None = None
    answered_s = 0.0

    async def sent(message: Any) -> None:
        nonlocal status, answered_s
        if message["type"] == "http.response.start":
            status, answered_s = message["status"], time.perf_counter()
        await send(message)

    began_ns, began_s = time.time_ns(), time.perf_counter()
    try:
        await app(scope, receive, sent)
    finally:
        if status is not None:
            _count(scope, status, answered_s - began_s, own)
        if exporter and own:
            _export(exporter, scope, own, caller, began_ns, status)


def _count(scope: Any, status: int, seconds: float, traceparent: str | None) -> None:
    method = scope["method"] if scope["method"] in METHODS else OTHER
    route = scope.get("path_template") or OTHER
    REQUESTS.labels(method, route, status).inc()
    # An exemplar leads from a slow bucket to the trace of one of its requests.
    found = tracing.taken_apart(traceparent) if tracing.is_sampled(traceparent) else None
    ANSWER_SECONDS.labels(method, route).observe(seconds, {"trace_id": found[0]} if found else None)


def _export(exporter: Exporter, scope: Any, own: str, caller: str | None, began_ns: int, status: int | None) -> None:
    method, route = scope["method"], scope.get("path_template") or None
    exporter.span(
        f"{method} {route}" if route else method,
        own,
        caller,
        Kind.SERVER,
        began_ns,
        time.time_ns(),
        {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "url.path": scope["path"],
            "url.scheme": scope["scheme"],
        },
        None if status is not None and status < 500 else "",
    )
