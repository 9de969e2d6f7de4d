"""Errors as `application/problem+json` (RFC 9457), and bodies that are decoded strictly and name the field that is wrong."""

import re
from typing import Any, Final, TypeVar

import msgspec
import structlog
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody
from msgspec import UNSET, Struct, UnsetType

from ordersaga.http.headers import header
from ordersaga.masking import masked
from ordersaga.messaging.database import is_transient
from ordersaga.messaging.gather import NotTaken, OutcomeUnknown

log: Final = structlog.get_logger()
T = TypeVar("T")

BODY_BYTES_MAX: Final = 256 * 1024
PROBLEM_JSON: Final = "application/problem+json"
RETRY_AFTER_S: Final = "1"
_missing: Final = re.compile(r"Object missing required field `(\w+)`")


class FieldError(Struct, frozen=True):
    """One field of a request that is wrong; `field` is a path such as `items[0].quantity`."""

    field: str
    message: str


class ProblemBody(Struct, omit_defaults=True):
    """RFC 9457."""

    title: str
    status: int
    detail: str | UnsetType = UNSET
    type: str = "about:blank"
    errors: list[FieldError] | UnsetType = UNSET


class Problem(Exception):
    """Raise it anywhere below a route; the client gets it as problem+json."""

    def __init__(self, status: int, title: str, detail: str = "", errors: list[FieldError] | None = None) -> None:
        super().__init__(title)
        self.status: Final = status
        self.body: Final = ProblemBody(title, status, detail or UNSET, errors=errors or UNSET)


def invalid(field: str, message: str) -> Problem:
    """400 for one wrong field."""
    return Problem(400, "The request is not valid", f"{field}: {message}", [FieldError(field, message)])


def not_found(what: str) -> Problem:
    """404; also for what belongs to somebody else, so that nobody learns that it exists."""
    return Problem(404, f"There is no such {what}")


async def body_of(request: Request[Any, Any, Any], decoder: "msgspec.json.Decoder[T]") -> tuple[T, bytes]:
    """The request's body, decoded strictly, and its bytes. Raises `Problem` 400 or 413 with the field named."""
    body = await raw_body(request)
    return decoded(body, decoder), body


async def raw_body(request: Request[Any, Any, Any]) -> bytes:
    """The bytes of the request's body. Raises `Problem` 413."""
    length = header(request, b"content-length") or "0"
    if length.isdigit() and int(length) > BODY_BYTES_MAX:
        raise _too_large()
    return await _whole_body(request)


def decoded(body: bytes, decoder: "msgspec.json.Decoder[T]") -> T:
    """A body, decoded strictly. Raises `Problem` 400 with the field named."""
    try:
        value = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise invalid(*_field_and_what(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "The body is not JSON", str(error)) from error
    if b"\\u0000" in body:
        raise invalid("body", "a text must not have the character NUL in it")
    return value


async def _whole_body(request: Request[Any, Any, Any]) -> bytes:
    """All parts of the body as the server hands them over; nearly always it is one.

    Raises `Problem` 413 as soon as it is too large, 400 if the client has gone before its end.
    """
    body: bytes = b""
    while True:
        message: Any = await request.receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "The body is not complete")
        body += message.get("body", b"")
        if len(body) > BODY_BYTES_MAX:
            raise _too_large()
        if not message.get("more_body"):
            return body


def _too_large() -> Problem:
    return Problem(413, "The body is too large", f"at most {BODY_BYTES_MAX} bytes are taken")


def _field_and_what(said: str) -> tuple[str, str]:
    """msgspec's message as the field it is about and what is wrong with it; a missing field is named itself, not the object around it."""
    what, _, place = said.partition(" - at `")
    path = place.rstrip("`").removeprefix("$").removeprefix(".")
    missing = _missing.match(what)
    if missing:
        return f"{path}.{missing[1]}".removeprefix("."), "is missing"
    return path or "body", what


def json_body(model: type[Struct]) -> type[Operation]:
    """Describes the body of a route that decodes it with `body_of`, for `/schema`."""

    class WithBody(Operation):
        def __post_init__(self) -> None:
            (_,), components = msgspec.json.schema_components([model], ref_template="#/$defs/{name}")
            schema: Any = _Verbatim(components[model.__name__] | {"$defs": components})
            self.request_body = RequestBody({"application/json": OpenAPIMediaType(schema=schema)}, required=True)

    return WithBody


class _Verbatim:
    """A schema that is already plain JSON."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema

    def to_schema(self) -> dict[str, Any]:
        return self._schema


def _answer(body: ProblemBody, headers: dict[str, str] | None = None) -> Response[bytes]:
    if body.detail:
        body = msgspec.structs.replace(body, detail=masked(body.detail))  # an error's text may repeat a URL of ours
    return Response(msgspec.json.encode(body), status_code=body.status, media_type=PROBLEM_JSON, headers=headers)


def on_problem(_: Request[Any, Any, Any], error: Problem) -> Response[bytes]:
    """A `Problem` as it is."""
    return _answer(error.body, {"WWW-Authenticate": "Bearer"} if error.status == 401 else None)


def on_http(_: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What the framework raises: unknown paths, wrong methods, path parameters that are no UUIDs."""
    errors = [
        FieldError(str(each.get("key", "?")), str(each.get("message", "")))
        for each in error.extra or []
        if isinstance(each, dict)
    ]
    return _answer(ProblemBody(error.detail or MediaType.TEXT, error.status_code, errors=errors or UNSET))


def on_unknown_outcome(_: Request[Any, Any, Any], error: OutcomeUnknown) -> Response[bytes]:
    """503: whether the change was made is not known; the same request with the same Idempotency-Key finds out."""
    log.warning("a request was answered 503", error=str(error))
    detail = "it is not known whether the change was made; send the same request again with the same Idempotency-Key"
    return _answer(ProblemBody("The outcome is not known", 503, detail), {"Retry-After": RETRY_AFTER_S})


def on_not_taken(_: Request[Any, Any, Any], error: NotTaken) -> Response[bytes]:
    """503: the request was not begun."""
    log.warning("a request was answered 503", error=str(error))
    body = ProblemBody("The service cannot take this now", 503, "nothing was changed; try again")
    return _answer(body, {"Retry-After": RETRY_AFTER_S})


def on_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """500 without details; they are in the log. 503 where the database does not answer."""
    if is_transient(error):
        log.warning("a request could not be answered", path=request.url.path, error=f"{type(error).__name__}: {error}")
        return _answer(ProblemBody("The service cannot answer now", 503, "try again"), {"Retry-After": RETRY_AFTER_S})
    log.error("a request failed", path=request.url.path, exc_info=error)
    return _answer(ProblemBody("Something went wrong on our side", 500))
