"""Sign-in at an identity provider: the whole way, and each answer of a provider that signs nobody in."""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from ordersaga.web.desk import SESSION
from ordersaga.web.failures import FAILURES_MAX, WITHIN_S
from ordersaga.web.provider import BEGUN_S, Begun
from ordersaga.web.provider_routes import BACK, BEGUN
from ordersaga.web.signing_in import ID_TOKEN
from ordersaga.web.texts import TEXTS, Language
from tests.unit.oidc_lies import LIES
from tests.unit.oidc_provider import CLIENT, USER, OidcProvider, serving
from tests.unit.oidc_site import SHOP, SIGNER, Site

ADDRESS = "127.0.0.1"
"""Where the browser's connection comes from."""


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    with serving() as one:
        one.keys.new_key("foreign")
        yield one


@pytest.fixture(autouse=True)
def _truthful(provider: OidcProvider) -> None:
    provider.begin()
    provider.keys.keys = {kid: key for kid, key in provider.keys.keys.items() if kid in ("one", "foreign")}


@pytest.fixture
async def site(provider: OidcProvider) -> AsyncIterator[Site]:
    one = Site(provider)
    async with one.browser:
        yield one


async def test_the_provider_signs_in_a_customer(site: Site) -> None:
    before = site.session().session_id
    asked = await site.begin()
    assert asked["redirect_uri"] == SHOP + BACK and asked["response_type"] == "code" and asked["client_id"] == CLIENT
    answer = await site.go(site.provider.code_for(asked).removeprefix(SHOP))
    assert (answer.status_code, answer.headers["location"]) == (303, "/orders")
    user = site.session().user
    assert user is not None and str(user.user_id) == USER and site.operator() is None
    assert site.session().session_id != before
    for each in answer.headers.get_list("set-cookie"):
        assert {"httponly", "secure", "samesite=lax"} <= set(each.lower().split("; ")), each


async def test_the_provider_signs_in_an_operator(site: Site) -> None:
    site.provider.roles = ["OPERATOR", "offline_access"]
    answer = await site.sign_in("/console/letters")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/letters")
    operator = site.operator()
    assert operator is not None and operator.roles == ("OPERATOR",) and site.session().user is None


async def test_the_console_is_not_for_customers(site: Site) -> None:
    await site.refused(await site.sign_in("/console"), "role", 403)


async def test_a_link_back_stays_here(site: Site) -> None:
    for then in ("//evil.example", "https://evil.example", "/\\evil.example"):
        assert (await site.sign_in(then)).headers["location"] == "/"


@pytest.mark.parametrize("lie", LIES)
async def test_an_answer_that_is_not_the_providers_for_us_signs_nobody_in(site: Site, lie: str) -> None:
    change, why = LIES[lie]
    change(site.provider)
    await site.refused(await site.sign_in(), why)
    assert site.provider.exchanges == 1, "the answer was read"


async def test_a_user_id_that_is_none_of_ours_signs_nobody_in(site: Site) -> None:
    site.provider.changes = site.provider.access = {"sub": "somebody"}
    await site.refused(await site.sign_in(), "unusable")


async def test_a_token_that_the_services_refuse_signs_nobody_in(site: Site) -> None:
    site.provider.access = {"exp": 1}
    await site.refused(await site.sign_in(), "unusable")


async def test_a_code_counts_once_and_in_the_browser_that_began(site: Site) -> None:
    back = site.provider.code_for(await site.begin()).removeprefix(SHOP)
    other = Site(site.provider)
    async with other.browser:
        await other.refused(await other.go(back), "old")
        await other.begin()
        await other.refused(await other.go(back), "old")
    assert site.provider.exchanges == 0
    assert (await site.go(back)).status_code == 303
    site.browser.cookies.delete(SESSION)
    site.browser.cookies.delete(ID_TOKEN)
    await site.refused(await site.go(back), "old")
    assert site.provider.exchanges == 1


async def test_a_code_of_somebody_elses_sign_in_is_refused_by_pkce(site: Site) -> None:
    theirs = dict(parse_qsl(urlsplit(site.provider.code_for(await site.begin())).query))["code"]
    mine = await site.begin()
    await site.refused(await site.go(f"{BACK}?code={theirs}&state={mine['state']}"), "code")


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("error=access_denied", "cancelled"),
        ("error=server_error&error_description=%0A<b>", "unusable"),
        ("code=x&iss=https://another.example", "foreign"),
        ("code=x", "code"),
        ("", "code"),
    ],
)
async def test_what_comes_back_instead_of_a_code_is_told(site: Site, query: str, why: str) -> None:
    state = (await site.begin())["state"]
    await site.refused(await site.go(f"{BACK}?{query}&state={state}"), why)


async def test_an_answer_without_an_issuer_is_refused_where_the_provider_always_names_it(site: Site) -> None:
    back = site.provider.code_for(await site.begin()).removeprefix(SHOP).partition("&iss=")[0]
    assert (await site.go(back)).status_code == 303
    site.provider.document_changes = {"authorization_response_iss_parameter_supported": True}
    other = Site(site.provider)
    async with other.browser:
        back = other.provider.code_for(await other.begin()).removeprefix(SHOP)
        await other.refused(await other.go(back.partition("&iss=")[0]), "foreign")
        assert (await other.sign_in()).status_code == 303


async def test_a_sign_in_that_took_too_long_is_refused(site: Site) -> None:
    asked = await site.begin()
    old = Begun("/", asked["state"], asked["nonce"], "x", Begun("/").at - BEGUN_S - 1)
    headers = {"Cookie": f"{BEGUN}={SIGNER.sign(BEGUN, old)}"}
    site.browser.cookies.clear()
    answer = await site.browser.get(site.provider.code_for(asked).removeprefix(SHOP), headers=headers)
    await site.refused(answer, "old")
    assert site.provider.exchanges == 0


@pytest.mark.parametrize("mode", ["fails", "nonsense"])
@pytest.mark.parametrize("language", ["en", "ko"])
async def test_a_provider_that_is_away_is_told_and_nothing_is_half_done(
    site: Site, mode: str, language: Language
) -> None:
    site.browser.headers["Accept-Language"] = language
    site.provider.mode = mode
    answer = await site.go("/sign-in/begin?then=/orders")
    assert answer.status_code == 503 and answer.headers["retry-after"]
    assert TEXTS[language]["sign_in.failed.away"] in answer.text
    site.provider.mode = "answers"
    back = site.provider.code_for(await site.begin()).removeprefix(SHOP)
    site.provider.mode = mode
    answer = await site.go(back)
    assert answer.status_code == 503 and TEXTS[language]["sign_in.failed.away"] in answer.text
    assert site.session().user is None
    site.provider.mode = "answers"
    assert (await site.sign_in()).status_code == 303


async def test_a_provider_that_hangs_is_away(provider: OidcProvider) -> None:
    site = Site(provider, oidc_timeout_s=0.2)
    provider.mode = "hangs"
    async with site.browser:
        assert (await site.go("/sign-in/begin")).status_code == 503


async def test_a_service_that_is_away_signs_nobody_in(site: Site) -> None:
    site.services.away = True
    await site.refused(await site.sign_in(), "away", 503)


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "http://127.0.0.1/another"},
        {"token_endpoint": None},
        {"token_endpoint": "ftp://127.0.0.1/token"},
        {"jwks_uri": 5},
        {"authorization_endpoint": "javascript:alert(1)"},
    ],
)
async def test_a_discovery_document_that_cannot_be_trusted_is_not_followed(
    site: Site, document: dict[str, Any]
) -> None:
    site.provider.document_changes = document
    assert (await site.go("/sign-in/begin")).status_code == 503


async def test_the_services_can_be_sent_the_id_token(provider: OidcProvider) -> None:
    site = Site(provider, oidc_token="id")
    provider.opaque = True
    async with site.browser:
        assert (await site.sign_in()).status_code == 303
        user = site.session().user
        assert user is not None and str(user.user_id) == USER


@pytest.mark.parametrize(
    ("then", "path", "home"), [("/", "/sign-out", "/"), ("/console", "/console/sign-out", "/console/sign-in")]
)
async def test_a_sign_out_ends_the_providers_session_too(site: Site, then: str, path: str, home: str) -> None:
    site.provider.roles = ["READER"]
    await site.sign_in(then)
    hint = next(each.value for each in site.browser.cookies.jar if each.name == ID_TOKEN)
    answer = await site.browser.post(path, data={"csrf": site.csrf})
    assert answer.status_code == 200 and site.session().user is None and site.operator() is None
    found = re.search(r'content="0; url=([^"]+)"', answer.text)
    assert found
    url = urlsplit(found[1].replace("&amp;", "&"))
    assert f"{url.scheme}://{url.netloc}{url.path}" == f"{site.provider.issuer}/end"
    assert dict(parse_qsl(url.query)) == {
        "client_id": CLIENT,
        "post_logout_redirect_uri": SHOP + home,
        "id_token_hint": hint,
    }
    assert ID_TOKEN not in site.browser.cookies


async def test_a_sign_out_ends_here_where_the_provider_has_none(site: Site) -> None:
    site.provider.document_changes = {"end_session_endpoint": None}
    await site.sign_in()
    answer = await site.browser.post("/sign-out", data={"csrf": site.csrf})
    assert (answer.status_code, answer.headers["location"]) == (303, "/") and site.session().user is None


async def test_no_token_can_be_pasted_where_a_provider_signs_in(site: Site) -> None:
    page = (await site.go("/sign-in?then=/orders")).text
    assert "/sign-in/begin?then=" in page and "<textarea" not in page
    form = {"csrf": site.csrf, "then": "/orders", "token": site.provider.keys.token("one")}
    assert (await site.browser.post("/sign-in", data=form)).status_code == 400
    assert site.session().user is None


async def test_who_fails_again_and_again_must_wait(site: Site) -> None:
    for _ in range(FAILURES_MAX - 1):
        site.desk.failures.failed(ADDRESS)
    assert (await site.go(f"{BACK}?code=x&state=any-sites")).status_code == 400
    state = (await site.begin())["state"]
    await site.refused(await site.go(f"{BACK}?code=x&state={state}"), "code")
    exchanges = site.provider.exchanges
    answer = await site.sign_in()
    assert answer.status_code == 429 and 0 < int(answer.headers["retry-after"]) <= WITHIN_S + 1
    assert TEXTS["en"]["error.too_often.title"] in answer.text and site.provider.exchanges == exchanges


@pytest.mark.parametrize(("path", "then"), [("/sign-in", "/orders"), ("/console/sign-in", "/console")])
async def test_who_pastes_wrong_tokens_again_and_again_must_wait_too(
    provider: OidcProvider, path: str, then: str
) -> None:
    site = Site(provider, web_sign_in="token", oidc_issuer=None, oidc_client_id=None)
    token = provider.keys.token("one", roles=["READER"])

    async def paste(token: str) -> int:
        form = {"csrf": site.csrf, "then": then, "token": token}
        return (await site.browser.post(path, data=form)).status_code

    async with site.browser:
        await site.go(path)  # the session begins
        assert await paste(token) == 303
        for _ in range(FAILURES_MAX - 1):
            site.desk.failures.failed(ADDRESS)
        assert [await paste(token), await paste("x"), await paste(token)] == [303, 400, 429]
