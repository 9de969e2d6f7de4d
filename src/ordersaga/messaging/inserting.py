"""Insert and retry: rows that another process may insert at the same moment (`docs/adr/0009-insert-and-retry.md`)."""

from collections.abc import Collection, Sequence
from typing import Any

import asyncpg

from ordersaga.messaging.database import Connection


async def insert_new(db: Connection, table: str, columns: Sequence[str], rows: Collection[tuple[Any, ...]]) -> None:
    """Insert rows whose keys the caller has not found, by COPY, which costs half of an INSERT over arrays.

    Sort the rows by key where another process may insert the same keys: two processes then cannot deadlock. COPY waits for the other
    transaction. If that commits, this raises `SerializationError`, and the caller's transaction is retried and finds the rows.
    """
    try:
        await db.copy_records_to_table(table, columns=columns, records=rows)
    except asyncpg.UniqueViolationError as error:
        raise asyncpg.SerializationError(f"another process inserted one of these rows meanwhile: {error}") from error
