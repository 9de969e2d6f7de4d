"""People sign in at an identity provider: a browser, the provider, the web process, and services that check its tokens. This file has a system of its own."""

import re
from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
from playwright.sync_api import expect

from ordersaga.devstack.system import System
from ordersaga.web.accounts import User
from ordersaga.web.desk import OPERATOR
from ordersaga.web.signing import Signer
from tests.browser.visitor import Visitor, axe
from tests.unit.oidc_provider import CLIENT, SECRET, USER, OidcProvider, serving

Visitors = Callable[..., Visitor]


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    with serving() as one:
        yield one


@pytest.fixture(scope="module")
def system(browser_path: str, provider: OidcProvider) -> Iterator[System]:
    extra = {
        "ORDERSAGA_TRUST_GATEWAY_HEADERS": "false",
        "ORDERSAGA_JWT_JWKS_URL": f"{provider.issuer}/keys",
        "ORDERSAGA_JWT_ISSUER": provider.issuer,
        "ORDERSAGA_WEB_SIGN_IN": "oidc",
        "ORDERSAGA_OIDC_ISSUER": provider.issuer,
        "ORDERSAGA_OIDC_CLIENT_ID": CLIENT,
        "ORDERSAGA_OIDC_CLIENT_SECRET": SECRET,
        "ORDERSAGA_WEB_URL": "http://127.0.0.1",
    }
    system = System(services=["order"], web=True, extra=extra)
    system.environment["ORDERSAGA_WEB_URL"] = system.urls["web"]  # its port is known only now
    with system as running:
        yield running


def to_the_provider(one: Visitor) -> None:
    one.page.locator("main").get_by_role("link", name="Sign in").click()
    expect(one.page).to_have_title("Provider")


def test_a_customer_signs_in_at_the_provider_and_out_of_both(visitor: Visitors, provider: OidcProvider) -> None:
    provider.begin()
    one = visitor()
    one.expected.append("503")  # the first page asks Stock, which does not run here
    one.open("/orders")
    axe(one.page)
    to_the_provider(one)
    one.press("It is me")
    expect(one.page.locator("main")).to_contain_text("No orders yet")
    assert one.page.url == f"{one.url}/orders"
    assert {each["httpOnly"] for each in one.context.cookies()} == {True}
    one.press("Sign out")
    one.page.wait_for_url(f"{one.url}/")
    (out,) = provider.signed_out
    assert out["client_id"] == CLIENT and out["id_token_hint"].count(".") == 2
    one.open("/orders")
    expect(one.page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_an_operator_signs_in_to_the_console_and_a_customer_is_told_why_not(
    visitor: Visitors, provider: OidcProvider
) -> None:
    provider.begin()
    one = visitor()
    one.expected.append("403")
    one.open("/console/letters")
    to_the_provider(one)
    one.press("It is me")
    expect(one.page.get_by_role("alert").last).to_contain_text("READER or OPERATOR")
    axe(one.page)
    provider.roles = ["OPERATOR"]
    to_the_provider(one)
    one.press("It is me")
    expect(one.page.get_by_role("heading", name="Dead letters")).to_be_visible()
    one.press("Sign out")
    one.page.wait_for_url(f"{one.url}/console/sign-in")
    assert len(provider.signed_out) == 1


def test_a_form_that_is_sent_after_the_sign_in_has_ended_waits_for_the_next_one(
    visitor: Visitors, provider: OidcProvider, system: System
) -> None:
    provider.begin()
    provider.roles = ["OPERATOR"]
    one = visitor()
    one.expected.append("403")
    one.open("/console/topics")
    to_the_provider(one)
    one.press("It is me")
    pause = one.page.locator("form.act:visible").first
    if not pause.count():
        one.page.locator("details:has(form.act) > summary").first.click()
        one.page.locator("details details:has(form.act) > summary").first.click()
    pause.get_by_label("Reason").fill("a look at it")
    over = provider.keys.token("one", sub=USER, iss=provider.issuer, roles=["OPERATOR"], exp=1_000)
    signed = Signer(system.environment["ORDERSAGA_WEB_SESSION_SECRET"].encode())
    ended = signed.sign(OPERATOR, User(UUID(USER), ("OPERATOR",), token=over))
    one.context.add_cookies([{"name": OPERATOR, "value": ended, "url": one.url, "httpOnly": True}])
    pause.get_by_role("button").click()
    expect(one.page.get_by_role("heading", name="Your sign-in has ended")).to_be_visible()
    axe(one.page)
    with one.context.expect_page() as opened:
        one.follow("Sign in again")
    window = opened.value
    window.locator("main").get_by_role("link", name="Sign in").click()
    window.get_by_role("button", name="It is me").click()
    expect(window.get_by_role("heading", level=1)).to_be_visible()
    window.close()
    one.press("I have signed in: send it")
    one.page.wait_for_url(re.compile("/console/topics"))
    one.open("/console/trail")
    expect(one.page.locator("main")).to_contain_text("a look at it")
