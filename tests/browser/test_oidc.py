"""People sign in at an identity provider: a browser, the provider, the web process, and services that check its tokens. This file has a system of its own."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from ordersaga.devstack.system import System
from tests.browser.visitor import Visitor, axe
from tests.unit.oidc_provider import CLIENT, SECRET, OidcProvider, serving

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
