"""Reads a request: single headers, `Prefer`, `Idempotency-Key`, and the body, decoded strictly."""

from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec
from litestar import Request
from msgspec import Struct

from ordersaga.contracts.codec import NOT_JSON
from ordersaga.http.documents import BodyOperation
from ordersaga.http.fields import code_of, find_wrong_fields, texts_with_nul
from ordersaga.http.problems import Problem, invalid, invalid_fields, problem_of
from ordersaga.messaging.idempotency import KEY_CHARS_MAX, KEY_REUSED, IdempotencyKey, body_hash, look_up
from ordersaga.messaging.refusal import FieldError
from ordersaga.messaging.runtime import Runtime

T = TypeVar("T")

JSON: Final = "application/json"
WAIT_S_DEFAULT: Final = 2.0
WAIT_S_MAX: Final = 30.0


def header(request: Request[Any, Any, Any], name: bytes) -> str | None:
    """A header's first value, by its name in lower case. Litestar's `request.headers` would build an object of all headers to read one."""
    for key, value in request.scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return None


def headers(request: Request[Any, Any, Any], name: bytes) -> list[str]:
    """All values of a header, for one that may be repeated or must not be."""
    return [value.decode("latin-1") for key, value in request.scope["headers"] if key == name]


def wait_s(request: Request[Any, Any, Any]) -> float:
    """How many seconds to wait for an outcome, by `Prefer` (RFC 7240): 0 for `respond-async`, N for `wait=N` (at most 30), else 2.

    If both are there, the first decides. Other preferences are ignored (RFC 7240, 2).
    """
    for preference in ",".join(headers(request, b"prefer")).lower().split(","):
        name, _, value = (part.strip() for part in preference.partition(";")[0].partition("="))
        if name == "respond-async":
            return 0.0
        value = value.strip('"')
        if name == "wait" and value.isascii() and value.isdigit():
            return min(float(value[:9]), WAIT_S_MAX)
    return WAIT_S_DEFAULT


def idempotency_key(
    request: Request[Any, Any, Any], user_id: UUID, route: str, body: bytes, resource: UUID
) -> IdempotencyKey | None:
    """The client's key, if there is one, in the scope of user and route. Raises `Problem` 400."""
    found = headers(request, b"idempotency-key")
    if not found:
        return None
    key = found[0]
    if len(found) > 1:
        raise invalid("Idempotency-Key", "must not come more than once", "duplicate")
    if not 1 <= len(key) <= KEY_CHARS_MAX:
        raise invalid(
            "Idempotency-Key", f"must have 1 to {KEY_CHARS_MAX} characters", "too_long" if key else "too_short"
        )
    if not (key.isascii() and key.isprintable()):
        raise invalid("Idempotency-Key", "must have printable ASCII characters alone", "pattern")
    return IdempotencyKey(f"{user_id} {route}", key, body_hash(body), resource)


async def repeated_resource(runtime: Runtime, key: IdempotencyKey | None) -> UUID | None:
    """The resource of an earlier request with the same key and body; None: there was none. Raises `Problem` 422 for another body.

    Call it when the body is invalid: the same body may have been valid for the first request, before a limit was changed.
    """
    if key is None:
        return None
    async with runtime.reading() as db:
        reuse = await look_up(db, key)
    if reuse is not None and not reuse.same_body:
        raise problem_of(KEY_REUSED)
    return reuse.resource if reuse else None


async def body_of(request: Request[Any, Any, Any], decoder: "msgspec.json.Decoder[T]") -> tuple[T, bytes]:
    """The request's body, decoded strictly, and its bytes. Raises `Problem` 415, or 400 with every wrong field named."""
    body = await raw_json(request)
    return decoded(body, decoder), body


async def raw_json(request: Request[Any, Any, Any]) -> bytes:
    """The body's bytes. Raises `Problem` 415 unless `Content-Type` is JSON."""
    _must_be_json(request)
    return await raw_body(request)


def decoded(body: bytes, decoder: "msgspec.json.Decoder[T]") -> T:
    """A body, decoded strictly. Raises `Problem` 400 with every wrong field named."""
    try:
        value = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _not_fitting(body, decoder, str(error)) from error
    except NOT_JSON as error:
        raise Problem(400, "The body is not JSON", str(error)) from error
    if b"\\u0000" in body and (errors := texts_with_nul(value)):
        raise invalid_fields(errors)
    return value


def _not_fitting(body: bytes, decoder: "msgspec.json.Decoder[T]", message: str) -> Problem:
    """What is wrong with a body that does not fit. The decoder stopped at the first wrong field, so what is behind it may be no JSON."""
    try:
        errors = find_wrong_fields(decoder.type, body)
    except NOT_JSON as error:
        return Problem(400, "The body is not JSON", str(error))
    return invalid_fields(errors or [FieldError("body", message, code_of(message))])


def _must_be_json(request: Request[Any, Any, Any]) -> None:
    given = header(request, b"content-type") or ""
    if given == JSON:
        return
    kind, *parameters = given.replace(" ", "").lower().split(";")
    if kind != JSON or not all(each in ("charset=utf-8", 'charset="utf-8"', "") for each in parameters):
        raise Problem(415, "The body must be JSON", "send it as Content-Type: application/json")


async def raw_body(request: Request[Any, Any, Any]) -> bytes:
    """The whole body, whose size `protocol.py` limits. Raises `Problem` 400 if the client left before its end."""
    body: bytes = b""
    while True:
        message: Any = await request.receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "The body is not complete")
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


def json_body(model: type[Struct]) -> type[BodyOperation]:
    """The body's type for the OpenAPI document, for a route that decodes the body with `body_of`."""
    return type("WithBody", (BodyOperation,), {"model": model})
