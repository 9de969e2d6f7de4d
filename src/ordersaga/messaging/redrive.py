"""Redrive: the acts of operators on dead letters. Each act is one transaction with its audit row, or is refused with a reason.

OPEN -> REPLAYED -> RESOLVED, or SUPERSEDED by a new letter when the record fails again. OPEN -> DISCARDED. OPEN -> SUPERSEDED by an
edited copy. A letter of this service goes back into this service's parking, so no other group gets the record again: the partition's
owner retries it in a fenced turn. A letter that no turn of ours can retry (a partner's, or one that Kafka refused) is published on its
topic through the outbox.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Struct

from ordersaga.contracts.codec import Undecodable, decode
from ordersaga.contracts.headers import CAUSATION_ID, MESSAGE_ID, TRACEPARENT, TYPE_ID
from ordersaga.contracts.topics import BY_NAME
from ordersaga.messaging import acts, dead_letters, ledger, outbox_rows, spring_headers
from ordersaga.messaging.acts import STALE, Act, NotPossible, Operator
from ordersaga.messaging.database import Connection, Pool, planned_anew
from ordersaga.messaging.dead_letters import order_key
from ordersaga.messaging.handler import Record
from ordersaga.messaging.ids import MessageIds
from ordersaga.messaging.outbox import Outbox
from ordersaga.messaging.outbox_rows import OutboxRow
from ordersaga.messaging.queries import queries
from ordersaga.messaging.spring_headers import Headers
from ordersaga.messaging.texts import readable
from ordersaga.settings import ServiceName, Settings

sql: Final = queries(__file__)
ID_BEGINNING: Final = re.compile("[0-9a-f]{1,32}")

Status = Literal["OPEN", "REPLAYED", "RESOLVED", "DISCARDED", "SUPERSEDED"]
STATUSES: Final[tuple[Status, ...]] = ("OPEN", "REPLAYED", "RESOLVED", "DISCARDED", "SUPERSEDED")

NO_VALUE: Final = "the letter came without its record's value, and the record was gone from its original place; give the letter a value with `dead-letters edit`"
PUBLISHED: Final = "its partner has the record again; if it fails there, the next import says so"


class Letter(Struct, frozen=True):
    """A dead letter without its bytes. `offset` None: Kafka refused the record. `imported_from`: the record of a partner's letter."""

    id: UUID
    status: Status
    topic: str
    partition: int | None
    offset: int | None
    order_key: UUID | None
    cause: str
    reason: str
    attempts: int
    at: datetime
    follows: UUID | None
    replayed_as: UUID | None
    imported_from: str | None
    consumer_group: str | None

    @property
    def replay_publishes(self) -> bool:
        """Whether a replay publishes the record on its topic, instead of parking it in this service."""
        return self.imported_from is not None or self.offset is None

    @property
    def coordinates(self) -> str:
        """topic/partition/offset of the record, with `-` for a part that is not known."""
        parts = (self.topic, self.partition, self.offset)
        return "/".join("-" if part is None else str(part) for part in parts)


class Content(Struct, frozen=True):
    """Key, value and headers of the record, as they were before it was given up."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int | None
    stacktrace: str | None

    def header(self, name: str) -> bytes | None:
        """The last value of a header, or None."""
        return dict(self.headers).get(name)


class LetterFilter(Struct, frozen=True, kw_only=True):
    """A filter of letters: all conditions that are given must hold.

    `ids` may be the beginnings of ids; `before` is exclusive. `after`: time and id of the letter that ends the page before, latest first.
    """

    ids: Sequence[str] | None = None
    order_key: UUID | None = None
    topic: str | None = None
    cause: str | None = None
    statuses: Sequence[Status] | None = ("OPEN",)
    before: datetime | None = None
    after: tuple[datetime, UUID] | None = None

    def conditions(self) -> dict[str, Any]:
        """The parameters of the queries `dead_letters` and `dead_letter_causes`."""
        statuses = None if self.statuses is None else list(self.statuses)
        first_id, last_id = _bounds(self.ids)
        return {
            "id_patterns": None if self.ids is None else [f"{each}%" for each in self.ids],
            "first_id": first_id,
            "last_id": last_id,
            "order_key": self.order_key,
            "topic": self.topic,
            "cause": self.cause,
            "status": statuses[0] if statuses and len(statuses) == 1 else None,
            "statuses": statuses if statuses is None or len(statuses) != 1 else None,
            "before": self.before,
            "after_at": self.after and self.after[0],
            "after_id": self.after and self.after[1],
        }


def _bounds(beginnings: Sequence[str] | None) -> tuple[UUID | None, UUID | None]:
    """The first and the last id that may begin so, for the index; None where a text is the beginning of no id."""
    digits = [each.replace("-", "") for each in beginnings or ()]
    if not digits or not all(ID_BEGINNING.fullmatch(each) for each in digits):
        return None, None
    return UUID(min(each.ljust(32, "0") for each in digits)), UUID(max(each.ljust(32, "f") for each in digits))


class CauseCount(Struct, frozen=True):
    """How many letters of a topic have a cause and status, since when, until when, and the reason of the latest."""

    topic: str
    cause: str
    status: Status
    letters: int
    first_at: datetime
    last_at: datetime
    last_reason: str


class ReplayState(Struct, frozen=True):
    """The result of a replayed letter; None: not known yet, for the reason in `detail`. `published`: a partner's letter is on its topic again,
    and only the partner knows whether it was handled. `behind`: an earlier record of its queue comes first."""

    result: Literal["resolved", "published", "failed again"] | None
    detail: str
    behind: bool = False


class Redrive:
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
        self.settings: Final = settings
        self.service: Final[ServiceName] = service
        self.pool: Final = pool
        self.clock: Final = clock
        self.new_id: Final = new_id
        self._outbox: Final = outbox

    # Reading --------------------------------------------------------------------------------------------------------

    async def find(self, wanted: LetterFilter, rows_max: int | None = None) -> list[Letter]:
        """The letters that match, the latest first."""
        async with self.pool.acquire() as db:
            await dead_letters.settle_published(db, self.clock())
            async with planned_anew(db):
                rows = await sql.dead_letters(db, **wanted.conditions(), rows_max=rows_max)
        return list(map(_letter, rows))

    async def by_ids(self, ids: Sequence[UUID]) -> dict[UUID, Letter]:
        """These letters, in the order of the ids; an id that no letter has is left out."""
        async with self.pool.acquire() as db:
            await dead_letters.settle_published(db, self.clock())
            found = {row["id"]: _letter(row) for row in await sql.dead_letters_by_id(db, ids=list(ids))}
        return {each: found[each] for each in ids if each in found}

    async def causes(self, wanted: LetterFilter) -> list[CauseCount]:
        """How many letters match, by topic, cause and status."""
        async with self.pool.acquire() as db:
            await dead_letters.settle_published(db, self.clock())
            conditions = wanted.conditions()
            del conditions["after_at"], conditions["after_id"]
            async with planned_anew(db):
                return [CauseCount(*row.values()) for row in await sql.dead_letter_causes(db, **conditions)]

    async def contents(self, ids: Sequence[UUID]) -> dict[UUID, Content]:
        """The contents of letters, by id."""
        async with self.pool.acquire() as db:
            return await _contents(db, ids)

    async def history(self, letter: Letter) -> tuple[list[Letter], list[Act]]:
        """All letters of one record, in order, and the acts on them."""
        async with self.pool.acquire() as db:
            chain = list(map(_letter, await sql.dead_letter_chain(db, id=letter.id)))
            return chain, await acts.about(db, [*(each.id for each in chain), letter.coordinates])

    async def replay_states(self, ids: Sequence[UUID]) -> dict[UUID, ReplayState]:
        """The results of replayed letters, by id."""
        async with self.pool.acquire() as db:
            await dead_letters.settle_published(db, self.clock())
            return {row["id"]: self._replay_state(row) for row in await sql.replay_results(db, ids=list(ids))}

    def _replay_state(self, row: Any) -> ReplayState:
        if row["next_id"] is not None:
            return ReplayState(
                "failed again",
                f"{row['next_cause']}: {row['next_reason']}; the record is dead letter {row['next_id']} now",
            )
        if row["status"] == "RESOLVED":
            is_partners = row["imported_from"] is not None
            return ReplayState("published", PUBLISHED) if is_partners else ReplayState("resolved", "")
        if row["status"] != "REPLAYED":
            return ReplayState("failed again", f"the letter is {row['status']} now")
        if row["attempts"] is None:
            return ReplayState(None, "the record is not published yet")
        if row["attempts"] > row["attempts_before"]:
            tries = f"{row['attempts'] - row['attempts_before']} of {self.settings.park_attempts_max}"
            why = f"{row['parked_cause']}: {row['parked_reason']}"
            return ReplayState(
                "failed again", f"{why}; try {tries}, the next at {row['due_at']:%H:%M:%S}" if row["due_at"] else why
            )
        if row["due_at"] is None:
            return ReplayState(
                None, "the record waits behind an earlier one of its order; see `ordersaga parked list`", behind=True
            )
        return ReplayState(None, f"the record has not been tried yet; does `ordersaga serve {self.service}` run?")

    async def refusal(self, letter: Letter) -> str | None:
        """Why an act on the letter would be refused; None: the letter is open."""
        async with self.pool.acquire() as db:
            return None if letter.status == "OPEN" else await _refusal(db, letter)

    # Acting ---------------------------------------------------------------------------------------------------------

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
            content = (await _contents(db, [letter.id]))[letter.id]
            if value == content.value:
                raise NotPossible("the edit changes nothing", "INVALID")
            key = order_key(letter.topic, content.key, value)
            await sql.copy_dead_letter(db, id=letter.id, copy_id=copy_id, order_key=key, value=value, now=now)
            await sql.mark_dead_letter(db, id=letter.id, status="SUPERSEDED", replayed_as=None, now=now)
            before = {"value": readable(content.value)}
            after = {"status": "SUPERSEDED", "letter": str(copy_id), "value": readable(value)}
            await _add_act(db, operator, "edit", letter, before, after, now)
            return _letter(await sql.lock_dead_letter(db, id=copy_id))

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
        letter = _letter(row)
        if letter.status != "OPEN":
            raise NotPossible(await _refusal(db, letter), title=STALE)
        return letter

    async def _put_back(self, db: Connection, letter: Letter, now: datetime) -> None:
        # Without this lock a turn of the partition's owner could remove the first record of the queue at the same time: neither
        # transaction would see the other's row, and no retry would make the record that is put back due.
        if await ledger.lock_position(db, letter.topic, letter.partition) is None:
            raise NotPossible(
                f"{self.service} does not read {letter.topic}/{letter.partition}, so no process would retry the record"
            )
        key = letter.order_key or letter.id  # a record without an order has a queue of its own
        if await sql.put_back(db, id=letter.id, order_key=key, now=now) != "INSERT 0 1":
            raise NotPossible(f"{letter.coordinates} is parked already; see `ordersaga parked list`")
        await sql.line_up(db, topic=letter.topic, partition=letter.partition, order_key=key, now=now)

    async def _publication_row(self, db: Connection, letter: Letter, type_id: str | None) -> OutboxRow:
        """The outbox row that publishes a letter's record: its own key, value and headers, and a new `message-id`."""
        content = (await _contents(db, [letter.id]))[letter.id]
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
            readable(its_id) or letter.coordinates,
            traceparent,
            tuple(header for header in headers if header[0] not in (MESSAGE_ID, CAUSATION_ID, TRACEPARENT)),
        )


def restored(settings: Settings, letter: Letter, content: Content, type_id: str | None) -> Headers:
    """The headers that a letter is published with: the record's own, with `type_id` or, if it has none, the configured `__TypeId__`."""
    headers = spring_headers.with_type_id(content.headers, type_id, instead=True)
    return spring_headers.with_type_id(headers, settings.type_ids.get(letter.topic), instead=False)


def has_type_id(headers: Headers) -> bool:
    """Whether the record has the `__TypeId__` that Spring's JSON deserializer reads by default."""
    return any(name == TYPE_ID for name, _ in headers)


def record_of(letter: Letter, content: Content) -> Record:
    """The record as a consumer gets it."""
    return Record(
        letter.topic,
        letter.partition or 0,
        letter.offset or 0,
        content.key,
        content.value,
        content.headers or None,
        content.timestamp_ms or 0,
    )


def check_value(topic: str, value: bytes) -> None:
    """Raise `NotPossible` unless the value is a message of the topic, or, for a topic outside of the contract, JSON."""
    try:
        if topic in BY_NAME:
            decode(topic, value)
        else:
            msgspec.json.decode(value)
    except (Undecodable, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotPossible(f"the value does not fit {topic}: {error}", "INVALID") from error


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


async def _refusal(db: Connection, letter: Letter) -> str:
    done = [act for act in await acts.about(db, [letter.id, letter.coordinates]) if "status" in act.after]
    by = f", by {done[-1].who} at {done[-1].at:%Y-%m-%d %H:%M:%S} ({done[-1].why})" if done else ""
    hint = {
        "REPLAYED": "; `ordersaga parked list` shows how it stands" if not letter.replay_publishes else "",
        "SUPERSEDED": "; `ordersaga dead-letters show` names the letter that followed it",
    }
    return f"dead letter {letter.id} is {letter.status} already{by}{hint.get(letter.status, '')}"


async def _contents(db: Connection, ids: Sequence[UUID]) -> dict[UUID, Content]:
    return {
        row["id"]: Content(
            row["key"],
            row["value"],
            tuple(zip(row["header_names"], row["header_values"], strict=True)),
            row["timestamp_ms"],
            row["stacktrace"],
        )
        for row in await sql.dead_letter_contents(db, ids=list(ids))
    }


def _letter(row: Any) -> Letter:
    return Letter(*row.values())
