"""A rehearsal (dry run): the service's handler takes records in a transaction that is rolled back, and its effects are reported.

The report is exact until the data change, since handler and data are those that a replay would meet. A handler changes the database only,
and one that would have another effect raises `NotRehearsed`, so a rehearsal leaves nothing but gaps in sequences. It holds row locks for as
long as the handler takes.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec import Struct

from ordersaga.contracts.codec import Undecodable, decode
from ordersaga.messaging.acts import NotPossible
from ordersaga.messaging.database import Connection
from ordersaga.messaging.handler import Batch, Handle, Incoming, Record
from ordersaga.messaging.queries import queries
from ordersaga.messaging.sqlstate import is_deployment, is_transient
from ordersaga.said import words_of

sql: Final = queries(__file__)

Explain = Callable[[Connection, UUID], Awaitable[str | None]]


class NotRehearsed(Exception):
    """Raised by a handler in a rehearsal instead of having an effect outside of the database. Its text says what a replay would do there."""


class Effect(Struct, frozen=True):
    """The effect of one record. `problem`: the error that it would fail with; `changes`: rows by table; `note`: the service's reason.

    `unknown`: why the effect is known only after a replay; then nothing else is known.
    """

    problem: str | None = None
    changes: dict[str, int] = {}
    sends: tuple[str, ...] = ()
    note: str | None = None
    unknown: str | None = None

    @property
    def is_dropped(self) -> bool:
        """Whether the handler would drop the record as a repeat: no change, no output."""
        return self.problem is None and self.unknown is None and not self.changes and not self.sends


class Rehearsal:
    """`history`: tables that only record incoming messages; a row there is no effect. `explain` reads why such a row was written."""

    def __init__(self, handle: Handle, history: frozenset[str], explain: Explain | None) -> None:
        self._handle: Final = handle
        self._history: Final = history
        self._explain: Final = explain

    async def run(
        self, db: Connection, records: Sequence[Record], now: datetime, new_id: Callable[[], UUID]
    ) -> list[Effect]:
        """The effect of each record, after those before it. Raises `NotPossible`, and errors for which no record is to blame."""
        if await sql.counts_changes(db) != "on":
            raise NotPossible(
                "the database does not count changes (track_counts is off), so a dry run could not see them"
            )
        transaction = db.transaction()
        await transaction.start()
        try:
            return [await self._effect(db, record, now, new_id) for record in records]
        finally:
            await transaction.rollback()

    async def _effect(self, db: Connection, record: Record, now: datetime, new_id: Callable[[], UUID]) -> Effect:
        try:
            incoming = Incoming(decode(record.topic, record.value), record)
        except Undecodable as error:
            return Effect("Undecodable: " + words_of(error))
        batch = Batch([incoming], now, new_id, is_rehearsal=True)
        before = await _changes(db)
        try:
            async with db.transaction():
                outgoing = await self._handle(batch, db)
        except NotRehearsed as error:
            return Effect(unknown=words_of(error))
        except Exception as error:
            if is_transient(error) or is_deployment(error):
                raise
            return Effect(f"{type(error).__name__}: {error}")
        if batch.rejected:
            return Effect("Rejected: " + batch.rejected[0].reason)
        after = await _changes(db)
        changes = {table: rows - before.get(table, 0) for table, rows in after.items() if rows > before.get(table, 0)}
        note = await self._explain(db, incoming.key) if self._explain and self._history & changes.keys() else None
        sends = tuple(type(each.message).__name__ for each in outgoing)
        return Effect(None, {table: rows for table, rows in changes.items() if table not in self._history}, sends, note)


async def _changes(db: Connection) -> dict[str, int]:
    return {row["table_name"]: row["rows"] for row in await sql.changed_rows(db)}
