"""Where services check tokens, the web process takes no word but theirs: a token is pasted, or a proxy in front sends it."""

import re
import time
from collections.abc import Iterator
from uuid import UUID

import httpx
import jwt
import pytest

from ordersaga.devstack.system import System

KEY = "a key of thirty-two bytes or more"
USER = UUID(int=77)


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """Order and the web process, which trust tokens of one key and no headers."""
    extra = {
        "ORDERSAGA_TRUST_GATEWAY_HEADERS": "false",
        "ORDERSAGA_JWT_KEY": KEY,
        "ORDERSAGA_JWT_ALGORITHMS": '["HS256"]',
        "ORDERSAGA_JWT_ROLE_CLAIM": "realm_access.roles",
        "ORDERSAGA_WEB_SIGN_IN": "token",
    }
    with System(services=["order"], web=True, extra=extra) as running:
        yield running


def token(key: str = KEY, lasts_s: int = 60, role: str = "CUSTOMER", more: str = "") -> str:
    roles = {"roles": [role, "offline_access"]}
    claims = {"sub": str(USER), "exp": int(time.time()) + lasts_s, "realm_access": roles, "more": more}
    return jwt.encode(claims, key, "HS256")


def by_proxy(browser: httpx.Client, path: str, role: str) -> httpx.Response:
    return browser.get(path, headers={"Authorization": f"Bearer {token(role=role)}"})


@pytest.fixture
def browser(system: System) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=system.urls["web"], headers={"Accept-Language": "en"}) as client:
        yield client


def sign_in(browser: httpx.Client, **fields: str) -> httpx.Response:
    page = browser.get("/sign-in?then=/orders")
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert found and "Paste a token" in page.text
    return browser.post("/sign-in", data={"csrf": found[1], "then": "/orders", **fields})


def test_a_pasted_token_that_order_accepts_signs_in(browser: httpx.Client) -> None:
    answer = sign_in(browser, token=token())
    assert (answer.status_code, answer.headers["location"]) == (303, "/orders")
    assert "No orders yet" in browser.get("/orders").text


@pytest.mark.parametrize(
    "fields",
    [
        {"token": token("another key of thirty-two bytes ")},
        {"token": token(lasts_s=-60)},
        {"token": "x"},
        {"customer": "hana"},
    ],
    ids=["another key", "expired", "no token", "a customer of the demo"],
)
def test_nothing_else_signs_in(browser: httpx.Client, fields: dict[str, str]) -> None:
    assert sign_in(browser, **fields).status_code == 400
    assert browser.get("/orders").headers["location"].startswith("/sign-in")


def test_a_proxys_token_is_the_user_of_this_request_alone(browser: httpx.Client) -> None:
    assert "No orders yet" in browser.get("/orders", headers={"Authorization": f"Bearer {token()}"}).text
    assert browser.get("/orders").status_code == 303
    assert browser.get("/orders", headers={"User-Id": str(USER)}).status_code == 303


def test_a_token_that_has_run_out_leads_to_the_sign_in(browser: httpx.Client) -> None:
    sign_in(browser, token=token(lasts_s=3))
    time.sleep(4)
    assert browser.get("/orders").headers["location"].startswith("/sign-in")


@pytest.mark.parametrize(("role", "status"), [("OPERATOR", 303), ("READER", 303), ("CUSTOMER", 400)])
def test_the_console_takes_the_token_of_a_role_that_may_see_it(browser: httpx.Client, role: str, status: int) -> None:
    found = re.search(r'name="csrf" value="([^"]+)"', browser.get("/console/sign-in").text)
    assert found
    answer = browser.post("/console/sign-in", data={"csrf": found[1], "token": token(role=role)})
    assert answer.status_code == status
    assert browser.get("/console").status_code == (200 if status == 303 else 303)


def test_a_browser_keeps_long_tokens_for_the_shop_and_for_the_console(browser: httpx.Client) -> None:
    for path, role in (("/sign-in", "CUSTOMER"), ("/console/sign-in", "OPERATOR")):
        found = re.search(r'name="csrf" value="([^"]+)"', browser.get(path).text)
        assert found
        answer = browser.post(path, data={"csrf": found[1], "token": token(role=role, more="x" * 1_700)})
        assert answer.status_code == 303
        assert all(len(each.partition(";")[0]) <= 4_096 for each in answer.headers.get_list("set-cookie"))
    assert "No orders yet" in browser.get("/orders").text
    assert browser.get("/console/letters").status_code == 200


def test_odd_addresses_and_forms_of_the_console_are_answered(browser: httpx.Client) -> None:
    found = re.search(r'name="csrf" value="([^"]+)"', browser.get("/console/sign-in").text)
    assert found
    browser.post("/console/sign-in", data={"csrf": found[1], "token": token(role="OPERATOR")})
    found = re.search(r'name="csrf" value="([^"]+)"', browser.get("/console/sign-in").text)
    assert found
    form = {"csrf": found[1], "reason": "", "version": "9" * 5_000}
    for topic in ("%EC%A3%BC%EB%AC%B8", "a%0D%0AX%3A1", "%3Fa", "%00", "%25"):
        path = f"/console/parked/order/{topic}/0/0"
        answer = browser.post(f"{path}/retry", data=form)
        assert (answer.status_code, answer.headers["location"]) == (303, path)
    for act in ("pause", "accept"):
        assert browser.post(f"/console/topics/order/x/0/{act}", data=form).status_code == 303
    assert browser.get("/console/jobs/new?service=order" + "&letter=x" * 300).status_code == 404
    assert browser.get("/sign-in?then=//[").status_code == 200


def test_another_role_is_told_which_one_the_console_needs(browser: httpx.Client) -> None:
    refused = by_proxy(browser, "/console/letters", "CUSTOMER")
    assert refused.status_code == 403 and "role READER" in refused.text
    assert by_proxy(browser, "/console/jobs/new?service=order&topic=x", "READER").status_code == 403
    assert by_proxy(browser, "/console/jobs/new?service=order&topic=x", "OPERATOR").status_code == 200


def test_another_teams_service_is_shown_with_what_kafka_tells_of_it(browser: httpx.Client) -> None:
    for _ in range(40):  # Order reports its partitions a moment after its start
        page = by_proxy(browser, "/console", "READER").text
        if "All is well" in page:
            break
        time.sleep(0.5)
    assert "All is well" in page and ">not answering<" not in page
    assert page.count("another team&#39;s") >= 3
    assert "0 written, read by another team" in page
    for path in ("letters", "parked", "jobs", "topics", "trail", "orders"):
        assert by_proxy(browser, f"/console/{path}", "READER").status_code == 200
    assert by_proxy(browser, "/console/letters/stock/00000000-0000-0000-0000-000000000001", "READER").status_code == 404


@pytest.mark.parametrize("path", ["letters", "parked"])
def test_a_search_for_what_is_no_order_id_says_so(browser: httpx.Client, path: str) -> None:
    assert "An order id has 36 characters" in by_proxy(browser, f"/console/{path}?order=x", "READER").text
    found = by_proxy(browser, f"/console/{path}?order={USER}", "READER").text
    assert "An order id has" not in found and "None." in found


def test_the_gateways_faults_are_for_the_demo_alone(browser: httpx.Client) -> None:
    assert by_proxy(browser, "/console/faults", "MASTER").status_code == 404
