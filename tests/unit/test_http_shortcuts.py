"""Where our HTTP code takes a shorter way than Litestar or uvicorn, the client gets what the plain way would send."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from litestar import Request, Response, post
from litestar.params import FromPath
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from ordersaga import tracing
from ordersaga.http.encoded import EncodedJson
from ordersaga.http.limits import Limits, Streams
from ordersaga.http.problems import PROBLEM_JSON, Problem, ProblemBody, on_problem
from ordersaga.http.protocol import Protocol
from ordersaga.http.requests import header, headers, raw_body
from ordersaga.http.server import application
from ordersaga.messaging.health import Health
from ordersaga.settings import Settings

# What Litestar would do

BODY, HEADERS = b'{"id":"1"}', {"Location": "/things/1", "Retry-After": "1"}


@post("/short/{status:int}")
async def short(status: FromPath[int]) -> Response[bytes]:
    return EncodedJson(BODY, status_code=status, headers=HEADERS)


@post("/plain/{status:int}")
async def plain(status: FromPath[int]) -> Response[bytes]:
    return Response(BODY, status_code=status, headers=HEADERS, media_type="application/json")


@post("/body/short")
async def body_short(request: Request[Any, Any, Any]) -> bytes:
    return await raw_body(request)


@post("/body/plain")
async def body_plain(request: Request[Any, Any, Any]) -> bytes:
    return await request.body()


class Well:
    async def health(self) -> Health:
        return Health()

    def dead(self) -> list[str]:
        return []


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[None]:
    yield


APP: Any = application("test", [short, plain, body_short, body_plain], Well(), running)


def scope_of(path: str, given_headers: Sequence[tuple[bytes, bytes]] = ()) -> dict[str, Any]:
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": "POST",
    }
    scope |= {"path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"", "state": {}}
    return scope | {"client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "headers": list(given_headers)}


async def answer_to(path: str, *parts: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers in an order of their own, and body of the answer to a POST whose body comes in these parts."""
    left, sent = [*parts], []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": left.pop(0) if left else b"", "more_body": bool(left)}

    async def send(message: Any) -> None:
        sent.append(message)

    await APP(scope_of(path), receive, send)
    return sent[0]["status"], sorted(sent[0]["headers"]), b"".join(each.get("body", b"") for each in sent[1:])


@pytest.mark.parametrize("status", [200, 201, 202, 409])
async def test_an_encoded_answer_is_sent_as_litestar_would_send_it(status: int) -> None:
    assert await answer_to(f"/short/{status}") == await answer_to(f"/plain/{status}")


@pytest.mark.parametrize("parts", [(), (b"",), (b"{}",), (b'{"a":', b"1}"), (b"", b"x", b"", b"y")])
async def test_a_body_in_any_parts_is_read_as_litestar_would_read_it(parts: tuple[bytes, ...]) -> None:
    assert await answer_to("/body/short", *parts) == await answer_to("/body/plain", *parts)


NAMES = st.sampled_from([b"prefer", b"user-id", b"authorization", b"x"])
VALUES = st.binary(max_size=8)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6))
def test_headers_are_read_as_litestar_would_read_them(given_headers: list[tuple[bytes, bytes]]) -> None:
    request: Request[Any, Any, Any] = Request(scope_of("/", given_headers))  # type: ignore[arg-type]
    for name in (b"prefer", b"user-id", b"authorization", b"x", b"absent"):
        assert header(request, name) == request.headers.get(name.decode())
        assert headers(request, name) == request.headers.getall(name.decode(), [])


# What uvicorn would do


class Wire:
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        if not self.closed:
            self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = write_eof = close

    def can_write_eof(self) -> bool:
        return True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"sockname": ("127.0.0.1", 80), "peername": ("127.0.0.1", 1)}.get(name, default)

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with what the application sees of the request."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    seen = [scope["method"], scope["path"], scope["query_string"], scope["http_version"], scope["headers"], body]
    answer = repr(seen).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(answer))]})
    await send({"type": "http.response.body", "body": answer[:3], "more_body": True})
    await send({"type": "http.response.body", "body": answer[3:], "more_body": False})


async def talk(ours: bool, pieces: Sequence[bytes], app: Any = echo) -> tuple[bytes, bool]:
    """What a connection answers to these pieces, and whether the server has closed it."""
    config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False, date_header=False, ws="none")
    config.load()
    state = ServerState()
    rest: dict[str, Any] = {"config": config, "server_state": state, "app_state": {}}
    made = Protocol(Limits.of(Settings()), Streams(0, 0), {}, **rest) if ours else HttpToolsProtocol(**rest)
    wire: Any = Wire()
    made.connection_made(wire)
    for piece in pieces:
        if not wire.closed:
            made.data_received(piece)
        for _ in range(10):
            await asyncio.sleep(0)
    made.connection_lost(None)
    await asyncio.gather(*state.tasks, return_exceptions=True)
    return wire.written, wire.closed


def statuses(answers: bytes) -> list[bytes]:
    """The status lines of the answers on a connection."""
    return re.findall(rb"HTTP/1.1 \d{3} [^\r]+", answers)


GET = b"GET /a?b=%20c HTTP/1.1\r\nHost: x\r\nUser-Id: 1\r\nUser-Id: 2\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\n" + b'{"a":1}'
CHUNKED = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\n\r\n"
HEAD = b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n"
WELL_FORMED = [[GET], [POST], [CHUNKED], [LAST], [OLD], [HEAD], [GET + POST + LAST], [GET, GET], [POST[:-3], POST[-3:]]]
REFUSED = [
    [b"GET / HTTP/1.1\r\n\r\n"],
    [b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"],
    [b"GET x HTTP/1.1\r\nHost: x\r\n\r\n"],
    [b"GET / HTTP/3.0\r\nHost: x\r\n\r\n"],
    [b"GET /\r\n\r\n"],
    [b"\x16\x03\x01"],
    [GET + b"nonsense\r\n\r\n"],
    [b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"],
    [b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 140 + b"\r\n"],
]


@pytest.mark.parametrize("pieces", WELL_FORMED)
async def test_a_well_formed_request_is_answered_byte_for_byte_as_by_uvicorn(pieces: list[bytes]) -> None:
    assert await talk(True, pieces) == await talk(False, pieces)


@pytest.mark.parametrize("pieces", [*WELL_FORMED, *REFUSED])
@pytest.mark.parametrize("size", [1, 7, 64])
async def test_a_request_in_small_pieces_is_answered_as_in_one(pieces: list[bytes], size: int) -> None:
    """A refusal has the same status; its detail may be the server's or the parser's."""
    whole = b"".join(pieces)
    in_one, closed = await talk(True, [whole])
    in_pieces, too = await talk(True, [whole[start : start + size] for start in range(0, len(whole), size)])
    assert in_one
    assert statuses(in_pieces) == statuses(in_one)
    assert too == closed
    if pieces in WELL_FORMED:
        assert in_pieces == in_one


async def test_a_refusal_of_the_server_is_the_problem_that_a_route_would_send() -> None:
    answer, closed = await talk(True, [b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"])
    head, _, body = answer.partition(b"\r\n\r\n")
    refused = msgspec.json.decode(body, type=ProblemBody)
    by_a_route = on_problem(None, Problem(refused.status, refused.title, str(refused.detail)))  # type: ignore[arg-type]
    assert msgspec.json.decode(body) == {**msgspec.json.decode(by_a_route.content), "type": "about:blank"}
    assert head.split(b"\r\n")[0] == b"HTTP/1.1 413 Request Entity Too Large"
    assert f"content-type: {PROBLEM_JSON}".encode() in head
    assert closed


async def test_a_request_that_waited_on_its_connection_does_not_go_on_in_the_trace_of_the_one_before() -> None:
    found: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(tracing.current.get())
        tracing.current.set(f"that of request {len(found)}")
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    await talk(True, [GET * 3, GET], app)
    assert found == [None] * 4
