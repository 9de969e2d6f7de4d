"""The transactional outbox: records are written with the change that causes them, published after the commit, then deleted.

Promise: each is published at least once, with the same `message-id` every time, in the order of the rows. What a crash leaves is
published by the partition's next owner (rows of a turn) or by any instance (rows of HTTP, timers and retries).
"""

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from msgspec import Struct

from ordersaga.contracts import codec
from ordersaga.contracts.topics import BY_MESSAGE, key_of
from ordersaga.messaging import dead_letters
from ordersaga.messaging.database import DATABASE_ERRORS, Connection, Pool, queries, storable
from ordersaga.messaging.dead_letters import DeadLetter
from ordersaga.messaging.handler import (
    CAUSATION_CHARS_MAX,
    CAUSATION_ID,
    MESSAGE_ID,
    TRACEPARENT,
    Incoming,
    Outgoing,
    Record,
)
from ordersaga.messaging.ids import uuid_of
from ordersaga.messaging.kafka import KafkaUnavailable, Partition, Publication, Publisher, Refusal
from ordersaga.messaging.sizes import SetSize
from ordersaga.settings import Settings

log: Final = structlog.get_logger()
sql: Final = queries(__file__)

TYPE_ID: Final = "__TypeId__"

READ_ROWS_MAX: Final = 5_000
SOON_ROWS_MAX: Final = 20_000
ASIDE_ROWS_MAX: Final = 20_000
ROOM_S: Final = 2.0
SAY_REFUSED_EVERY_S: Final = 30.0
DELETE_AFTER_S: Final = 0.05
CLOSE_S_MAX: Final = 2.0
COLUMNS: Final = (
    "id",
    "source_topic",
    "source_partition",
    "adopt_at",
    "topic",
    "partition",
    "key",
    "value",
    "message_id",
    "causation_id",
    "traceparent",
    "header_names",
    "header_values",
)


class OutboxRow(Struct, frozen=True, gc=False):
    """One row, as written; `source` is the input partition whose turn wrote it."""

    id: int
    source: Partition | None
    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    message_id: UUID
    causation_id: str | None
    traceparent: str
    headers: tuple[tuple[str, bytes | None], ...] = ()

    def publication(self) -> Publication:
        """What goes to Kafka."""
        return _publication(
            self.id,
            self.topic,
            self.partition,
            self.key,
            self.value,
            self.message_id,
            self.causation_id,
            self.traceparent,
            self.headers,
        )


def output_id(group: str, topic_id: str, partition: int, offset: int, n: int) -> UUID:
    """The `message-id` of the n-th output of a record: the same however often the record is handled (UUIDv5, RFC 9562)."""
    digest = bytearray(
        hashlib.sha1(f"{group}/{topic_id}/{partition}/{offset}/{n}".encode(), usedforsecurity=False).digest()[:16]
    )
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return uuid_of(bytes(digest))


def compose(outgoing: Sequence[Outgoing], block: int, ids: "MessageIds", type_ids: dict[str, str]) -> list[OutboxRow]:
    """The rows for what a handler returned, numbered from `block` in its order."""
    rows = []
    for number, each in enumerate(outgoing):
        topic = BY_MESSAGE[type(each.message)].name
        message_id, causation_id, traceparent = ids.of(each.cause)
        type_id = type_ids.get(topic)
        rows.append(
            OutboxRow(
                block + number,
                Partition(each.cause.record.topic, each.cause.record.partition) if each.cause else None,
                topic,
                None,
                codec.text_of(key_of(each.message)),
                codec.encode(each.message),
                each.message_id or message_id,
                causation_id,
                traceparent,
                ((TYPE_ID, type_id.encode()),) if type_id else (),
            )
        )
    return rows


def letter_row(letter: DeadLetter, id: int, group: str) -> OutboxRow:
    """The row for a dead letter: the same partition, key and bytes as the record that could not be handled."""
    record = letter.record
    source = Partition(record.topic, record.partition)
    to, headers = letter.topic, letter.headers(group)
    return OutboxRow(
        id,
        source,
        to,
        record.partition,
        record.key,
        record.value,
        letter.id,
        letter.causation_id,
        letter.traceparent,
        headers,
    )


class MessageIds:
    """Gives the outputs of one transaction their ids and their place in the trace."""

    def __init__(self, group: str, topic_ids: dict[str, str], new_id: Any, traceparent: str | None = None) -> None:
        self._group = group
        self._topic_ids = topic_ids
        self._new_id = new_id
        self._traceparent = traceparent
        self._given: dict[tuple[str, int, int], int] = {}

    def of(self, cause: Incoming | None) -> tuple[UUID, str | None, str]:
        """`message-id`, `causation-id` and `traceparent` for the next output of this cause."""
        if cause is None:
            message_id: UUID = self._new_id()
            return message_id, None, _child_span(self._traceparent, message_id, message_id)
        return self.of_record(cause.record)

    def of_record(self, record: Record, n: int | None = None) -> tuple[UUID, str, str]:
        """The same for an output that a raw record causes; `n` where it is not simply the next one."""
        place = (record.topic, record.partition, record.offset)
        if n is None:
            n = self._given.get(place, 0)
            self._given[place] = n + 1
        topic_id = self._topic_ids[record.topic]
        message_id = output_id(self._group, topic_id, record.partition, record.offset, n)
        return message_id, *descent(record, message_id)


def descent(record: Record, message_id: UUID) -> tuple[str, str]:
    """The `causation-id` and `traceparent` of an output that a raw record causes."""
    causation_id = _text(record.header(MESSAGE_ID)) or f"{record.topic}/{record.partition}/{record.offset}"
    return causation_id, _child_span(_text(record.header(TRACEPARENT)), message_id, message_id)


def _text(header: bytes | None) -> str | None:
    """A partner's header as a text column takes it: whatever is in it, it must not stop the partition."""
    if not header:
        return None
    if len(header) <= CAUSATION_CHARS_MAX and header.isascii() and b"\0" not in header:
        return header.decode()
    return storable(header.decode(errors="replace"), CAUSATION_CHARS_MAX)


def _child_span(parent: str | None, trace: UUID, span: UUID) -> str:
    """A W3C `traceparent`: the parent's trace, or a new one, and a span id taken from the message's own id."""
    if parent and len(parent) == 55 and parent.count("-") == 3:
        return f"{parent[:36]}{span.hex[16:]}-{parent[53:]}"
    return f"00-{trace.hex}-{span.hex[16:]}-01"


def _publication(
    id: int,
    topic: str,
    partition: int | None,
    key: bytes | None,
    value: bytes | None,
    message_id: UUID,
    causation_id: str | None,
    traceparent: str,
    extra: Sequence[tuple[str, bytes | None]],
) -> Publication:
    headers: list[tuple[str, bytes | None]] = [
        (MESSAGE_ID, str(message_id).encode()),
        (TRACEPARENT, traceparent.encode()),
    ]
    if causation_id is not None:
        headers.append((CAUSATION_ID, causation_id.encode()))
    if extra:
        ours = (MESSAGE_ID, TRACEPARENT, CAUSATION_ID)
        # A name that is no UTF-8 would end the process: confluent-kafka 2.16 follows a null pointer.
        headers += [
            (name.encode(errors="backslashreplace").decode(), value) for name, value in extra if name not in ours
        ]
    return Publication(id, topic, partition, key, value, headers)


async def first_id(db: Connection) -> int:
    """Where a transaction that is no turn begins to number its rows."""
    first: int = await sql.outbox_block(db)
    return first


async def write(db: Connection, rows: Sequence[OutboxRow], adopt_at: datetime) -> None:
    """Write rows in the caller's transaction. COPY: one statement and no per-row planning, however many rows."""
    if not rows:
        return
    await db.copy_records_to_table(
        "outbox",
        columns=COLUMNS,
        records=[
            (
                row.id,
                row.source and row.source.topic,
                row.source and row.source.partition,
                adopt_at,
                row.topic,
                row.partition,
                row.key,
                row.value,
                row.message_id,
                row.causation_id,
                row.traceparent,
                [name for name, _ in row.headers] if row.headers else None,
                [value for _, value in row.headers] if row.headers else None,
            )
            for row in rows
        ],
    )


class Outbox:
    """Publishes what was committed and deletes what was acknowledged.

    At most `turns_publishing_max` turns' records are under way at once, so a broker that is away holds turns up instead of filling
    memory. Records that Kafka does not take for `ROOM_S` while it answers, since their topic or partition is in trouble, give their turn's
    room back: they wait aside, `ASIDE_ROWS_MAX` at most. `failed` is set when publishing must begin again at the oldest row.
    """

    def __init__(
        self, settings: Settings, pool: Pool, new_publisher: Callable[[Settings], Publisher] = Publisher
    ) -> None:
        self._settings: Final = settings
        self._pool: Final = pool
        self._new_publisher: Final = new_publisher
        self._publisher = new_publisher(settings)
        self._slots: Final = asyncio.Semaphore(settings.turns_publishing_max)
        self._adoption: Final = asyncio.Semaphore(1)
        self._tasks: Final[dict[asyncio.Task[None], None]] = {}  # a set has no order
        self._publishing: Final[dict[asyncio.Task[None], float]] = {}
        """Since when each set of records is under way, the oldest first."""
        self._in_flight: Final[set[int]] = set()
        """The rows without a source that are under way here, which `adopt` must leave alone."""
        self._left_size: Final = SetSize(READ_ROWS_MAX)
        self._adopted_size: Final = SetSize(READ_ROWS_MAX)
        self._soon = 0
        self._aside = 0
        self._refused: Final[Counter[tuple[str, str]]] = Counter()
        self._said_refused_at: Final[dict[tuple[str, str], float]] = {}
        self._acknowledged: list[int] = []
        self._deleter: asyncio.Task[None] | None = None
        self.failed = False

    async def publish(self, rows: Sequence[OutboxRow], now: datetime) -> None:
        """Queue committed rows, in order; returns when there is room for the next call, not when they are acknowledged.

        Nothing is queued while the outbox is `broken`.
        """
        if rows:
            await self._begin_with_room([row.publication() for row in rows], _without_source(rows), now, self._slots)

    def publish_soon(self, rows: Sequence[OutboxRow], now: datetime) -> None:
        """Queue committed rows of an HTTP write, in room of their own: requests are answered while Kafka is away, and turns do not wait
        behind them.

        Beyond `SOON_ROWS_MAX` rows that wait for the broker, rows are left to `adopt`.
        """
        if not rows or self._soon + len(rows) > SOON_ROWS_MAX:
            return
        task = self._begin([row.publication() for row in rows], _without_source(rows), now)
        if task is not None:
            self._soon += len(rows)
            task.add_done_callback(lambda _: self._soon_done(len(rows)))

    def _soon_done(self, rows: int) -> None:
        self._soon -= rows

    async def _begin_with_room(
        self, publications: list[Publication], adoptable: Sequence[int], now: datetime, slots: asyncio.Semaphore
    ) -> "asyncio.Future[None] | None":
        """Begin when there is room; what is returned ends when the room is given back."""
        await slots.acquire()
        task = self._begin(publications, adoptable, now)
        if task is None:
            slots.release()
            return None
        room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        room.add_done_callback(lambda _: slots.release())
        late = asyncio.get_running_loop().call_later(ROOM_S, self._look_aside, task, room, len(publications))

        def ended(_: object) -> None:
            late.cancel()
            if not room.done():
                room.set_result(None)

        task.add_done_callback(ended)
        return room

    def _look_aside(self, task: asyncio.Task[None], room: "asyncio.Future[None]", rows: int) -> None:
        self._run(self._put_aside(task, room, rows))

    async def _put_aside(self, task: asyncio.Task[None], room: "asyncio.Future[None]", rows: int) -> None:
        """Give room back that records hold which Kafka does not take, though it answers. While it does not, nothing else could go out."""
        publisher = self._publisher
        while not task.done() and not self.broken:
            if self._aside + rows <= ASIDE_ROWS_MAX and await publisher.answers() and not room.done():
                self._aside += rows
                task.add_done_callback(lambda _: self._back_from_aside(rows))
                room.set_result(None)
                return
            await asyncio.wait([task], timeout=ROOM_S)

    def _back_from_aside(self, rows: int) -> None:
        self._aside -= rows

    def _begin(
        self, publications: list[Publication], adoptable: Sequence[int], now: datetime
    ) -> asyncio.Task[None] | None:
        """None: an older row has failed, and these must not overtake it; they stay for whoever begins again there."""
        if self.broken:
            return None
        self._in_flight.update(adoptable)
        task = self._run(self._finish(publications, self._publisher.publish(publications), now))
        self._publishing[task] = asyncio.get_running_loop().time()
        task.add_done_callback(self._publishing.pop)
        return task

    async def _finish(
        self, publications: list[Publication], acknowledged: "asyncio.Future[list[Refusal]]", now: datetime
    ) -> None:
        ids = [each.id for each in publications]
        try:
            refused = await acknowledged
            if refused:
                await self._keep_refused(publications, refused, now)
        except (KafkaUnavailable, *DATABASE_ERRORS) as error:
            if not self.failed:
                log.warning("publishing failed and begins again at the oldest row", error=str(error))
            self.failed = True
            self._in_flight.difference_update(ids)
        else:
            self._acknowledged += ids
            if self._deleter is None:
                self._deleter = self._run(self._delete_acknowledged())

    async def _keep_refused(
        self, publications: Sequence[Publication], refused: Sequence[Refusal], now: datetime
    ) -> None:
        reasons = {refusal.id: refusal.reason for refusal in refused}
        letters = [(each, reasons[each.id]) for each in publications if each.id in reasons]
        async with self._pool.acquire() as db, db.transaction():
            await dead_letters.keep_refused(db, letters, now)
            await sql.delete_outbox(db, ids=list(reasons))
        for each, reason in letters:
            self._say_refused(each, reason)

    def _say_refused(self, each: Publication, reason: str) -> None:
        """One line for a topic and reason now and then, with how many there were: a topic that is missing refuses thousands."""
        what, now_s = (each.topic, reason), asyncio.get_running_loop().time()
        self._refused[what] += 1
        if now_s - self._said_refused_at.get(what, -SAY_REFUSED_EVERY_S) >= SAY_REFUSED_EVERY_S:
            self._said_refused_at[what] = now_s
            log.error(
                "Kafka refuses a record for good; it is a dead letter now",
                topic=each.topic,
                partition=each.partition,
                message_id=dict(each.headers)[MESSAGE_ID],
                reason=reason,
                records=self._refused.pop(what),
            )

    async def _delete_acknowledged(self) -> None:
        """Delete what is acknowledged, as much as comes within `DELETE_AFTER_S` in one statement; nobody waits for it."""
        try:
            while self._acknowledged:
                await asyncio.sleep(DELETE_AFTER_S)
                ids, self._acknowledged = self._acknowledged, []
                async with self._pool.acquire() as db:
                    await sql.delete_outbox(db, ids=ids)
                self._in_flight.difference_update(ids)
        except DATABASE_ERRORS as error:
            log.warning("published rows stay in the outbox and are published again", error=str(error))
            self.failed = True
        finally:
            self._deleter = None

    def _run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)
        return task

    async def publish_left(self, partitions: Collection[Partition], now: datetime) -> None:
        """Publish what turns of these partitions left behind, and wait for it: it goes out before their new owner's own output."""
        topics, numbers = [each.topic for each in partitions], [each.partition for each in partitions]
        after_id = 0
        while True:
            rows_max = self._left_size.now
            with self._left_size.trying(rows_max):
                async with self._pool.acquire() as db:
                    rows = await sql.outbox_of_partitions(
                        db, topics=topics, partitions=numbers, after_id=after_id, rows_max=rows_max
                    )
            if not rows:
                return
            room = await self._begin_with_room([_stored(row) for row in rows], (), now, self._slots)
            if room is not None:  # which also ends when `restart` gives the rows up, or when they are put aside
                await asyncio.wait([room])
            if self.broken:
                raise KafkaUnavailable("what these partitions had left in the outbox could not be published")
            after_id = rows[-1]["id"]

    async def adopt(self, now: datetime) -> int:
        """Publish rows of HTTP, timers and retries whose writer has not done it in time, whoever wrote them; returns how many.

        None while those of the last call are under way: this waits for nobody, and has room of its own.
        """
        if self.broken or self._adoption.locked():
            return 0
        again = now + timedelta(milliseconds=max(30_000, self._settings.outbox_adopt_after_ms))
        rows_max = self._adopted_size.now
        with self._adopted_size.trying(rows_max):
            async with self._pool.acquire() as db, db.transaction():
                rows = await sql.adopt_outbox(
                    db, now=now, in_flight=list(self._in_flight), rows_max=rows_max, leased_until=again
                )
        if rows:
            rows.sort(key=lambda row: row["id"])
            ids = [row["id"] for row in rows]
            await self._begin_with_room([_stored(row) for row in rows], ids, now, self._adoption)
        return len(rows)

    async def restart(self) -> None:
        """Begin with a new producer after a failure; the rows are read again by whoever owns them."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._publisher.close(flush_s=0)
        self._in_flight.clear()
        self._acknowledged.clear()
        self._deleter = None
        self._publisher = self._new_publisher(self._settings)
        self.failed = False

    @property
    def under_way_s(self) -> float:
        """For how long the oldest records that are being published have been under way."""
        oldest = next(iter(self._publishing.values()), None)
        return 0.0 if oldest is None else asyncio.get_running_loop().time() - oldest

    @property
    def broken(self) -> bool:
        """Whether publishing must begin again with `restart`."""
        return self.failed or self._publisher.failed.is_set()

    async def close(self) -> None:
        """Publish what is queued, forget it, and stop."""
        await self._publisher.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S_MAX):
                while self._tasks:
                    await asyncio.wait(self._tasks)


def _without_source(rows: Sequence[OutboxRow]) -> list[int]:
    return [row.id for row in rows if row.source is None]


def _stored(row: Any) -> Publication:
    extra = tuple(zip(row["header_names"] or (), row["header_values"] or (), strict=True))
    return _publication(
        row["id"],
        row["topic"],
        row["partition"],
        row["key"],
        row["value"],
        row["message_id"],
        row["causation_id"],
        row["traceparent"],
        extra,
    )


def adopt_at(now: datetime, settings: Settings) -> datetime:
    """When anybody may publish a row that its writer has not published."""
    return now + timedelta(milliseconds=settings.outbox_adopt_after_ms)
