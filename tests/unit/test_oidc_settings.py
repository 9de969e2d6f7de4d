"""Settings with which nobody could sign in at a provider are refused at the start; failed sign-ins are counted for each address."""

import pytest

from ordersaga.settings import Settings, WrongSettings
from ordersaga.web.failures import FAILURES_MAX, WITHIN_S, Failures
from tests.unit.oidc_provider import CLIENT
from tests.unit.oidc_site import SHOP

WHOLE = {
    "WEB_SIGN_IN": "oidc",
    "OIDC_ISSUER": "https://id.example",
    "OIDC_CLIENT_ID": CLIENT,
    "WEB_URL": SHOP,
}


def test_a_whole_set_of_settings_is_taken() -> None:
    assert Settings.of({f"ORDERSAGA_{name}": value for name, value in WHOLE.items()}).web_sign_in == "oidc"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"OIDC_ISSUER": None}, "WEB_SIGN_IN is oidc, and ORDERSAGA_OIDC_ISSUER is not set: set it"),
        ({"OIDC_CLIENT_ID": None}, "ORDERSAGA_OIDC_CLIENT_ID is not set: set it"),
        ({"WEB_URL": None}, "ORDERSAGA_WEB_URL is not set: set it"),
        ({"OIDC_SCOPES": "profile"}, "OIDC_SCOPES must name openid"),
        ({"OIDC_ISSUER": "http://id.example"}, "OIDC_ISSUER is http://id.example, by which .*: give its https://"),
        ({"WEB_URL": "http://shop.example"}, "WEB_URL is http://shop.example, by which .*: give its https://"),
        ({"WEB_SIGN_IN": "token"}, "no effect without ORDERSAGA_WEB_SIGN_IN=oidc: set it, or unset them"),
    ],
)
def test_settings_that_cannot_sign_anybody_in_are_refused(changed: dict[str, str | None], said: str) -> None:
    given = {f"ORDERSAGA_{name}": value for name, value in (WHOLE | changed).items() if value is not None}
    with pytest.raises(WrongSettings, match=said):
        Settings.of(given)


def test_failures_are_forgotten_and_counted_for_each_address() -> None:
    now = [0.0]
    failures = Failures(lambda: now[0])
    for _ in range(FAILURES_MAX):
        assert failures.wait_s("one") == 0
        failures.failed("one")
    assert failures.wait_s("one") > 0 and failures.wait_s("two") == 0
    now[0] = WITHIN_S
    assert failures.wait_s("one") == 0
