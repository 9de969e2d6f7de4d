"""Answers with a body that is encoded already."""

from typing import Any

from litestar import Request, Response
from litestar.types import Receive, Scope, Send


class EncodedJson(Response[bytes]):
    """A response whose body is sent as it is. Litestar would make a second response object, which costs as much time as encoding the
    JSON."""

    def __init__(self, content: bytes, status_code: int, headers: dict[str, str]) -> None:
        self.content, self.status_code, self.headers = content, status_code, headers

    def to_asgi_response(self, app: Any, request: Request[Any, Any, Any], **defaults: Any) -> Any:
        """The ASGI app that sends this answer. `defaults` are the route's."""
        headers = [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(self.content))]
        start = {
            "type": "http.response.start",
            "status": self.status_code or defaults["status_code"],
            "headers": headers,
        }

        async def answer(_: Scope, __: Receive, send: Send) -> None:
            await send(start)  # type: ignore[arg-type]  # a dict of the same shape, without a key that servers do not need
            await send({"type": "http.response.body", "body": self.content, "more_body": False})

        return answer
