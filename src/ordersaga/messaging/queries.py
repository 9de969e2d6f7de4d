"""Named queries: SQL lives in `.sql` files, and a module calls a query by its name.

What several queries of a file share is written once above them, as `-- part: NAME`, and stands in a query, or in a part above it, as `{NAME}`.
"""

import re
from pathlib import Path
from typing import Any, Final

import aiosql
from aiosql.adapters.asyncpg import AsyncPGAdapter

PART: Final = "-- part: "
NAME: Final = "-- name: "


class _Rows(AsyncPGAdapter):
    """aiosql over asyncpg. Rows come as a list, on the given connection: no generator step per row, no pool look-up per call."""

    is_aio_driver = False  # these methods are coroutines already; aiosql returns what they return

    async def select(self, conn: Any, query_name: str, sql: str, parameters: Any, record_class: Any = None) -> Any:
        return await conn.fetch(sql, *self._in_order(query_name, parameters))

    async def select_value(self, conn: Any, query_name: str, sql: str, parameters: Any) -> Any:
        return await conn.fetchval(sql, *self._in_order(query_name, parameters))

    async def insert_update_delete(self, conn: Any, query_name: str, sql: str, parameters: Any) -> Any:
        return await conn.execute(sql, *self._in_order(query_name, parameters))

    async def insert_update_delete_many(self, conn: Any, query_name: str, sql: str, parameters: Any) -> Any:
        return await conn.executemany(sql, [self._in_order(query_name, each) for each in parameters])

    def _in_order(self, query_name: str, parameters: Any) -> Any:
        return self.maybe_order_params(query_name, parameters)  # type: ignore[no-untyped-call]


def queries(module: str) -> Any:
    """The queries of a module (pass its `__file__`) as async functions of a connection and named parameters. Selects return a list of rows."""
    return queries_in(file_of(module).read_text())


def file_of(module: str) -> Path:
    """`x.sql` beside `x.py`, or `queries.sql` where the modules of a folder share one file."""
    own = Path(module).with_suffix(".sql")
    return own if own.exists() else own.with_name("queries.sql")


def queries_in(text: str) -> Any:
    """The queries of a text in aiosql's format: each begins with `-- name: NAME` and a suffix for what it returns."""
    adapter: Any = _Rows
    return aiosql.from_str(_with_parts(text), adapter, mandatory_parameters=False)


def _with_parts(text: str) -> str:
    """The queries, with each part in its places."""
    head, name, named = text.partition(NAME)
    _, *parts = head.split(PART)
    for each in parts:
        part, _, content = each.partition("\n")
        named = named.replace(f"{{{part.strip()}}}", re.sub("(?m)^--.*\n", "", content).strip())
    return name + named
