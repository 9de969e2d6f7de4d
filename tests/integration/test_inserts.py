"""New rows are inserted in one way, however many there are."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import asyncpg
import pytest

from ordersaga.devstack import DevStack
from ordersaga.messaging.database import connect, insert, insert_new
from ordersaga.settings import Settings

TABLE = """CREATE TABLE thing (id uuid PRIMARY KEY, at timestamptz NOT NULL, names text[] NOT NULL, note text, content json, bytes bytea[])"""
COLUMNS = ("id", "at", "names", "note", "content", "bytes")


def thing(id: UUID) -> tuple[object, ...]:
    return id, datetime(2026, 1, 2, 3, 4, 5, 6, UTC), ("a", "나"), None, '{"b":1}', [b"\0", None]


@pytest.mark.parametrize("count", [1, 2])
async def test_rows_are_written_as_they_are_and_a_row_of_another_process_is_met(stack: DevStack, count: int) -> None:
    stack.create_databases(["inserts"])
    pool = await connect(stack.database_url("inserts"), Settings.model_validate({}))
    ids = [uuid4() for _ in range(count)]
    try:
        async with pool.acquire() as db:
            await db.execute(f"DROP TABLE IF EXISTS thing; {TABLE}")
            await insert(db, "thing", COLUMNS, [thing(id) for id in ids])
            for id, row in zip(ids, await db.fetch("SELECT * FROM thing ORDER BY id = $1 DESC", ids[0]), strict=True):
                assert tuple(row) == (
                    id,
                    datetime(2026, 1, 2, 3, 4, 5, 6, UTC),
                    ["a", "나"],
                    None,
                    '{"b":1}',
                    [b"\0", None],
                )
            with pytest.raises(asyncpg.SerializationError):
                await insert_new(db, "thing", COLUMNS, [thing(id) for id in ids])
    finally:
        await pool.close()
