"""The trail of operators' acts, over all services, the latest first."""

from typing import Any, Final

from litestar import get
from litestar.types import ControllerRouterHandler

from ordersaga.operations.resources import ActResource
from ordersaga.web.console.frame import Console
from ordersaga.web.console.staff import HOME, NAMES, STAFF
from ordersaga.web.desk import AnyRequest, Page
from ordersaga.web.services import side_by_side
from ordersaga.web.visit import Visit

PATH: Final = f"{HOME}/trail"
SHOWN: Final = 50
VALUE_CHARS_MAX: Final = 40
VALUES: Final = {
    "latencyMs": "console.faults.latency",
    "jitterMs": "console.faults.jitter",
    "slowMs": "console.faults.slow",
    "duplicateWebhookPercent": "console.faults.duplicates",
    "orders": "console.faults.orders",
    "ordersPerSecond": "console.load.rate",
    "seconds": "console.load.seconds",
}
"""Values of the gateway's faults and of the load generator, whose names are on the page of faults, too."""
WORDS: Final = {
    "status": ("status",),
    "returning": ("states.returning",),
    "state": ("topics.state", "jobs.state", "trail.said"),
    "act": ("letters",),
    "cause": ("cause",),
}
"""Where the words of a value are, by its name."""


def routes(console: Console) -> list[ControllerRouterHandler]:
    """The routes."""
    desk, reading, staff = console.desk, console.reading, console.staff

    @get(PATH)
    async def listed(request: AnyRequest) -> Page:
        visit = desk.visit(request)
        user = await staff.reader(request, visit)
        query = request.query_params
        asked = {name: str(query.get(name, "")).strip()[:300] for name in ("service", "target", "who", "order", "job")}
        names = [name for name in reading.ours if asked["service"] in ("", name)]
        conditions = {
            "target": asked["target"],
            "who": _id_of(visit, asked["who"]),
            "orderId": asked["order"],
            "jobId": asked["job"],
            "limit": str(SHOWN),
        }
        if not (asked["target"] or asked["order"] or asked["job"]):
            conditions["byJobs"] = "false"  # a job is one line, which opens
        if asked["service"]:
            conditions["cursor"] = str(query.get("cursor", ""))
        pages = dict(
            zip(names, await side_by_side(*(reading.acts(name, user, conditions) for name in names)), strict=True)
        )
        acts = [(name, act) for name, page in pages.items() for act in (page.items if page else ())]
        values = {
            "acts": sorted(acts, key=lambda each: each[1].at, reverse=True),
            "away": [name for name, page in pages.items() if page is None],
            "more": [(name, page.next) for name, page in pages.items() if page and page.next],
            "asked": asked,
            "staff": STAFF,
            "changes": lambda act: changes(visit, act),
        }
        return console.page(visit, user, "trail.html", values)

    return [listed]


def _id_of(visit: Visit, who: str) -> str:
    """The id of somebody of the demo's staff whom the trail shows by name; anybody else is named by their id."""
    named = (user_id for user_id, name in NAMES.items() if visit.t(f"console.staff.{name}").lower() == who.lower())
    return next(named, who)


def changes(visit: Visit, act: ActResource) -> list[tuple[str, str | None, str]]:
    """The values that an act has changed, in words: name, before (None: there was none), after. A record's content and other long values are left out."""
    names = {**act.before, **act.after}
    found = [(name, act.before.get(name), act.after.get(name)) for name in names]
    return [
        (value_name(visit, name), _told(visit, name, old) if name in act.before else None, _told(visit, name, new))
        for name, old, new in found
        if old != new and _is_short(old) and _is_short(new)
    ]


def value_name(visit: Visit, name: str) -> str:
    """A value's name in words; a name of which the pages know none stays as it is."""
    asked, _, about = name.partition(" ")
    if visit.has(f"console.trail.value.{asked}"):
        return f"{visit.t(f'console.trail.value.{asked}')} {about[:8]}".rstrip()
    call, dot, outcome = name.partition(".")
    keys = (
        [f"console.faults.call.{call}", f"console.faults.outcome.{outcome}"]
        if dot
        else [VALUES.get(name, f"console.faults.consumer.{name}")]
    )
    if not all(map(visit.has, keys)):
        return name
    return ", ".join(map(visit.t, keys)) + (" (%)" if dot else "")


def _is_short(value: Any) -> bool:
    return not isinstance(value, dict | list) and len(str(value)) <= VALUE_CHARS_MAX


def _told(visit: Visit, name: str, value: Any) -> str:
    if isinstance(value, bool):
        return visit.t(f"console.trail.said.{'yes' if value else 'no'}")
    if isinstance(value, str):
        return next(
            (visit.t(key) for each in WORDS.get(name, ()) if visit.has(key := f"console.{each}.{value}")), value
        )
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
