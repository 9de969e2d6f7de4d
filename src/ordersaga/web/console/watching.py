"""The first page: the flow, what needs attention, orders by state, dead letters and parked records by cause, each service's state."""

from typing import Any, Final

from litestar.types import ControllerRouterHandler

from ordersaga.web.accounts import User
from ordersaga.web.console import flow, overview
from ordersaga.web.console.frame import Console
from ordersaga.web.console.renewed import renewed
from ordersaga.web.console.snapshot import Snapshot
from ordersaga.web.console.staff import HOME
from ordersaga.web.desk import AnyRequest

ROWS_SHOWN: Final = 6


def routes(console: Console) -> list[ControllerRouterHandler]:
    """The routes."""

    async def values(_: AnyRequest, user: User) -> dict[str, Any]:
        return _values(await console.reading.snapshot(user))

    return renewed(console, HOME, "overview.html", "_overview.html", values)


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
