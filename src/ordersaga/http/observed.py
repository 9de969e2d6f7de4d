"""What is told of each HTTP request: its span, below the caller's, and its trace for what it causes."""

import time
from typing import Any, Final

from ordersaga import tracing
from ordersaga.contracts.headers import TRACEPARENT
from ordersaga.tracing import Kind, child_of

NOT_TRACED: Final = ("/health", "/metrics")
"""Asked for every few seconds by machines, about no order."""
_HEADER: Final = TRACEPARENT.encode()


async def observed(app: Any, scope: Any, receive: Any, send: Any) -> None:
    """Answer a request within its trace: what it sends to Kafka goes on in the trace that its `traceparent` names, or in a new one."""
    caller = next((value.decode("latin-1") for name, value in scope["headers"] if name == _HEADER), None)
    exporter = tracing.exporting()
    if exporter is None or scope["path"].startswith(NOT_TRACED):
        if tracing.taken_apart(caller):
            tracing.current.set(caller)
        await app(scope, receive, send)
        return
    own = child_of(caller)
    tracing.current.set(own)
    status: int | None = None

    async def sent(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        await send(message)

    began_ns = time.time_ns()
    try:
        await app(scope, receive, sent)
    finally:
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
