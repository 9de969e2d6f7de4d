"""Requests of nobody we know are counted by their address: a flood of them is 429, and holds nobody else up."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, cast

import httpx
import pytest
import structlog.testing
from litestar import Litestar, Request, get
from litestar.params import FromPath
from msgspec import Struct
from prometheus_client import REGISTRY

from ordersaga.http import addresses
from ordersaga.http.addresses import Addresses
from ordersaga.http.caller import Callers
from ordersaga.http.documents import described, document
from ordersaga.http.limits import CALLERS_MAX, Pace
from ordersaga.http.server import application
from ordersaga.messaging.health import Health
from ordersaga.settings import Settings
from ordersaga.web.accounts import CUSTOMERS, User
from ordersaga.web.app import create_app
from ordersaga.web.desk import SESSION
from ordersaga.web.signing import Signer
from ordersaga.web.visit import Session

CUSTOMER = {"User-Id": "00000000-0000-4000-8000-000000000001"}
WEB = "10.0.0.9"
SECRET = "a secret of the web process"
From = Callable[[str], AbstractAsyncContextManager[httpx.AsyncClient]]


class Shown(Struct):
    """An answer."""

    shown: bool = True


class Well:
    async def health(self) -> Health:
        return Health()

    def dead(self) -> list[str]:
        return []


@asynccontextmanager
async def running() -> AsyncIterator[None]:
    yield


@pytest.fixture(autouse=True)
def _timeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, no further request is earned meanwhile."""
    monkeypatch.setattr(addresses, "Pace", partial(Pace, clock=lambda: 0.0))


def settings(**values: Any) -> Settings:
    """Ten requests at once, and one more each second, of which none passes here."""
    most = {"http_address_requests_per_s": 1.0, "http_proxy_addresses": [WEB, "::1"]}
    return Settings.model_validate({"development": True, "trust_gateway_headers": True, **most, **values})


def service(**values: Any) -> Litestar:
    callers = Callers(settings(**values), is_service=True)

    @get("/shown", **described("show", {200: Shown}, access="anybody"))
    async def shown() -> Shown:
        return Shown()

    @get("/mine/{number:int}", **described("mine", {200: Shown}))
    async def mine(request: Request[Any, Any, Any], number: FromPath[int]) -> Shown:
        await callers.of(request)
        return Shown(number > 0)

    return application("test", [shown, mine], cast(Any, Well()), running, callers=callers)


def client(app: Litestar, address: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(cast(Any, app), raise_app_exceptions=False, client=(address, 4_711))
    return httpx.AsyncClient(transport=transport, base_url="http://shop.example")


async def statuses(app: Litestar, address: str, path: str, count: int, **headers: str) -> list[int]:
    async with client(app, address) as one:
        return [(await one.get(path, headers=headers)).status_code for _ in range(count)]


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/shown", {}, 200),
        ("/shown", {"Authorization": "Bearer x"}, 200),
        ("/mine/1", {}, 401),
        ("/mine/1", {"Authorization": "Bearer x"}, 401),
        ("/mine/x", {}, 404),
        ("/nothing", {}, 404),
        ("/nothing", CUSTOMER, 404),
    ],
)
async def test_a_flood_of_nobody_we_know_is_refused_and_others_are_served(
    path: str, headers: dict[str, str], status: int
) -> None:
    app = service()
    before = REGISTRY.get_sample_value("ordersaga_http_limited_total", {"by": "address"}) or 0.0
    assert await statuses(app, "10.1.1.1", path, 12, **headers) == [status] * 10 + [429] * 2
    assert REGISTRY.get_sample_value("ordersaga_http_limited_total", {"by": "address"}) == before + 2
    assert await statuses(app, "10.1.1.2", path, 1, **headers) == [status], "each address has its own"
    assert await statuses(app, "10.1.1.1", "/mine/1", 3, **CUSTOMER) == [200] * 3, "somebody we know is not counted"
    assert await statuses(app, "10.1.1.1", "/health/live", 20) == [200] * 20
    async with client(app, "10.1.1.1") as one:
        refused = await one.get(path, headers=headers)
    assert refused.headers["content-type"] == "application/problem+json" and refused.json()["status"] == 429
    assert int(refused.headers["retry-after"]) >= 1 and refused.json()["detail"].startswith("try again in ")


async def test_who_is_known_is_not_counted() -> None:
    app = service()
    assert await statuses(app, "10.1.1.1", "/mine/1", 30, **CUSTOMER) == [200] * 30
    assert await statuses(app, "10.1.1.1", "/shown", 1) == [200]


async def test_with_0_any_number_is_taken() -> None:
    assert await statuses(service(http_address_requests_per_s=0), "10.1.1.1", "/shown", 30) == [200] * 30


async def test_behind_a_proxy_the_client_that_it_names_is_counted() -> None:
    app = service()
    for peer in (WEB, f"::ffff:{WEB}"):
        assert (
            await statuses(app, peer, "/shown", 10, **{"X-Forwarded-For": f"1.2.3.4, 9.9.9.{len(peer)}"}) == [200] * 10
        )
        assert await statuses(app, peer, "/shown", 1, **{"X-Forwarded-For": f"5.6.7.8, 9.9.9.{len(peer)}"}) == [429]
    assert await statuses(app, "10.1.1.1", "/shown", 10, **{"X-Forwarded-For": "9.9.9.1"}) == [200] * 10
    with structlog.testing.capture_logs() as lines:
        refused = await statuses(app, "10.1.1.1", "/shown", 2, **{"X-Forwarded-For": "9.9.9.2"})
    assert refused == [429, 429], "a client's own header counts for nothing"
    assert [each["log_level"] for each in lines] == ["warning"], "told once, since it may be a proxy of ours"
    assert "ORDERSAGA_HTTP_PROXY_ADDRESSES" in lines[0]["event"]


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("10.1.1.1", [], "10.1.1.1"),
        ("::ffff:10.1.1.1", [], "10.1.1.1"),
        (WEB, [], WEB),
        (WEB, ["7.7.7.7"], "7.7.7.7"),
        (WEB, ["7.7.7.7:5555"], "7.7.7.7"),
        (WEB, ["6.6.6.6, 7.7.7.7, ::1"], "7.7.7.7"),
        (WEB, ["6.6.6.6", "7.7.7.7"], "7.7.7.7"),
        (WEB, ["6.6.6.6, unknown"], WEB),
        (WEB, [""], WEB),
        (WEB, [f"6.6.6.6, {', '.join([WEB] * 500)}"], WEB),
        ("::1", ["[2001:db8::7]:443"], "2001:db8::7"),
        ("::1", ['"[2001:db8::7%eth0]"'], "2001:db8::7"),
        ("fe80::1%eth0", [], "fe80::1"),
        ("a socket's path", [], "None"),
    ],
)
def test_the_address_is_the_last_that_is_no_proxy_of_ours(peer: str, forwarded: list[str], found: str) -> None:
    headers = [(b"x-forwarded-for", each.encode()) for each in forwarded]
    assert str(Addresses(settings()).of({"client": (peer, 1), "headers": headers})) == found


async def test_a_gateway_whose_headers_are_taken_is_a_proxy_of_ours() -> None:
    known = Addresses(settings(trust_gateway_addresses=["10.0.3.0/24"]))
    assert str(known.of({"client": ("10.0.3.7", 1), "headers": [(b"x-forwarded-for", b"7.7.7.7")]})) == "7.7.7.7"


async def test_addresses_of_one_ipv6_network_are_one_client() -> None:
    app = service()
    assert await statuses(app, "2001:db8::1", "/shown", 10) == [200] * 10
    assert await statuses(app, "2001:db8::ffff:2", "/shown", 1) == [429]
    assert await statuses(app, "2001:db8:0:1::1", "/shown", 1) == [200]


def test_only_so_many_addresses_are_remembered() -> None:
    pace = Pace(0.001, "address", lambda: 0.0)
    for number in range(CALLERS_MAX + 1_000):
        pace.wait_s(number)
    assert len(pace._even) == CALLERS_MAX
    assert pace.wait_s(CALLERS_MAX + 999) > 0 and pace.wait_s(0) == 0


def test_each_route_says_that_it_may_be_429() -> None:
    paths = document(service())["paths"]
    assert all("429" in paths[path]["get"]["responses"] for path in ("/shown", "/mine/{number}"))


async def test_pages_are_counted_before_the_sign_in() -> None:
    signer = Signer(SECRET.encode())
    values = {"web_sign_in": "demo", "web_session_secret": SECRET}
    app = create_app(settings(**values))
    pages = [("/sign-in", 200), ("/console/sign-in", 200), ("/nothing", 404), ("/orders", 303)]
    for number, (path, status) in enumerate(pages):
        address = f"10.1.2.{number}"
        assert await statuses(app, address, path, 12) == [status] * 10 + [429] * 2, path
        assert await statuses(app, "10.1.1.2", path, 1) == [status]
    for number, scheme in enumerate(("Bearer x", "Basic x")):
        told = await statuses(app, f"10.1.3.{number}", "/sign-in", 12, Authorization=scheme)
        assert told == [200] * 10 + [429] * 2, scheme
    session = Session(user=User(CUSTOMERS["hana"], name="hana"))
    known = {"Cookie": f"{SESSION}={signer.sign(SESSION, session)}"}
    assert await statuses(app, "10.1.2.0", "/sign-in", 20, **known) == [200] * 20
    forged = {"Cookie": f"{SESSION}={Signer(b'another').sign(SESSION, session)}"}
    assert await statuses(app, "10.1.2.0", "/sign-in", 1, **forged) == [429]
    async with client(app, "10.1.2.0") as browser:
        refused = await browser.get("/sign-in", headers={"Accept-Language": "ko"})
        assert "요청이 너무 많습니다" in refused.text and int(refused.headers["retry-after"]) >= 1
        assert (await browser.get("/health/live")).status_code == 200
    assert await statuses(app, "10.1.2.0", "/static/site.css", 20) == [200] * 20


async def test_a_page_about_a_file_that_is_not_there_is_counted() -> None:
    app = create_app(settings(web_sign_in="demo", web_session_secret=SECRET))
    assert await statuses(app, "10.1.4.1", "/static/none.css", 12) == [404] * 10 + [429] * 2


async def test_credentials_that_come_twice_are_counted() -> None:
    """They are those of nobody we know, and not even looked at."""
    twice = [("Authorization", "Bearer x"), ("Authorization", "Bearer y")]
    web = create_app(settings(web_sign_in="demo", web_session_secret=SECRET))
    for app, path, status in ((service(), "/mine/1", 400), (web, "/sign-in", 200)):
        async with client(app, "10.1.4.2") as one:
            told = [(await one.get(path, headers=twice)).status_code for _ in range(12)]
        assert told == [status] * 10 + [429] * 2, path


async def test_sign_ins_that_failed_behind_a_proxy_are_counted_for_the_client_that_it_names() -> None:
    values = {"web_sign_in": "token", "web_session_secret": SECRET, "http_address_requests_per_s": 0}
    app = create_app(settings(**values))
    signer, session = Signer(SECRET.encode()), Session()
    headers = {"Cookie": f"{SESSION}={signer.sign(SESSION, session)}"}
    form = {"csrf": signer.token("csrf", session.session_id), "token": "none"}
    async with client(app, WEB) as proxy:

        async def tried(address: str) -> int:
            sent = {**headers, "X-Forwarded-For": address}
            return (await proxy.post("/sign-in", data=form, headers=sent)).status_code

        assert [await tried("7.7.7.7") for _ in range(31)] == [400] * 30 + [429]
        assert await tried("8.8.8.8") == 400, "others may sign in"
