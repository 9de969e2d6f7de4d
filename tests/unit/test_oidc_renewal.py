"""A token that runs out in the middle of work: it is renewed before, or its user signs in again and loses nothing that was entered."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from html import unescape
from uuid import UUID, uuid4

import httpx
import pytest
from msgspec.structs import replace

from ordersaga.http.application import Application
from ordersaga.http.caller import READER_ROLES
from ordersaga.http.limits import Streams
from ordersaga.http.server import _limits
from ordersaga.settings import Settings
from ordersaga.web import renewing
from ordersaga.web.accounts import TOKEN_CHARS_MAX, User
from ordersaga.web.desk import CART, HEAD_BYTES_MIN, OPERATOR, SESSION
from ordersaga.web.provider_routes import ID_TOKEN_CHARS_MAX
from ordersaga.web.renewing import COOKIE_CHARS_MAX, OPERATOR_RENEWAL, RENEWAL
from ordersaga.web.shop import tracking
from ordersaga.web.shop.live import Live, Shown
from ordersaga.web.texts import TEXTS
from ordersaga.web.visit import LINES_MAX, PIECES_MAX, Cart, Session, Visit
from tests.unit.oidc_provider import USER, OidcProvider, serving
from tests.unit.oidc_site import SIGNER, Site
from tests.unit.test_web_progress import reserved

FORM = {"name": "Kim Hana", "memo": 'ring\r\ntwice & "loudly"', "empty": ""}
FORMS = [("/orders", "/kept/form"), ("/console/letters", "/console/kept/form")]


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    with serving() as one:
        yield one


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, a token that is about to run out has not."""
    monkeypatch.setattr(renewing, "BEFORE_S", 3_000.0)
    monkeypatch.setattr(renewing, "AGAIN_S", 3_600.0)
    monkeypatch.setattr(renewing, "SHARED_S", 3_600.0)


@pytest.fixture
async def site(provider: OidcProvider) -> AsyncIterator[Site]:
    provider.begin()
    provider.renews = True
    provider.roles = ["MASTER"]
    one = Site(provider)
    async with one.browser:
        yield one


async def signed_in(site: Site, then: str = "/orders") -> None:
    """With tokens that are about to run out; those after them are not."""
    now = int(time.time())
    site.provider.access = {"iat": now - 36_000, "exp": now + 1_800}
    assert (await site.sign_in(then)).status_code == 303
    site.provider.access = {}


def ended(site: Site) -> None:
    """The tokens that the browser has run out."""
    over = site.provider.keys.token("one", sub=USER, iss=site.provider.issuer, roles=["MASTER"], exp=1_000)
    session, operator = site.session(), site.operator()
    if session.user:
        site.keep(SESSION, replace(session, user=replace(session.user, token=over)))
    if operator:
        site.keep(OPERATOR, replace(operator, token=over))


def token(site: Site) -> str | None:
    user = site.session().user
    return user.token if user else None


def kept(answer: httpx.Response) -> dict[str, str]:
    """The fields of a form that is to be sent after the next sign-in."""
    assert answer.status_code == 403 and TEXTS["en"]["sign_in.again.title"] in answer.text
    form = answer.text.split('target="_blank"')[1].split("</form>")[0]
    fields = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', form)
    return {unescape(name): unescape(value) for name, value in fields}


@pytest.mark.parametrize("path", ["/kept/page", "/kept/part"])
async def test_a_token_is_renewed_before_it_runs_out_by_whatever_is_asked_for(site: Site, path: str) -> None:
    await signed_in(site)
    before, cookie, session_id = token(site), site.browser.cookies[RENEWAL], site.session().session_id
    answer = await site.go(path)
    assert answer.status_code in (200, 303) and "sign-in" not in answer.headers.get("location", "")
    assert token(site) != before and site.browser.cookies[RENEWAL] != cookie
    assert site.session().session_id == session_id, "forms of open pages are good"
    for each in answer.headers.get_list("set-cookie"):
        assert {"httponly", "secure", "samesite=lax"} <= set(each.lower().split("; ")), each
    assert len([each for each in answer.headers.get_list("set-cookie") if each.startswith(SESSION)]) == 1
    await site.go(path)
    assert site.provider.renewals == 1, "the new one is good for a while"


@pytest.mark.parametrize("sub", [USER.upper(), USER.replace("-", "")])
async def test_a_user_whose_id_the_provider_writes_in_another_way_is_the_same(site: Site, sub: str) -> None:
    now = int(time.time())
    site.provider.changes, site.provider.access = {"sub": sub}, {"sub": sub, "iat": now - 36_000, "exp": now + 1_800}
    assert (await site.sign_in("/orders")).status_code == 303
    before, site.provider.access = token(site), {"sub": sub}
    assert (await site.go("/kept/part")).status_code == 200
    assert token(site) != before


@pytest.mark.parametrize(("then", "path"), FORMS)
async def test_a_form_is_carried_out_with_a_renewed_token(site: Site, then: str, path: str) -> None:
    await signed_in(site, then)
    ended(site)
    answer = await site.browser.post(path, data={**FORM, "csrf": site.csrf})
    assert (answer.status_code, answer.json()) == (201, FORM)
    assert site.provider.renewals == 1


async def test_requests_at_the_same_time_and_late_ones_share_one_renewal(site: Site) -> None:
    await signed_in(site)
    old = "; ".join(f"{each.name}={each.value}" for each in site.browser.cookies.jar if each.path == "/")
    answers = await asyncio.gather(*(site.go("/kept/part") for _ in range(8)))
    site.browser.cookies.clear()
    answers.append(await site.browser.get("/kept/part", headers={"Cookie": old}))
    assert [each.status_code for each in answers] == [200] * 9
    assert site.provider.renewals == 1, "a second use would end the session"


async def test_without_a_refresh_token_there_is_no_cookie_and_the_token_is_used_to_its_end(site: Site) -> None:
    site.provider.renews = False
    await signed_in(site)
    assert RENEWAL not in site.browser.cookies
    assert (await site.go("/kept/part")).status_code == 200
    ended(site)
    answer = await site.go("/kept/page?x=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?then=%2Fkept%2Fpage%3Fx%3D1")
    assert site.provider.renewals == 0


@pytest.mark.parametrize("trouble", ["revoked", "another user", "too long", "fails", "nonsense"])
async def test_what_cannot_be_renewed_is_used_to_its_end_and_leads_to_the_sign_in(site: Site, trouble: str) -> None:
    await signed_in(site)
    if trouble == "revoked":
        site.provider.refresh_tokens.clear()
    elif trouble == "another user":
        site.provider.access = {"sub": str(UUID(int=7))}
    elif trouble == "too long":  # for a cookie: a browser drops it, and its user would be signed out
        site.provider.access = {"more": "x" * TOKEN_CHARS_MAX}
    else:
        await site.desk.provider.endpoints()  # type: ignore[union-attr]
        site.provider.mode = trouble
    before = token(site)
    for _ in range(3):
        assert (await site.go("/kept/part")).status_code == 200
    assert token(site) == before
    assert site.provider.renewals == 1, "it is not asked again with each request"
    ended(site)
    site.provider.mode = "answers"
    assert (await site.go("/kept/part")).headers["location"].startswith("/sign-in?then=")


@pytest.mark.parametrize(("then", "path"), FORMS)
async def test_a_form_is_kept_over_a_sign_in(site: Site, then: str, path: str) -> None:
    site.provider.renews = False
    await signed_in(site, then)
    ended(site)
    fields = kept(await site.browser.post(path, data={**FORM, "csrf": site.csrf}))
    assert {name: value for name, value in fields.items() if name != "kept"} == FORM
    fields = kept(await site.browser.post(path, data=fields))
    await signed_in(site, "/console" if then.startswith("/console") else "/")
    sent = await site.browser.post(path, data=fields)
    assert (sent.status_code, sent.json()) == (201, FORM)


async def test_a_kept_form_is_its_users_alone_and_as_it_was(site: Site) -> None:
    site.provider.renews = False
    await signed_in(site)
    ended(site)
    fields = kept(await site.browser.post("/kept/form", data={**FORM, "csrf": site.csrf}))
    await signed_in(site)
    assert (await site.browser.post("/kept/form", data=fields | {"name": "another"})).status_code == 403
    assert (await site.browser.post("/console/kept/form", data=fields)).status_code == 403
    elsewhere = await site.browser.post("/kept/form", data=fields, headers={"Origin": "https://evil.example"})
    assert elsewhere.status_code == 403
    at, _, mac = fields["kept"].partition(".")
    for forged in ("", ".", f"{int(at) + 1}.{mac}", f"x.{mac}", f"{at}."):
        assert (await site.browser.post("/kept/form", data=fields | {"kept": forged})).status_code == 403
    session = site.session()
    other = User(UUID(int=7), token=site.provider.keys.token("one", sub=str(UUID(int=7)), iss=site.provider.issuer))
    site.keep(SESSION, replace(session, user=other))
    assert (await site.browser.post("/kept/form", data=fields)).status_code == 403, "somebody else has signed in"
    site.keep(SESSION, session)
    assert (await site.browser.post("/kept/form", data=fields)).status_code == 201


async def test_a_form_without_its_sessions_token_is_not_kept(site: Site) -> None:
    """Else another site's form would be sent after the next sign-in."""
    await signed_in(site)
    ended(site)
    answer = await site.browser.post("/kept/form", data={**FORM, "csrf": "another"})
    assert answer.status_code == 403 and 'name="kept"' not in answer.text


async def test_a_sign_out_takes_the_refresh_token_back_and_no_late_answer_undoes_it(site: Site) -> None:
    await signed_in(site)
    [given] = site.provider.refresh_tokens
    old = "; ".join(f"{each.name}={each.value}" for each in site.browser.cookies.jar if each.path == "/")
    await site.browser.post("/sign-out", data={"csrf": site.csrf})
    assert site.provider.revoked == [given] and RENEWAL not in site.browser.cookies and site.session().user is None
    site.browser.cookies.clear()
    late = await site.browser.get("/kept/part", headers={"Cookie": old})
    assert late.status_code == 200 and "set-cookie" not in late.headers


async def test_the_shop_and_the_console_have_refresh_tokens_of_their_own(site: Site) -> None:
    await site.sign_in("/orders")
    await site.sign_in("/console")
    sealed = {each.name: (each.value, each.path) for each in site.browser.cookies.jar}
    assert sealed[RENEWAL][1] == "/" and sealed[OPERATOR_RENEWAL][1] == "/console"
    assert all(given not in str(sealed) for given in site.provider.refresh_tokens), "nobody reads them in a cookie"
    assert SIGNER.unseal(RENEWAL, sealed[OPERATOR_RENEWAL][0], dict) is None


async def test_all_cookies_of_the_longest_tokens_fit_into_a_request(site: Site) -> None:
    """Else each page, the sign-out too, would be 431 until somebody removes the cookies."""
    user = User(UUID(USER), tuple(READER_ROLES), "", "x" * TOKEN_CHARS_MAX)
    signed = [SIGNER.sign(SESSION, Session(user=user)), SIGNER.sign(OPERATOR, user)]
    cart = SIGNER.sign(CART, Cart(pieces={uuid4(): PIECES_MAX for _ in range(LINES_MAX)}))
    cookies = [*signed, cart, "x" * ID_TOKEN_CHARS_MAX, *["x" * COOKIE_CHARS_MAX] * 2]
    served = Application([], streams=Streams(0, 0), head_bytes_min=HEAD_BYTES_MIN, openapi_config=None)
    assert sum(map(len, cookies)) + 8_192 < _limits(Settings(), served).head_bytes_max


async def test_offline_access_is_asked_for_by_the_setting_alone_and_with_consent(site: Site) -> None:
    assert "prompt" not in await site.begin() and (await site.begin())["scope"] == "openid"
    asking = Site(site.provider, oidc_scopes="openid offline_access")
    async with asking.browser:
        asked = await asking.begin()
    assert (asked["scope"], asked["prompt"]) == ("openid offline_access", "consent")


async def test_a_stream_ends_when_its_token_is_to_be_renewed_and_the_browser_comes_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "PING_S", 0.01)
    user = User(UUID(USER), token=site.provider.keys.token("one", exp=int(time.time()) + 36_000))
    shown = Shown(reserved())

    async def read(*_: object) -> Shown:
        return shown

    settings = Settings()
    live, streams = Live(settings, read), Streams(1, 1)
    visit = Visit("en", Session(), Cart(), "/", SIGNER, {})
    events = tracking._events(site.desk, visit, user, shown, live, streams, "")
    assert [(await anext(events)).event for _ in range(4)] == [None, "progress", None, None], "pings follow"
    monkeypatch.setattr(renewing, "BEFORE_S", 72_000.0)
    assert [each.event async for each in events] == []

    events = tracking._events(site.desk, visit, user, shown, live, streams, "")
    told = [(await anext(events)).event for _ in range(4)]
    assert told == [None, "progress", None, None], "a token that could not be renewed is used to its end"
    await events.aclose()  # type: ignore[attr-defined]
