"""The transactional outbox: records are written with the change that causes them, published after the commit, then deleted.

Promise: each is published at least once, with the same `message-id` every time, in the order of the rows. What a crash leaves is
published by the partition's next owner (rows of a turn) or by any instance (rows of HTTP, timers and retries).
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from ordersaga.messaging import dead_letters
from ordersaga.messaging.database import DATABASE_ERRORS, Pool
from ordersaga.messaging.handler import MESSAGE_ID
from ordersaga.messaging.kafka import KafkaUnavailable, Partition, Publication, Publisher, Refusal
from ordersaga.messaging.outbox_rows import OutboxRow, publication_of
from ordersaga.messaging.queries import queries
from ordersaga.messaging.sizes import SetSize
from ordersaga.settings import Settings

log: Final = structlog.get_logger()
sql: Final = queries(__file__)

READ_ROWS_MAX: Final = 5_000
SOON_ROWS_MAX: Final = 20_000
ASIDE_ROWS_MAX: Final = 20_000
ROOM_S: Final = 2.0
SAY_REFUSED_EVERY_S: Final = 30.0
DELETE_AFTER_S: Final = 0.05
CLOSE_S_MAX: Final = 2.0


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
            room = await self._begin_with_room([publication_of(row) for row in rows], (), now, self._slots)
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
            await self._begin_with_room([publication_of(row) for row in rows], ids, now, self._adoption)
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
