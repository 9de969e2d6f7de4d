"""Bulk jobs: many dead letters of one service, frozen when the job begins, with a dry run, a rate, progress, a stop, and each one's result."""

import re
from typing import Any, Final
from urllib.parse import parse_qsl
from uuid import UUID

from litestar import get, post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler

from ordersaga.operations.job_resources import JobItemResource, JobResource
from ordersaga.operations.resources import DeadLetterResource
from ordersaga.settings import ServiceName
from ordersaga.web.accounts import User
from ordersaga.web.console.frame import Console, notice_of, wrong_fields
from ordersaga.web.console.reading import FACE
from ordersaga.web.console.staff import HOME
from ordersaga.web.desk import AnyRequest, Page, nothing
from ordersaga.web.notices import Told
from ordersaga.web.services import Refused, side_by_side
from ordersaga.web.signing_in import local_path
from ordersaga.web.visit import Visit

PATH: Final = f"{HOME}/jobs"
IDS_MAX: Final = 200
AHEAD_SHOWN: Final = 3
"""Of so many jobs before a waiting one the page says whose they are."""
AHEAD_TOLD_MAX: Final = 20
"""A service names so many of them; there may be more."""
ACTS: Final = ("replay", "discard")
WHOLE: Final = re.compile(r"[0-9]{1,7}")
DECIMAL: Final = re.compile(r"[0-9]{1,5}(\.[0-9]{1,3})?")


def routes(console: Console) -> list[ControllerRouterHandler]:
    """The routes."""
    desk, reading, staff = console.desk, console.reading, console.staff

    @get(PATH)
    async def listed(request: AnyRequest) -> Page:
        visit = desk.visit(request)
        user = await staff.reader(request, visit)
        found = await side_by_side(
            *(reading.page(name, "/jobs", JobResource, user, {"limit": "20"}) for name in reading.ours)
        )
        by_service = [(name, page and page.items) for name, page in zip(reading.ours, found, strict=True)]
        jobs = [(name, job) for name, items in by_service for job in items or ()]
        values = {
            "jobs": sorted(jobs, key=lambda each: each[1].created_at, reverse=True),
            "away": [name for name, items in by_service if items is None],
        }
        return console.page(visit, user, "jobs.html", values)

    @get(f"{PATH}/new")
    async def new(request: AnyRequest) -> Page:
        visit = desk.visit(request)
        user = await staff.acting(request, visit)
        try:
            pairs = parse_qsl(request.scope["query_string"].decode("latin-1"), max_num_fields=IDS_MAX + 10)
        except ValueError:
            nothing()
        typed = {name: value for name, value in pairs if name != "letter"}
        typed["letters"] = ",".join(value for name, value in pairs if name == "letter")
        if "chosen_from" in typed and not typed["letters"]:
            return desk.go(visit, local_path(typed["chosen_from"]), "console.none_chosen")
        return await _form(console, visit, user, typed, {})

    @post(PATH)
    async def begin(request: AnyRequest) -> Page:
        visit = desk.visit(request)
        user, form = await staff.operator(request, visit)
        name = console.service(form.get("service", ""))
        try:
            job = await reading.services.post(name, f"{FACE}/jobs", JobResource, user, _body(form))
        except Refused as refused:
            if refused.status != 400:
                raise
            return await _form(console, visit, user, form, wrong_fields(visit, refused.problem), 400)
        return desk.go(visit, f"{PATH}/{name}/{job.id}", "console.job")

    return [listed, new, begin, *_one(console)]


def _body(form: dict[str, str]) -> dict[str, Any]:
    """The body of a new job. A number that is none goes as it is, so that the service names the field."""
    ids = [each for each in form.get("letters", "").split(",") if each]
    conditions = {"orderId": form.get("order"), "topic": form.get("topic"), "cause": form.get("cause")}
    selection: dict[str, Any] = {"ids": ids} if ids else {name: value for name, value in conditions.items() if value}
    rate, stop_after = form.get("rate", ""), form.get("stop_after", "")
    return {
        "act": form.get("act", ""),
        "reason": form.get("reason", ""),
        "selection": selection or {"all": True},
        "dryRun": "dry" in form,
        "lettersPerSecond": float(rate) if DECIMAL.fullmatch(rate) else rate,
        "stopAfter": int(stop_after) if WHOLE.fullmatch(stop_after) else stop_after,
    }


async def _form(
    console: Console, visit: Visit, user: User, typed: dict[str, str], wrong: dict[str, str], status: int = 200
) -> Page:
    name = console.service(typed.get("service", ""))
    ids = [each for each in typed.get("letters", "").split(",") if each]
    conditions = {"orderId": typed.get("order", ""), "topic": typed.get("topic", ""), "cause": typed.get("cause", "")}
    page = None if ids else await console.reading.page(name, "/dead-letters", DeadLetterResource, user, conditions)
    values = {
        "service": name,
        "typed": typed,
        "wrong": wrong,
        "acts": ACTS,
        "count": len(ids) or (len(page.items) if page else 0),
        "has_more": bool(page and page.next),
    }
    return console.page(visit, user, "job_new.html", values, status)


def _one(console: Console) -> list[ControllerRouterHandler]:
    desk, reading, staff = console.desk, console.reading, console.staff

    @get(f"{PATH}/{{service:str}}/{{job_id:uuid}}")
    async def show(request: AnyRequest, service: FromPath[str], job_id: FromPath[UUID]) -> Page:
        visit = desk.visit(request)
        user = await staff.reader(request, visit)
        cursor = request.query_params.get("cursor", "")
        return console.page(visit, user, "job.html", await _values(console.service(service), job_id, user, cursor))

    @get(f"{PATH}/{{service:str}}/{{job_id:uuid}}/now")
    async def now(request: AnyRequest, service: FromPath[str], job_id: FromPath[UUID]) -> Page:
        """The changing part of the page, for its script."""
        visit = desk.visit(request)
        user = await staff.reader(request, visit)
        values = await _values(console.service(service), job_id, user, "")
        return console.part(visit, user, "_job.html", values)

    @post(f"{PATH}/{{service:str}}/{{job_id:uuid}}/stop")
    async def stop(request: AnyRequest, service: FromPath[str], job_id: FromPath[UUID]) -> Page:
        visit = desk.visit(request)
        user, form = await staff.operator(request, visit)
        name = console.service(service)
        notice: str | Told = "console.job_stopped"
        body = {"reason": form.get("reason", ""), "version": form.get("version", "")}
        try:
            await reading.services.post(name, f"{FACE}/jobs/{job_id}/stop", JobResource, user, body)
        except Refused as refused:
            notice = notice_of(refused)
        return desk.go(visit, f"{PATH}/{name}/{job_id}", notice)

    async def _values(name: ServiceName, job_id: UUID, user: User, cursor: str) -> dict[str, Any]:
        job, items = await side_by_side(
            reading.services.get(name, f"{FACE}/jobs/{job_id}", JobResource, user),
            reading.page(name, f"/jobs/{job_id}/items", JobItemResource, user, {"cursor": cursor, "limit": "100"}),
        )
        if job is None:
            nothing()
        ahead = await side_by_side(
            *(reading.part(name, f"/jobs/{each}", JobResource, user) for each in (job.waits_for or ())[:AHEAD_SHOWN])
        )
        shown = [each for each in ahead if each is not None]
        more = len(job.waits_for or ()) - len(shown)
        return {
            "service": name,
            "job": job,
            "items": items,
            "cursor": cursor,
            "ahead": shown,
            "more_ahead": more,
            "ahead_max": AHEAD_TOLD_MAX,
        }

    return [show, now, stop]
