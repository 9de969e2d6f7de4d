"""The audit: run it, watch it, and go from each difference to the order, letter or topic that it is about."""

import re
from typing import Any, Final
from uuid import UUID

from litestar import get, post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler

from ordersaga.web.accounts import User
from ordersaga.web.console.audit_model import AuditRun, AuditRunDetails, Difference
from ordersaga.web.console.frame import Console, notice_of
from ordersaga.web.console.reading import FACE
from ordersaga.web.console.staff import HOME
from ordersaga.web.desk import AnyRequest, Page, nothing
from ordersaga.web.notices import Told
from ordersaga.web.services import Refused

PATH: Final = f"{HOME}/audit"
RUNS: Final = "/audits"
RUNS_SHOWN: Final = "20"
SECONDS: Final = re.compile(r"[0-9]{1,5}(\.[0-9]{1,2})?")
KINDS: Final = ("BROKEN", "NOT_JUDGED", "IN_FLIGHT")
WORST_FIRST: Final = {"broken": 0, "could not be judged": 1, "holds": 2, "not applicable": 3}


def routes(console: Console) -> list[ControllerRouterHandler]:
    """The routes."""
    return [*_all(console), *_one(console)]


def _all(console: Console) -> list[ControllerRouterHandler]:
    desk, reading, staff = console.desk, console.reading, console.staff

    @get(PATH)
    async def listed(request: AnyRequest) -> Page:
        visit = desk.visit(request)
        user = await staff.reader(request, visit)
        values: dict[str, Any] = {"has_audit": reading.has_audit, "runs": None, "next": None, "latest": None}
        if reading.has_audit:
            query = {"limit": RUNS_SHOWN, "cursor": str(request.query_params.get("cursor", ""))}
            page = await reading.page("audit", RUNS, AuditRun, user, query)
            if page is not None:
                latest = next((each for each in page.items if each.state == "ENDED"), None)
                values |= {"runs": page.items, "next": page.next, "latest": None if query["cursor"] else latest}
        return console.page(visit, user, "audit.html", values)

    @post(PATH)
    async def run(request: AnyRequest) -> Page:
        visit = desk.visit(request)
        user, form = await staff.operator(request, visit)
        if not reading.has_audit:
            nothing()
        seconds = form.get("seconds", "10")
        body = {"unchangedForSeconds": float(seconds) if SECONDS.fullmatch(seconds) else -1}
        try:
            begun = await reading.services.post("audit", FACE + RUNS, AuditRun, user, body)
        except Refused as refused:
            return desk.go(visit, PATH, "console.audit_busy" if refused.status == 409 else notice_of(refused))
        return desk.go(visit, f"{PATH}/{begun.id}")

    return [listed, run]


def _one(console: Console) -> list[ControllerRouterHandler]:
    desk, reading, staff = console.desk, console.reading, console.staff

    async def found(run_id: UUID, user: User) -> dict[str, Any]:
        """The values of a run's page. Raises `Nothing` and `Unavailable`."""
        if not reading.has_audit:
            nothing()
        details = await reading.services.get("audit", f"{FACE}{RUNS}/{run_id}", AuditRunDetails, user)
        if details is None:
            nothing()
        invariants = sorted(details.invariants, key=lambda each: WORST_FIRST.get(each.outcome, 0))
        return {"run": details.run, "invariants": invariants}

    @get(f"{PATH}/{{run_id:uuid}}")
    async def show(request: AnyRequest, run_id: FromPath[UUID]) -> Page:
        visit = desk.visit(request)
        user = await staff.reader(request, visit)
        return console.page(visit, user, "audit_run.html", await found(run_id, user))

    @get(f"{PATH}/{{run_id:uuid}}/now")
    async def now(request: AnyRequest, run_id: FromPath[UUID]) -> Page:
        """The changing part of the page, for its script."""
        visit = desk.visit(request)
        user = await staff.reader(request, visit)
        return console.part(visit, user, "_audit_run.html", await found(run_id, user))

    @get(f"{PATH}/{{run_id:uuid}}/{{code:str}}")
    async def differences(request: AnyRequest, run_id: FromPath[UUID], code: FromPath[str]) -> Page:
        visit = desk.visit(request)
        user = await staff.reader(request, visit)
        values = await found(run_id, user)
        invariant = next((each for each in values["invariants"] if each.code == code), None) or nothing()
        kind = str(request.query_params.get("kind", "BROKEN"))
        if kind not in KINDS:
            nothing()
        query = {"kind": kind, "cursor": str(request.query_params.get("cursor", "")), "limit": "100"}
        page = await reading.page("audit", f"{RUNS}/{run_id}/{invariant.code}", Difference, user, query)
        values |= {"invariant": invariant, "kind": kind, "page": page}
        return console.page(visit, user, "audit_differences.html", values)

    @post(f"{PATH}/{{run_id:uuid}}/stop")
    async def stop(request: AnyRequest, run_id: FromPath[UUID]) -> Page:
        visit = desk.visit(request)
        user, form = await staff.operator(request, visit)
        if not reading.has_audit:
            nothing()
        notice: str | Told = "console.audit_stopped"
        try:
            body = {"version": form.get("version", "") or "?"}
            await reading.services.post("audit", f"{FACE}{RUNS}/{run_id}/stop", AuditRun, user, body)
        except Refused as refused:
            notice = notice_of(refused)
        return desk.go(visit, f"{PATH}/{run_id}", notice)

    return [show, now, differences, stop]
