"""`Idempotency-Key` of a request, and the resource of an earlier request with the same key."""

from typing import Any
from uuid import UUID

from litestar import Request

from ordersaga.http.caller import Caller
from ordersaga.http.headers import headers
from ordersaga.http.problems import invalid, problem_of
from ordersaga.messaging.idempotency import KEY_CHARS_MAX, KEY_REUSED, IdempotencyKey, body_hash, look_up
from ordersaga.messaging.runtime import Runtime


def idempotency_key(
    request: Request[Any, Any, Any], caller: Caller, route: str, body: bytes, resource: UUID
) -> IdempotencyKey | None:
    """The client's key, if there is one, in the scope of caller and route. Raises `Problem` 400."""
    found = headers(request, b"idempotency-key")
    if not found:
        return None
    key = found[0]
    if len(found) > 1:
        raise invalid("Idempotency-Key", "must not come more than once", "duplicate")
    if not 1 <= len(key) <= KEY_CHARS_MAX:
        code = "too_long" if key else "too_short"
        raise invalid("Idempotency-Key", f"must have 1 to {KEY_CHARS_MAX} characters", code)
    if not (key.isascii() and key.isprintable()):
        raise invalid("Idempotency-Key", "must have printable ASCII characters alone", "pattern")
    return IdempotencyKey(f"{caller.user_id} {route}", key, body_hash(body), resource)


async def earlier(runtime: Runtime, key: IdempotencyKey | None) -> UUID | None:
    """The resource of an earlier request with the same key and body; None: there was none. Raises `Problem` 422 for another body.

    For a body that is invalid now: it may have been valid for the first request, before a limit changed.
    """
    if key is None:
        return None
    async with runtime.reading() as db:
        reuse = await look_up(db, key)
    if reuse is not None and not reuse.same_body:
        raise problem_of(KEY_REUSED)
    return reuse.resource if reuse else None
