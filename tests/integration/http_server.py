"""A server of its own process, with routes that are quick, slow, large or endless: `python -m tests.integration.http_server PORT`.

The settings come from the environment, as a service's do.
"""

import asyncio
import contextlib
import contextvars
import sys
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

import msgspec
import uvloop
from litestar import Request, Response, get, post
from litestar.params import QueryParameter
from litestar.response import ServerSentEvent, ServerSentEventMessage

from ordersaga.http.addresses import COUNTS, Addresses
from ordersaga.http.documents import described
from ordersaga.http.encoded import EncodedJson
from ordersaga.http.limits import Streams
from ordersaga.http.requests import body_of
from ordersaga.http.server import Face, application, serve
from ordersaga.messaging.health import Health
from ordersaga.settings import Settings

DECODER = msgspec.json.Decoder(dict[str, int])
CALLER = UUID(int=1)


def routes(streams: Streams) -> list[Any]:
    @post("/sum")
    async def add_up(request: Request[Any, Any, Any]) -> Response[bytes]:
        body, _ = await body_of(request, DECODER)
        return EncodedJson(b"%d" % sum(body.values()), status_code=200, headers={})

    @post("/seen")
    async def see() -> str:
        return "a second method at one path"

    @get("/seen")
    async def seen(request: Request[Any, Any, Any]) -> list[str]:
        """The names of the headers that a route sees, once the request is whole."""
        await request.body()
        return [name.decode() for name, _ in request.scope["headers"]]

    @get("/slow")
    async def slow(seconds: float = 1.0) -> str:
        await asyncio.sleep(seconds)
        return "done"

    @get("/large")
    async def large(wanted_bytes: Annotated[int, QueryParameter(name="wantedBytes", ge=1, le=1_000_000)]) -> bytes:
        return b"x" * wanted_bytes

    @get("/stream")
    async def stream() -> ServerSentEvent:
        streams.check(CALLER)

        async def events() -> AsyncIterator[ServerSentEventMessage]:
            with streams.opened(CALLER):
                while True:
                    yield ServerSentEventMessage(data="x" * 10_000)
                    await asyncio.sleep(0.01)

        return ServerSentEvent(events())

    @get("/shown", **described("show", {200: int}, access="anybody"))
    async def shown() -> int:
        return 1

    @get("/open")
    async def open_streams() -> int:
        return streams.count

    return [add_up, see, seen, slow, large, stream, shown, open_streams]


class Well:
    """Nothing is wrong with this process."""

    async def health(self) -> Health:
        return Health()

    def dead(self) -> list[str]:
        return []


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[None]:
    yield


async def main(port: int) -> None:
    settings = Settings()
    streams = Streams(settings.http_streams_max, settings.http_streams_per_caller_max)
    app = application("test", routes(streams), Well(), running, streams)
    app.state[COUNTS] = Addresses(settings)
    await serve([Face(app, port, settings.operations_port, contextvars.copy_context())], settings)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
