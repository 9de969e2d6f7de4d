"""Bodies as a server hands them over, in parts, too large or cut off; and answers that are encoded already, and sent at once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import msgspec
import pytest
from litestar import Request, Response, post

from ordersaga.http.encoded import EncodedJson
from ordersaga.http.limits import Limits
from ordersaga.http.protocol import JoinedWrites
from ordersaga.http.requests import body_of
from ordersaga.http.server import application
from ordersaga.messaging.health import Health
from ordersaga.settings import Settings

DECODER = msgspec.json.Decoder(dict[str, int])


@post("/sum")
async def add_up(request: Request[Any, Any, Any]) -> Response[bytes]:
    body, _ = await body_of(request, DECODER)
    return EncodedJson(b"%d" % sum(body.values()), status_code=202, headers={"Location": "/sums/1"})


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[None]:
    yield


class Well:
    async def health(self) -> Health:
        return Health()

    def dead(self) -> list[str]:
        return []


APP: Any = application("test", [add_up], Well(), running)


async def answer_to(*messages: dict[str, Any]) -> tuple[int, dict[str, str], bytes, int]:
    """Status, headers and body of the answer, and how many parts of the request were taken."""
    parts, sent = list(messages), []

    async def receive() -> dict[str, Any]:
        return parts.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": "POST",
    }
    scope |= {"path": "/sum", "raw_path": b"/sum", "root_path": "", "query_string": b"", "state": {}}
    scope["headers"] = [(b"content-type", b"application/json")]
    await APP(scope | {"client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80)}, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, sent[1]["body"], len(messages) - len(parts)


def part(body: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


@pytest.mark.parametrize("cut", [0, 1, 5, 12])
async def test_a_body_in_parts_is_put_together_and_the_answer_is_sent_as_it_is(cut: int) -> None:
    whole = b'{"a":1,"b":2}'
    status, headers, body, _ = await answer_to(part(whole[:cut], more=True), part(whole[cut:]))
    assert (status, body) == (202, b"3")
    assert headers == {"location": "/sums/1", "content-type": "application/json", "content-length": "1"}


async def test_a_body_whose_client_has_gone_is_no_request() -> None:
    status, _, _, _ = await answer_to(part(b'{"a":1}', more=True), {"type": "http.disconnect"})
    assert status == 400


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True


async def test_head_and_body_of_an_answer_are_written_at_once_and_before_the_end() -> None:
    wire: Any = Wire()
    transport = JoinedWrites(wire, asyncio.get_running_loop())
    transport.write(b"head ")
    transport.write(b"body")
    await asyncio.sleep(0)
    transport.write(b"event")
    await asyncio.sleep(0)
    transport.write(b"last head ")
    transport.write(b"last body")
    transport.close()
    await asyncio.sleep(0)
    assert wire.written == [b"head body", b"event", b"last head last body"]
    assert wire.is_closed


@pytest.mark.parametrize(
    ("path", "is_large"),
    [
        (f"/api/v1/operations/dead-letters/{UUID(int=1)}/edit", True),
        (f"/console/letters/stock/{UUID(int=1)}/edit", True),
        (f"/console/letters/stock/{UUID(int=1)}/edit?whole=1", True),
        (f"/api/v1/operations/dead-letters/{UUID(int=1)}/replay", False),
        (f"/api/v1/operations/dead-letters/{UUID(int=1)}/edit/more", False),
        ("/api/v1/orders?x=/console/letters/stock/edit", False),
    ],
)
def test_only_an_edit_of_a_letter_may_be_as_large_as_a_record_of_kafka(path: str, is_large: bool) -> None:
    limits = Limits.of(Settings())
    assert limits.body_max(path.encode()) == (4_194_304 if is_large else 65_536)
