"""Every route of the console, and how it tells errors."""

from litestar.types import ControllerRouterHandler

from ordersaga.web.console import (
    audit,
    faults,
    history,
    jobs,
    letter_edits,
    letters,
    order_page,
    order_records,
    orders,
    parked,
    staff,
    topic,
    topics,
    trail,
    watching,
)
from ordersaga.web.console.audience import Audience
from ordersaga.web.console.frame import Console
from ordersaga.web.console.load import Load
from ordersaga.web.console.reading import Reading
from ordersaga.web.desk import Desk


def routes(desk: Desk, load: Load, audience: Audience) -> list[ControllerRouterHandler]:
    """Sign-in of operators, and every page."""
    console = Console(desk, Reading(desk.services, desk.settings), load, audience)
    pages = (
        watching,
        orders,
        order_page,
        order_records,
        letters,
        letter_edits,
        parked,
        jobs,
        topics,
        topic,
        history,
        audit,
        trail,
        faults,
    )
    return [*staff.routes(desk, audience), *(route for each in pages for route in each.routes(console))]
