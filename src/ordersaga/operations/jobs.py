"""Bulk jobs: one act on each letter of a frozen selection, at a rate, with the result of each letter.

A job is rows, so every process of the service can show it and stop it. One process works on a job, by a lease that it renews. When the
process dies, another one goes on after `LEASE`: a letter that was begun with and is still OPEN is acted on again, and the result of a letter
that was replayed is waited for. No letter is replayed twice, since only an OPEN letter can be replayed.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
import structlog
from msgspec import Struct

from ordersaga.messaging import acts
from ordersaga.messaging.acts import STALE, NotPossible, Operator
from ordersaga.messaging.bulk_replay import BulkReplay, Pace, Replay
from ordersaga.messaging.database import DATABASE_ERRORS
from ordersaga.messaging.loops import Beat
from ordersaga.messaging.queries import queries
from ordersaga.messaging.redrive import Letter
from ordersaga.messaging.refusal import FieldError
from ordersaga.messaging.texts import storable
from ordersaga.operations.desk import Desk
from ordersaga.operations.selection import Selection, resolve
from ordersaga.settings import Settings

log: Final = structlog.get_logger()
sql: Final = queries(__file__)

LETTERS_MAX: Final = 50_000
ITEMS_AT_ONCE: Final = 500
LEASE: Final = timedelta(seconds=10)
RENEW_EVERY_S: Final = 0.5
POLL_EVERY_S: Final = 1.0
FAILED: Final = "failed again"
DETAIL_CHARS_MAX: Final = 2_000

What = Literal["replay", "discard"]
State = Literal["RUNNING", "STOPPING", "ENDED"]


class Plan(Struct, frozen=True, kw_only=True):
    """What a job is to do: the act, or only a dry run of it, and the pace."""

    what: What
    dry_run: bool
    pace: Pace
    type_id: str | None


class Job(Struct, frozen=True, kw_only=True):
    """A job. `counts`: its letters by result; `waiting` and `in flight` have none yet."""

    id: UUID
    plan: Plan
    operator: Operator
    created_at: datetime
    ended_at: datetime | None
    stopped_by: Operator | None
    counts: dict[str, int]

    @property
    def state(self) -> State:
        """STOPPING: somebody has stopped the job, and the results of letters in flight are waited for."""
        return "ENDED" if self.ended_at else "STOPPING" if self.stopped_by else "RUNNING"


class Item(Struct, frozen=True):
    """One letter of a job. `result` None: not known yet. The record's coordinates are None once the letter is pruned."""

    number: int
    letter_id: UUID
    begun_at: datetime | None
    result: str | None
    detail: str | None
    topic: str | None
    partition: int | None
    offset: int | None
    order_key: UUID | None
    status: str | None


class Jobs:
    """The jobs of one service: add, show, stop."""

    def __init__(self, desk: Desk) -> None:
        self._desk: Final = desk

    async def add(self, plan: Plan, selection: Selection, operator: Operator) -> Job:
        """Freeze the selection and begin the job. Raises `NotPossible`."""
        desk = self._desk
        check_pace(desk.settings, plan.pace)
        letters = await resolve(selection, [desk], rows_max=LETTERS_MAX + 1)
        if len(letters) > LETTERS_MAX:
            raise NotPossible(f"more than {LETTERS_MAX} letters fit; select fewer", "INVALID")
        if not letters:
            raise NotPossible("no open letter fits", "INVALID")
        job_id = desk.new_id()
        async with desk.pool.acquire() as db, db.transaction():
            now = desk.clock()
            await sql.add_job(
                db,
                id=job_id,
                act=plan.what,
                dry_run=plan.dry_run,
                who=storable(operator.who),
                why=storable(operator.why),
                letters_per_s=plan.pace.letters_per_s,
                failures_max=plan.pace.failures_max,
                wait_s=plan.pace.wait_s,
                type_id=plan.type_id,
                now=now,
            )
            await sql.add_items(db, job_id=job_id, letter_ids=[letter.id for _, letter in letters])
            about = {"act": plan.what, "dryRun": plan.dry_run, "letters": len(letters)}
            await acts.add(db, operator, "begin job", job_id, {}, about, now)
        return await self.show(job_id)

    async def show(self, job_id: UUID) -> Job:
        """A job. Raises `NotPossible`."""
        found = await self._find(job_id, None, 1)
        if not found:
            raise NotPossible(f"{self._desk.service} has no job {job_id}", "UNKNOWN")
        return found[0]

    async def find(self, after: tuple[datetime, UUID] | None, rows_max: int) -> list[Job]:
        """The jobs, the latest first. `after`: time and id of the job that ends the page before."""
        return await self._find(None, after, rows_max)

    async def _find(self, job_id: UUID | None, after: tuple[datetime, UUID] | None, rows_max: int) -> list[Job]:
        at, after_id = after or (None, None)
        async with self._desk.pool.acquire() as db:
            rows = await sql.jobs(db, id=job_id, after_at=at, after_id=after_id, rows_max=rows_max)
        return [_job(row) for row in rows]

    async def items(self, job_id: UUID, after: int, rows_max: int) -> list[Item]:
        """The letters of a job with a number above `after`, in the order of the work."""
        async with self._desk.pool.acquire() as db:
            return [Item(*row.values()) for row in await sql.items(db, job_id=job_id, after=after, rows_max=rows_max)]

    async def stop(self, job_id: UUID, operator: Operator, version: str | None = None) -> Job:
        """Have a job begin with no further letter. Raises `NotPossible`."""
        async with self._desk.pool.acquire() as db, db.transaction():
            row = await sql.lock_job(db, id=job_id)
            if row is None:
                raise NotPossible(f"{self._desk.service} has no job {job_id}", "UNKNOWN")
            state: State = "ENDED" if row["ended_at"] else "STOPPING" if row["stop_who"] else "RUNNING"
            if state != "RUNNING" or version not in (None, state):
                raise NotPossible(f"the job is {state} already", title=STALE)
            await sql.stop_job(db, id=job_id, who=storable(operator.who), why=storable(operator.why))
            states = ({"state": state}, {"state": "STOPPING"})
            await acts.add(db, operator, "stop job", job_id, *states, self._desk.clock())
        return await self.show(job_id)


def check_pace(settings: Settings, pace: Pace) -> None:
    """Raise `NotPossible` unless so many renewed failures at once are fewer than those that look like a bad deployment."""
    failures_min = settings.stop_failures_min
    if pace.failures_max >= failures_min:
        wrong = (
            f"must be below ORDERSAGA_STOP_FAILURES_MIN ({failures_min}): so many failures at once look like a "
            "bad deployment, and the service would stop the partition"
        )
        raise NotPossible(
            f"the number of failures that stops a run {wrong}",
            "INVALID",
            errors=[FieldError("stopAfter", wrong, "too_large")],
        )


def _job(row: Any) -> Job:
    return Job(
        id=row["id"],
        plan=Plan(
            what=row["act"],
            dry_run=row["dry_run"],
            pace=Pace(row["letters_per_s"], row["failures_max"], row["wait_s"]),
            type_id=row["type_id"],
        ),
        operator=Operator(row["who"], row["why"]),
        created_at=row["created_at"],
        ended_at=row["ended_at"],
        stopped_by=Operator(row["stop_who"], row["stop_why"]) if row["stop_who"] else None,
        counts=msgspec.json.decode(row["counts"] or "{}"),
    )


class Worker:
    """Works on the jobs of one service, one at a time, in this process."""

    def __init__(self, desk: Desk) -> None:
        self._desk: Final = desk
        self._id: Final = desk.new_id()
        self._stops = asyncio.Event()

    async def run(self, beat: Beat) -> None:
        """Take jobs for as long as the process lives."""
        while True:
            job_id = await self._claim()
            if job_id is not None:
                async with self._holding(job_id, beat):
                    await self._work(job_id)
            beat()
            await asyncio.sleep(0 if job_id else POLL_EVERY_S)

    async def _claim(self) -> UUID | None:
        now = self._desk.clock()
        async with self._desk.pool.acquire() as db:
            claimed: UUID | None = await sql.claim_job(db, worker=self._id, now=now, until=now + LEASE)
        return claimed

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
                await self._end_item(job_id, item.letter_id, "refused", "the letter is not kept any more")
        try:
            if job.plan.dry_run:
                await self._rehearse(job, list(letters.values()))
            elif job.plan.what == "replay":
                await self._replay(job, items, letters)
            else:
                await self._discard(job, list(letters.values()))
        except NotPossible as error:
            for letter_id in letters:
                await self._end_item(job_id, letter_id, "refused", str(error))
        async with self._desk.pool.acquire() as db:
            await sql.end_job(db, id=job_id, worker=self._id, now=self._desk.clock())
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
                told = [(each, "is discarded") for each in group]
            else:
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
            async with self._desk.pool.acquire() as db:
                await sql.begin_item(db, job_id=job.id, letter_id=letter.id, now=self._desk.clock())

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
                await self._end_item(job.id, letter.id, "not discarded", "the letter stays open")
                continue
            try:
                await self._desk.redrive.discard(letter.id, job.operator)
                await self._end_item(job.id, letter.id, "discarded", "")
            except NotPossible as error:
                await self._end_item(job.id, letter.id, "refused", str(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stops.wait(), 1 / job.plan.pace.letters_per_s)

    async def _end_item(self, job_id: UUID, letter_id: UUID, result: str, detail: str) -> None:
        async with self._desk.pool.acquire() as db:
            await sql.end_item(
                db,
                job_id=job_id,
                letter_id=letter_id,
                result=result,
                detail=storable(detail, DETAIL_CHARS_MAX),
                now=self._desk.clock(),
            )
