"""Uvicorn's HTTP/1.1 protocol with limits on the size, the speed and the number of requests.

Bytes are counted before they are parsed: the parser joins the pieces of a long header again and again, in time that grows with the square
of its length. A refusal is problem+json, is sent after the answers that are due before it, and ends the connection.
"""

import asyncio
import contextvars
import math
import re
from collections.abc import Mapping
from typing import Any, Final

import httptools
import msgspec
from prometheus_client import Counter
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from ordersaga.http.limits import RETRY_AFTER_S, Limits, Streams
from ordersaga.service_context import metric

SLICE_BYTES: Final = 16_384
FRAMING_BYTES_MAX: Final = 4_096
"""Bytes of chunk sizes, extensions and trailer beyond twice the body's bytes: parsing a chunk costs as much as parsing many bytes."""
LINGER_S: Final = 1.0
SLOW_BODY_AFTER_S: Final = 5.0
RESERVED_CONNECTIONS: Final = 64
"""Connections beyond `connections_max` that are accepted for health checks. Other requests on them are refused."""
ROOM_EVERY_S: Final = 0.1
WAITED_S: Final = 1.0
HEALTH: Final = b"/health/"
TARGETS: Final = (b"/", b"http://", b"https://")
VERSIONS: Final = ("1.1", "1.0")
JSON_HEADERS: Final = b"content-type: application/problem+json\r\ncontent-length: %d\r\nconnection: close\r\n"

_upgrade: Final = re.compile(rb"\r\nupgrade:", re.IGNORECASE)
_refused: Final = metric(
    Counter,
    "ordersaga_http_refused",
    "Requests refused before they came to a route",
    "status",
)


class _StopParsing(Exception):
    """Stops the parser from one of its callbacks. The parser raises an error of its own instead, so `Protocol` keeps the refusal."""


class Protocol(HttpToolsProtocol):
    """One connection. `deadline`: when the client must have sent the request that it began. `apps`: the application by port, for ports that
    serve another one than the server's.

    Times are the event loop's, in seconds.
    """

    def __init__(self, limits: Limits, streams: Streams, apps: Mapping[int, Any], **rest: Any) -> None:
        super().__init__(**rest)
        self._apps: Final = apps
        self._limits: Final = limits
        self._streams: Final = streams
        self.deadline = math.inf
        self.unread_until = math.inf
        self.waits_since = math.inf
        self._in_head = True
        self._head_bytes = 0
        self._framed_bytes = 0
        self._body_bytes = 0
        self._body_max = limits.body_bytes_max
        self._body_since = 0.0
        self._reads_no_more = False
        self._refused_with: tuple[int, str, str] | None = None
        self._queued_refusal = b""
        self._running: RequestResponseCycle | None = None
        self.url, self.headers = b"", []

    def connection_made(self, transport: Any) -> None:
        self._context = contextvars.copy_context()
        super().connection_made(JoinedWrites(transport, self.loop))  # type: ignore[arg-type]  # a transport by its methods
        self.app = self._apps.get(self.server[1] or 0, self.app) if self._apps and self.server else self.app
        self.waits_since = self.loop.time()
        self.deadline = self.waits_since + self._limits.head_s
        if len(self.connections) > self._limits.connections_max:
            make_room(self)
            if len(self.connections) > self._limits.connections_max + RESERVED_CONNECTIONS:
                _refused.labels(503).inc()
                self.transport.write(self._problem(503, "Too many connections are open", "try again"))
                self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        # Uvicorn tells only the newest request of a connection that the client is gone; an earlier one would stream on for ever.
        for cycle in (self._running, *(cycle for cycle, _ in self.pipeline)):
            if cycle is not None:
                cycle.disconnected = True
                cycle.message_event.set()
        self._reads_no_more = True
        self.pipeline.clear()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio takes a truth value
        """Keep the connection of a client that has sent its last request whole: it may still read the answer."""
        running = self._running
        if running is None or running.response_complete or running.response_started or self.cycle.more_body:
            return False
        self._reads_no_more = True
        self.cycle.keep_alive = False
        return True

    def shutdown(self) -> None:
        """The server stops. An answer in parts is an event stream: end it, or it would delay the stop by the whole `DRAIN_S`."""
        running = self._running
        if running is not None and running.response_started and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
            self.transport.close()
        else:
            super().shutdown()

    # What comes in

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._in_head and b"pgrade:" in data:
            data = without_upgrade(data)
        rest = memoryview(data)
        while rest and not self._reads_no_more:
            most = SLICE_BYTES
            begins = False
            if self._in_head:
                begins = self._head_bytes == 0
                if begins:
                    self.deadline = self.loop.time() + self._limits.head_s
                most = self._limits.head_bytes_max - self._head_bytes
            part, rest = rest[:most], rest[most:]
            if self._in_head:
                self._head_bytes += len(part)
            else:
                self._framed_bytes += len(part)
            self._feed(part)
            if self._reads_no_more:
                return
            if self._in_head:
                if self._head_bytes:
                    self._check_head(part if begins else None)
            elif self._framed_bytes > FRAMING_BYTES_MAX + 2 * self._body_bytes:
                self._refuse(
                    431,
                    "There is too much around the body",
                    "its chunks are too small, or an extension or trailer is too long",
                )

    def _feed(self, part: "bytes | memoryview[int]") -> None:
        try:
            self.parser.feed_data(part)
        except httptools.HttpParserUpgrade as upgrade:
            if self.cycle.scope["method"] != "GET":
                self._refuse(400, "No other protocol is spoken here", "send the request without Upgrade")
                return
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self.data_received(bytes(part[upgrade.args[0] :]))
        except httptools.HttpParserError as error:
            self._refuse(*(self._refused_with or (400, "The request is not HTTP", str(error))))

    def _check_head(self, first: "memoryview[int] | None") -> None:
        if self._head_bytes >= self._limits.head_bytes_max:
            if self.headers or not self.url:
                self._refuse(
                    431, "The request's head is too large", f"at most {self._limits.head_bytes_max} bytes are taken"
                )
            else:
                self._refuse(414, "The URL is too long", f"at most {self._limits.head_bytes_max} bytes are taken")
        elif first is not None and (end := bytes(first).lstrip(b"\r\n").find(b"\n")) >= 0:
            line = bytes(first).lstrip(b"\r\n")[:end]
            if b" HTTP/" not in line:
                self._refuse(400, "The request is not HTTP", "its first line names no version")

    def on_headers_complete(self) -> None:
        limits = self._limits
        self._in_head, self._head_bytes, self._framed_bytes, self._body_bytes = False, 0, 0, 0
        length, hosts = b"0", 0
        for name, value in self.headers:
            if name == b"content-length":
                length = value
            elif name == b"host":
                hosts += 1
            elif name == b"transfer-encoding" and value.lower() != b"chunked":
                self._stop(400, "The Transfer-Encoding is not known", "only chunked is taken")
        version = self.parser.get_http_version()
        if version not in VERSIONS:
            self._stop(400, "The HTTP version is not spoken here", "HTTP/1.1 and HTTP/1.0 are")
        if hosts != 1 and (hosts or version == "1.1"):
            self._stop(400, "The request is not HTTP", "there must be one Host")
        if len(self.headers) > limits.headers_max:
            self._stop(431, "The request has too many headers", f"at most {limits.headers_max} are taken")
        if not self.url.startswith(TARGETS):
            self._stop(400, "The request is not HTTP", "its target is no path")
        self._body_max = limits.body_max(self.url)
        if len(length) > 18 or int(length) > self._body_max:
            self._stop(413, "The body is too large", f"at most {self._body_max} bytes are taken")
        if len(self.pipeline) >= limits.pipelined_max:
            self._stop(503, "Too many requests wait on this connection", "wait for answers")
        if not self.url.startswith(HEALTH) and self._is_full():
            self._stop(503, "Too many requests are under way", "try again")
        self.waits_since = math.inf
        self._body_since = self.loop.time()
        self.deadline = self._body_since + limits.body_s
        super().on_headers_complete()
        # Fields of a trailer would be appended to these headers. They are dropped: no proxy in front of us has checked them.
        self.url, self.headers = b"", []

    def _is_full(self) -> bool:
        return (
            len(self.tasks) - self._streams.count >= self._limits.requests_max
            or len(self.connections) > self._limits.connections_max
        )

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > self._body_max:
            self._stop(413, "The body is too large", f"at most {self._body_max} bytes are taken")
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_head, self.deadline = True, math.inf
        super().on_message_complete()

    def _stop(self, status: int, title: str, detail: str) -> None:
        self._refused_with = (status, title, detail)
        raise _StopParsing

    # What goes out

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Uvicorn begins a request that has waited within the one before, in whose trace it would go on."""
        self._running = cycle
        self._context.copy().run(super()._start_asgi_task, cycle, app)

    def on_response_complete(self) -> None:
        """The rest of a body whose request is answered is read and dropped: many clients send it behind the head whatever they are answered.

        A client that asked with `Expect` may send it or not, and what comes next could be either. So its connection ends.
        """
        was_last = not self.pipeline
        is_unclear = was_last and self.cycle.more_body and self.expect_100_continue
        super().on_response_complete()
        if not was_last or self.transport.is_closing():
            return
        self.waits_since = self.loop.time()
        if self._queued_refusal:
            self._send_last(self._queued_refusal)
        elif is_unclear:
            self._linger()

    def _refuse(self, status: int, title: str, detail: str) -> None:
        """Send this refusal after the answers that are due before it, and read no further requests."""
        _refused.labels(status).inc()
        self._reads_no_more = True
        refusal = self._problem(status, title, detail)
        running = self._running
        if running is not None and running is self.cycle and running.response_complete and running.more_body:
            self._linger()  # the request is answered; a second answer would be taken for the next request's
        elif running is None or running.response_complete:
            self._send_last(refusal)
        elif running is not self.cycle or not running.more_body:
            if self.pipeline and self.pipeline[0][0].more_body:
                self.pipeline.popleft()  # the refused request
            self._queued_refusal = refusal
        elif running.response_started:
            running.keep_alive = False
        else:
            running.disconnected = True
            running.message_event.set()
            self._send_last(refusal)

    def _problem(self, status: int, title: str, detail: str) -> bytes:
        body = msgspec.json.encode({"title": title, "status": status, "detail": detail, "type": "about:blank"})
        head = STATUS_LINE[status] + JSON_HEADERS % len(body)
        for name, value in self.server_state.default_headers:
            head += name + b": " + value + b"\r\n"
        if status == 503:
            head += b"retry-after: " + RETRY_AFTER_S.encode() + b"\r\n"
        return head + b"\r\n" + body

    def _send_last(self, answer: bytes) -> None:
        self.transport.write(answer)
        self._linger()

    def _linger(self) -> None:
        """Read no more, and close after `LINGER_S`. On a close at once, unread bytes would make the kernel reset the connection: the client
        would lose the answer.
        """
        self._reads_no_more = True
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        self.transport.write_eof()
        self.deadline = self.loop.time() + LINGER_S

    def pause_writing(self) -> None:
        self.unread_until = self.loop.time() + self._limits.answer_s
        super().pause_writing()

    def resume_writing(self) -> None:
        self.unread_until = math.inf
        super().resume_writing()

    # Time

    def check_time(self, now: float) -> None:
        """Refuse or end a connection that has exceeded a time limit. Called some times a second for each connection."""
        if self.transport.is_closing():
            self.unread_until = min(self.unread_until, now + self._limits.answer_s)
        if now > self.unread_until:
            self.transport.abort()
        elif now > self.deadline:
            if self._reads_no_more or (self._in_head and not self._head_bytes):
                self.transport.abort()
            elif self._in_head:
                self._refuse(
                    408, "The request's head did not come in time", f"it must come within {self._limits.head_s:g} s"
                )
            else:
                self._refuse(408, "The body did not come in time", f"it must come within {self._limits.body_s:g} s")
        elif not self._in_head and not self._reads_no_more and self._is_slow(now):
            least = self._limits.body_bytes_per_s_min
            self._refuse(408, "The body comes too slowly", f"at least {least} bytes a second must come")

    def _is_slow(self, now: float) -> bool:
        lasted_s = now - self._body_since - SLOW_BODY_AFTER_S
        return (
            lasted_s > 0
            and self._body_bytes < lasted_s * self._limits.body_bytes_per_s_min
            and not self.flow.read_paused
        )


def without_upgrade(data: bytes) -> bytes:
    """The data with `Upgrade` renamed in its head. An upgrade may be ignored (RFC 9110, 7.8); Java's own client offers one.

    The parser would take the bytes after such a head for the other protocol, and the request's body would be lost.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    return _upgrade.sub(b"\r\nIgnored:", head) + end + rest


def make_room(newest: Protocol) -> None:
    """Close a tenth of the connections: those that wait longest for their client's next request.

    Connections that never send a request must not keep out clients that do. At most once every `ROOM_EVERY_S`.
    """
    now = newest.loop.time()
    if now < getattr(newest.server_state, "room_made", 0.0) + ROOM_EVERY_S:
        return
    newest.server_state.room_made = now  # type: ignore[attr-defined]
    waiting = sorted(
        (each for each in newest.connections if isinstance(each, Protocol) and each.waits_since < now - WAITED_S),
        key=lambda each: each.waits_since,
    )
    for each in waiting[: max(RESERVED_CONNECTIONS, len(newest.connections) // 10)]:
        each.transport.abort()


class JoinedWrites:
    """A transport that joins the writes of one step of the event loop into one.

    Uvicorn writes an answer's head and body apart: two system calls, two TCP segments, and a client that wakes up twice.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport: Final = transport
        self._loop: Final = loop
        self._corked: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._corked:
            self._loop.call_soon(self._flush)
        self._corked.append(data)

    def write_eof(self) -> None:
        self._flush()
        if not self._transport.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        corked, self._corked = self._corked, []
        if corked and not self._transport.is_closing():
            self._transport.write(b"".join(corked))
