"""A service's ASGI application, and the part of it that the public port serves when operators have a port of their own."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from litestar import Litestar
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp, Receive, Scope, Send

from ordersaga.http.limits import Streams
from ordersaga.http.observed import observed
from ordersaga.http.problems import PROBLEM_JSON, ProblemBody

PUBLIC_HEALTH: Final = ("/health/live", "/health/ready")
OPERATIONS: Final = ("/health", "/metrics", "/schema", "/api/v1/operations")


class Application(Litestar):
    """Litestar with HEAD for every GET, all methods in the answer to OPTIONS, and the open event streams."""

    def __init__(
        self, *arguments: Any, streams: Streams, caching: bool = False, head_bytes_min: int = 0, **more: Any
    ) -> None:
        """`caching`: its answers say themselves how long they may be kept; those of the others must not be kept. `head_bytes_min`: a request's
        head may be so long, whatever the settings say."""
        super().__init__(*arguments, **more)
        self.streams: Final = streams
        self.caching: Final = caching
        self.head_bytes_min: Final = head_bytes_min
        self._methods: Final = {
            route.path_format: sorted(route.methods | ({"HEAD"} if "GET" in route.methods else set()))
            for route in self.routes
            if isinstance(route, HTTPRoute)
        }

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await observed(self._answer, scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "HEAD":
            await _head(super().__call__, scope, receive, send)
        elif scope["method"] == "OPTIONS":
            await super().__call__(scope, receive, self._telling_methods(scope, send))
        else:
            await super().__call__(scope, receive, send)

    def _telling_methods(self, scope: Any, send: Any) -> Any:
        """Replace `Allow`: Litestar's answer to OPTIONS names the methods of the first handler at a path only."""

        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start" and (methods := self._methods.get(scope.get("path_template"))):
                others = [each for each in message["headers"] if each[0].lower() != b"allow"]
                message = {**message, "headers": [*others, (b"allow", ", ".join(methods).encode())]}
            await send(message)

        return sent


async def _head(app: Any, scope: Any, receive: Any, send: Any) -> None:
    """Answer HEAD with the head of GET's answer. A stream ends after its first part: the application is told that the client is gone."""
    done = False

    async def received() -> Any:
        return {"type": "http.disconnect"} if done else await receive()

    async def sent(message: Any) -> None:
        nonlocal done
        if message["type"] == "http.response.start":
            await send(message)
        elif not done:
            done = True
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    asked = {**scope, "method": "GET"}
    await app(asked, received, sent)
    scope["path_template"] = asked.get("path_template")


def public(app: ASGIApp) -> ASGIApp:
    """The application for the public port: operators' paths are 404, and health is UP or DOWN without reasons."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope.get("path", "")
        path = "/" + "/".join(part for part in path.split("/") if part)
        if path in PUBLIC_HEALTH:
            await app(scope, receive, _without_reasons(send))
        elif any(path == each or path.startswith(f"{each}/") for each in OPERATIONS):
            await _send_json(send, 404, ProblemBody("There is nothing at this path", 404), PROBLEM_JSON.encode())
        else:
            await app(scope, receive, send)

    return answer


def _without_reasons(send: Send) -> Send:
    status = 200

    async def sent(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif not message.get("more_body"):
            await _send_json(send, status, {"status": "UP" if status == 200 else "DOWN"}, b"application/json")

    return sent


async def _send_json(send: Any, status: int, value: Any, kind: bytes) -> None:
    body = msgspec.json.encode(value)
    headers: Sequence[tuple[bytes, bytes]] = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
