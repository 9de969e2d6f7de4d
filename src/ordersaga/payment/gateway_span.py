"""The span of a call to the payment gateway, by OpenTelemetry's conventions for HTTP clients."""

import time
from collections.abc import Mapping
from string import Formatter
from typing import Final
from urllib.parse import quote, urlsplit

from ordersaga.contracts.headers import TRACEPARENT
from ordersaga.tracing import Kind, child_of, current, exporting

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
FAILED_FROM: Final = 400
"""A client's span has failed from this status on, whatever the answer means to the payment."""


class GatewayCall:
    """One call, in the trace of the task that makes it. `status` is set once the head of the answer has come, `error` if the whole did not."""

    def __init__(self, method: str, base_url: str, template: str, named: str, sends_traceparent: bool) -> None:
        names = [name for _, name, _, _ in Formatter().parse(template) if name]
        self.method: Final = method
        self.url: Final = base_url + template.format_map(dict.fromkeys(names, quote(named, safe="")))
        self.status: int | None = None
        self.error: BaseException | None = None
        self._template: Final = template
        self._parent: Final = current.get()
        self._own: Final = child_of(self._parent) if exporting() else self._parent
        self._sends_traceparent: Final = sends_traceparent
        self._began_ns: Final = time.time_ns()

    @property
    def headers(self) -> Mapping[str, str]:
        """The gateway belongs to somebody else, and is told of our traces only where the settings say so."""
        return {TRACEPARENT: self._own} if self._sends_traceparent and self._own else {}

    def export(self) -> None:
        """Export the span of the call, which is over."""
        exporter = exporting()
        if exporter is None or self._own is None:
            return
        server = urlsplit(self.url)
        error = self._error_type()
        exporter.span(
            f"{self.method} {self._template}",
            self._own,
            self._parent,
            Kind.CLIENT,
            self._began_ns,
            time.time_ns(),
            {
                "http.request.method": self.method,
                "http.response.status_code": self.status,
                "server.address": server.hostname,
                "server.port": server.port or DEFAULT_PORTS.get(server.scheme),
                "url.full": self.url,
                "url.template": self._template,
                "error.type": error,
            },
            None if error is None else "",
        )

    def _error_type(self) -> str | None:
        if self.error is not None:
            return type(self.error).__name__
        if self.status is None:
            return "cancelled"
        return str(self.status) if self.status >= FAILED_FROM else None
