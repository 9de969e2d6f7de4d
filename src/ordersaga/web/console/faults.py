"""The sandbox's faults, for a demo: what share of the gateway's calls fail, and how. Only where everybody may sign in; elsewhere 404."""

import re
from typing import Any, Final

import aiohttp
import msgspec
from litestar import get, post
from litestar.types import ControllerRouterHandler

from ordersaga.web.console.frame import Console
from ordersaga.web.console.staff import HOME
from ordersaga.web.desk import AnyRequest, Page, nothing

PATH: Final = f"{HOME}/faults"
TIMEOUT_S: Final = 3.0
CALLS: Final = ("confirm", "get", "cancel")
OUTCOMES: Final = ("slow", "dropped", "answer-lost", "bad-gateway")
NUMBER: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{1,2})?")


def routes(console: Console) -> list[ControllerRouterHandler]:
    """The routes."""
    desk, staff = console.desk, console.staff
    url = f"{desk.settings.gateway_url.rstrip('/')}/sandbox/faults"

    def demo_only() -> None:
        if desk.settings.web_sign_in != "demo":
            nothing()

    async def ask(method: str, body: Any = None) -> dict[str, Any] | None:
        """The faults in force; None: there is no sandbox there, or it refuses the body."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        sent = None if body is None else msgspec.json.encode(body)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as http, http.request(method, url, data=sent) as answer:
                if answer.status != 200:
                    return None
                found: dict[str, Any] = msgspec.json.decode(await answer.read(), type=dict[str, Any])
                return found
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError):
            return None

    @get(PATH)
    async def show(request: AnyRequest) -> Page:
        demo_only()
        visit = desk.visit(request)
        user = await staff.reader(request, visit)
        values = {"faults": await ask("GET"), "calls": CALLS, "outcomes": OUTCOMES}
        return console.page(visit, user, "faults.html", values)

    @post(PATH)
    async def change(request: AnyRequest) -> Page:
        demo_only()
        visit = desk.visit(request)
        _, form = await staff.operator(request, visit)
        before = await ask("GET")
        done = None if before is None else await ask("PUT", {} if "end" in form else before | _wanted(form))
        return desk.go(visit, PATH, "console.faults" if done is not None else "console.faults_wrong")

    return [show, change]


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
    return float(text) if NUMBER.fullmatch(text) else text
