"""What a client that nobody knows may do to a server: every limit and time-out at the socket, and that others are served meanwhile."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import msgspec
import psutil
import pytest

LIMITS = {
    "HTTP_HEAD_S": "1",
    "HTTP_BODY_S": "2",
    "HTTP_ANSWER_S": "1",
    "HTTP_KEEP_ALIVE_S": "2",
    "HTTP_CONNECTIONS_MAX": "60",
    "HTTP_REQUESTS_MAX": "20",
    "HTTP_STREAMS_MAX": "6",
    "HTTP_STREAMS_PER_CALLER_MAX": "4",
    "HTTP_PIPELINED_MAX": "4",
}
HEAD = b"Host: a\r\nContent-Type: application/json\r\n"
SOON_S = 5.0
GROWTH_BYTES_MAX = 40_000_000
SERVED_MEANWHILE = 100
"""So many requests of others are answered while somebody sends what they want."""


class Server:
    """The server, its port, and bytes to and from it."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.process = process
        self.port = port

    @property
    def memory(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)

    @contextlib.asynccontextmanager
    async def connection(
        self, small_buffer: bool = False
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        one = socket.socket()
        if small_buffer:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        one.setblocking(False)
        await asyncio.get_running_loop().sock_connect(one, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=one, limit=4_096)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def says(self, *parts: bytes, within_s: float = SOON_S) -> bytes:
        """All that comes back for these bytes until the server closes the connection."""
        async with self.connection() as (reader, writer):
            with contextlib.suppress(ConnectionError):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
            async with asyncio.timeout(within_s):
                return await whole(reader)

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}")


async def whole(reader: asyncio.StreamReader) -> bytes:
    said = b""
    with contextlib.suppress(ConnectionError):
        while part := await reader.read(65_536):
            said += part
    return said


def refusal(said: bytes) -> int:
    """The status of an answer that must be one problem, the last of its connection."""
    head, _, body = said.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    status = int(lines[0].split()[1])
    for line in (
        "content-type: application/problem+json",
        "connection: close",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
        f"content-length: {len(body)}",
    ):
        assert line in lines, said
    assert msgspec.json.decode(body)["status"] == status
    assert ("retry-after: 1" in lines) == (status == 503)
    return status


@contextlib.contextmanager
def started(**settings: str) -> Iterator[Server]:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    with process_of(port, **settings) as process:
        end = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.05)
        yield Server(process, port)


@contextlib.contextmanager
def process_of(port: int, **settings: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A server of its own process, which may not listen yet."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORDERSAGA_")}
    environment |= {f"ORDERSAGA_{name}": value for name, value in settings.items()}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.http_server", str(port)],
        cwd=Path(__file__).parents[2],
        env=environment,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with started(**LIMITS) as one:
        yield one


def get(path: str = "/open", more: bytes = b"") -> bytes:
    return b"GET %s HTTP/1.1\r\n%s%s\r\n" % (path.encode(), HEAD, more)


def post(body: bytes, more: bytes = b"") -> bytes:
    return b"POST /sum HTTP/1.1\r\n%s%s\r\n%s" % (HEAD, more, body)


EDIT = b"/api/v1/operations/dead-letters/00000000-0000-4000-8000-000000000001/edit"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
MALFORMED = {
    "a line that is none": b"nonsense\r\n\r\n",
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100,
    "HTTP/0.9": b"GET /open\r\n",
    "HTTP/0.9 said": b"GET /open HTTP/0.9\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2.0": b"GET /open HTTP/2.0\r\nHost: a\r\n\r\n",
    "a method that is none": b"FOO /open HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT": b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "no path": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "no Host": b"GET /open HTTP/1.1\r\n\r\n",
    "two Hosts": get(more=b"Host: b\r\n"),
    "NUL in a header": get(more=b"A: b\0c\r\n"),
    "a space before the colon": get(more=b"A : b\r\n"),
    "a folded header": get(more=b"A: b\r\n c\r\n"),
    "a header without a name": get(more=b": b\r\n"),
    "lines that end without CR": b"GET /open HTTP/1.1\nHost: a\n\n",
    "a path that is no ASCII": b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    "two lengths": post(b"{}", b"Content-Length: 2\r\nContent-Length: 2\r\n"),
    "a length that is none": post(b"{}", b"Content-Length: +2\r\n"),
    "a length beyond any integer": post(b"{}", b"Content-Length: %s\r\n" % (b"9" * 40)),
    "length and chunks": post(b"0\r\n\r\n", b"Content-Length: 2\r\n" + CHUNKED),
    "a coding nobody knows": post(b"0\r\n\r\n", b"Transfer-Encoding: gzip, chunked\r\n"),
    "a bad chunk": post(b"zz\r\n", CHUNKED),
    "a bad chunk after a good one": post(b"1\r\n{\r\nzz\r\n", CHUNKED),
}


@pytest.mark.parametrize("what", MALFORMED)
async def test_what_is_no_http_is_a_problem_and_ends_the_connection(server: Server, what: str) -> None:
    assert refusal(await server.says(MALFORMED[what])) == 400


TOO_LARGE = {
    "a long URL": (414, get("/" + "x" * 20_000)),
    "a long header": (431, get(more=b"A: %s\r\n" % (b"x" * 20_000))),
    "a long header name": (431, get(more=b"%s: x\r\n" % (b"x" * 20_000))),
    "headers that are many": (431, get(more=b"".join(b"a%d: b\r\n" % n for n in range(150)))),
    "headers without end": (431, get(more=b"a: b\r\n" * 100_000)),
    "empty lines without end": (431, b"\r\n" * 20_000),
    "a long body": (413, post(b" " * 70_000, b"Content-Length: 70000\r\n")),
    "a body that is announced": (413, post(b"", b"Content-Length: 70000\r\n")),
    "an edit that is announced": (413, post(b"", b"Content-Length: 5000000\r\n").replace(b"/sum", EDIT)),
    "a body in chunks": (
        413,
        post(b"3e8\r\n" + b" " * 1_000 + b"\r\n", CHUNKED)[:-1_007] + (b"3e8\r\n" + b" " * 1_000 + b"\r\n") * 70,
    ),
    "a trailer": (431, post(b"2\r\n{}\r\n0\r\n" + b"A: " + b"x" * 40_000, CHUNKED)),
    "a chunk extension": (431, post(b"2;" + b"x" * 40_000, CHUNKED)),
}


@pytest.mark.parametrize("what", TOO_LARGE)
async def test_what_is_too_large_is_refused_before_it_is_read(server: Server, what: str) -> None:
    status, sent = TOO_LARGE[what]
    assert refusal(await server.says(sent)) == status


@pytest.mark.parametrize(
    ("begun", "status"),
    [
        (b"GET /open HTTP/1.1\r\nHost", 408),
        (post(b'{"a"', b"Content-Length: 7\r\n"), 408),
        (post(b"7\r\n{", CHUNKED), 408),
    ],
)
async def test_what_does_not_come_in_time_is_refused(server: Server, begun: bytes, status: int) -> None:
    assert refusal(await server.says(begun)) == status


async def test_a_connection_on_which_nothing_comes_is_closed(server: Server) -> None:
    assert await server.says() == b""


async def test_a_head_that_comes_byte_by_byte_is_not_waited_for_longer(server: Server) -> None:
    async with server.connection() as (reader, writer):
        begun = time.monotonic()
        asked = asyncio.create_task(whole(reader))
        while not asked.done() and time.monotonic() < begun + SOON_S:
            writer.write(b"G" if time.monotonic() == begun else b"E")
            await asyncio.sleep(0.1)
        assert refusal(await asked) in (400, 408)


async def test_an_answer_that_nobody_reads_ends_its_connection(server: Server) -> None:
    async with server.connection(small_buffer=True) as (_, writer), server.client() as others:
        writer.write(get("/stream"))
        await opened(others, 1)
        await opened(others, 0)


async def opened(client: httpx.AsyncClient, count: int) -> None:
    for _ in range(200):
        if (await client.get("/open")).json() == count:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"there are never {count} streams")


async def test_a_stream_behind_another_request_ends_with_its_client(server: Server) -> None:
    async with server.client() as others:
        async with server.connection() as (_, writer):
            writer.write(get("/stream") + get("/open"))
            await opened(others, 1)
        await opened(others, 0)


async def test_a_caller_has_only_so_many_streams(server: Server) -> None:
    async with contextlib.AsyncExitStack() as stack, server.client() as others:
        for _ in range(4):
            _, writer = await stack.enter_async_context(server.connection())
            writer.write(get("/stream"))
        await opened(others, 4)
        refused = await others.get("/stream")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.headers["content-type"] == "application/problem+json"
    async with server.client() as others:
        await opened(others, 0)


async def test_a_flood_from_one_address_is_refused_and_another_address_is_served() -> None:
    with started(HTTP_ADDRESS_REQUESTS_PER_S="0.01") as server:
        from_elsewhere = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
        url = f"http://127.0.0.1:{server.port}/shown"
        async with httpx.AsyncClient(transport=from_elsewhere) as flood, server.client() as others:
            answers = [(await flood.get(url)).status_code for _ in range(50)]
            assert answers == [200] + [429] * 49
            spoofed = await flood.get(url, headers={"X-Forwarded-For": "9.9.9.9"})
            assert spoofed.status_code == 429 and int(spoofed.headers["retry-after"]) > 1
            assert (await others.get("/shown")).status_code == 200
            assert (await flood.get(f"http://127.0.0.1:{server.port}/health/live")).status_code == 200


async def test_a_stream_that_is_open_does_not_hold_up_a_stop() -> None:
    with started() as server:
        async with server.connection() as (reader, writer), server.client() as others:
            writer.write(get("/stream"))
            await opened(others, 1)
            asked = asyncio.create_task(whole(reader))
            server.process.terminate()
            begun = time.monotonic()
            await asyncio.to_thread(server.process.wait, 20)
            assert time.monotonic() - begun < 5.0
            assert (await asked).startswith(b"HTTP/1.1 200")


async def test_a_request_that_is_under_way_at_a_stop_is_answered() -> None:
    with started() as server:
        async with server.connection() as (reader, writer):
            writer.write(get("/slow?seconds=1"))
            await asyncio.sleep(0.3)
            server.process.terminate()
            assert (await whole(reader)).endswith(b"done")


async def test_answers_come_in_the_order_of_the_requests_and_a_refusal_last(server: Server) -> None:
    said = await server.says(get("/slow?seconds=0.3") + get("/open") + b"nonsense\r\n\r\n")
    first, second, last = said.split(b"HTTP/1.1 ")[1:]
    assert first.startswith(b"200") and first.endswith(b"done")
    assert second.startswith(b"200") and second.endswith(b"0")
    assert refusal(b"HTTP/1.1 " + last) == 400


async def test_only_so_many_requests_wait_on_one_connection(server: Server) -> None:
    said = await server.says(get("/slow?seconds=0.3") + get("/open") * 50)
    answers = said.split(b"HTTP/1.1 ")[1:]
    assert [each[:3] for each in answers] == [b"200"] * 5 + [b"503"]


async def test_beyond_capacity_is_503_at_once_and_health_is_still_answered(server: Server) -> None:
    async with contextlib.AsyncExitStack() as stack, server.client() as others:
        for _ in range(20):
            _, writer = await stack.enter_async_context(server.connection())
            writer.write(get("/slow?seconds=5"))
        await asyncio.sleep(0.3)
        begun = time.monotonic()
        assert refusal(await server.says(get())) == 503
        assert refusal(await server.says(post(b"{}", b"Content-Length: 2\r\n"))) == 503
        assert (await others.get("/health/live")).status_code == 200
        assert (await others.get("/health/ready")).status_code == 200
        assert time.monotonic() - begun < 4.0
        await asyncio.sleep(5.0)  # a request goes on when its client has gone; the next test wants room


async def test_connections_that_never_ask_leave_room_for_one_that_does(server: Server) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(150):
            _, writer = await stack.enter_async_context(server.connection())
            with contextlib.suppress(ConnectionError):
                writer.write(b"GET /open HTTP/1.1\r\n")
        answered = 0
        for _ in range(20):
            said = await server.says(get(more=b"Connection: close\r\n"))
            answered += said.startswith(b"HTTP/1.1 200")
            await asyncio.sleep(0.15)
        assert answered >= 10
    async with server.client() as others:
        assert (await others.get("/open")).status_code == 200


async def test_a_trailer_is_no_header(server: Server) -> None:
    body = b"2\r\n{}\r\n0\r\nUser-Id: 00000000-0000-0000-0000-000000000001\r\n\r\n"
    sent = b"GET /seen HTTP/1.1\r\n" + HEAD + CHUNKED + b"Connection: close\r\n\r\n" + body
    said = await server.says(sent)
    assert said.startswith(b"HTTP/1.1 200") and b"user-id" not in said


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
async def test_an_offer_of_another_protocol_is_ignored(server: Server, protocol: bytes) -> None:
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %s\r\nHTTP2-Settings: AAMAAABk\r\n" % protocol
    async with server.connection() as (reader, writer):
        for sent, body in ((get(more=offer), b"0"), (post(b'{"a":2}', offer + b"Content-Length: 7\r\n"), b"2")) * 2:
            writer.write(sent)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(1) == body


async def test_a_body_behind_an_answer_is_dropped_and_the_next_request_is_answered(server: Server) -> None:
    """Clients send head and body apart, and a refusal that needs no body may come between them."""
    async with server.connection() as (reader, writer):
        for _ in range(3):
            writer.write(b"POST /nothing HTTP/1.1\r\n" + HEAD + b"Content-Length: 7\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 404") and b"connection: close" not in head.lower()
            assert msgspec.json.decode(await reader.readuntil(b"}"))["status"] == 404
            writer.write(b'{"a":2}' + get())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(1) == b"0"


@pytest.mark.parametrize("body", [b"1\r\nx", b"4000000\r\n" + b"x" * 4_000_000])
async def test_a_request_that_is_answered_is_not_answered_again_when_its_body_breaks_a_limit(
    server: Server, body: bytes
) -> None:
    async with server.connection() as (reader, writer):
        writer.write(b"POST /nothing HTTP/1.1\r\n" + HEAD + CHUNKED + b"\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 404")
        assert msgspec.json.decode(await reader.readuntil(b"}"))["status"] == 404
        writer.write(body)
        async with asyncio.timeout(10):
            assert await whole(reader) == b""


async def test_a_client_that_has_said_all_it_wants_still_gets_its_answer(server: Server) -> None:
    async with server.connection() as (reader, writer):
        writer.write(get("/slow?seconds=0.3"))
        writer.write_eof()
        assert (await whole(reader)).endswith(b"done")


async def test_a_body_in_small_chunks_is_taken(server: Server) -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % each for each in b'{"a": 1, "b": 2}')
    said = await server.says(post(chunks + b"0\r\n\r\n", CHUNKED + b"Connection: close\r\n"))
    assert said.endswith(b"\r\n3")


async def test_a_body_that_is_waited_for_is_asked_for(server: Server) -> None:
    async with server.connection() as (reader, writer):
        writer.write(post(b"", b"Content-Length: 7\r\nExpect: 100-continue\r\nConnection: close\r\n"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b'{"a":2}')
        assert (await whole(reader)).endswith(b"\r\n2")


HOSTILE = {
    "a header without end": (b"GET /open HTTP/1.1\r\nHost: a\r\nA: ", b"x" * 65_536),
    "headers without end": (b"GET /open HTTP/1.1\r\nHost: a\r\n", b"a: b\r\n" * 10_000),
    "a URL without end": (b"GET /", b"x" * 65_536),
    "a body without end": (post(b"", CHUNKED), b"ffff\r\n" + b" " * 65_535 + b"\r\n"),
    "chunks of one byte": (post(b"", CHUNKED), b"1\r\n \r\n" * 10_000),
    "a trailer without end": (post(b"0\r\nA: ", CHUNKED), b"x" * 65_536),
    "requests without end": (get(), get() * 500),
    "a body nobody wants": (
        b"POST /nowhere HTTP/1.1\r\n" + HEAD + CHUNKED + b"\r\n",
        b"ffff\r\n" + b" " * 65_535 + b"\r\n",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
async def test_memory_stays_and_others_are_served_whatever_one_client_sends(server: Server, what: str) -> None:
    first, more = HOSTILE[what]
    assert (await server.says(get(more=b"Connection: close\r\n"))).startswith(b"HTTP/1.1 200")
    before = server.memory
    served = 0

    async def hostile() -> None:
        while served < SERVED_MEANWHILE:
            async with server.connection() as (_, writer):
                with contextlib.suppress(ConnectionError):
                    writer.write(first)
                    for _ in range(30):
                        writer.write(more)
                        await asyncio.wait_for(writer.drain(), 1)

    async with server.client() as others, asyncio.timeout(60):
        attack = asyncio.gather(*(hostile() for _ in range(4)), return_exceptions=True)
        grown = 0
        while served < SERVED_MEANWHILE:
            assert (await others.get("/open", timeout=60)).status_code in (200, 503)
            served += 1
            grown = max(grown, server.memory - before)
            await asyncio.sleep(0.01)
        await attack
    assert grown < GROWTH_BYTES_MAX
