"""The face for routes: who asks, what their form says, and the page or redirect that answers."""

import hashlib
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from string import punctuation
from typing import Any, Final, NoReturn
from urllib.parse import parse_qsl, quote, urlsplit
from uuid import UUID

import jinja2
import msgspec
from litestar import Request, Response
from litestar.datastructures import Cookie
from msgspec import Struct
from msgspec.structs import replace

from ordersaga.http.addresses import client_of
from ordersaga.http.caller import Callers
from ordersaga.http.problems import Problem, TooManyRequests
from ordersaga.http.requests import header, raw_body
from ordersaga.settings import Settings
from ordersaga.web import texts
from ordersaga.web.accounts import User
from ordersaga.web.failures import Failures, TooManyFailures
from ordersaga.web.notices import Told, notice_of
from ordersaga.web.pictures import drawing, picture
from ordersaga.web.provider import Provider
from ordersaga.web.renewing import OPERATOR_RENEWAL, RENEWAL, Renewing, note
from ordersaga.web.services import Services, asked_from
from ordersaga.web.signing import Signer
from ordersaga.web.visit import Cart, Session, Visit

AnyRequest = Request[Any, Any, Any]
Page = Response[Any]

SESSION: Final = "ordersaga_session"
OPERATOR: Final = "ordersaga_operator"
CART: Final = "ordersaga_cart"
LANGUAGE: Final = "ordersaga_language"
NOTICE: Final = "ordersaga_notice"
CONSOLE: Final = "/console"
FORM: Final = "ordersaga_form"
KEPT: Final = "kept"
KEPT_S: Final = 86_400
HEAD_BYTES_MIN: Final = 32_768
"""A request's head has room for all cookies of somebody who is signed in to the shop and to the console, with the longest tokens."""
NOT_COUNTED: Final = ("/health/", "/metrics")
FILES: Final = "/static/"
YEAR_S: Final = 365 * 86_400
NOTICE_S: Final = 60
FIELDS_MAX: Final = 1_000
"""The form of an order's record with 100 lines has over 300."""
STATIC: Final = Path(__file__).parent / "static"
KINDS: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class File(Struct, frozen=True):
    """A style, script or picture of ours, read once, and its address."""

    body: bytes
    kind: str
    url: str

    @classmethod
    def of(cls, path: Path) -> "File":
        body = path.read_bytes()
        return cls(body, KINDS[path.suffix], f"/static/{path.name}?{hashlib.blake2b(body, digest_size=8).hexdigest()}")


class WrongForm(Exception):
    """A form that was not made by a page of this session."""


class SignInFirst(Exception):
    """The page is for somebody who is signed in."""


class Nothing(Exception):
    """There is no such page, or it is somebody else's."""


class Desk:
    """Shared by all routes of the process."""

    def __init__(self, settings: Settings, services: Services, signer: Signer) -> None:
        self.settings: Final = settings
        self.services: Final = services
        self.signer: Final = signer
        self.callers: Final = Callers(settings)
        self.provider: Final = Provider(settings) if settings.web_sign_in == "oidc" else None
        self.renewing: Final = Renewing(self.provider, signer, settings.jwt_role_claim) if self.provider else None
        self.failures: Final = Failures()
        self.checkout_url: Final = (settings.web_checkout_url or settings.gateway_url).rstrip("/")
        checkout = urlsplit(self.checkout_url)
        self._headers: Final = {
            # A form's redirect counts as the form's target: the pay form leads to the gateway's checkout. A product's picture may be an https URL.
            "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https:; connect-src 'self'; "
            f"form-action 'self' {checkout.scheme}://{checkout.netloc}; base-uri 'none'; frame-ancestors 'none'",
            "Referrer-Policy": "same-origin",
            "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
            "Vary": "Accept-Language, Cookie",
            "Cache-Control": "no-store",
        }
        self._templates: Final = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.files: Final = {path.name: File.of(path) for path in STATIC.iterdir() if path.is_file()}
        self._templates.globals.update(picture=picture, drawing=drawing, static=lambda name: self.files[name].url)
        self._templates.filters["clock"] = _clock

    async def count(self, request: AnyRequest) -> None:
        """Litestar's `before_request`: counts the requests of nobody we know by their address, and notes the address for the services."""
        path, cookies = str(request.scope["path"]), request.cookies
        address = self.callers.addresses.of(request.scope)
        asked_from.set(None if address is None else str(address))
        if path.startswith(NOT_COUNTED) or path.removeprefix(FILES) in self.files:
            return
        if (header(request, b"authorization") or "").lower().startswith("bearer "):
            try:
                await self.callers.of(request)  # counts one that is refused
            except TooManyRequests:
                raise
            except Problem:
                pass
            return
        session = self.signer.read(SESSION, cookies.get(SESSION), Session)
        if (session is None or session.user is None) and not self.signer.read(OPERATOR, cookies.get(OPERATOR), User):
            self.callers.addresses.count(request.scope)

    def visit(self, request: AnyRequest) -> Visit:
        """The visitor of this request. Begins each route."""
        cookies = request.cookies
        chosen = cookies.get(LANGUAGE)
        language = next((each for each in texts.LANGUAGES if each == chosen), None)
        if language is None:
            language = texts.preferred(header(request, b"accept-language") or "")
        session = self.signer.read(SESSION, cookies.get(SESSION), Session) or Session()
        session.operator = self.signer.read(OPERATOR, cookies.get(OPERATOR), User)
        if self.settings.web_sign_in != "demo" and session.user and not session.user.token:
            session.user = None
        cart = self.signer.read(CART, cookies.get(CART), Cart) or Cart()
        path = request.scope["path"]
        if request.scope["query_string"]:
            path += "?" + request.scope["query_string"].decode("latin-1")
        return Visit(language, session, cart, path, self.signer, cookies)

    async def user(self, request: AnyRequest, visit: Visit) -> User:
        """The user of this request: by a proxy's bearer token, or by the session. Raises `SignInFirst`."""
        token = (header(request, b"authorization") or "").partition(" ")
        if token[0].lower() == "bearer":
            try:
                visit.by_proxy = User.of(await self.callers.of(request), token[2].strip())
            except Problem as problem:
                raise SignInFirst from problem
        if visit.by_proxy:
            return visit.by_proxy
        if visit.session.user is None:
            raise SignInFirst
        visit.session.user = await self.fresh(request, visit, visit.session.user, RENEWAL)
        return visit.session.user

    async def fresh(self, request: AnyRequest, visit: Visit, user: User, name: str) -> User:
        """A user of the session whose token is renewed if it is about to run out. The answer brings the browser the new cookies."""
        if self.renewing is None:
            return user
        found = await self.renewing.fresh(user, name, visit.cookies.get(name))
        if found is None:
            return user
        renewed, cookie = found
        own = name == OPERATOR_RENEWAL
        signed = renewed if own else replace(visit.session, operator=None, user=renewed)
        session = OPERATOR if own else SESSION
        cookies = [self.cookie(session, self.signer.sign(session, signed)), self.renewal_cookie(name, cookie)]
        note(request.scope, visit.session.session_id, cookies)
        return renewed

    def renewal_cookie(self, name: str, value: str) -> Cookie:
        """The cookie with a refresh token; without a value the browser drops it."""
        return self.cookie(name, value, None if value else 0, CONSOLE if name == OPERATOR_RENEWAL else "/")

    async def form(self, request: AnyRequest, visit: Visit) -> dict[str, str]:
        """A form's fields. Raises `WrongForm` unless a page of this site and this session sent it."""
        origin = header(request, b"origin")
        if origin not in (None, self.address(request)) or header(request, b"sec-fetch-site") == "cross-site":
            raise WrongForm
        try:
            pairs = parse_qsl(
                (await raw_body(request)).decode(),
                keep_blank_values=True,
                max_num_fields=FIELDS_MAX,
                strict_parsing=False,
            )
        except ValueError as error:
            raise WrongForm from error
        fields = {name: value.replace("\0", "").strip() for name, value in pairs}
        csrf, kept = fields.pop("csrf", ""), fields.pop(KEPT, None)
        if kept is not None:
            self._must_be_kept(request, visit, fields, kept)
        elif not self.signer.fits(visit.csrf, csrf):
            raise WrongForm
        request.scope.setdefault("state", {})[FORM] = fields
        return fields

    def kept_form(self, request: AnyRequest, visit: Visit) -> dict[str, str] | None:
        """The fields of a form that came from its page, but after its user's sign-in had ended, to be sent again after the next one. None: there are
        none, or nobody was signed in. The signature stands for the session's own: the next sign-in begins another session."""
        fields = request.scope.get("state", {}).get(FORM)
        if fields is None or _keeper(request, visit) is None:
            return None
        at = str(int(time.time()))
        return {**fields, KEPT: f"{at}.{self._kept(request, visit, fields, at)}"}

    def _must_be_kept(self, request: AnyRequest, visit: Visit, fields: dict[str, str], kept: str) -> None:
        at, _, mac = kept.partition(".")
        if not self.signer.fits(self._kept(request, visit, fields, at), mac) or time.time() - int(at) > KEPT_S:
            raise WrongForm

    def _kept(self, request: AnyRequest, visit: Visit, fields: dict[str, str], at: str) -> str:
        # A browser may send other ends of lines than it was given.
        lines = [[name, "\n".join(value.splitlines())] for name, value in sorted(fields.items())]
        about = [str(_keeper(request, visit)), request.scope["path"], at, lines]
        return self.signer.token("kept form", msgspec.json.encode(about).decode())

    def must_not_wait(self, request: AnyRequest) -> None:
        """Raises `TooManyFailures` where too many sign-ins have failed from this address."""
        wait_s = self.failures.wait_s(self._client(request))
        if wait_s:
            raise TooManyFailures(wait_s)

    def failed(self, request: AnyRequest) -> None:
        """Count a failed sign-in."""
        self.failures.failed(self._client(request))

    def _client(self, request: AnyRequest) -> str:
        address = self.callers.addresses.of(request.scope)
        return client_of(address) if address else ""

    def address(self, request: AnyRequest) -> str:
        """This site's scheme, host and port as the browser knows them."""
        if self.settings.web_url:
            parts = urlsplit(self.settings.web_url)
            return f"{parts.scheme}://{parts.netloc}"
        return f"http://{header(request, b'host') or ''}"

    def page(self, visit: Visit, template: str, values: Mapping[str, Any] | None = None, status: int = 200) -> Page:
        """Answer with a page, and write the session's cookies. A notice is shown once."""
        told = self.signer.read(NOTICE, visit.cookies.get(NOTICE), Told)
        text = self.part(visit, template, {"notice": told and notice_of(visit, told), **(values or {})})
        headers = self._headers | {"Content-Language": visit.language}
        return Response(
            text, status_code=status, headers=headers, media_type="text/html", cookies=self._cookies(visit, None)
        )

    def fragment(self, visit: Visit, template: str, values: Mapping[str, Any]) -> Page:
        """Answer with a part of a page, for its script. A browser may also open it as a page, so it has a page's headers."""
        return Response(self.part(visit, template, values), headers=dict(self._headers), media_type="text/html")

    def part(self, visit: Visit, template: str, values: Mapping[str, Any]) -> str:
        """A template's text, for a page or for a stream."""
        shared = {
            "visit": visit,
            "t": visit.t,
            "won": lambda amount: texts.won(amount, visit.language),
            "local": lambda name: texts.local(name, visit.language),
            "other_language": "en" if visit.language == "ko" else "ko",
            "here": quote(visit.path, safe=""),
            "demo": self.settings.web_sign_in == "demo",
            "by_provider": self.provider is not None,
        }
        return self._templates.get_template(template).render({**shared, **values})

    def go(self, visit: Visit, path: str, notice: str | Told | None = None) -> Page:
        """Redirect with GET, so that a reload repeats no command. `notice`: shown by the next page, with a reason or by its name alone."""
        return Response(
            b"",
            status_code=303,
            headers={**self._headers, "Location": quote(path, safe=punctuation)},
            cookies=self._cookies(visit, Told(notice) if isinstance(notice, str) else notice),
        )

    def _cookies(self, visit: Visit, notice: Told | None) -> list[Cookie]:
        """The cookies that differ from the request's: the answer to one tab must not undo what another tab has done meanwhile."""
        operator = self.signer.sign(OPERATOR, visit.session.operator) if visit.session.operator else ""
        # The operator has a cookie of its own: two tokens are too long for one.
        session = self.signer.sign(SESSION, replace(visit.session, operator=None))
        cart = self.signer.sign(CART, visit.cart) if visit.cart.pieces else ""
        wanted = {
            SESSION: (session, None),
            OPERATOR: (operator, None),
            CART: (cart, YEAR_S),
            NOTICE: (self.signer.sign(NOTICE, notice) if notice else "", NOTICE_S),
        }
        return [
            self.cookie(name, value, lasts_s if value else 0)
            for name, (value, lasts_s) in wanted.items()
            if value != visit.cookies.get(name, "")
        ]

    @staticmethod
    def sign_in_path(then: str) -> str:
        """The sign-in page, which goes on to `then`."""
        return f"/sign-in?then={quote(then, safe='')}"

    def language_cookie(self, language: texts.Language) -> Cookie:
        """The visitor's choice of a language."""
        return self.cookie(LANGUAGE, language, YEAR_S)

    def cookie(self, name: str, value: str, max_age: int | None = None, path: str = "/") -> Cookie:
        """A cookie that no script reads and no other site sends with a form. `max_age` 0: the browser drops it."""
        secure = (self.settings.web_url or "").startswith("https:")
        return Cookie(key=name, value=value, path=path, max_age=max_age, httponly=True, samesite="lax", secure=secure)


def _keeper(request: AnyRequest, visit: Visit) -> UUID | None:
    """The session's user on this side of the site, whose token may have run out."""
    in_console = str(request.scope["path"]).startswith(f"{CONSOLE}/")
    user = visit.session.operator if in_console else visit.session.user
    return None if user is None else user.user_id


def nothing() -> NoReturn:
    """Answer 404."""
    raise Nothing


def _clock(at: datetime) -> str:
    """A time for browsers without script; the script writes it in the visitor's time zone."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
