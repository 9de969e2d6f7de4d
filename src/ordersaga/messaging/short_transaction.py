"""A transaction over few rows, in as few round trips as it can have: what one record costs is mostly their number.

BEGIN is sent with the first statement that needs it, so none is sent where one statement is all. Writes that nobody waits for are kept by
`later`, and go out together as one statement at the end (`last`), each as a part of its WITH. A statement that is sent before that
sends the kept writes first, so it sees them.

With `as_read` not even rows that will change are locked when they are read: the statement that writes locks and compares them. If a row
has changed meanwhile, or one of the new rows is there already, nothing is written and `NotAsRead` is raised. The work is then done again,
with locks.

What the process has written last is `Known`, and need not even be read: the comparison tells whether it still is so.
"""

import contextlib
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast
from uuid import UUID

import asyncpg

from ordersaga.messaging.connections import next_moment
from ordersaga.messaging.database import Connection, already_inserted

KNOWN_MAX: Final = 10_000
RESTS: Final = 20
Value = TypeVar("Value")

_parameter: Final = re.compile(r"\$(\d+)")


class NotAsRead(Exception):
    """A row is not as it was read, or the ledger not as the partition's owner expects. Nothing was written."""


class Part(NamedTuple):
    """A statement and its arguments. It has no WITH that changes rows."""

    query: str
    arguments: tuple[Any, ...]


def later(db: Connection) -> Connection:
    """For a write whose result is not needed: sent with the last statement of a short transaction; on any other connection, now."""
    whole: object = db
    return cast(Connection, whole.later) if isinstance(whole, ShortTransaction) else db


def unlocked(db: Connection) -> Connection:
    """For a read that locks nothing and may stand outside of the transaction: it does not begin a short one."""
    whole: object = db
    return whole.connection if isinstance(whole, ShortTransaction) and not whole.has_kept else db


def comparing(db: Connection) -> "ShortTransaction | None":
    """The short transaction, if rows that will change may be read without a lock and compared at its end; None: lock them."""
    whole: object = db
    return whole if isinstance(whole, ShortTransaction) and whole.may_compare else None


def reading(db: Connection) -> "ShortTransaction | None":
    """The short transaction, if rows that are read without a lock may be compared at its end instead; None: read them."""
    whole: object = db
    return whole if isinstance(whole, ShortTransaction) and whole.compares else None


def after_commit(db: Connection, call: "Callable[[ShortTransaction], None]") -> None:
    """Have this called with a short transaction once it is committed. On any other connection it is not called."""
    whole: object = db
    if isinstance(whole, ShortTransaction):
        whole.calls.append(call)


class ShortTransaction:
    """Use with `async with`; commits what was sent and what is kept. It has the methods of a connection that handlers use."""

    def __init__(self, connection: Connection, lock_timeout_ms: int | None = None, as_read: bool = False) -> None:
        self.connection: Final = connection
        self._lock_timeout_ms: Final = lock_timeout_ms
        self.compares: Final = as_read
        self._kept: Final[list[Part]] = []
        self._compared: Final[list[tuple[Part, int]]] = []
        self._begun: Any = None
        self.began: Final = next_moment()
        self.version = ""
        """Once it has ended: the version (`xmin`) of each row that it has written, which is the transaction's id in the database."""
        self.calls: Final[list[Callable[[ShortTransaction], None]]] = []
        self.later: Final = _Later(self, self._kept)
        self.last: Final[Any] = _Last(self)

    @property
    def itself(self) -> Connection:
        """This transaction, for functions that take a connection."""
        return cast(Connection, self)

    @property
    def has_kept(self) -> bool:
        """Whether writes are kept that no statement has sent yet."""
        return bool(self._kept)

    @property
    def may_compare(self) -> bool:
        """Whether rows may be read without locks: with `as_read`, while nothing was sent or kept."""
        return self.compares and self._begun is None and not self._kept

    def compared(self, rows: int) -> Any:
        """Where a query is sent that finds, and locks, the rows that are as they were read. At the end it must find so many."""
        return _Compared(self._compared, rows)

    async def fetch(self, query: str, *arguments: Any) -> Any:
        return await (await self.begun()).fetch(query, *arguments)

    async def fetchrow(self, query: str, *arguments: Any) -> Any:
        return await (await self.begun()).fetchrow(query, *arguments)

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        return await (await self.begun()).fetchval(query, *arguments)

    async def execute(self, query: str, *arguments: Any) -> Any:
        return await (await self.begun()).execute(query, *arguments)

    async def executemany(self, query: str, arguments: Any) -> Any:
        return await (await self.begun()).executemany(query, arguments)

    async def copy_records_to_table(self, table: str, *, columns: Sequence[str], records: Any) -> Any:
        return await (await self.begun()).copy_records_to_table(table, columns=columns, records=records)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """A savepoint."""
        async with (await self.begun()).transaction():
            yield

    async def begun(self) -> Connection:
        """The connection, in the transaction, with the kept writes sent."""
        if self._begun is None:
            ours: Any = self.connection
            begun = ours.transaction(lock_timeout_ms=self._lock_timeout_ms)
            await begun.__aenter__()
            self._begun = begun
        for part in self._take_kept():
            with already_inserted():
                await self.connection.execute(part.query, *part.arguments)
        return self.connection

    async def end(self, last: Part) -> Any:
        """Send the kept writes with the statement that ends the transaction; returns its value. Where BEGIN was not sent, it commits."""
        parts = [*(part for part, _ in self._compared), *self._take_kept()]
        values = [*last.arguments, *(rows for _, rows in self._compared)]
        sizes = (len(last.arguments), *(len(part.arguments) for part in parts))
        whole = _together((last.query, *(part.query for part in parts)), sizes, len(self._compared))
        for part in parts:
            values += part.arguments
        try:
            with already_inserted():
                return await self.connection.fetchval(whole, *values)
        except asyncpg.DivisionByZeroError as error:
            raise NotAsRead from error
        except asyncpg.SerializationError as error:
            if self.compares:
                raise NotAsRead from error
            raise

    def written_by(self, transaction_id: int) -> None:
        """Note the id of this transaction in the database."""
        self.version = str(transaction_id)

    def _take_kept(self) -> list[Part]:
        kept, self._kept[:] = [*self._kept], []
        return kept

    async def __aenter__(self) -> "ShortTransaction":
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if error is None and self._kept:
            await self.begun()
        if self._begun is not None:
            await self._begun.__aexit__(kind, error, trace)
        if error is None and self.version:
            for call in self.calls:
                call(self)


class Known(Generic[Value]):
    """By key, what the last short transactions of this process have left in their rows. Whoever uses it compares the rows when it writes.

    The version of a row is compared as PostgreSQL numbers transactions, and a server that is restored or has taken over from another one may
    give a number again. So a value is used only over a connection that was there before the transaction began: it has not changed its server.

    A turn that fails the comparison costs twice, so the next `RESTS` turns read: where several processes change the rows of each other, it
    does not pay to know them.
    """

    def __init__(self, keys_max: int = KNOWN_MAX) -> None:
        self._keys_max: Final = keys_max
        self._values: Final[dict[UUID, tuple[int, Value]]] = {}
        self._used: frozenset[UUID] = frozenset()
        self._rests = 0

    def last(self, key: UUID) -> Value | None:
        """The value of a key, which may be old: only to guess from."""
        known = self._values.get(key)
        return known[1] if known is not None else None

    def all_of(self, keys: Sequence[UUID], short: ShortTransaction) -> list[Value] | None:
        """The values of these keys, in their order. None: not all are known."""
        if self._rests:
            self._rests -= 1
            return None
        opened = cast(Any, short.connection).opened
        known = [each for key in keys if (each := self._values.get(key)) is not None and each[0] > opened]
        if len(known) < len(keys):
            return None
        self._used = frozenset(keys)
        return [value for _, value in known]

    def keep(self, values: Mapping[UUID, Value | None], short: ShortTransaction) -> None:
        """Note what a transaction has left, which is committed. None: nobody will ask for it soon."""
        self._used = frozenset()
        for key, value in values.items():
            self._values.pop(key, None)
            if value is not None:
                self._values[key] = short.began, value
        while len(self._values) > self._keys_max:
            del self._values[next(iter(self._values))]

    def forget(self, keys: Sequence[UUID]) -> None:
        """Forget keys whose rows are read and locked: they are many, or what was known of them is old."""
        if self._used and self._used.issubset(keys):
            self._rests = RESTS
        self._used = frozenset()
        for key in keys:
            self._values.pop(key, None)


class _Later:
    """Keeps statements for the end of a transaction."""

    def __init__(self, transaction: ShortTransaction, kept: list[Part]) -> None:
        self._kept: Final = kept
        self.copy_records_to_table: Final = transaction.copy_records_to_table

    async def execute(self, query: str, *arguments: Any) -> None:
        self._kept.append(Part(_bare(query), arguments))


class _Compared:
    """Takes a query whose rows are counted at the end of a transaction."""

    def __init__(self, compared: list[tuple[Part, int]], rows: int) -> None:
        self._compared: Final = compared
        self._rows: Final = rows

    async def fetch(self, query: str, *arguments: Any) -> None:
        if self._rows:
            self._compared.append((Part(_bare(query), arguments), self._rows))


class _Last:
    """Where the query is sent that ends a transaction."""

    def __init__(self, transaction: ShortTransaction) -> None:
        self._transaction: Final = transaction
        self.written_by: Final = transaction.written_by

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        return await self._transaction.end(Part(_bare(query), arguments))


@lru_cache(maxsize=512)
def _together(queries: tuple[str, ...], sizes: tuple[int, ...], compared: int) -> str:
    """The first query, which begins with WITH, with the others as parts of that. Parameters are numbered in the order of the queries.

    The first `compared` of the others must each find as many rows as a parameter behind those of the first query says. If one does not,
    the whole divides by zero. The first query then ends with a condition, which is tested before.
    """
    (first, *parts), (before, *numbers) = queries, sizes
    head, _, tail = first.rpartition("\nSELECT")
    counts = [f"1 / ((SELECT count(*) FROM part_{n}) = ${before + n + 1}::int)::int = 1" for n in range(compared)]
    before += compared
    withs = [head]
    for n, (part, size) in enumerate(zip(parts, numbers, strict=True)):
        withs.append(f"part_{n} AS (\n{_numbered_from(part, before)}\n)")
        before += size
    return ", ".join(withs) + "\nSELECT" + " AND ".join([tail, *counts])


def _numbered_from(query: str, before: int) -> str:
    return _parameter.sub(lambda found: f"${int(found[1]) + before}", query)


@lru_cache(maxsize=512)
def _bare(query: str) -> str:
    return query.rstrip().removesuffix(";")
