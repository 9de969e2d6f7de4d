"""The JSON of the audit's HTTP face."""

from collections import Counter
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct

from ordersaga.audit.finding import INVARIANTS, Code, Finding, Judgement
from ordersaga.audit.kept import Run, State
from ordersaga.audit.mentions import mentions
from ordersaga.http.caller import Caller
from ordersaga.masking import masked, masked_sayings
from ordersaga.operations.personal import sayings_for, words_for
from ordersaga.said import Saying
from ordersaga.settings import ServiceName

Kind = Literal["BROKEN", "NOT_JUDGED", "IN_FLIGHT"]
SHOWN: Final = 20


class AuditResource(Struct, rename="camel", kw_only=True):
    """What this audit reads: `services` are ours, `foreign` are other teams', whose databases it leaves out."""

    service: str
    services: list[ServiceName]
    foreign: list[str]
    invariants: int
    runs_kept: int


class RunResource(Struct, rename="camel", kw_only=True):
    """A run of the audit. `version` is its `state`: RUNNING, STOPPING, ENDED, STOPPED, or FAILED for the reason in `failure`.

    `judged` of `invariants` have a result; `outcomes` counts these by result. `doing`: what the run said last.
    """

    id: UUID
    version: str
    state: State
    who: str
    unchanged_for_seconds: float
    services: list[ServiceName]
    began_at: datetime
    ended_at: datetime | None
    judged: int
    invariants: int
    outcomes: dict[str, int]
    doing: str
    stopped_by: str | None
    failure: str | None
    doing_said: list[Saying] = []


class DifferenceResource(Struct, rename="camel", kw_only=True):
    """Something that breaks an invariant, could not be judged, or is in flight, in words; and the things that the words name.

    `said`: the same as codes with values, for pages in another language.
    """

    kind: Kind
    text: str
    service: str | None
    order_id: UUID | None
    product_id: UUID | None
    letter_id: UUID | None
    topic: str | None
    partition: int | None
    offset: int | None
    said: list[Saying] = []


class InvariantResource(Struct, rename="camel", kw_only=True):
    """An invariant with its result: holds, broken, could not be judged, or not applicable for the reason in `leftOut`.

    `differences`: the first few of each kind; a route lists all that are kept.
    """

    code: Code
    invariant: str
    outcome: Judgement
    count: int
    unit: str
    broken: int
    in_flight: int
    not_judged: int
    notes: list[str]
    left_out: str | None
    differences: list[DifferenceResource]
    notes_said: list[list[Saying]] = []
    left_out_said: list[Saying] = []


class RunDetails(Struct, kw_only=True):
    """A run and the invariants that are judged so far."""

    run: RunResource
    invariants: list[InvariantResource]


def run_resource(run: Run) -> RunResource:
    """The JSON of a run."""
    return RunResource(
        id=run.id,
        version=run.state,
        state=run.state,
        who=run.who,
        unchanged_for_seconds=run.unchanged_for_s,
        services=run.services,
        began_at=run.began_at,
        ended_at=run.ended_at,
        judged=len(run.findings),
        invariants=len(INVARIANTS),
        outcomes=dict(Counter(each.outcome for each in run.findings)),
        doing=run.progress,
        stopped_by=run.stopped_by,
        failure=run.failure,
        doing_said=list(run.progress_said),
    )


def run_details(run: Run, caller: Caller) -> RunDetails:
    """The JSON of a run with its invariants."""
    return RunDetails(run=run_resource(run), invariants=[_invariant(each, caller) for each in list(run.findings)])


def _invariant(finding: Finding, caller: Caller) -> InvariantResource:
    kinds: tuple[Kind, ...] = ("BROKEN", "NOT_JUDGED", "IN_FLIGHT")
    return InvariantResource(
        code=finding.code,
        invariant=finding.invariant,
        outcome=finding.outcome,
        count=finding.count,
        unit=finding.unit,
        broken=finding.broken_count,
        in_flight=finding.in_flight_count,
        not_judged=finding.unjudged_count,
        notes=[masked(each) for each in finding.notes],
        left_out=finding.left_out and masked(finding.left_out),
        notes_said=[_said(finding, each, caller) for each in finding.notes],
        left_out_said=_said(finding, finding.left_out or "", caller),
        differences=[each for kind in kinds for each in differences(finding, kind, caller, 0, SHOWN)],
    )


def differences(finding: Finding, kind: Kind, caller: Caller, begin: int, count: int) -> list[DifferenceResource]:
    """The JSON of some of an invariant's differences. A reader sees no personal data in the words."""
    sentences = {"BROKEN": finding.broken, "NOT_JUDGED": finding.unjudged, "IN_FLIGHT": finding.in_flight}[kind]
    return [_difference(finding, kind, each, caller) for each in sentences[begin : begin + count]]


def _difference(finding: Finding, kind: Kind, sentence: str, caller: Caller) -> DifferenceResource:
    named = mentions(sentence, finding.unit == "products")
    return DifferenceResource(
        kind=kind,
        text=words_for(caller, masked(sentence)),
        service=named.service,
        order_id=named.order_id,
        product_id=named.product_id,
        letter_id=named.letter_id,
        topic=named.topic,
        partition=named.partition,
        offset=named.offset,
        said=_said(finding, sentence, caller),
    )


def _said(finding: Finding, text: str, caller: Caller) -> list[Saying]:
    return sayings_for(caller, masked_sayings(finding.sayings.get(text, ())))
