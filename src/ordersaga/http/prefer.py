"""`Prefer` of a request (RFC 7240): answer at once, or wait some seconds for the outcome."""

from typing import Any, Final

from litestar import Request

from ordersaga.http.headers import header

WAIT_S_DEFAULT: Final = 2.0
WAIT_S_MAX: Final = 30.0


def wait_s(request: Request[Any, Any, Any]) -> float:
    """How many seconds to wait for an outcome: 0 for `respond-async`, N for `wait=N` (at most 30), else 2."""
    for part in (header(request, b"prefer") or "").lower().replace(";", ",").split(","):
        name, _, value = part.strip().partition("=")
        if name == "respond-async":
            return 0.0
        if name == "wait" and value.strip().isdigit():
            return min(float(value), WAIT_S_MAX)
    return WAIT_S_DEFAULT
