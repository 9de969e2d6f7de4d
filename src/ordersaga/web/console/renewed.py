"""Pages of the console whose changing part is fetched again by their script, at the page's address with `/now`."""

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import get
from litestar.types import ControllerRouterHandler

from ordersaga.web.accounts import User
from ordersaga.web.console.frame import Console
from ordersaga.web.desk import AnyRequest, Page

Values = Callable[[AnyRequest, User], Awaitable[dict[str, Any]]]


def renewed(console: Console, path: str, template: str, part: str, values: Values) -> list[ControllerRouterHandler]:
    """The routes of a page and of its changing part, which show the same values. `values` may raise what the error pages answer."""

    @get(path)
    async def show(request: AnyRequest) -> Page:
        visit = console.desk.visit(request)
        user = await console.staff.reader(request, visit)
        return console.page(visit, user, template, await values(request, user))

    @get(f"{path}/now")
    async def now(request: AnyRequest) -> Page:
        visit = console.desk.visit(request)
        user = await console.staff.reader(request, visit)
        return console.part(visit, user, part, await values(request, user))

    return [show, now]
