"""Headers of a request, one at a time."""

from typing import Any

from litestar import Request


def header(request: Request[Any, Any, Any], name: bytes) -> str | None:
    """A header by its name in small letters. Without the framework's view of all of them, which costs more than a request has of them."""
    for key, value in request.scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return None


def headers(request: Request[Any, Any, Any], name: bytes) -> list[str]:
    """All values of a header that may come more than once, or must not."""
    return [value.decode("latin-1") for key, value in request.scope["headers"] if key == name]
