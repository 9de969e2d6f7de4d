"""HTTP/1.1 as a load generator needs it: prepared bytes out, status and body back, on connections that are kept open.

Cheaper than a general client, since what generates the load shares two cores with what is measured.
"""

import asyncio
from typing import Any

import httptools

Answer = tuple[int, bytes]


class Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Answer] | None = None
        self._body = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def ask(self, request: bytes) -> "asyncio.Future[Answer]":
        """Send; the future gets the answer, or ConnectionError."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"an answer that is no HTTP: {error}")
            self._transport.close()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        body, self._body = self._body, b""
        if not self._parser.should_keep_alive():
            self._transport.close()
        if self._answer is not None:
            self._answer.set_result((self._parser.get_status_code(), body))

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(f"the server hung up: {error}")

    def _fail(self, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(why))

    @property
    def is_open(self) -> bool:
        return not self._transport.is_closing()

    def close(self) -> None:
        self._transport.close()


class Host:
    """Connections to one server, opened as they are needed, at most `connections_max`; beyond that a request waits for one."""

    def __init__(self, url: str, connections_max: int) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._address = (host, int(port))
        self._host = f"{host}:{port}"
        self._idle: list[Connection] = []
        self._slots = asyncio.Semaphore(connections_max)

    def post(self, path: str, headers: str, body: bytes) -> bytes:
        """The bytes of a POST of JSON; `headers` are whole lines, each with its CR LF."""
        head = f"POST {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n{headers}"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def get(self, path: str) -> bytes:
        """The bytes of a GET."""
        return f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode()

    async def connect(self, count: int) -> None:
        """Open so many connections beforehand."""
        self._idle += [await self._open() for _ in range(count)]

    async def ask(self, request: bytes) -> Answer:
        """Status and body. Raises ConnectionError or OSError."""
        async with self._slots:
            while self._idle and not self._idle[-1].is_open:
                self._idle.pop()
            connection = self._idle.pop() if self._idle else await self._open()
            answer = await connection.ask(request)
            self._idle.append(connection)
            return answer

    async def _open(self) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(Connection, *self._address)
        return connection

    def close(self) -> None:
        for connection in self._idle:
            connection.close()
