"""Errors as `application/problem+json` (RFC 9457)."""

import re
from typing import Any, Final, TypeVar

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from msgspec import UNSET, Struct, UnsetType

from ordersaga.http.fields import code_of
from ordersaga.http.limits import RETRY_AFTER_S, TooManyStreams
from ordersaga.masking import masked, masked_sayings
from ordersaga.messaging.gather import NotBegun, OutcomeUnknown
from ordersaga.messaging.refusal import NOT_VALID, FieldCode, FieldError, Refusal, RefusalKind, no_such, wrong_fields
from ordersaga.messaging.sqlstate import is_transient
from ordersaga.said import Saying, sayings_of

log: Final = structlog.get_logger()
T = TypeVar("T")

PROBLEM_JSON: Final = "application/problem+json"
_missing: Final = re.compile("Missing required query parameter '([^']+)'")
"""How Litestar tells of a parameter that is not there; its error has no field for the name."""
REFUSAL_STATUS: Final[dict[RefusalKind, int]] = {
    "UNKNOWN": 404,
    "INVALID": 400,
    "CONFLICT": 409,
    "MISMATCH": 422,
    "KEY_REUSED": 422,
}


class ProblemBody(Struct, omit_defaults=True):
    """RFC 9457. `said`: the detail as codes with values, for pages in another language."""

    title: str
    status: int
    detail: str | UnsetType = UNSET
    type: str = "about:blank"
    errors: list[FieldError] | UnsetType = UNSET
    said: list[Saying] | UnsetType = UNSET


class Problem(Exception):
    """An error that a route raises for the client, who gets problem+json; a 503 or 429 has `Retry-After`."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str = "",
        errors: list[FieldError] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(title)
        self.status: Final = status
        self.retry_after: Final = RETRY_AFTER_S if retry_after_s is None else str(retry_after_s)
        said = list(sayings_of(detail))
        self.body: Final = ProblemBody(title, status, str(detail) or UNSET, errors=errors or UNSET, said=said or UNSET)


class TooManyRequests(Problem):
    """A caller, or an address from which nobody says who calls, makes more requests than the settings allow."""

    def __init__(self, wait_s: int) -> None:
        super().__init__(429, "You make too many requests", f"try again in {wait_s} s", retry_after_s=wait_s)


def invalid(field: str, message: str, code: FieldCode = "invalid") -> Problem:
    """400 for one wrong field."""
    return invalid_fields([FieldError(field, message, code)])


def invalid_fields(errors: list[FieldError]) -> Problem:
    """400 for all fields that are wrong."""
    return problem_of(wrong_fields(errors))


def not_found(what: str) -> Problem:
    """404, also for another caller's thing, so that the answer does not disclose that it exists."""
    return problem_of(no_such(what))


def problem_of(refusal: Refusal) -> Problem:
    """A refused command as problem+json, with the status of its kind."""
    return Problem(REFUSAL_STATUS[refusal.kind], refusal.title, refusal.detail, list(refusal.errors))


def unless_refused(answer: T | Refusal) -> T:
    """The answer to a command that was carried out. Raises `Problem` for one that was refused."""
    if isinstance(answer, Refusal):
        raise problem_of(answer)
    return answer


def _answer(body: ProblemBody, headers: dict[str, str] | None = None) -> Response[bytes]:
    if body.detail:
        # An error's text may contain a URL with a password.
        said = list(masked_sayings(body.said)) if body.said else body.said
        body = msgspec.structs.replace(body, detail=masked(body.detail), said=said)
    return Response(msgspec.json.encode(body), status_code=body.status, media_type=PROBLEM_JSON, headers=headers)


def on_problem(_: Request[Any, Any, Any], error: Problem) -> Response[bytes]:
    """The answer to a `Problem`."""
    headers = {
        401: {"WWW-Authenticate": "Bearer"},
        503: {"Retry-After": error.retry_after},
        429: {"Retry-After": error.retry_after},
    }
    return _answer(error.body, headers.get(error.status))


def on_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """The answer to Litestar's own errors: unknown paths, wrong methods (with `Allow`), invalid parameters."""
    if error.status_code >= 500:
        return on_error(request, error)
    if error.status_code == 404:
        return _answer(ProblemBody("There is nothing at this path", 404))
    if error.status_code == 405:
        allowed = ["HEAD"] if "GET" in (allow := (error.headers or {}).get("allow", "")) else []
        return _answer(
            ProblemBody("The method is not allowed here", 405),
            {"Allow": ", ".join(sorted([*allow.split(", "), *allowed]))},
        )
    errors = [
        FieldError(_parameter(str(each.get("key", "?"))), message := str(each.get("message", "")), code_of(message))
        for each in error.extra or []
        if isinstance(each, dict)
    ]
    if missing := _missing.match(error.detail or ""):
        errors = [FieldError(missing[1], "must be given", "missing")]
    if errors:
        return _answer(invalid_fields(errors).body)
    return _answer(ProblemBody(error.detail or NOT_VALID, error.status_code))


def _about(request: Request[Any, Any, Any]) -> dict[str, str]:
    """What a log line says of a request: its path, and the order that the path names."""
    order_id = request.path_params.get("order_id")
    return {"path": request.scope["path"]} | ({"order_id": str(order_id)} if order_id else {})


def _parameter(name: str) -> str:
    """A parameter's name in the URL (camel case); Litestar names the function's parameter."""
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


def on_too_many_streams(_: Request[Any, Any, Any], error: TooManyStreams) -> Response[bytes]:
    """429 where the caller has too many event streams open, 503 where this process has."""
    if error.own:
        body = ProblemBody("You have too many event streams open", 429, "close one of them")
    else:
        body = ProblemBody("Too many event streams are open", 503, "try again")
    return _answer(body, {"Retry-After": RETRY_AFTER_S})


def on_unknown_outcome(request: Request[Any, Any, Any], error: OutcomeUnknown) -> Response[bytes]:
    """503: the change may or may not be made. The client repeats the request with the same Idempotency-Key."""
    log.warning("a request was answered 503", **_about(request), error=str(error))
    detail = "it is not known whether the change was made; send the same request again with the same Idempotency-Key"
    return _answer(ProblemBody("The outcome is not known", 503, detail), {"Retry-After": RETRY_AFTER_S})


def on_not_begun(request: Request[Any, Any, Any], error: NotBegun) -> Response[bytes]:
    """503: the request was not begun."""
    log.warning("a request was answered 503", **_about(request), error=str(error))
    body = ProblemBody("The service cannot take this now", 503, "nothing was changed; try again")
    return _answer(body, {"Retry-After": RETRY_AFTER_S})


def on_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """500 without details, which are in the log; 503 for a transient error of the database."""
    if is_transient(error):
        log.warning("a request could not be answered", **_about(request), error=f"{type(error).__name__}: {error}")
        return _answer(ProblemBody("The service cannot answer now", 503, "try again"), {"Retry-After": RETRY_AFTER_S})
    log.error("a request failed", **_about(request), exc_info=error)
    return _answer(ProblemBody("Something went wrong on our side", 500))
