"""Faults on purpose, for a demo, and what the system makes of them: the sandbox's calls that fail, consumers that are slow or fail, and orders
placed at a rate. Only where everybody may sign in; elsewhere 404."""

import re
from typing import Any, Final

from litestar import get, post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler

from ordersaga.operations.load_figures import IN_FLIGHT_MAX, RATE_MAX, LoadNow
from ordersaga.operations.moments import Past
from ordersaga.operations.sandbox import Sandbox, version_of
from ordersaga.settings import SERVICES
from ordersaga.web.accounts import User
from ordersaga.web.console import fault_curves
from ordersaga.web.console.flow import gateway_state
from ordersaga.web.console.frame import Console, notice_of
from ordersaga.web.console.model import Anything, ConsumerFaults
from ordersaga.web.console.reading import FACE
from ordersaga.web.console.staff import HOME
from ordersaga.web.desk import AnyRequest, Page
from ordersaga.web.notices import Told
from ordersaga.web.services import Refused, side_by_side

PATH: Final = f"{HOME}/faults"
CALLS: Final = ("confirm", "get", "cancel")
OUTCOMES: Final = ("slow", "dropped", "answer-lost", "bad-gateway")
NUMBER: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{1,2})?")
CONSUMER_FIELDS: Final = ("turnDelayMs", "turnRecordsMax", "passingPercent", "lastingPercent")
MINUTES: Final = (1, 2, 5, 10)
GATEWAY: Final = f"{FACE}/gateway"


def routes(console: Console) -> list[ControllerRouterHandler]:
    """The routes."""
    if console.desk.settings.web_sign_in != "demo":
        return []
    sandbox = console.load.sandbox
    return [*_shown(console, sandbox), *_changed(console, sandbox), _load_changed(console, sandbox)]


def _shown(console: Console, sandbox: Sandbox) -> list[ControllerRouterHandler]:
    desk, reading, staff = console.desk, console.reading, console.staff
    alone = Past()  # while no sandbox answers, which has what all web processes have seen

    async def now(user: User) -> dict[str, Any]:
        """How the system is: what changes by itself on the page."""
        snapshot = await reading.snapshot(user)
        lags = fault_curves.lags(snapshot)
        seen = await sandbox.look(lags) or alone.look(lags, LoadNow())
        return {
            "snapshot": snapshot,
            "gateway": gateway_state(snapshot),
            "lags": lags,
            "charts": fault_curves.charts(seen.moments, reading.ours),
            "load": seen.load,
            "minutes": MINUTES,
            "rate_max": RATE_MAX,
            "in_flight_max": IN_FLIGHT_MAX,
            "whole": len(reading.ours) == len(SERVICES),
        }

    @get(PATH)
    async def show(request: AnyRequest) -> Page:
        visit = desk.visit(request)
        user = await staff.reader(request, visit)
        found, faults, *consumers = await side_by_side(
            now(user),
            sandbox.faults(),
            *(reading.part(name, "/faults", ConsumerFaults, user) for name in reading.ours),
        )
        found |= {"faults": faults, "faults_version": version_of(faults or {}), "calls": CALLS, "outcomes": OUTCOMES}
        found["consumers"] = dict(zip(reading.ours, consumers, strict=True))
        return console.page(visit, user, "faults.html", found)

    @get(f"{PATH}/now")
    async def again(request: AnyRequest) -> Page:
        """The changing part of the page, for its script."""
        visit = desk.visit(request)
        user = await staff.reader(request, visit)
        return console.part(visit, user, "_faults_now.html", await now(user))

    return [show, again]


def _changed(console: Console, sandbox: Sandbox) -> list[ControllerRouterHandler]:
    desk, reading, staff = console.desk, console.reading, console.staff

    @post(PATH)
    async def change(request: AnyRequest) -> Page:
        visit = desk.visit(request)
        user, form = await staff.operator(request, visit)
        wanted = None if "end" in form else _wanted(form)
        if "payment" not in reading.ours:  # another team's Payment keeps no trail for us
            before = await sandbox.faults()
            done = before is not None and await sandbox.set({} if wanted is None else before | wanted)
            return desk.go(visit, PATH, _in_force(form) if done else "console.faults_wrong")
        body = {"reason": form.get("reason", ""), "version": form.get("version", ""), "faults": wanted}
        notice: str | Told = _in_force(form)
        try:
            await reading.services.post("payment", f"{GATEWAY}/faults", Anything, user, body)
        except Refused as refused:
            notice = "console.faults_wrong" if refused.status == 400 else notice_of(refused)
        return desk.go(visit, PATH, notice)

    @post(f"{PATH}/consumers/{{service:str}}")
    async def change_consumer(request: AnyRequest, service: FromPath[str]) -> Page:
        visit = desk.visit(request)
        user, form = await staff.operator(request, visit)
        name = console.service(service)
        notice: str | Told = _in_force(form)
        body: dict[str, Any] = {"reason": form.get("reason", ""), "version": form.get("version", "")}
        if "end" not in form:
            body |= {field: _number(form.get(field, "") or "0") for field in CONSUMER_FIELDS}
            body["turnRecordsMax"] = body["turnRecordsMax"] or None
        try:
            await reading.services.post(name, f"{FACE}/faults", Anything, user, body)
        except Refused as refused:
            notice = notice_of(refused)
        return desk.go(visit, PATH, notice)

    return [change, change_consumer]


def _load_changed(console: Console, sandbox: Sandbox) -> ControllerRouterHandler:
    desk, reading, staff, load = console.desk, console.reading, console.staff, console.load

    @post(f"{PATH}/load")
    async def change_load(request: AnyRequest) -> Page:
        visit = desk.visit(request)
        user, form = await staff.operator(request, visit)
        act, rate, minutes = form.get("act"), _number(form.get("rate", "")), _number(form.get("minutes", "0"))

        async def told(**body: Any) -> bool:
            """Have Payment tell the sandbox. False: the sandbox is not there, or a generator is running or is not."""
            body |= {"act": act, "reason": visit.t("console.load.why")}
            try:
                await reading.services.post("payment", f"{GATEWAY}/load", Anything, user, body)
            except Refused as refused:
                if refused.status == 409:
                    return False
                raise
            return True

        if act == "stop":
            return desk.go(visit, PATH, "console.load.stopped" if await told() else "console.load.none")
        if not (isinstance(rate, int | float) and rate <= RATE_MAX):
            return desk.go(visit, PATH, "console.wrong")
        if act == "steer":
            return desk.go(visit, PATH, None if await told(rate=rate) else "console.load.none")
        if act != "begin" or minutes not in MINUTES:
            return desk.go(visit, PATH, "console.wrong")
        # Without the sandbox a gateway may be there that takes real money.
        if len(reading.ours) < len(SERVICES) or await sandbox.faults() is None:
            return desk.go(visit, PATH, "console.load.no_sandbox")
        seconds = int(minutes) * 60
        begun = await load.begin(rate, seconds, lambda: told(rate=rate, seconds=seconds))
        return desk.go(visit, PATH, "console.load.begun" if begun else "console.load.running")

    return change_load


def _in_force(form: dict[str, str]) -> str:
    """The notice of a change that was made."""
    return "console.faults_ended" if "end" in form else "console.faults"


def _wanted(form: dict[str, str]) -> dict[str, Any]:
    """The form's part of the sandbox's faults. A number that is none goes as it is, and the sandbox refuses it."""
    return {
        "latencyMs": _number(form.get("latency", "0")),
        "jitterMs": _number(form.get("jitter", "0")),
        "slowMs": _number(form.get("slow", "8000")),
        "duplicateWebhookPercent": _number(form.get("duplicates", "0")),
        "percent": {
            call: {
                outcome: _number(text)
                for outcome in OUTCOMES
                if (text := form.get(f"{call}.{outcome}", "")) not in ("", "0")
            }
            for call in CALLS
        },
    }


def _number(text: str) -> Any:
    """The number; a text that is none stays as it is, and is refused where it is used."""
    if not NUMBER.fullmatch(text):
        return text
    return int(text) if text.isdigit() else float(text)
