"""Who uses the console: sign-in with a role, and what each role may do. The services check the role of every request again."""

from typing import Final
from urllib.parse import quote
from uuid import UUID

from litestar import get, post
from litestar.types import ControllerRouterHandler

from ordersaga.http.caller import OPERATOR_ROLES, READER_ROLES
from ordersaga.settings import SERVICES, ServiceName
from ordersaga.web.accounts import User
from ordersaga.web.console.audience import Audience
from ordersaga.web.desk import CONSOLE, AnyRequest, Desk, Page, SignInFirst
from ordersaga.web.renewing import OPERATOR_RENEWAL
from ordersaga.web.signing_in import by_token, local_path, signed_out
from ordersaga.web.visit import Session, Visit

HOME: Final = CONSOLE
SIGN_IN: Final = f"{HOME}/sign-in"
ACTS: Final = "/api/v1/operations/acts"
"""What a service shows to the readers of the console alone."""
STAFF: Final[dict[str, User]] = {
    name: User(UUID(f"00000000-0000-4000-8000-0000000000b{n}"), (name.upper(),), name)
    for n, name in enumerate(("reader", "operator", "master"), 1)
}
"""The staff of the demo, one for each role. Their names are texts: `console.staff.reader` and so on."""
NAMES: Final = {str(user.user_id): name for name, user in STAFF.items()}


class RoleNeeded(Exception):
    """The page or act is for another role."""

    def __init__(self, role: str) -> None:
        super().__init__(f"the role {role} is needed")
        self.role: Final = role


class Staff:
    """Finds who asks. Raises `SignInFirst` and `RoleNeeded`."""

    def __init__(self, desk: Desk, audience: Audience) -> None:
        self._desk: Final = desk
        self._audience: Final = audience

    async def reader(self, request: AnyRequest, visit: Visit) -> User:
        """Somebody who may see the console."""
        user = await self._user(request, visit)
        if not READER_ROLES & set(user.roles):
            raise RoleNeeded("READER")
        self._audience.seen(visit.session.session_id)
        return user

    async def operator(self, request: AnyRequest, visit: Visit) -> tuple[User, dict[str, str]]:
        """Somebody who may act, and their form."""
        form = await self._desk.form(request, visit)
        return await self.acting(request, visit), form

    async def acting(self, request: AnyRequest, visit: Visit) -> User:
        """Somebody who may act, before a page that is there for an act."""
        user = await self.reader(request, visit)
        if not may_act(user):
            raise RoleNeeded("OPERATOR")
        return user

    async def _user(self, request: AnyRequest, visit: Visit) -> User:
        demo = self._desk.settings.web_sign_in == "demo"
        kept = visit.session.operator
        if kept and (kept.token or demo) and not visit.by_proxy:
            visit.session.operator = await self._desk.fresh(request, visit, kept, OPERATOR_RENEWAL)
            return visit.session.operator
        if request.headers.get("authorization"):
            return await self._desk.user(request, visit)
        raise SignInFirst


def sign_in_path(then: str) -> str:
    """The console's sign-in page, which goes on to `then`."""
    return f"{SIGN_IN}?then={quote(then, safe='')}"


def may_act(user: User) -> bool:
    """Whether the services will accept an act of this user."""
    return bool(OPERATOR_ROLES & set(user.roles))


def routes(desk: Desk, audience: Audience) -> list[ControllerRouterHandler]:
    """Sign-in and sign-out of the console."""

    @get(SIGN_IN)
    async def show(request: AnyRequest) -> Page:
        values = {"staff": STAFF, "then": _then(request.query_params.get("then", HOME)), "wrong": False}
        return desk.page(desk.visit(request), "console/sign_in.html", values)

    @post(SIGN_IN)
    async def sign_in(request: AnyRequest) -> Page:
        visit = desk.visit(request)
        form = await desk.form(request, visit)
        then = _then(form.get("then", HOME))
        user = await _chosen(desk, request, form)
        if user is None:
            values = {"staff": STAFF, "then": then, "wrong": True}
            return desk.page(visit, "console/sign_in.html", values, 400)
        visit.session = Session(user=visit.session.user, operator=user)
        return desk.go(visit, then)

    @post(f"{HOME}/sign-out")
    async def sign_out(request: AnyRequest) -> Page:
        visit = desk.visit(request)
        await desk.form(request, visit)
        audience.left(visit.session.session_id)
        visit.session = Session(user=visit.session.user)
        return await signed_out(desk, request, visit, SIGN_IN)

    return [show, sign_in, sign_out]


def _then(path: str) -> str:
    path = local_path(path)
    return path if path.startswith(HOME) else HOME


async def _chosen(desk: Desk, request: AnyRequest, form: dict[str, str]) -> User | None:
    """The demo's user of a role, or the user of a token that a service accepts for operators."""
    if desk.settings.web_sign_in == "demo":
        return STAFF.get(form.get("role", ""))
    return await by_token(desk, request, form, first_of_ours(desk), ACTS)


def first_of_ours(desk: Desk) -> ServiceName:
    """A service that can say whether a user may see the console."""
    return next(name for name in SERVICES if name not in desk.settings.foreign_partners)
