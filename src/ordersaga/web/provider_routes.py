"""Sign-in at the identity provider: the way there, and the way back. The shop and the console share them; `then` says for which one it is."""

from typing import Final

import structlog
from litestar import get
from litestar.types import ControllerRouterHandler

from ordersaga.web.accounts import CUSTOMERS, User
from ordersaga.web.console import staff
from ordersaga.web.desk import AnyRequest, Desk, Page
from ordersaga.web.provider import BEGUN_S, Begun, ProviderAway, SignInFailed
from ordersaga.web.renewing import OPERATOR_RENEWAL, RENEWAL
from ordersaga.web.services import Refused, SignInEnded, Unavailable
from ordersaga.web.signing_in import ID_TOKEN, ORDERS, local_path, user_of
from ordersaga.web.visit import Session, Visit

log: Final = structlog.get_logger()

BEGUN: Final = "ordersaga_signing_in"
BACK: Final = "/sign-in/back"
"""The address that the provider must know for this client, below WEB_URL."""
ID_TOKEN_CHARS_MAX: Final = 4_000
AGAIN_S: Final = "5"
NO_ATTACK: Final = ("old", "cancelled", "role")
"""Refusals that are not counted: other sites could send a browser here with any state, and would make its address wait."""


def routes(desk: Desk) -> list[ControllerRouterHandler]:
    """The two routes; none where people do not sign in at a provider."""
    provider = desk.provider
    if provider is None:
        return []

    @get("/sign-in/begin")
    async def begin(request: AnyRequest) -> Page:
        """Send the browser to the provider."""
        visit = desk.visit(request)
        begun = Begun(local_path(request.query_params.get("then", "/")))
        try:
            answer = desk.go(visit, await provider.sign_in_url(begun, desk.address(request) + BACK))
        except ProviderAway as error:
            return _away(desk, visit, begun.then, error)
        answer.cookies.append(desk.cookie(BEGUN, desk.signer.sign(BEGUN, begun), BEGUN_S, BACK))
        return answer

    @get(BACK)
    async def back(request: AnyRequest) -> Page:
        """The provider has sent the browser back, with a code or with an error."""
        visit = desk.visit(request)
        desk.must_not_wait(request)
        begun = desk.signer.read(BEGUN, request.cookies.get(BEGUN), Begun)
        then = begun.then if begun else "/"
        try:
            answer = await _arrived(desk, request, visit, begun)
        except (ProviderAway, Unavailable) as error:
            answer = _away(desk, visit, then, error)
        except SignInFailed as error:
            if error.why not in NO_ATTACK:
                desk.failed(request)
            log.warning("a sign-in was refused", why=error.why, detail=str(error))
            answer = _page(desk, visit, then, error.why, 403 if error.why == "role" else 400)
        answer.cookies.append(desk.cookie(BEGUN, "", 0, BACK))
        return answer

    return [begin, back]


async def _arrived(desk: Desk, request: AnyRequest, visit: Visit, begun: Begun | None) -> Page:
    provider = desk.provider
    assert provider is not None
    said = request.query_params
    if begun is None or begun.is_old or not desk.signer.fits(begun.state, said.get("state", "")):
        raise SignInFailed("old", "no sign-in with this state has begun in this browser lately")
    await provider.must_be_from_here(said.get("iss"))
    if "error" in said:
        why = "cancelled" if said["error"] == "access_denied" else "unusable"
        raise SignInFailed(why, f"the provider says {said['error']!r}: {said.get('error_description', '')!r}")
    found = await provider.token(begun, said.get("code", ""), desk.address(request) + BACK)
    in_console = _in_console(begun.then)
    user = await _accepted(desk, found.token, in_console)
    session = visit.session
    visit.session = (
        Session(user=session.user, operator=user) if in_console else Session(user=user, operator=session.operator)
    )
    answer = desk.go(visit, begun.then, "signed_in")
    name = OPERATOR_RENEWAL if in_console else RENEWAL
    renewal = desk.renewing.sealed(name, user.user_id, found.refresh_token) if desk.renewing else ""
    answer.cookies.append(desk.renewal_cookie(name, renewal))
    if found.id_token is not None and len(found.id_token) <= ID_TOKEN_CHARS_MAX:
        answer.cookies.append(
            desk.cookie(ID_TOKEN, found.id_token, None, f"{staff.HOME if in_console else ''}/sign-out")
        )
    return answer


async def _accepted(desk: Desk, token: str, in_console: bool) -> User:
    """The token's user, whom the services must accept before anybody is signed in."""
    try:
        if in_console:
            return await user_of(desk, token, staff.first_of_ours(desk), staff.ACTS)
        return await user_of(desk, token, "order", ORDERS)
    except ValueError as error:
        raise SignInFailed("unusable", f"the provider's token cannot be used: {error}") from error
    except (Refused, SignInEnded) as error:
        why = "role" if isinstance(error, Refused) and error.status == 403 else "unusable"
        raise SignInFailed(why, f"the services do not accept the provider's token: {error}") from error


def _in_console(then: str) -> bool:
    return then.partition("?")[0] == staff.HOME or then.startswith((f"{staff.HOME}/", f"{staff.HOME}?"))


def _away(desk: Desk, visit: Visit, then: str, error: Exception) -> Page:
    log.error("nobody can sign in now", error=str(error))
    answer = _page(desk, visit, then, "away", 503)
    answer.headers["Retry-After"] = AGAIN_S
    return answer


def _page(desk: Desk, visit: Visit, then: str, why: str, status: int) -> Page:
    """The sign-in page, with the reason why nobody is signed in, and a way to begin again."""
    template = "console/sign_in.html" if _in_console(then) else "sign_in.html"
    values = {"customers": CUSTOMERS, "staff": staff.STAFF, "then": then, "wrong": False, "failed": why}
    return desk.page(visit, template, values, status)
