"""The JSON of bulk jobs."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.http.caller import Caller
from ordersaga.messaging.texts import read_sayings
from ordersaga.operations.jobs import Item, Job
from ordersaga.operations.personal import sayings_for, words_for
from ordersaga.said import Saying


class JobResource(Struct, rename="camel", kw_only=True):
    """A bulk job. `version` is its `state`: RUNNING, STOPPING (the results of letters in flight are waited for) or ENDED.

    `counts`: its letters by result; `waiting` and `in flight` have no result yet. `problem`: why its work has failed; it is tried again, unless
    the job has ENDED. `waitsFor`: the jobs that are worked on before this one, at most 20, while no process works on this one; null: it does not
    wait for its turn.
    """

    id: UUID
    version: str
    state: str
    act: str
    dry_run: bool
    who: str
    why: str
    letters_per_second: float
    stop_after: int
    wait_seconds: float
    type_id: str | None
    created_at: datetime
    ended_at: datetime | None
    stopped_by: str | None
    stop_reason: str | None
    letters: int
    counts: dict[str, int]
    problem: str | None = None
    waits_for: list[UUID] | None = None

    @property
    def done(self) -> int:
        """How many letters have a result."""
        return self.letters - self.counts.get("waiting", 0) - self.counts.get("in flight", 0)


class JobItemResource(Struct, rename="camel", kw_only=True):
    """One letter of a job. `result`: resolved, published, failed again, waits (for the reason in `detail`), refused, not replayed, discarded, not
    discarded, or would (a dry run; `detail` says what); null: not known yet. The record is null once its letter is not kept any more.

    `said`: the detail as codes with values, for pages in another language."""

    number: int
    letter_id: UUID
    topic: str | None
    partition: int | None
    offset: int | None
    order_id: UUID | None
    status: str | None
    begun_at: datetime | None
    result: str | None
    detail: str | None
    said: list[Saying] = []


def job_resource(job: Job) -> JobResource:
    """The JSON of a job."""
    return JobResource(
        id=job.id,
        version=job.state,
        state=job.state,
        act=job.plan.what,
        dry_run=job.plan.dry_run,
        who=job.operator.who,
        why=job.operator.why,
        letters_per_second=job.plan.pace.letters_per_s,
        stop_after=job.plan.pace.failures_max,
        wait_seconds=job.plan.pace.wait_s,
        type_id=job.plan.type_id,
        created_at=job.created_at,
        ended_at=job.ended_at,
        stopped_by=job.stopped_by.who if job.stopped_by else None,
        stop_reason=job.stopped_by.why if job.stopped_by else None,
        problem=job.problem,
        letters=sum(job.counts.values()),
        counts=job.counts,
        waits_for=job.waits_for,
    )


def job_for(job: Job, caller: Caller) -> JobResource:
    """The JSON of a job, for a reader without personal data."""
    return replace(job_resource(job), problem=job.problem and words_for(caller, job.problem))


def item_resource(item: Item, caller: Caller) -> JobItemResource:
    """The JSON of one letter of a job."""
    return JobItemResource(
        number=item.number,
        letter_id=item.letter_id,
        topic=item.topic,
        partition=item.partition,
        offset=item.offset,
        order_id=item.order_key,
        status=item.status,
        begun_at=item.begun_at,
        result=item.result,
        detail=item.detail and words_for(caller, item.detail),
        said=sayings_for(caller, read_sayings(item.said)),
    )
