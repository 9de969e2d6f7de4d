"""Headers of a request, one at a time."""

from typing import Any

from litestar import Request


def header(request: Request[Any, Any, Any], name: bytes) -> str | None:
    """A header's first value, by its name in lower case. Litestar's `request.headers` would make an object of all headers for one."""
    for key, value in request.scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return None


def headers(request: Request[Any, Any, Any], name: bytes) -> list[str]:
    """All values of a header, for one that may be repeated or must not be."""
    return [value.decode("latin-1") for key, value in request.scope["headers"] if key == name]
