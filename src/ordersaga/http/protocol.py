"""Uvicorn's HTTP/1.1 protocol with limits on what a client may send, how slowly, and how much of it at once.

A client's bytes are counted before they are parsed: the parser joins the pieces of a long header again and again, which costs the square
of its length. A refusal is problem+json, comes after the answers that are due before it, and ends the connection.
"""

import asyncio
import math
import re
from collections.abc import Mapping
from typing import Any, Final

import httptools
import msgspec
from prometheus_client import Counter
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from ordersaga.http.limits import RETRY_AFTER_S, Limits, Streams

SLICE_BYTES: Final = 16_384
SMALL_BYTES: Final = 1_024
"""The smallest `head_bytes_max` that may be set."""
FRAMING_BYTES_MAX: Final = 4_096
"""Bytes of chunk sizes, extensions and trailer beyond twice the body's: each chunk costs as much as many bytes do."""
LINGER_S: Final = 1.0
SLOW_BODY_AFTER_S: Final = 5.0
RESERVED_CONNECTIONS: Final = 64
"""Connections beyond `connections_max` that are still listened to, for health checks. Whatever else comes on them is refused."""
ROOM_EVERY_S: Final = 0.1
WAITED_S: Final = 1.0
HEALTH: Final = b"/health/"
TARGETS: Final = (b"/", b"http://", b"https://")
VERSIONS: Final = ("1.1", "1.0")
JSON_HEADERS: Final = b"content-type: application/problem+json\r\ncontent-length: %d\r\nconnection: close\r\n"

_upgrade: Final = re.compile(rb"\r\nupgrade:", re.IGNORECASE)
_refused: Final = Counter("ordersaga_http_refused", "Requests refused before they came to a route", ["status"])


class _Refusal(Exception):
    """Ends the parser from inside one of its callbacks. It makes an error of its own of it, so `Protocol` keeps what to answer."""


class Protocol(HttpToolsProtocol):
    """One connection. `deadline` is when its client must have sent what it has begun. `faces`: the application to show, by port."""

    def __init__(self, limits: Limits, streams: Streams, faces: Mapping[int, Any], **rest: Any) -> None:
        super().__init__(**rest)
        self._faces: Final = faces
        self._limits: Final = limits
        self._streams: Final = streams
        self.deadline = math.inf
        self.unread_until = math.inf
        self.waits_since = math.inf
        self._in_head = True
        self._head_bytes = 0
        self._framed_bytes = 0
        self._body_bytes = 0
        self._body_since = 0.0
        self._deaf = False
        self._refused_with: tuple[int, str, str] | None = None
        self._last_words = b""
        self._running: RequestResponseCycle | None = None
        self.url, self.headers = b"", []

    def connection_made(self, transport: Any) -> None:
        super().connection_made(Together(transport, self.loop))  # type: ignore[arg-type]  # a transport by its methods
        self.app = self._faces.get(self.server[1] or 0, self.app) if self._faces and self.server else self.app
        self.waits_since = self.loop.time()
        self.deadline = self.waits_since + self._limits.head_s
        if len(self.connections) > self._limits.connections_max:
            make_room(self)
            if len(self.connections) > self._limits.connections_max + RESERVED_CONNECTIONS:
                _refused.labels(503).inc()
                self.transport.write(self._problem(503, "Too many connections are open", "try again"))
                self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        # Uvicorn tells only the newest request of a connection that its client is gone; an earlier one would stream on for ever.
        for cycle in (self._running, *(cycle for cycle, _ in self.pipeline)):
            if cycle is not None:
                cycle.disconnected = True
                cycle.message_event.set()
        self._deaf = True
        self.pipeline.clear()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio takes a truth value
        """A client that has sent its last request whole may still read the answer."""
        running = self._running
        if running is None or running.response_complete or running.response_started or self.cycle.more_body:
            return False
        self._deaf = True
        self.cycle.keep_alive = False
        return True

    def shutdown(self) -> None:
        """The server stops: what is answered in parts is a stream, which would hold it up for as long as a stop may take."""
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
        if self._in_head and not self._head_bytes and len(data) <= SMALL_BYTES and not self._deaf:
            self._take_small(data)
            return
        rest = memoryview(data)
        while rest and not self._deaf:
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
            if self._in_head and not self._deaf:
                self._check_head(part if begins else None)
            elif self._framed_bytes > FRAMING_BYTES_MAX + 2 * self._body_bytes and not self._deaf:
                self._refuse(
                    431,
                    "There is too much around the body",
                    "its chunks are too small, or an extension or trailer is too long",
                )

    def _take_small(self, data: bytes) -> None:
        """A head from its beginning, far below all limits, and what follows it: the same as the long way, without its slices."""
        self._head_bytes = len(data)
        self.deadline = self.loop.time() + self._limits.head_s
        self._feed(data)
        if self._in_head and self._head_bytes and not self._deaf:
            self._check_head(memoryview(data))

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
        if len(length) > 18 or int(length) > limits.body_bytes_max:
            self._stop(413, "The body is too large", f"at most {limits.body_bytes_max} bytes are taken")
        if len(self.pipeline) >= limits.pipelined_max:
            self._stop(503, "Too many requests wait on this connection", "wait for answers")
        if not self.url.startswith(HEALTH) and self._is_full():
            self._stop(503, "Too many requests are under way", "try again")
        self.waits_since = math.inf
        self._body_since = self.loop.time()
        self.deadline = self._body_since + limits.body_s
        super().on_headers_complete()
        self.url, self.headers = (
            b"",
            [],
        )  # fields of a trailer come here and go no further: nobody in front of us has looked at them

    def _is_full(self) -> bool:
        return (
            len(self.tasks) - self._streams.count >= self._limits.requests_max
            or len(self.connections) > self._limits.connections_max
        )

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.body_bytes_max:
            self._stop(413, "The body is too large", f"at most {self._limits.body_bytes_max} bytes are taken")
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_head, self.deadline = True, math.inf
        super().on_message_complete()

    def _stop(self, status: int, title: str, detail: str) -> None:
        self._refused_with = (status, title, detail)
        raise _Refusal

    # What goes out

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        was_last = not self.pipeline
        unread = was_last and self.cycle.more_body
        super().on_response_complete()
        if not was_last or self.transport.is_closing():
            return
        self.waits_since = self.loop.time()
        if self._last_words:
            self._say(self._last_words)
        elif unread:
            self._linger()

    def _refuse(self, status: int, title: str, detail: str) -> None:
        """Answer so once what is due before is answered, and listen no more."""
        _refused.labels(status).inc()
        self._deaf = True
        words = self._problem(status, title, detail)
        running = self._running
        if running is None or running.response_complete:
            self._say(words)
        elif running is not self.cycle or not running.more_body:
            if self.pipeline and self.pipeline[0][0].more_body:
                self.pipeline.popleft()  # the request that is refused
            self._last_words = words
        elif running.response_started:
            running.keep_alive = False
        else:
            running.disconnected = True
            running.message_event.set()
            self._say(words)

    def _problem(self, status: int, title: str, detail: str) -> bytes:
        body = msgspec.json.encode({"title": title, "status": status, "detail": detail, "type": "about:blank"})
        head = STATUS_LINE[status] + JSON_HEADERS % len(body)
        for name, value in self.server_state.default_headers:
            head += name + b": " + value + b"\r\n"
        if status == 503:
            head += b"retry-after: " + RETRY_AFTER_S.encode() + b"\r\n"
        return head + b"\r\n" + body

    def _say(self, words: bytes) -> None:
        self.transport.write(words)
        self._linger()

    def _linger(self) -> None:
        """Take no more, and close in a moment: closed at once over what its client still sends, the connection would take the answer along."""
        self._deaf = True
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

    def look(self, now: float) -> None:
        """End what takes too long. Called for each connection, some times a second."""
        if self.transport.is_closing():
            self.unread_until = min(self.unread_until, now + self._limits.answer_s)
        if now > self.unread_until:
            self.transport.abort()
        elif now > self.deadline:
            if self._deaf or (self._in_head and not self._head_bytes):
                self.transport.abort()
            elif self._in_head:
                self._refuse(
                    408, "The request's head did not come in time", f"it must within {self._limits.head_s:g} s"
                )
            else:
                self._refuse(408, "The body did not come in time", f"it must within {self._limits.body_s:g} s")
        elif not self._in_head and not self._deaf and self._is_slow(now):
            least = self._limits.body_bytes_per_s_min
            self._refuse(408, "The body comes too slowly", f"at least {least} bytes a second are wanted")

    def _is_slow(self, now: float) -> bool:
        lasted_s = now - self._body_since - SLOW_BODY_AFTER_S
        return (
            lasted_s > 0
            and self._body_bytes < lasted_s * self._limits.body_bytes_per_s_min
            and not self.flow.read_paused
        )


def without_upgrade(data: bytes) -> bytes:
    """A head without its offer to speak another protocol, which may be ignored (RFC 9110, 7.8). Java's own client makes one.

    The parser takes what follows such a head for the other protocol, and the request's body would be lost.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    return _upgrade.sub(b"\r\nIgnored:", head) + end + rest


def make_room(newest: Protocol) -> None:
    """Close a tenth of the connections that wait longest for a client's next request, where there are too many connections.

    Many that never send a request must not keep those out that do.
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


class Together:
    """A transport that writes once what is written in one step of the event loop.

    Uvicorn writes the head of an answer and then its body: two system calls, two segments, and a client that wakes up twice.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport: Final = transport
        self._loop: Final = loop
        self._held: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)

    def write_eof(self) -> None:
        self._flush()
        if not self._transport.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        held, self._held = self._held, []
        if held and not self._transport.is_closing():
            self._transport.write(b"".join(held))
