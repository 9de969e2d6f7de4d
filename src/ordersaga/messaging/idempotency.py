"""`Idempotency-Key` of HTTP writes: claimed in the transaction that does the work, so that a repeat finds what the first one did.

A key is scoped to caller and route; the same key with another body is a conflict. Kept for `idempotency_key_kept_hours`.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec import Struct

from ordersaga.messaging.database import Connection, queries

sql: Final = queries(__file__)

KEY_CHARS_MAX: Final = 300


class IdempotencyKey(Struct, frozen=True):
    """A key with its scope, the hash of the body it came with, and the resource that a first use creates."""

    scope: str
    key: str
    body_hash: bytes
    resource: UUID


class Reused(Struct, frozen=True):
    """The key was used before: for this resource, and with the same body or not."""

    resource: UUID
    same_body: bool


def body_hash(body: bytes) -> bytes:
    """SHA-256 of the body as it came."""
    return hashlib.sha256(body).digest()


async def claim(db: Connection, keys: Sequence[IdempotencyKey], now: datetime) -> list[Reused | None]:
    """For each key: None if it is new and now claimed for its resource, else what an earlier request did with it.

    Each key must come with a resource id made for this very request, since that is how a first use is told from a repeat.
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
    standing = [rows[each.scope, each.key] for each in keys]
    return [
        None if row["resource"] == each.resource else Reused(row["resource"], row["body_hash"] == each.body_hash)
        for each, row in zip(keys, standing, strict=True)
    ]
