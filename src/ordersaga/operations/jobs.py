"""Bulk jobs: one act on each letter of a frozen selection, at a rate, with the result of each letter.

A job is rows, so every process of the service can show it and stop it. `job_worker.py` does the work.
"""

from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Struct

from ordersaga.messaging import acts
from ordersaga.messaging.acts import STALE, NotPossible, Operator
from ordersaga.messaging.bulk_replay import Pace
from ordersaga.messaging.database import planned_anew
from ordersaga.messaging.queries import queries
from ordersaga.messaging.refusal import FieldError
from ordersaga.messaging.texts import storable, stored_sayings
from ordersaga.operations.desk import Desk
from ordersaga.operations.selection import Selection, resolve
from ordersaga.said import say
from ordersaga.settings import Settings

sql: Final = queries(__file__)

LETTERS_MAX: Final = 50_000
LEFT: Final = {"replay": "not replayed", "discard": "not discarded"}
"""The result of a letter that a job has left alone."""

What = Literal["replay", "discard"]
State = Literal["RUNNING", "STOPPING", "ENDED"]


class Plan(Struct, frozen=True, kw_only=True):
    """What a job is to do: the act, or only a dry run of it, and the pace."""

    what: What
    dry_run: bool
    pace: Pace
    type_id: str | None


class Job(Struct, frozen=True, kw_only=True):
    """A job. `counts`: its letters by result; `waiting` and `in flight` have none yet.

    `problem`: why its work has failed last; the work goes on later, unless the job has ended. `waits_for`: the jobs whose turn is before its own,
    while no process works on it; None: it does not wait for a turn.
    """

    id: UUID
    plan: Plan
    operator: Operator
    created_at: datetime
    ended_at: datetime | None
    stopped_by: Operator | None
    problem: str | None
    counts: dict[str, int]
    waits_for: list[UUID] | None = None

    @property
    def state(self) -> State:
        """STOPPING: somebody has stopped the job, and the results of letters in flight are waited for."""
        return "ENDED" if self.ended_at else "STOPPING" if self.stopped_by else "RUNNING"


class Item(Struct, frozen=True):
    """One letter of a job. `result` None: not known yet. The record's coordinates are None once the letter is pruned.

    `said`: the sayings of the detail.
    """

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
    said: str | None = None


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
        desk.jobs_changed.set()
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
        async with self._desk.pool.acquire() as db, planned_anew(db):
            now = self._desk.clock()
            rows = await sql.jobs(db, id=job_id, after_at=at, after_id=after_id, rows_max=rows_max, now=now)
        return [_job(row) for row in rows]

    async def items(self, job_id: UUID, after: int, rows_max: int) -> list[Item]:
        """The letters of a job with a number above `after`, in the order of the work."""
        async with self._desk.pool.acquire() as db:
            return [Item(*row.values()) for row in await sql.items(db, job_id=job_id, after=after, rows_max=rows_max)]

    async def stop(self, job_id: UUID, operator: Operator, version: str | None = None) -> Job:
        """Have a job begin with no further letter. One that nobody works on, and that has begun with none, ends at once. Raises `NotPossible`."""
        async with self._desk.pool.acquire() as db, db.transaction():
            row = await sql.lock_job(db, id=job_id)
            if row is None:
                raise NotPossible(f"{self._desk.service} has no job {job_id}", "UNKNOWN")
            state: State = "ENDED" if row["ended_at"] else "STOPPING" if row["stop_who"] else "RUNNING"
            if state != "RUNNING" or version not in (None, state):
                raise NotPossible(f"the job is {state} already", title=STALE)
            now = self._desk.clock()
            await sql.stop_job(db, id=job_id, who=storable(operator.who), why=storable(operator.why))
            plan = await sql.end_unbegun_job(db, id=job_id, now=now)
            if plan is not None:
                left = "not rehearsed" if plan["dry_run"] else LEFT[plan["act"]]
                detail = say("result.stays_open", "the letter stays open")
                said = stored_sayings(detail)
                await sql.leave_items(db, job_id=job_id, result=left, detail=detail, said=said, now=now)
            states = ({"state": state}, {"state": "ENDED" if plan else "STOPPING"})
            await acts.add(db, operator, "stop job", job_id, *states, now)
        self._desk.jobs_changed.set()
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
        operator=Operator(row["who"], row["why"], row["id"]),
        created_at=row["created_at"],
        ended_at=row["ended_at"],
        stopped_by=Operator(row["stop_who"], row["stop_why"]) if row["stop_who"] else None,
        problem=row["problem"],
        counts=msgspec.json.decode(row["counts"] or "{}"),
        waits_for=row["waits_for"],
    )
