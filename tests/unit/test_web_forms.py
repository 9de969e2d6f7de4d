"""No form of shop and console is carried out that a page of this session did not send, whoever is signed in."""

import re
from collections.abc import Iterator
from typing import Any, cast
from uuid import UUID

import httpx
import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute

from ordersaga.settings import Settings
from ordersaga.web.accounts import CUSTOMERS, User
from ordersaga.web.app import create_app
from ordersaga.web.console.staff import STAFF
from ordersaga.web.desk import OPERATOR, SESSION
from ordersaga.web.signing import Signer
from ordersaga.web.visit import Session

SECRET = "a secret of the web process"
SHOP = "https://shop.example"
SIGNER = Signer(SECRET.encode())
SESSIONS = [Session(user=User(CUSTOMERS["hana"], name="hana")) for _ in range(2)]
MINE, OTHER = (SIGNER.token("csrf", each.session_id) for each in SESSIONS)
WRONG: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "without a token": ({}, {"Origin": SHOP}),
    "with an empty token": ({"csrf": ""}, {"Origin": SHOP}),
    "with another session's token": ({"csrf": OTHER}, {"Origin": SHOP}),
    "from another site": ({"csrf": MINE}, {"Origin": "https://evil.example"}),
    "from a frame without an origin": ({"csrf": MINE}, {"Origin": "null"}),
    "from another port": ({"csrf": MINE}, {"Origin": f"{SHOP}:8443"}),
    "over plain http": ({"csrf": MINE}, {"Origin": "http://shop.example"}),
    "from a site that says no origin": ({"csrf": MINE}, {"Sec-Fetch-Site": "cross-site"}),
    "as if it were kept": ({"kept": f"9999999999.{MINE}", "csrf": MINE}, {"Origin": SHOP}),
}


@pytest.fixture(scope="module")
def app() -> Litestar:
    """Its lifespan is not entered: whatever asks a service fails."""
    values = {"development": True, "web_sign_in": "demo", "web_url": SHOP, "web_session_secret": SECRET}
    return create_app(Settings.model_validate(values))


def forms(app: Litestar) -> Iterator[str]:
    for route in app.routes:
        if isinstance(route, HTTPRoute) and "POST" in route.methods:
            yield re.sub(r"{[^}]*}", str(UUID(int=1)), re.sub(r"{(partition|offset):[^}]*}", "0", route.path))


@pytest.mark.parametrize("how", WRONG)
async def test_a_form_that_no_page_of_this_session_sent_is_refused(app: Litestar, how: str) -> None:
    fields, headers = WRONG[how]
    session = SIGNER.sign(SESSION, SESSIONS[0])
    cookies = f"{SESSION}={session}; {OPERATOR}={SIGNER.sign(OPERATOR, STAFF['master'])}"
    found = list(forms(app))
    assert len(found) > 15
    transport = httpx.ASGITransport(cast(Any, app), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=SHOP, headers={"Cookie": cookies}) as browser:
        for path in found:
            answer = await browser.post(path, data={"reason": "x", **fields}, headers=headers)
            assert answer.status_code == 403, (path, answer.status_code)
