"""The audit over HTTP, below the path of all operators' routes, in their dialect. A READER sees, an OPERATOR or MASTER runs it."""

from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Router, get, post
from litestar.params import FromPath, QueryParameter
from litestar.types import ControllerRouterHandler
from msgspec import Meta, Struct

from ordersaga.audit.auditor import Auditor
from ordersaga.audit.finding import INVARIANTS
from ordersaga.audit.kept import Run
from ordersaga.audit.resources import (
    AuditResource,
    DifferenceResource,
    Kind,
    RunDetails,
    RunResource,
    differences,
    run_details,
    run_resource,
)
from ordersaga.http.caller import Callers
from ordersaga.http.pages import LIMIT_DEFAULT, Cursor, Cursors, KeyNumber, Limit, Page
from ordersaga.http.problems import not_found
from ordersaga.http.requests import body_of, json_body
from ordersaga.messaging.acts import NotPossible
from ordersaga.operations.face import Version, on_not_possible
from ordersaga.operations.resources import PATH
from ordersaga.settings import ServiceName

AnyRequest = Request[Any, Any, Any]
DAY_S: Final = 86_400.0

_runs: Final[Cursors[UUID]] = Cursors("runs of the audit", UUID)
_differences: Final[Cursors[int]] = Cursors("differences", KeyNumber)


class RunBody(Struct, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """`unchangedForSeconds`: changes of the last so many seconds are in flight; 0: the system must be at rest. `services`: those whose
    databases are read; by default all that are ours."""

    unchanged_for_seconds: Annotated[float, Meta(ge=0, le=DAY_S)] = 10.0
    services: Annotated[list[ServiceName], Meta(min_length=1)] | None = None


class StopBody(Struct, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """`version`: that of the run when the operator saw it."""

    version: Version


_run_body: Final = msgspec.json.Decoder(RunBody)
_stop_body: Final = msgspec.json.Decoder(StopBody)


def routes(auditor: Auditor, callers: Callers) -> ControllerRouterHandler:
    """All routes of the audit."""
    return Router(
        PATH,
        route_handlers=[*_reads(auditor, callers), *_acts(auditor, callers)],
        tags=["operations"],
        exception_handlers={NotPossible: on_not_possible},
    )


def _found(auditor: Auditor, run_id: UUID) -> Run:
    run = auditor.kept.get(run_id)
    if run is None:
        raise not_found("run")
    return run


def _reads(auditor: Auditor, callers: Callers) -> list[ControllerRouterHandler]:
    settings = auditor.settings

    @get("/", operation_id="showAudit", summary="Which services this audit reads")
    async def about(request: AnyRequest) -> AuditResource:
        await callers.reader(request)
        return AuditResource(
            service="audit",
            services=auditor.ours,
            foreign=list(settings.foreign_partners),
            invariants=len(INVARIANTS),
            runs_kept=settings.audit_runs_kept,
        )

    @get("/audits", operation_id="listAudits", summary="The last runs of the audit, the latest first")
    async def listed(request: AnyRequest, cursor: Cursor = None, limit: Limit = LIMIT_DEFAULT) -> Page[RunResource]:
        await callers.reader(request)
        shown, following = _runs.cut(auditor.kept.page(_runs.key(cursor), limit + 1), limit, lambda run: run.id)
        return Page([run_resource(each) for each in shown], following)

    @get("/audits/{run_id:uuid}", operation_id="showAuditRun", summary="A run with the invariants that it has judged")
    async def show(request: AnyRequest, run_id: FromPath[UUID]) -> RunDetails:
        caller = await callers.reader(request)
        return run_details(_found(auditor, run_id), caller)

    @get(
        "/audits/{run_id:uuid}/{code:str}",
        operation_id="listDifferences",
        summary="What breaks an invariant, could not be judged, or is in flight; at most 1,000 of each are kept",
    )
    async def listed_differences(
        request: AnyRequest,
        run_id: FromPath[UUID],
        code: FromPath[str],
        kind: Annotated[Kind, QueryParameter(description="Which of them.")] = "BROKEN",
        cursor: Cursor = None,
        limit: Limit = LIMIT_DEFAULT,
    ) -> Page[DifferenceResource]:
        caller = await callers.reader(request)
        findings = list(_found(auditor, run_id).findings)
        finding = next((each for each in findings if each.code == code), None)
        if finding is None:
            raise not_found("invariant")
        begin = _differences.key(cursor) or 0
        found = list(enumerate(differences(finding, kind, caller, begin, limit + 1), begin + 1))
        shown, following = _differences.cut(found, limit, lambda each: each[0])
        return Page([each for _, each in shown], following)

    return [about, listed, show, listed_differences]


def _acts(auditor: Auditor, callers: Callers) -> list[ControllerRouterHandler]:
    @post(
        "/audits",
        operation_id="runAudit",
        operation_class=json_body(RunBody),
        status_code=202,
        summary="Run the audit. One run goes on at a time",
    )
    async def run(request: AnyRequest) -> RunResource:
        caller = await callers.operator(request)
        body, _ = await body_of(request, _run_body)
        return run_resource(auditor.start(str(caller.user_id), body.unchanged_for_seconds, body.services))

    @post(
        "/audits/{run_id:uuid}/stop",
        operation_id="stopAudit",
        operation_class=json_body(StopBody),
        status_code=200,
        summary="Stop a run",
    )
    async def stop(request: AnyRequest, run_id: FromPath[UUID]) -> RunResource:
        caller = await callers.operator(request)
        body, _ = await body_of(request, _stop_body)
        found = _found(auditor, run_id)
        auditor.stop(found, body.version, str(caller.user_id))
        return run_resource(found)

    return [run, stop]
