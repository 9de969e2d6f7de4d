"""Sign-in, sign-out and the choice of a language: what the shop and the console share."""

from typing import Final
from urllib.parse import quote

import jwt
from litestar import get, post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from ordersaga.web.accounts import CUSTOMERS, User
from ordersaga.web.desk import AnyRequest, Desk, Page, nothing
from ordersaga.web.services import Refused
from ordersaga.web.texts import LANGUAGES
from ordersaga.web.visit import Session

TOKEN_CHARS_MAX: Final = 2_700
"""A browser drops a cookie of more than 4,096 bytes and says nothing. The signed cookie is a third longer than what it signs."""


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
        user = _customer(desk, form) if "customer" in form else await _by_token(desk, form.get("token", ""))
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
        return desk.go(visit, "/", "signed_out")

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


async def _by_token(desk: Desk, token: str) -> User | None:
    """The user of a pasted token, if Order accepts it. Raises `Unavailable`."""
    if not token or len(token) > TOKEN_CHARS_MAX or not token.isascii():
        return None
    try:
        claims = jwt.decode(token, options={"verify_signature": False})  # Order verifies it below
        user = User.unchecked(claims, token, desk.settings.jwt_role_claim)
        await desk.services.get("order", "/api/v1/orders", _Anything, user, {"limit": "1"})
    except (jwt.PyJWTError, ValueError, Refused):
        return None
    return user
