"""The transactional outbox: rows are committed with the change that causes them, published after the commit, deleted once acknowledged.

Promise: each row is published at least once, with the same `message-id` every time, in the order of the rows. After a crash the
partition's next owner publishes the rows of its turns, and any instance publishes rows without a source: those of HTTP, of timers and of
dead letters that are published again.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from ordersaga.contracts.headers import MESSAGE_ID
from ordersaga.messaging import dead_letters, log_fields, measures
from ordersaga.messaging.database import DATABASE_ERRORS, Pool
from ordersaga.messaging.kafka import KafkaUnavailable, Partition, Publication, Publisher, RefusedRecord
from ordersaga.messaging.outbox_rows import OutboxRow, publication_of
from ordersaga.messaging.queries import queries
from ordersaga.messaging.sizes import SetSize
from ordersaga.settings import Settings

log: Final = structlog.get_logger()
sql: Final = queries(__file__)

READ_ROWS_MAX: Final = 5_000
SOON_ROWS_MAX: Final = 20_000
ASIDE_ROWS_MAX: Final = 20_000
SLOT_S_MAX: Final = 2.0
LOG_REFUSED_EVERY_S: Final = 30.0
DELETE_AFTER_S: Final = 0.5
DELETE_ROWS: Final = 500
"""Acknowledged rows are deleted as soon as there are so many, fewer after `DELETE_AFTER_S`. Until then a crash, or a new owner of their partitions,
publishes them again."""
CLOSE_S_MAX: Final = 2.0


class Outbox:
    """Publishes committed rows and deletes acknowledged ones.

    At most `turns_publishing_max` turns have records in flight: while Kafka is away, turns wait instead of filling memory. Records that
    Kafka does not acknowledge within `SLOT_S_MAX` although it answers (their topic or partition is in trouble) give their turn's slot back and
    wait aside, at most `ASIDE_ROWS_MAX` of them.

    `broken`: a publication has failed, here (`failed`) or in the producer, and later rows must not overtake its rows. Nothing is published
    until `restart`, after which publishing begins again at the oldest row.
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
        self._tasks: Final[dict[asyncio.Task[None], None]] = {}  # no set: `restart` cancels the oldest first
        self._publishing: Final[dict[asyncio.Task[None], float]] = {}
        """Since when each set of records is in flight, the oldest first."""
        self._in_flight: Final[set[int]] = set()
        """Ids of the rows without a source that this process is publishing: `adopt` skips them."""
        self._left_size: Final = SetSize(READ_ROWS_MAX)
        self._adopted_size: Final = SetSize(READ_ROWS_MAX)
        self._soon_rows = 0
        self._aside_rows = 0
        self._refused: Final[Counter[tuple[str, str]]] = Counter()
        self._refusals_logged_at: Final[dict[tuple[str, str], float]] = {}
        self._acknowledged: list[int] = []
        self._deleter: asyncio.Task[None] | None = None
        self._delete_now: Final = asyncio.Event()
        self._closing = False
        self.failed = False

    async def publish(self, rows: Sequence[OutboxRow], now: datetime) -> None:
        """Queue the committed rows of a turn; waits for a free slot, not for the acknowledgement.

        Queues nothing while the outbox is `broken`: the rows are read again from the table.
        """
        if rows:
            await self._start_in_slot([row.publication() for row in rows], _without_source(rows), now, self._slots)

    def publish_soon(self, rows: Sequence[OutboxRow], now: datetime) -> None:
        """Queue committed rows that are not of a turn, without a slot: requests are answered while Kafka is away.

        When `SOON_ROWS_MAX` such rows are in flight, further rows stay in the table for `adopt`.
        """
        if not rows or self._soon_rows + len(rows) > SOON_ROWS_MAX:
            return
        task = self._start([row.publication() for row in rows], _without_source(rows), now)
        if task is not None:
            self._soon_rows += len(rows)
            task.add_done_callback(lambda _: self._soon_done(len(rows)))

    def _soon_done(self, rows: int) -> None:
        self._soon_rows -= rows

    async def _start_in_slot(
        self, publications: list[Publication], adoptable: Sequence[int], now: datetime, slots: asyncio.Semaphore
    ) -> "asyncio.Future[None] | None":
        """Publish as soon as a slot is free; the future returned is done when the slot is given back. None: the outbox is `broken`."""
        await slots.acquire()
        task = self._start(publications, adoptable, now)
        if task is None:
            slots.release()
            return None
        slot: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        slot.add_done_callback(lambda _: slots.release())
        late = asyncio.get_running_loop().call_later(SLOT_S_MAX, self._free_slot_later, task, slot, len(publications))

        def ended(_: object) -> None:
            late.cancel()
            if not slot.done():
                slot.set_result(None)

        task.add_done_callback(ended)
        return slot

    def _free_slot_later(self, task: asyncio.Task[None], slot: "asyncio.Future[None]", rows: int) -> None:
        self._run(self._free_slot(task, slot, rows))

    async def _free_slot(self, task: asyncio.Task[None], slot: "asyncio.Future[None]", rows: int) -> None:
        """Free the slot of records that Kafka does not acknowledge although it answers. While Kafka is away the slot stays taken."""
        publisher = self._publisher
        while not task.done() and not self.broken:
            if self._aside_rows + rows <= ASIDE_ROWS_MAX and await publisher.answers() and not slot.done():
                self._aside_rows += rows
                task.add_done_callback(lambda _: self._aside_done(rows))
                slot.set_result(None)
                return
            await asyncio.wait([task], timeout=SLOT_S_MAX)

    def _aside_done(self, rows: int) -> None:
        self._aside_rows -= rows

    def _start(
        self, publications: list[Publication], adoptable: Sequence[int], now: datetime
    ) -> asyncio.Task[None] | None:
        """Publish without a slot. None: an older row has failed and must not be overtaken; these rows are read again after `restart`."""
        if self.broken:
            return None
        self._in_flight.update(adoptable)
        task = self._run(self._finish(publications, self._publisher.publish(publications), now))
        self._publishing[task] = asyncio.get_running_loop().time()
        task.add_done_callback(self._publishing.pop)
        return task

    async def _finish(
        self, publications: list[Publication], acknowledged: "asyncio.Future[list[RefusedRecord]]", now: datetime
    ) -> None:
        ids = [each.id for each in publications]
        try:
            refused = await acknowledged
            if refused:
                await self._give_up_refused(publications, refused, now)
        except (KafkaUnavailable, *DATABASE_ERRORS) as error:
            if not self.failed:
                log.warning("publishing failed; it begins again at the oldest row", error=str(error))
            self.failed = True
            self._in_flight.difference_update(ids)
        else:
            given_up = {each.id for each in refused}
            measures.count_published(each.topic for each in publications if each.id not in given_up)
            self._acknowledged += ids
            if len(self._acknowledged) >= DELETE_ROWS or self._closing:
                self._delete_now.set()
            if self._deleter is None:
                self._deleter = self._run(self._delete_soon())

    async def _give_up_refused(
        self, publications: Sequence[Publication], refused: Sequence[RefusedRecord], now: datetime
    ) -> None:
        reasons = {refusal.id: refusal.reason for refusal in refused}
        letters = [(each, reasons[each.id]) for each in publications if each.id in reasons]
        async with self._pool.acquire() as db, db.transaction():
            await dead_letters.add_refused(db, letters, now)
            await sql.delete_outbox(db, ids=list(reasons))
        for each, reason in letters:
            self._log_refused(each, reason)

    def _log_refused(self, each: Publication, reason: str) -> None:
        """Log one line per topic and reason every `LOG_REFUSED_EVERY_S`, with the count: a missing topic refuses thousands of records."""
        what, now_s = (each.topic, reason), asyncio.get_running_loop().time()
        self._refused[what] += 1
        if now_s - self._refusals_logged_at.get(what, -LOG_REFUSED_EVERY_S) >= LOG_REFUSED_EVERY_S:
            self._refusals_logged_at[what] = now_s
            log.error(
                "Kafka refuses a record for good; the record is a dead letter now",
                topic=each.topic,
                partition=each.partition,
                **log_fields.of_sent(each.topic, each.key, dict(each.headers)),
                message_id=dict(each.headers)[MESSAGE_ID],
                reason=reason,
                records=self._refused.pop(what),
            )

    async def _delete_soon(self) -> None:
        """Delete acknowledged rows in the background: all by one statement after `DELETE_AFTER_S`, or as soon as there are `DELETE_ROWS`."""
        try:
            while self._acknowledged:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._delete_now.wait(), DELETE_AFTER_S)
                self._delete_now.clear()
                await self._delete_acknowledged()
        except DATABASE_ERRORS as error:
            log.warning("published rows could not be deleted and are published again", error=str(error))
            self.failed = True
        finally:
            self._deleter = None

    async def _delete_acknowledged(self) -> None:
        ids, self._acknowledged = self._acknowledged, []
        if not ids:
            return
        try:
            async with self._pool.acquire() as db:
                await sql.delete_outbox(db, ids=ids)
        except DATABASE_ERRORS:
            self._acknowledged += ids
            raise
        self._in_flight.difference_update(ids)

    def _run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)
        return task

    async def publish_left(self, partitions: Collection[Partition], now: datetime) -> None:
        """Publish the rows that earlier turns of these partitions left, and wait: they go out before the new owner's own output."""
        topics, numbers = [each.topic for each in partitions], [each.partition for each in partitions]
        after_id = 0
        await self._delete_acknowledged()
        while True:
            rows_max = self._left_size.now
            with self._left_size.trying(rows_max):
                async with self._pool.acquire() as db:
                    rows = await sql.outbox_of_partitions(
                        db, topics=topics, partitions=numbers, after_id=after_id, rows_max=rows_max
                    )
            if not rows:
                return
            slot = await self._start_in_slot([publication_of(row) for row in rows], (), now, self._slots)
            if slot is not None:  # also done when `restart` cancels the rows, or when they wait aside
                await asyncio.wait([slot])
            if self.broken:
                raise KafkaUnavailable("the outbox rows of these partitions could not be published")
            after_id = rows[-1]["id"]

    async def adopt(self, now: datetime) -> int:
        """Publish rows without a source that their writer has not published in time; returns how many.

        Returns 0 while rows of the last call are in flight. Adoption has one slot of its own.
        """
        if self.broken or self._adoption.locked():
            return 0
        again = now + timedelta(milliseconds=max(30_000, self._settings.outbox_adopt_after_ms))
        rows_max = self._adopted_size.now
        with self._adopted_size.trying(rows_max):
            async with self._pool.acquire() as db:
                rows = await sql.adopt_outbox(
                    db, now=now, in_flight=list(self._in_flight), rows_max=rows_max, leased_until=again
                )
        if rows:
            rows.sort(key=lambda row: row["id"])
            ids = [row["id"] for row in rows]
            await self._start_in_slot([publication_of(row) for row in rows], ids, now, self._adoption)
        return len(rows)

    async def restart(self) -> None:
        """Replace the producer after a failure. The rows are published again from the table, by `publish_left` and `adopt`."""
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
    def in_flight_s(self) -> float:
        """How long the oldest records in flight have waited for their acknowledgement."""
        oldest = next(iter(self._publishing.values()), None)
        return 0.0 if oldest is None else asyncio.get_running_loop().time() - oldest

    @property
    def broken(self) -> bool:
        """Whether publishing has failed and `restart` is due."""
        return self.failed or self._publisher.failed.is_set()

    async def close(self) -> None:
        """Publish queued rows and delete them, within `CLOSE_S_MAX`, then stop."""
        self._closing = True
        await self._publisher.close()
        self._delete_now.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S_MAX):
                while self._tasks:
                    await asyncio.wait(self._tasks)


def _without_source(rows: Sequence[OutboxRow]) -> list[int]:
    return [row.id for row in rows if row.source is None]
