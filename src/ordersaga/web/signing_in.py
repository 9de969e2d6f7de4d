"""Sign-in, sign-out and the choice of a language: what the shop and the console share."""

from typing import Final
from urllib.parse import quote

import jwt
from litestar import get, post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from ordersaga.web.accounts import CUSTOMERS, User
from ordersaga.web.desk import SESSION, AnyRequest, Desk, Page, nothing
from ordersaga.web.renewing import OPERATOR_RENEWAL, RENEWAL
from ordersaga.web.services import Backend, Refused, SignInEnded
from ordersaga.web.texts import LANGUAGES
from ordersaga.web.visit import Session, Visit

ORDERS: Final = "/api/v1/orders"
ID_TOKEN: Final = "ordersaga_id_token"
"""The cookie with the provider's ID token, which the provider is shown at the sign-out. A browser sends it with that form alone."""


class _Anything(Struct):
    """An answer whose content does not matter."""


def routes(desk: Desk) -> list[ControllerRouterHandler]:
    """The routes of signing in and out, and of the language."""

    @get("/sign-in")
    async def show(request: AnyRequest) -> Page:
        values = {"customers": CUSTOMERS, "then": local_path(request.query_params.get("then", "/")), "wrong": False}
        return desk.page(desk.visit(request), "sign_in.html", values)

    @post("/sign-in")
    async def sign_in(request: AnyRequest) -> Page:
        visit = desk.visit(request)
        form = await desk.form(request, visit)
        then = local_path(form.get("then", "/"))
        user = _customer(desk, form) if "customer" in form else await by_token(desk, request, form, "order", ORDERS)
        if user is None:
            values = {"customers": CUSTOMERS, "then": then, "wrong": True}
            return desk.page(visit, "sign_in.html", values, 400)
        visit.session = Session(user=user, operator=visit.session.operator)
        return desk.go(visit, then, "signed_in")

    @post("/sign-out")
    async def sign_out(request: AnyRequest) -> Page:
        visit = desk.visit(request)
        await desk.form(request, visit)
        visit.session = Session(operator=visit.session.operator)
        return await signed_out(desk, request, visit, "/")

    @get("/language/{code:str}")
    async def language(request: AnyRequest, code: FromPath[str]) -> Page:
        chosen = next((each for each in LANGUAGES if each == code), None) or nothing()
        answer = desk.go(desk.visit(request), local_path(request.query_params.get("then", "/")))
        answer.cookies.append(desk.language_cookie(chosen))
        return answer

    return [show, sign_in, sign_out, language]


def local_path(path: str) -> str:
    """The path, if it leads to a page of this site; else the first page. A link must not send a visitor elsewhere after the sign-in."""
    if not path.startswith("/") or path.startswith("//") or "\\" in path or not path.isprintable():
        return "/"
    return quote(path, safe="/?&=%:+,-_.~")


def _customer(desk: Desk, form: dict[str, str]) -> User | None:
    name = form["customer"]
    if desk.settings.web_sign_in != "demo" or name not in CUSTOMERS:
        return None
    return User(CUSTOMERS[name], name=name)


async def by_token(desk: Desk, request: AnyRequest, form: dict[str, str], service: Backend, path: str) -> User | None:
    """The user of a pasted token, if the service accepts it at `path`. Raises `Unavailable`, and `TooManyFailures`."""
    token = form.get("token", "")
    if not token or desk.settings.web_sign_in != "token":
        return None
    desk.must_not_wait(request)
    try:
        return await user_of(desk, token, service, path)
    except (ValueError, Refused, SignInEnded):
        desk.failed(request)
        return None


async def user_of(desk: Desk, token: str, service: Backend, path: str) -> User:
    """The user of a token that the service accepts at `path`. Raises ValueError for what is no token for a cookie, `Refused`, `SignInEnded` and `Unavailable`."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})  # the service verifies it below
    except jwt.PyJWTError as error:
        raise ValueError("the token is no JWT") from error
    user = User.unchecked(claims, token, desk.settings.jwt_role_claim)
    await desk.services.get(service, path, _Anything, user, {"limit": "1"})
    return user


async def signed_out(desk: Desk, request: AnyRequest, visit: Visit, home: str) -> Page:
    """What follows a sign-out: the first page, or one that goes on to the provider's sign-out.

    A redirect from the form to the provider would be refused by the Content-Security-Policy.
    """
    if desk.provider is None or desk.renewing is None:
        return desk.go(visit, home, "signed_out")
    name = RENEWAL if home == "/" else OPERATOR_RENEWAL
    left = desk.signer.read(SESSION, visit.cookies.get(SESSION), Session) or visit.session
    await desk.renewing.end(left.session_id, name, visit.cookies.get(name))
    url = await desk.provider.sign_out_url(request.cookies.get(ID_TOKEN), desk.address(request) + home)
    if url is None:
        answer = desk.go(visit, home, "signed_out")
    else:
        answer = desk.page(visit, "signed_out.html", {"url": url, "in_console": home != "/"})
    answer.cookies.append(desk.cookie(ID_TOKEN, "", 0, str(request.scope["path"])))
    answer.cookies.append(desk.renewal_cookie(name, ""))
    return answer
