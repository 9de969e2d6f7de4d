"""Works on bulk jobs, one at a time in a process.

One process works on a job, by a lease that it renews. When the process dies, another one goes on after `LEASE`: a letter that was begun and is
still OPEN is acted on again, and the result of a letter that was replayed is waited for. No letter is replayed twice, since only an
OPEN letter can be replayed. A job whose work fails is postponed, each time for longer, and the jobs after it go on.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID

import structlog

from ordersaga.messaging.acts import NotPossible
from ordersaga.messaging.bulk_replay import BulkReplay, Replay
from ordersaga.messaging.database import DATABASE_ERRORS, Connection
from ordersaga.messaging.letters import Letter
from ordersaga.messaging.loops import Beat
from ordersaga.messaging.queries import queries
from ordersaga.messaging.sqlstate import is_transient
from ordersaga.messaging.texts import storable, stored_sayings
from ordersaga.operations.desk import Desk
from ordersaga.operations.jobs import LEFT, Item, Job, Jobs
from ordersaga.said import say, words_of

log: Final = structlog.get_logger()
sql: Final = queries(__file__)

ITEMS_AT_ONCE: Final = 500
LEASE: Final = timedelta(seconds=10)
RENEW_EVERY_S: Final = 0.5
POLL_EVERY_S: Final = 5.0
"""How often a process looks for a job that another one has left. Of a job that was added or postponed here it knows."""
RETRY_AFTER: Final = timedelta(seconds=5)
AFTER_S: Final = 0.05
"""How long after the time until which it is postponed a job is looked for."""
RETRY_AFTER_MAX: Final = timedelta(minutes=5)
TRIES_MAX: Final = 8
FAILED: Final = "failed again"
DETAIL_CHARS_MAX: Final = 2_000


class Worker:
    """Works on the jobs of one service, one at a time, in this process."""

    def __init__(self, desk: Desk) -> None:
        self._desk: Final = desk
        self._id: Final = desk.new_id()
        self._stops = asyncio.Event()

    async def run(self, beat: Beat) -> None:
        """Take jobs for as long as the process lives."""
        while True:
            self._desk.jobs_changed.clear()
            claimed = await self._claim()
            if claimed is not None:
                job_id, tries = claimed
                try:
                    async with self._holding(job_id, beat):
                        await self._work(job_id)
                except Exception as error:
                    await self._failed(job_id, tries, error)
            beat()
            if claimed is None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_EVERY_S):
                        await self._desk.jobs_changed.wait()

    async def _claim(self) -> tuple[UUID, int] | None:
        """A job, and how often its work has failed."""
        now = self._desk.clock()
        async with self._desk.pool.acquire() as db:
            row = await sql.claim_job(db, worker=self._id, now=now, until=now + LEASE)
        return row and (row["id"], row["tries"])

    async def _failed(self, job_id: UUID, tries: int, error: Exception) -> None:
        """Postpone a job whose work has failed, so that later jobs are not held up; give it up after `TRIES_MAX` such failures."""
        problem = f"{type(error).__name__}: {error}"
        passing = is_transient(error)
        if not passing and tries + 1 >= TRIES_MAX:
            log.error("a job is given up: its work keeps failing", job=str(job_id), exc_info=error)
            await self._give_up(job_id, problem)
            return
        log.warning("a job is postponed: its work has failed", job=str(job_id), error=problem)
        wait = min(RETRY_AFTER * 2**tries, RETRY_AFTER_MAX)
        async with self._desk.pool.acquire() as db:
            await sql.postpone_job(
                db,
                id=job_id,
                worker=self._id,
                until=self._desk.clock() + wait,
                tries=0 if passing else 1,
                problem=storable(problem, DETAIL_CHARS_MAX),
            )
        asyncio.get_running_loop().call_later(wait.total_seconds() + AFTER_S, self._desk.jobs_changed.set)

    async def _give_up(self, job_id: UUID, problem: str) -> None:
        """End a job. The letter that it was at is refused, and those after it are left alone."""
        jobs = Jobs(self._desk)
        job = await jobs.show(job_id)
        for item in await self._open_items(jobs, job_id):
            was_at = item.begun_at is not None
            result, detail = ("refused", problem) if was_at else (LEFT[job.plan.what], "the job was given up")
            if job.plan.dry_run and not was_at:
                result = "not rehearsed"
            await self._end_item(job_id, item.letter_id, "waits" if item.status == "REPLAYED" else result, detail)
        await self._end(job_id, problem)

    async def _end(self, job_id: UUID, problem: str | None) -> None:
        async with self._desk.pool.acquire() as db:
            said = problem and storable(problem, DETAIL_CHARS_MAX)
            await sql.end_job(db, id=job_id, worker=self._id, problem=said, now=self._desk.clock())

    @contextlib.asynccontextmanager
    async def _holding(self, job_id: UUID, beat: Beat) -> AsyncIterator[None]:
        """Renew the lease meanwhile; a lost lease cancels the work. A job that is left unended is free for any process."""
        self._stops = asyncio.Event()
        working = asyncio.current_task()
        renewing = asyncio.create_task(self._renew(job_id, beat))
        over = False

        def lost(task: "asyncio.Task[None]") -> None:
            if not (over or task.cancelled() or working is None):
                working.cancel()

        renewing.add_done_callback(lost)
        try:
            yield
        except asyncio.CancelledError:
            if not renewing.done() or working is None or working.uncancel():
                raise
            log.warning("the lease of a job is lost; another process goes on with the job", job=str(job_id))
        finally:
            over = True  # a cancellation that came now would end the worker
            renewing.cancel()
            with contextlib.suppress(*DATABASE_ERRORS):
                async with self._desk.pool.acquire() as db:
                    await sql.release_job(db, id=job_id, worker=self._id)

    async def _renew(self, job_id: UUID, beat: Beat) -> None:
        """Renew the lease until it is lost: another process has the job, or the database has not answered for so long."""
        until = self._desk.clock() + LEASE
        while self._desk.clock() < until:
            with contextlib.suppress(*DATABASE_ERRORS):
                renewed = self._desk.clock() + LEASE
                async with self._desk.pool.acquire() as db:
                    row = await sql.renew_lease(db, id=job_id, worker=self._id, until=renewed)
                if row is None:
                    return
                until = renewed
                if row["stop_who"] is not None:
                    self._stops.set()
            beat()
            await asyncio.sleep(RENEW_EVERY_S)

    async def _work(self, job_id: UUID) -> None:
        jobs = Jobs(self._desk)
        job = await jobs.show(job_id)
        items = await self._open_items(jobs, job_id)
        letters = await self._desk.redrive.by_ids([item.letter_id for item in items])
        if job.stopped_by:
            self._stops.set()
        for item in items:
            if item.letter_id not in letters:
                await self._end_item(
                    job_id, item.letter_id, "refused", say("result.pruned", "the letter is not kept any more")
                )
        try:
            if job.plan.dry_run:
                await self._rehearse(job, list(letters.values()))
            elif job.plan.what == "replay":
                await self._replay(job, items, letters)
            else:
                await self._discard(job, list(letters.values()))
        except NotPossible as error:
            for letter_id in letters:
                await self._end_item(job_id, letter_id, "refused", words_of(error))
        await self._end(job_id, None)
        log.info("a job has ended", job=str(job_id), who=job.operator.who, counts=(await jobs.show(job_id)).counts)

    @staticmethod
    async def _open_items(jobs: Jobs, job_id: UUID) -> list[Item]:
        found: list[Item] = []
        after = 0
        while page := await jobs.items(job_id, after, ITEMS_AT_ONCE):
            found += [item for item in page if item.result is None]
            after = page[-1].number
        return found

    async def _rehearse(self, job: Job, letters: Sequence[Letter]) -> None:
        """Say for each letter what the job would do. The letters of one order are rehearsed together."""
        groups: dict[UUID, list[Letter]] = {}
        for letter in letters:
            groups.setdefault(letter.order_key or letter.id, []).append(letter)
        for group in groups.values():
            if self._stops.is_set():
                for each in group:
                    await self._end_item(job.id, each.id, "not rehearsed", "")
                continue
            if job.plan.what == "discard":
                discarded: str = say("dry.discard", "is discarded")
                told = [(each, discarded) for each in group]
            else:
                await self._begin_item(job.id, group[0])
                found = await self._desk.rehearse(group, job.plan.type_id)
                told = [(each.letter, each.words) for each in found]
            for letter, words in told:
                await self._end_item(job.id, letter.id, "would", words)

    async def _replay(self, job: Job, items: Sequence[Item], letters: dict[UUID, Letter]) -> None:
        redrive = self._desk.redrive
        begun = {item.letter_id for item in items if item.begun_at is not None}
        replayed = [each for each in letters.values() if each.id in begun and each.status != "OPEN"]
        todo = [each for each in letters.values() if each not in replayed]

        async def tell(replay: Replay) -> None:
            await self._end_item(job.id, replay.letter.id, replay.result, replay.detail)

        async def begin(letter: Letter) -> None:
            await self._begin_item(job.id, letter)

        bulk = BulkReplay(
            job.operator, job.plan.pace, job.plan.type_id, tell, begin, failures=job.counts.get(FAILED, 0)
        )
        stopping = asyncio.create_task(self._when_stopped(bulk))
        try:
            await bulk.run([(redrive, each) for each in todo], [(redrive, each) for each in replayed])
        finally:
            stopping.cancel()

    async def _when_stopped(self, bulk: BulkReplay) -> None:
        await self._stops.wait()
        bulk.stop()

    async def _discard(self, job: Job, letters: Sequence[Letter]) -> None:
        for letter in letters:
            if self._stops.is_set():
                await self._end_item(
                    job.id, letter.id, "not discarded", say("result.stays_open", "the letter stays open")
                )
                continue
            await self._begin_item(job.id, letter)
            try:
                # The result is written in the discard's own transaction: a process that goes on with the job finds both or neither.
                ended = partial(self._write_result, job.id, letter.id, "discarded", "")
                await self._desk.redrive.discard(letter.id, job.operator, ended)
            except NotPossible as error:
                await self._end_item(job.id, letter.id, "refused", words_of(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stops.wait(), 1 / job.plan.pace.letters_per_s)

    async def _begin_item(self, job_id: UUID, letter: Letter) -> None:
        async with self._desk.pool.acquire() as db:
            await sql.begin_item(db, job_id=job_id, letter_id=letter.id, now=self._desk.clock())

    async def _end_item(self, job_id: UUID, letter_id: UUID, result: str, detail: str) -> None:
        async with self._desk.pool.acquire() as db:
            await self._write_result(job_id, letter_id, result, detail, db)

    async def _write_result(self, job_id: UUID, letter_id: UUID, result: str, detail: str, db: Connection) -> None:
        await sql.end_item(
            db,
            job_id=job_id,
            letter_id=letter_id,
            result=result,
            detail=storable(detail, DETAIL_CHARS_MAX),
            said=stored_sayings(detail),
            now=self._desk.clock(),
        )
