"""Redrive: the acts of operators on dead letters. Each act is one transaction with its audit row, or is refused with a reason.

OPEN -> REPLAYED -> RESOLVED (a partner's: PUBLISHED), or SUPERSEDED by a new letter when the record fails again. OPEN -> DISCARDED.
OPEN -> SUPERSEDED by an edited copy. A letter of this service goes back into this service's parking, so no other group gets the record again: the partition's
owner retries it in a fenced turn. A letter that no turn of ours can retry (a partner's, or one that Kafka refused) is published on its
topic through the outbox.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from ordersaga.contracts.headers import CAUSATION_ID, MESSAGE_ID, TRACEPARENT
from ordersaga.messaging import acts, ledger, outbox_rows
from ordersaga.messaging.acts import STALE, NotPossible, Operator
from ordersaga.messaging.database import Connection, Pool
from ordersaga.messaging.dead_letters import order_key
from ordersaga.messaging.ids import MessageIds
from ordersaga.messaging.letter_reading import LetterReader, contents_of, why_closed
from ordersaga.messaging.letters import Letter, check_value, letter_of, restored
from ordersaga.messaging.outbox import Outbox
from ordersaga.messaging.outbox_rows import OutboxRow
from ordersaga.messaging.queries import queries
from ordersaga.messaging.texts import readable
from ordersaga.said import say
from ordersaga.settings import ServiceName, Settings

sql: Final = queries(__file__)

NO_VALUE: Final = say(
    "result.no_value",
    "the letter has no value: the record had none, or the letter came without it and the record was gone from its original place; give the "
    "letter a value with `dead-letters edit`",
)


class Redrive(LetterReader):
    """The acts on the dead letters of one service, in its database."""

    def __init__(
        self,
        settings: Settings,
        service: ServiceName,
        pool: Pool,
        outbox: Outbox,
        clock: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        super().__init__(settings, service, pool, clock)
        self.new_id: Final = new_id
        self._outbox: Final = outbox

    async def replay(self, letter_id: UUID, operator: Operator, type_id: str | None = None) -> None:
        """Have the record of a letter handled again: park it, due now, or publish it on its topic with a new `message-id`.

        `type_id` replaces the record's `__TypeId__`; without it the setting `type_ids` adds one that is missing.
        """
        rows: list[OutboxRow] = []
        async with self.pool.acquire() as db, db.transaction():
            now = self.clock()
            letter = await self._lock_open(db, letter_id)
            if letter.replay_publishes:
                rows = [await self._publication_row(db, letter, type_id)]
                await outbox_rows.write(db, rows, outbox_rows.adopt_at(now, self.settings))
                after = {"published": letter.topic, "message-id": str(rows[0].message_id)}
            else:
                await self._put_back(db, letter, now)
                after = {"parked": letter.coordinates}
            message_id = rows[0].message_id if rows else None
            await sql.mark_dead_letter(db, id=letter.id, status="REPLAYED", replayed_as=message_id, now=now)
            after["status"] = "REPLAYED"
            await _add_act(db, operator, "replay", letter, {}, after, now)
        await self._outbox.publish(rows, now)

    async def edit(self, letter_id: UUID, value: bytes, operator: Operator) -> Letter:
        """Add a copy of the letter with another value; the copy `follows` the letter and is replayed instead of it.

        The value must be a message of the letter's topic.
        """
        async with self.pool.acquire() as db, db.transaction():
            now, copy_id = self.clock(), self.new_id()
            letter = await self._lock_open(db, letter_id)
            check_value(letter.topic, value)
            content = (await contents_of(db, [letter.id]))[letter.id]
            if value == content.value:
                raise NotPossible("the edit changes nothing", "INVALID")
            key = order_key(letter.topic, content.key, value)
            await sql.copy_dead_letter(db, id=letter.id, copy_id=copy_id, order_key=key, value=value, now=now)
            await sql.mark_dead_letter(db, id=letter.id, status="SUPERSEDED", replayed_as=None, now=now)
            before = {"value": readable(content.value)}
            after = {"status": "SUPERSEDED", "letter": str(copy_id), "value": readable(value)}
            await _add_act(db, operator, "edit", letter, before, after, now)
            return letter_of(await sql.lock_dead_letter(db, id=copy_id))

    async def discard(
        self, letter_id: UUID, operator: Operator, note: Callable[[Connection], Awaitable[None]] | None = None
    ) -> None:
        """Close a letter without a replay. Its row and its contents stay. `note` writes to the same transaction."""
        async with self.pool.acquire() as db, db.transaction():
            now = self.clock()
            letter = await self._lock_open(db, letter_id)
            await sql.mark_dead_letter(db, id=letter.id, status="DISCARDED", replayed_as=None, now=now)
            await _add_act(db, operator, "discard", letter, {}, {"status": "DISCARDED"}, now)
            if note is not None:
                await note(db)

    async def _lock_open(self, db: Connection, letter_id: UUID) -> Letter:
        row = await sql.lock_dead_letter(db, id=letter_id)
        if row is None:
            raise NotPossible(f"{self.service} has no dead letter {letter_id}", "UNKNOWN")
        letter = letter_of(row)
        if letter.status != "OPEN":
            raise NotPossible(await why_closed(db, letter), title=STALE)
        return letter

    async def _put_back(self, db: Connection, letter: Letter, now: datetime) -> None:
        # Without this lock a turn of the partition's owner could remove the first record of the queue at the same time: neither
        # transaction would see the other's row, and no retry would make the record that is put back due.
        if await ledger.lock_position(db, letter.topic, letter.partition) is None:
            raise NotPossible(
                say(
                    "refused.not_read",
                    "{service} does not read {partition}, so no process would retry the record",
                    service=self.service,
                    partition=f"{letter.topic}/{letter.partition}",
                )
            )
        key = letter.order_key or letter.id  # a record without an order has a queue of its own
        if await sql.put_back(db, id=letter.id, order_key=key, now=now) != "INSERT 0 1":
            raise NotPossible(
                say(
                    "refused.parked",
                    "{record} is parked already; see `ordersaga parked list`",
                    record=letter.coordinates,
                )
            )
        await sql.line_up(db, topic=letter.topic, partition=letter.partition, order_key=key, now=now)

    async def _publication_row(self, db: Connection, letter: Letter, type_id: str | None) -> OutboxRow:
        """The outbox row that publishes a letter's record: its own key, value and headers, and a new `message-id`."""
        content = (await contents_of(db, [letter.id]))[letter.id]
        if content.value is None:
            raise NotPossible(NO_VALUE)
        headers = restored(self.settings, letter, content, type_id)
        parent, its_id = content.header(TRACEPARENT), content.header(MESSAGE_ID)
        ids = MessageIds("", {}, self.new_id, readable(parent))
        message_id, _, traceparent = ids.of(None)
        return OutboxRow(
            await outbox_rows.first_id(db),
            None,
            letter.topic,
            # The key chooses the partition, as in Java's producer. A record without a key goes to the partition that it came from.
            None if content.key is not None else letter.partition,
            content.key,
            content.value,
            message_id,
            readable(its_id) or (letter.coordinates if letter.has_place else None),
            traceparent,
            tuple(header for header in headers if header[0] not in (MESSAGE_ID, CAUSATION_ID, TRACEPARENT)),
        )


async def _add_act(
    db: Connection,
    operator: Operator,
    what: str,
    letter: Letter,
    before: dict[str, Any],
    after: dict[str, Any],
    now: datetime,
) -> None:
    before = {"status": letter.status, **before}
    await acts.add(db, operator, what, letter.id, before, after, now, letter.order_key)
