"""`Idempotency-Key` of HTTP writes: claimed in the transaction that does the work, so a repeat gets the first request's answer.

A key is scoped to caller and route, and kept for `idempotency_key_kept_hours`. The same key with another body is refused. The key is claimed
before the request is checked, since the data that the first request was checked against (a price, the order's state) may have changed.
A refused request releases its key.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final, Protocol, TypeVar
from uuid import UUID

from msgspec import Struct

from ordersaga.messaging.database import Connection
from ordersaga.messaging.queries import queries
from ordersaga.messaging.refusal import Refusal

sql: Final = queries(__file__)

KEY_CHARS_MAX: Final = 300
KEY_REUSED: Final = Refusal("KEY_REUSED", "The Idempotency-Key was used before with another body")


class IdempotencyKey(Struct, frozen=True):
    """A key with its scope, the hash of the request's body, and the id of the resource that the first request creates."""

    scope: str
    key: str
    body_hash: bytes
    resource: UUID


class Reused(Struct, frozen=True):
    """A key that was used before: the resource of that request, and whether its body was the same."""

    resource: UUID
    same_body: bool


class Keyed(Protocol):
    """A request with or without a key."""

    @property
    def key(self) -> IdempotencyKey | None:
        """None: a repeat of the request counts as a new request."""


Request = TypeVar("Request", bound=Keyed)
Answer = TypeVar("Answer")


def body_hash(body: bytes) -> bytes:
    """SHA-256 of the bytes of the body."""
    return hashlib.sha256(body).digest()


async def each_once(
    db: Connection,
    requests: Sequence[Request],
    now: datetime,
    work: Callable[[Sequence[Request]], Awaitable[Sequence[Answer]]],
) -> list[Answer | Reused | Refusal]:
    """Answer each request: with the answer of `work` for a first use of its key, with `Reused` for a repeat, with `KEY_REUSED` for another body.

    Of two requests with one key in the same set `work` gets one, and the other is a repeat. If the first is refused, `work` gets the other.
    """
    answers: dict[int, Answer | Reused | Refusal] = {}
    todo = list(range(len(requests)))
    while todo:
        keyed = [(n, key) for n in todo if (key := requests[n].key) is not None]
        claims = await claim(db, [key for _, key in keyed], now)
        reused = {n: reuse for (n, _), reuse in zip(keyed, claims, strict=True) if reuse is not None}
        fresh = [n for n in todo if n not in reused]
        done = dict(zip(fresh, await work([requests[n] for n in fresh]), strict=True)) if fresh else {}
        answers.update({n: reuse if reuse.same_body else KEY_REUSED for n, reuse in reused.items()})
        answers.update(done)
        free = [key for n, key in keyed if isinstance(done.get(n), Refusal)]
        await release(db, free)
        freed = {key.resource for key in free}
        todo = [n for n, reuse in reused.items() if reuse.resource in freed]
    return [answers[n] for n in range(len(requests))]


async def claim(db: Connection, keys: Sequence[IdempotencyKey], now: datetime) -> list[Reused | None]:
    """For each key: None if this request has claimed it, else the earlier use.

    Each key needs a resource id of its own: a row with another resource id belongs to an earlier request.
    """
    if not keys:
        return []
    scopes, names = [each.scope for each in keys], [each.key for each in keys]
    await sql.claim_idempotency_keys(
        db,
        scopes=scopes,
        keys=names,
        body_hashes=[each.body_hash for each in keys],
        resources=[each.resource for each in keys],
        now=now,
    )
    rows = {(row["scope"], row["key"]): row for row in await sql.idempotency_keys(db, scopes=scopes, keys=names)}
    kept = [rows[each.scope, each.key] for each in keys]
    return [
        None if row["resource"] == each.resource else Reused(row["resource"], row["body_hash"] == each.body_hash)
        for each, row in zip(keys, kept, strict=True)
    ]


async def release(db: Connection, keys: Sequence[IdempotencyKey]) -> None:
    """Release keys that were claimed in this transaction and whose requests are refused."""
    if keys:
        await sql.release_idempotency_keys(
            db,
            scopes=[each.scope for each in keys],
            keys=[each.key for each in keys],
            resources=[each.resource for each in keys],
        )


async def look_up(db: Connection, key: IdempotencyKey) -> Reused | None:
    """The earlier use of a key, without claiming it; None: no request has claimed the key, or that request was refused."""
    rows = await sql.idempotency_keys(db, scopes=[key.scope], keys=[key.key])
    return Reused(rows[0]["resource"], rows[0]["body_hash"] == key.body_hash) if rows else None
