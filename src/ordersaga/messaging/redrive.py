"""Redrive: what operators do with dead letters. Each act is one transaction with its audit row, and is refused with a reason, or done.

OPEN -> REPLAYED -> RESOLVED, or SUPERSEDED by the letter it became when it failed again; OPEN -> DISCARDED; OPEN -> SUPERSEDED by its
edited copy. Our own letter goes back into this service's parking, so that no other group sees it again: the partition's owner
retries it in a fenced turn. Only what no turn of ours could retry goes out on a topic, through the outbox: a partner's letter, and a
record that the broker had refused.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Struct

from ordersaga.contracts.codec import Undecodable, decode
from ordersaga.contracts.topics import BY_NAME
from ordersaga.messaging import acts, dead_letters, ledger, outbox_rows, spring_headers
from ordersaga.messaging.acts import Act, NotPossible, Operator
from ordersaga.messaging.database import Connection, Pool
from ordersaga.messaging.dead_letters import order_key
from ordersaga.messaging.handler import CAUSATION_ID, MESSAGE_ID, TRACEPARENT, Record
from ordersaga.messaging.message_ids import MessageIds
from ordersaga.messaging.outbox import Outbox
from ordersaga.messaging.outbox_rows import OutboxRow
from ordersaga.messaging.queries import queries
from ordersaga.messaging.spring_headers import TYPE_ID, Headers
from ordersaga.messaging.texts import readable
from ordersaga.settings import ServiceName, Settings

sql: Final = queries(__file__)

Status = Literal["OPEN", "REPLAYED", "RESOLVED", "DISCARDED", "SUPERSEDED"]
STATUSES: Final[tuple[Status, ...]] = ("OPEN", "REPLAYED", "RESOLVED", "DISCARDED", "SUPERSEDED")


class Letter(Struct, frozen=True):
    """A dead letter without its bytes. No `offset`: the broker refused it. `imported_from`: where a partner's letter was read."""

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
    def goes_out(self) -> bool:
        """Whether its replay is a record on its topic, not a retry of our own."""
        return self.imported_from is not None or self.offset is None

    @property
    def place(self) -> str:
        """Where its record is in Kafka, as far as that is known."""
        parts = (self.topic, self.partition, self.offset)
        return "/".join("-" if part is None else str(part) for part in parts)


class Content(Struct, frozen=True):
    """The bytes of a dead letter, as they were before it was given up."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int | None
    stacktrace: str | None

    def header(self, name: str) -> bytes | None:
        """The last value of a header, or None."""
        return dict(self.headers).get(name)


class Wanted(Struct, frozen=True, kw_only=True):
    """Which letters: all that is said must fit. `ids` may be the beginnings of ids; `before` is exclusive."""

    ids: Sequence[str] | None = None
    order_key: UUID | None = None
    topic: str | None = None
    cause: str | None = None
    statuses: Sequence[Status] | None = ("OPEN",)
    before: datetime | None = None

    def conditions(self) -> dict[str, Any]:
        """The parameters of the queries."""
        return {
            "id_patterns": None if self.ids is None else [f"{each}%" for each in self.ids],
            "order_key": self.order_key,
            "topic": self.topic,
            "cause": self.cause,
            "statuses": None if self.statuses is None else list(self.statuses),
            "before": self.before,
        }


class CauseCount(Struct, frozen=True):
    """How many letters of a topic have a cause, from when to when, and the reason that the last one gives."""

    topic: str
    cause: str
    status: Status
    letters: int
    first_at: datetime
    last_at: datetime
    last_reason: str


class Standing(Struct, frozen=True):
    """What has become of a replayed letter. `result` None: nothing yet, because of `detail`."""

    result: Literal["resolved", "failed again"] | None
    detail: str
    behind: bool = False


class Redrive:
    """The acts upon one service's dead letters, in its own database."""

    def __init__(
        self,
        settings: Settings,
        service: ServiceName,
        pool: Pool,
        out: Outbox,
        clock: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        self.settings: Final = settings
        self.service: Final = service
        self.pool: Final = pool
        self.clock: Final = clock
        self.new_id: Final = new_id
        self._outbox: Final = out

    # Looking --------------------------------------------------------------------------------------------------------

    async def find(self, wanted: Wanted, rows_max: int | None = None) -> list[Letter]:
        """The letters that fit, the latest first."""
        async with self.pool.acquire() as db:
            await dead_letters.settle_published(db, self.clock())
            rows = await sql.dead_letters(db, **wanted.conditions(), rows_max=rows_max)
        return list(map(_letter, rows))

    async def causes(self, wanted: Wanted) -> list[CauseCount]:
        """How many letters fit, by topic, cause and status."""
        async with self.pool.acquire() as db:
            await dead_letters.settle_published(db, self.clock())
            return [CauseCount(*row.values()) for row in await sql.dead_letter_causes(db, **wanted.conditions())]

    async def contents(self, ids: Sequence[UUID]) -> dict[UUID, Content]:
        """The bytes of letters."""
        async with self.pool.acquire() as db:
            return await _contents(db, ids)

    async def story(self, letter: Letter) -> tuple[list[Letter], list[Act]]:
        """All letters of the same record, in order, and all that was done to them."""
        async with self.pool.acquire() as db:
            chain = list(map(_letter, await sql.dead_letter_chain(db, id=letter.id)))
            return chain, await acts.about(db, [*(each.id for each in chain), letter.place])

    async def standings(self, ids: Sequence[UUID]) -> dict[UUID, Standing]:
        """What has become of letters since they were replayed."""
        async with self.pool.acquire() as db:
            await dead_letters.settle_published(db, self.clock())
            return {row["id"]: self._standing(row) for row in await sql.replay_outcomes(db, ids=list(ids))}

    def _standing(self, row: Any) -> Standing:
        if row["next_id"] is not None:
            return Standing(
                "failed again", f"{row['next_cause']}: {row['next_reason']}; it is dead letter {row['next_id']} now"
            )
        if row["status"] == "RESOLVED":
            return Standing("resolved", "")
        if row["status"] != "REPLAYED":
            return Standing("failed again", f"it is {row['status']} now")
        if row["attempts"] is None:
            return Standing(None, "it is not published yet")
        if row["attempts"] > row["attempts_before"]:
            tries = f"{row['attempts'] - row['attempts_before']} of {self.settings.park_attempts_max}"
            why = f"{row['parked_cause']}: {row['parked_reason']}"
            return Standing(
                "failed again", f"{why}; try {tries}, the next at {row['due_at']:%H:%M:%S}" if row["due_at"] else why
            )
        if row["due_at"] is None:
            return Standing(
                None, "it waits behind an earlier record of its order; see `ordersaga parked list`", behind=True
            )
        return Standing(None, f"nobody has tried it yet; does `ordersaga serve {self.service}` run?")

    async def refusal(self, letter: Letter) -> str | None:
        """Why an act upon a letter would be refused; None: it is open."""
        async with self.pool.acquire() as db:
            return None if letter.status == "OPEN" else await _refusal(db, letter)

    # Acting ---------------------------------------------------------------------------------------------------------

    async def replay(self, letter_id: UUID, operator: Operator, type_id: str | None = None) -> None:
        """Have a letter's record handled again: parked and due now, or, if it goes out, published anew under an id of its own.

        `type_id` is the `__TypeId__` to send in place of any; without it the setting `type_ids` fills in a lost one.
        """
        rows: list[OutboxRow] = []
        async with self.pool.acquire() as db, db.transaction():
            now = self.clock()
            letter = await self._lock_open(db, letter_id)
            if letter.goes_out:
                rows = [await self._emission(db, letter, type_id)]
                await outbox_rows.write(db, rows, outbox_rows.adopt_at(now, self.settings))
                after = {"published": letter.topic, "message-id": str(rows[0].message_id)}
            else:
                await self._put_back(db, letter, now)
                after = {"parked": letter.place}
            message_id = rows[0].message_id if rows else None
            await sql.mark_dead_letter(db, id=letter.id, status="REPLAYED", replayed_as=message_id, now=now)
            after["status"] = "REPLAYED"
            await acts.note(db, operator, "replay", letter.id, {"status": letter.status}, after, now)
        await self._outbox.publish(rows, now)

    async def edit(self, letter_id: UUID, value: bytes, operator: Operator) -> Letter:
        """Make a copy with another value, which `follows` the letter and can be replayed in its place; the letter stays as it was.

        The value must be a message of the letter's topic.
        """
        async with self.pool.acquire() as db, db.transaction():
            now, copy_id = self.clock(), self.new_id()
            letter = await self._lock_open(db, letter_id)
            check_value(letter.topic, value)
            content = (await _contents(db, [letter.id]))[letter.id]
            if value == content.value:
                raise NotPossible("the edit changes nothing")
            key = order_key(letter.topic, content.key, value)
            await sql.copy_dead_letter(db, id=letter.id, copy_id=copy_id, order_key=key, value=value, now=now)
            await sql.mark_dead_letter(db, id=letter.id, status="SUPERSEDED", replayed_as=None, now=now)
            before = {"status": letter.status, "value": readable(content.value)}
            after = {"status": "SUPERSEDED", "letter": str(copy_id), "value": readable(value)}
            await acts.note(db, operator, "edit", letter.id, before, after, now)
            return _letter(await sql.lock_dead_letter(db, id=copy_id))

    async def discard(self, letter_id: UUID, operator: Operator) -> None:
        """Nobody is to replay it. Its row and its bytes stay."""
        async with self.pool.acquire() as db, db.transaction():
            now = self.clock()
            letter = await self._lock_open(db, letter_id)
            await sql.mark_dead_letter(db, id=letter.id, status="DISCARDED", replayed_as=None, now=now)
            await acts.note(db, operator, "discard", letter.id, {"status": letter.status}, {"status": "DISCARDED"}, now)

    async def _lock_open(self, db: Connection, letter_id: UUID) -> Letter:
        row = await sql.lock_dead_letter(db, id=letter_id)
        if row is None:
            raise NotPossible(f"{self.service} has no dead letter {letter_id}")
        letter = _letter(row)
        if letter.status != "OPEN":
            raise NotPossible(await _refusal(db, letter))
        return letter

    async def _put_back(self, db: Connection, letter: Letter, now: datetime) -> None:
        # The lock holds the partition's owner up: were its turn to take the head of this queue out meanwhile, neither would see the
        # other's row, and the record put back would wait for ever behind nothing.
        if await ledger.lock_position(db, letter.topic, letter.partition) is None:
            raise NotPossible(
                f"{self.service} does not read {letter.topic}/{letter.partition}, so nobody would retry the record"
            )
        key = letter.order_key or letter.id  # what names no order queues behind nobody
        if await sql.put_back(db, id=letter.id, order_key=key, now=now) != "INSERT 0 1":
            raise NotPossible(f"{letter.place} is parked already; see `ordersaga parked list`")
        await sql.line_up(db, topic=letter.topic, partition=letter.partition, order_key=key, now=now)

    async def _emission(self, db: Connection, letter: Letter, type_id: str | None) -> OutboxRow:
        """The outbox row of a letter that goes out: the record's own key, value and headers, and a new `message-id`."""
        content = (await _contents(db, [letter.id]))[letter.id]
        headers = restored(self.settings, letter, content, type_id)
        parent, its_id = content.header(TRACEPARENT), content.header(MESSAGE_ID)
        ids = MessageIds("", {}, self.new_id, readable(parent))
        message_id, _, traceparent = ids.of(None)
        return OutboxRow(
            await outbox_rows.first_id(db),
            None,
            letter.topic,
            # By its key a record goes where Java's producers put it; without one, to where it was.
            None if content.key is not None else letter.partition,
            content.key,
            content.value,
            message_id,
            readable(its_id) or letter.place,
            traceparent,
            tuple(header for header in headers if header[0] not in (MESSAGE_ID, CAUSATION_ID, TRACEPARENT)),
        )


def restored(settings: Settings, letter: Letter, content: Content, type_id: str | None) -> Headers:
    """The headers that a letter goes out with: its record's own, and the `__TypeId__` that it lost or is told to have."""
    headers = spring_headers.with_type_id(content.headers, type_id, instead=True)
    return spring_headers.with_type_id(headers, settings.type_ids.get(letter.topic), instead=False)


def has_type_id(headers: Headers) -> bool:
    """Whether a Java consumer that believes type headers will find one."""
    return any(name == TYPE_ID for name, _ in headers)


def record_of(letter: Letter, content: Content) -> Record:
    """The record as the handler gets it."""
    place = (letter.topic, letter.partition or 0, letter.offset or 0)
    return Record(*place, content.key, content.value, content.headers or None, content.timestamp_ms or 0)


def check_value(topic: str, value: bytes) -> None:
    """Raise `NotPossible` unless this is a message of its topic; of a topic that is not ours, JSON is all that can be asked for."""
    try:
        if topic in BY_NAME:
            decode(topic, value)
        else:
            msgspec.json.decode(value)
    except (Undecodable, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotPossible(f"the value does not fit {topic}: {error}") from error


async def _refusal(db: Connection, letter: Letter) -> str:
    done = [act for act in await acts.about(db, [letter.id, letter.place]) if "status" in act.after]
    by = f", by {done[-1].who} at {done[-1].at:%Y-%m-%d %H:%M:%S} ({done[-1].why})" if done else ""
    hint = {
        "REPLAYED": "; `ordersaga parked list` shows how it stands" if not letter.goes_out else "",
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
