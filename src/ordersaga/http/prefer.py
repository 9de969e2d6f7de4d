"""`Prefer` of a request (RFC 7240): answer at once, or wait some seconds for the outcome."""

from typing import Any, Final

from litestar import Request

from ordersaga.http.headers import headers

WAIT_S_DEFAULT: Final = 2.0
WAIT_S_MAX: Final = 30.0


def wait_s(request: Request[Any, Any, Any]) -> float:
    """How many seconds to wait for an outcome: 0 for `respond-async`, N for `wait=N` (at most 30), else 2.

    The first of these two decides. Other preferences are ignored (RFC 7240, 2).
    """
    for preference in ",".join(headers(request, b"prefer")).lower().split(","):
        name, _, value = (part.strip() for part in preference.partition(";")[0].partition("="))
        if name == "respond-async":
            return 0.0
        value = value.strip('"')
        if name == "wait" and value.isascii() and value.isdigit():
            return min(float(value[:9]), WAIT_S_MAX)
    return WAIT_S_DEFAULT
