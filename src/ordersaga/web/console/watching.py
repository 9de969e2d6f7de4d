"""The first page: the flow, what needs attention, orders by state, dead letters and parked records by cause, each service's state."""

from typing import Any, Final

from litestar import get
from litestar.types import ControllerRouterHandler

from ordersaga.web.console import flow, overview
from ordersaga.web.console.frame import Console
from ordersaga.web.console.snapshot import Snapshot
from ordersaga.web.console.staff import HOME
from ordersaga.web.desk import AnyRequest, Page

ROWS_SHOWN: Final = 6


def routes(console: Console) -> list[ControllerRouterHandler]:
    """The routes."""
    desk, reading, staff = console.desk, console.reading, console.staff

    @get(HOME)
    async def home(request: AnyRequest) -> Page:
        visit = desk.visit(request)
        user = await staff.reader(request, visit)
        return console.page(visit, user, "overview.html", _values(await reading.snapshot(user)))

    @get(f"{HOME}/now")
    async def now(request: AnyRequest) -> Page:
        """The changing part of the page, for its script."""
        visit = desk.visit(request)
        user = await staff.reader(request, visit)
        return console.part(visit, user, "_overview.html", _values(await reading.snapshot(user)))

    return [home, now]


def _values(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "snapshot": snapshot,
        "concerns": overview.concerns(snapshot),
        "arrows": flow.arrows(snapshot),
        "beside": flow.beside(snapshot),
        "boxes": list(flow.told(snapshot)),
        "width": flow.WIDTH,
        "height": flow.HEIGHT,
        "causes": overview.causes(snapshot)[:ROWS_SHOWN],
        "parked": overview.parked(snapshot)[:ROWS_SHOWN],
    }
