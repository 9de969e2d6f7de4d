"""The web process's sign-in before an identity provider, with a browser and with services that judge tokens as ours do."""

import re
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import httpx
from litestar import Litestar, Request, Response, get, post
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from ordersaga.http.caller import Callers
from ordersaga.http.problems import Problem
from ordersaga.settings import Settings
from ordersaga.web import provider_routes, signing_in
from ordersaga.web.accounts import User
from ordersaga.web.console import staff
from ordersaga.web.console.audience import Audience
from ordersaga.web.desk import OPERATOR, SESSION, AnyRequest, Desk, Page
from ordersaga.web.error_pages import handlers
from ordersaga.web.provider_routes import BEGUN
from ordersaga.web.renewing import BringsCookies
from ordersaga.web.services import ProblemAnswer, Refused, Services, SignInEnded, Unavailable
from ordersaga.web.signing import Signer
from ordersaga.web.signing_in import ID_TOKEN
from ordersaga.web.texts import TEXTS
from ordersaga.web.visit import Session
from tests.unit.oidc_provider import CLIENT, SECRET, OidcProvider

SHOP = "https://shop.example"
SIGNER = Signer(b"a secret of the web process")


class Checking(Services):
    """The services as the sign-in needs them: they judge tokens as ours do, by the provider's keys. `away`: they do not answer."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.away = False
        self._callers = Callers(settings)

    async def get(self, service: Any, path: str, kind: Any, user: User | None = None, *_: Any, **__: Any) -> Any:
        if self.away:
            raise Unavailable(service)
        assert user is not None and user.token is not None
        raw = [(b"authorization", f"Bearer {user.token}".encode())]
        request: Any = Request({"type": "http", "headers": raw, "method": "GET", "path": path})  # type: ignore[arg-type]
        try:
            if path == staff.ACTS:
                await self._callers.reader(request)
            else:
                await self._callers.of(request)
        except Problem as problem:
            if problem.status == 401:
                raise SignInEnded(str(problem)) from problem
            raise Refused(problem.status, ProblemAnswer(problem.body.title, problem.body.detail or "")) from problem
        return kind()


class Anything(Struct):
    """An answer whose content does not matter."""


class Site:
    """The web process's sign-in, and a browser before it."""

    def __init__(self, provider: OidcProvider, **changed: Any) -> None:
        self.provider = provider
        values = {
            "development": True,
            "web_sign_in": "oidc",
            "web_url": SHOP,
            "oidc_issuer": provider.issuer,
            "oidc_client_id": CLIENT,
            "oidc_client_secret": SECRET,
            "oidc_timeout_s": 60,
            "jwt_jwks_url": f"{provider.issuer}/keys",
            "jwt_jwks_timeout_s": 60,
        }
        settings = Settings.model_validate(values | changed)
        self.services = Checking(settings)
        self.desk = Desk(settings, self.services, SIGNER)

        app = Litestar(
            [
                *signing_in.routes(self.desk),
                *provider_routes.routes(self.desk),
                *staff.routes(self.desk, Audience()),
                *_pages(self.desk),
            ],
            exception_handlers=handlers(self.desk),
            before_send=[BringsCookies(self.desk.renewing)],
            openapi_config=None,
            logging_config=None,
        )
        headers, served = {"Accept-Language": "en"}, cast(Any, app)
        self.browser = httpx.AsyncClient(transport=httpx.ASGITransport(served), base_url=SHOP, headers=headers)

    async def go(self, path: str) -> httpx.Response:
        return await self.browser.get(path)

    async def begin(self, then: str = "/orders") -> dict[str, str]:
        """Begin; returns what the provider is asked."""
        answer = await self.browser.get("/sign-in/begin", params={"then": then})
        assert answer.status_code == 303, answer.text
        assert answer.headers["location"].startswith(f"{self.provider.issuer}/authorize?")
        return dict(parse_qsl(urlsplit(answer.headers["location"]).query))

    async def sign_in(self, then: str = "/orders") -> httpx.Response:
        """The whole way, with an honest user."""
        return await self.go(self.provider.code_for(await self.begin(then)).removeprefix(SHOP))

    @property
    def csrf(self) -> str:
        """What the forms of this session's pages carry."""
        return SIGNER.token("csrf", self.session().session_id)

    def session(self) -> Session:
        return SIGNER.read(SESSION, self.browser.cookies.get(SESSION), Session) or Session()

    def operator(self) -> User | None:
        return SIGNER.read(OPERATOR, self.browser.cookies.get(OPERATOR), User)

    def keep(self, name: str, value: Any) -> None:
        """Give the browser another session, or another operator."""
        self.browser.cookies.delete(name)
        self.browser.cookies.set(name, SIGNER.sign(name, value), domain="shop.example", path="/")

    async def refused(self, answer: httpx.Response, why: str, status: int = 400) -> None:
        """The page says why, offers a new beginning, and nobody is signed in."""
        assert answer.status_code == status, answer.text
        assert re.search(TEXTS["en"][f"sign_in.failed.{why}"].replace("'", "&#39;"), answer.text), answer.text
        assert "/sign-in/begin?then=" in answer.text
        assert self.session().user is None and self.operator() is None and ID_TOKEN not in self.browser.cookies
        assert BEGUN not in self.browser.cookies, "a sign-in has one end"


def _pages(desk: Desk) -> list[ControllerRouterHandler]:
    """A page, a part of a page, and a form, of the shop and of the console. Each asks a service in its user's name."""
    people = staff.Staff(desk, Audience())

    async def asked(user: User, path: str) -> None:
        await desk.services.get("order", path, Anything, user)

    @get("/kept/page")
    async def page(request: AnyRequest) -> Page:
        visit = desk.visit(request)
        await asked(await desk.user(request, visit), signing_in.ORDERS)
        return desk.go(visit, "/")

    @get("/kept/part")
    async def part(request: AnyRequest) -> Page:
        await asked(await desk.user(request, desk.visit(request)), signing_in.ORDERS)
        return Response(b"a part")

    @post("/kept/form")
    async def form(request: AnyRequest) -> Response[dict[str, str]]:
        visit = desk.visit(request)
        fields = await desk.form(request, visit)
        await asked(await desk.user(request, visit), signing_in.ORDERS)
        return Response(fields)

    @post("/console/kept/form")
    async def console_form(request: AnyRequest) -> Response[dict[str, str]]:
        user, fields = await people.operator(request, desk.visit(request))
        await asked(user, staff.ACTS)
        return Response(fields)

    return [page, part, form, console_form]
