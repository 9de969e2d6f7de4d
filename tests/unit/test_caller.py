"""Who calls: tokens of every shape, an identity provider that is away or hangs, and headers that come twice or empty."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from litestar import Request

from ordersaga.http import jwks
from ordersaga.http.caller import Caller, Callers
from ordersaga.http.limits import Pace
from ordersaga.http.problems import Problem, on_problem
from ordersaga.settings import Settings
from tests.unit.identity_provider import Provider, serving

USER = UUID(int=7)


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with serving() as one:
        one.new_key("one")
        yield one


@pytest.fixture(autouse=True)
def _answers(provider: Provider) -> None:
    provider.begin()


def callers(provider: Provider, **settings: Any) -> Callers:
    return Callers(Settings.model_validate({"jwt_jwks_url": provider.url, "jwt_jwks_timeout_s": 60, **settings}))


def request(*headers: tuple[str, str]) -> Request[Any, Any, Any]:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    return Request({"type": "http", "headers": raw, "method": "GET", "path": "/"})  # type: ignore[arg-type]


async def who(callers: Callers, token: str) -> Caller | int:
    """The caller, or the status of the refusal."""
    try:
        return await callers.of(request(("Authorization", f"Bearer {token}")))
    except Problem as problem:
        return problem.status


async def test_a_token_says_who_calls_and_what_they_may(provider: Provider) -> None:
    known = callers(provider)
    assert await who(known, provider.token()) == Caller(USER, frozenset({"CUSTOMER"}))
    assert await who(known, provider.token(roles=["role_master", "Customer"])) == Caller(
        USER, frozenset({"MASTER", "CUSTOMER"})
    )
    assert await who(known, provider.token(roles="MASTER, CUSTOMER")) == Caller(USER, frozenset({"MASTER", "CUSTOMER"}))
    assert provider.look_ups == 1


@pytest.mark.parametrize(
    ("claim", "claims"),
    [
        (None, {"roles": ["MASTER"], "role": "CUSTOMER"}),
        (None, {"role": "MASTER"}),
        ("groups", {"groups": ["MASTER"], "roles": ["CUSTOMER"]}),
        ("realm_access.roles", {"realm_access": {"roles": ["MASTER"]}}),
        ("https://shop.example/roles", {"https://shop.example/roles": ["MASTER"]}),
    ],
)
async def test_the_roles_are_in_the_claim_that_a_setting_names(
    provider: Provider, claim: str | None, claims: dict[str, Any]
) -> None:
    found = await who(callers(provider, jwt_role_claim=claim), provider.token(**claims))
    assert isinstance(found, Caller) and found.roles == {"MASTER"}


MALFORMED: list[dict[str, Any]] = [
    {"sub": None},
    {"sub": ""},
    {"sub": 7},
    {"sub": "somebody"},
    {"sub": [str(USER)]},
    {"sub": {"id": str(USER)}},
    {"exp": None},
    {"exp": 1},
    {"exp": str(int(time.time()) + 86_400)},
    {"exp": "soon"},
    {"exp": True},
    {"exp": [1]},
    {"exp": float("nan")},
    {"exp": float("inf")},
    {"exp": -1e300},
    {"nbf": "later"},
    {"nbf": int(time.time()) + 86_400},
    {"iat": {}},
    {"roles": 5},
    {"roles": {"MASTER": True}},
    {"roles": ["MASTER", 5]},
    {"roles": [["MASTER"]]},
    {"roles": [""]},
    {"roles": []},
    {"roles": ""},
]


@pytest.mark.parametrize("claims", MALFORMED)
async def test_claims_that_are_none_are_401(provider: Provider, claims: dict[str, Any]) -> None:
    assert await who(callers(provider), provider.token(**claims)) == 401


async def test_a_token_that_is_none_is_401_and_costs_no_look_up(provider: Provider) -> None:
    known = callers(provider)
    kids: tuple[object, ...] = (5, ["one"], {}, None, True)
    head, claims, signature = provider.token().split(".")
    nested = jwt.utils.base64url_encode(b'{"kid":' + b"[" * 5_000 + b"]" * 5_000 + b"}").decode()
    for token in (
        "",
        "a",
        "a.b.c",
        "." * 500,
        "x" * 15_000,
        f"{head}.{claims}",
        f"{nested}.{claims}.{signature}",
        *(
            f"{jwt.utils.base64url_encode(json.dumps({'alg': 'RS256', 'kid': kid}).encode()).decode()}.{claims}.{signature}"
            for kid in kids
        ),
    ):
        assert await who(known, token) == 401
    assert provider.look_ups == 0
    assert await who(known, f"{head}.{claims}.{signature[:-4]}AAAA") == 401


async def test_only_the_algorithms_of_the_settings_are_taken(provider: Provider) -> None:
    public = provider.keys["one"].public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    claims = {"sub": str(USER), "exp": int(time.time()) + 60, "roles": ["MASTER"]}
    body = jwt.utils.base64url_encode(json.dumps(claims).encode())
    for algorithm in ("HS256", "none", "hs256", "PS256", ""):
        head = jwt.utils.base64url_encode(json.dumps({"alg": algorithm, "kid": "one", "typ": "JWT"}).encode())
        by_public_key = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(head + b"." + body, pem)
        for signature in (b"", jwt.utils.base64url_encode(by_public_key)):
            assert await who(callers(provider), b".".join([head, body, signature]).decode()) == 401


@pytest.mark.parametrize(
    ("settings", "claims", "status"),
    [
        ({"jwt_issuer": "us"}, {"iss": "us"}, 200),
        ({"jwt_issuer": "us"}, {"iss": "them"}, 401),
        ({"jwt_issuer": "us"}, {}, 401),
        ({"jwt_audience": "shop"}, {"aud": ["shop", "other"]}, 200),
        ({"jwt_audience": "shop"}, {"aud": "other"}, 401),
        ({"jwt_audience": "shop"}, {}, 401),
        ({"jwt_audience": "shop"}, {"aud": 5}, 401),
        ({"jwt_leeway_s": 30}, {"seconds_left": -5}, 200),
        ({"jwt_leeway_s": 0}, {"seconds_left": -5}, 401),
    ],
)
async def test_issuer_audience_and_leeway_are_as_set(
    provider: Provider, settings: dict[str, Any], claims: dict[str, Any], status: int
) -> None:
    if "seconds_left" in claims:  # counted from now: the cases above are made when all tests are collected
        claims = {"exp": int(time.time()) + claims["seconds_left"]}
    found = await who(callers(provider, **settings), provider.token(**claims))
    assert (200 if isinstance(found, Caller) else found) == status


@pytest.mark.parametrize("mode", ["hangs", "fails", "nonsense"])
async def test_a_provider_that_does_not_answer_is_503_for_all_at_once(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(jwks, "AGAIN_S", 60.0)
    provider.mode = mode
    known = callers(provider, jwt_jwks_timeout_s=0.5)
    assert set(await asyncio.gather(*(who(known, provider.token()) for _ in range(100)))) == {503}
    assert provider.look_ups <= 1


async def test_a_look_up_that_hangs_for_good_is_waited_for_once(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server that does not answer holds the look-up longer than any time-out."""
    released = threading.Event()
    monkeypatch.setattr(jwks, "_keys_at", lambda *_: released.wait(60))
    known = callers(provider, jwt_jwks_timeout_s=0.1)
    assert await who(known, provider.token()) == 503
    waited = waits(monkeypatch)
    try:
        for _ in range(100):
            assert await who(known, provider.token()) == 503
    finally:
        released.set()
    assert waited == [0.0] * 100, "whoever comes later waits for nothing"


def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each request waits for the provider at most, from now on."""
    found: list[float] = []

    async def wait(_: object, **options: float) -> None:
        found.append(options["timeout"])

    monkeypatch.setattr(asyncio, "wait", wait)
    return found


async def test_known_keys_are_used_while_the_provider_hangs(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = callers(provider)
    assert isinstance(await who(known, provider.token()), Caller)
    monkeypatch.setattr(jwks, "KEPT_S", 0.0)
    monkeypatch.setattr(jwks, "AGAIN_S", 0.0)
    provider.mode = "hangs"
    waited = waits(monkeypatch)
    for _ in range(20):
        assert isinstance(await who(known, provider.token()), Caller)
    assert not waited


async def test_tokens_with_unknown_keys_make_no_flood_and_lock_nobody_out(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "AGAIN_S", 60.0)  # a machine that is busy may need longer than 2 s for 200 tokens
    known = callers(provider)
    assert isinstance(await who(known, provider.token()), Caller)
    unknown = [provider.token(headers={"kid": f"unknown-{n}"}) for n in range(20)]
    found = await asyncio.gather(*(who(known, token) for token in unknown * 10), *([who(known, provider.token())] * 1))
    assert set(found[:-1]) == {401} and isinstance(found[-1], Caller)
    assert provider.look_ups == 1
    provider.new_key("two")
    monkeypatch.setattr(jwks, "AGAIN_S", 0.0)
    assert isinstance(await who(known, provider.token("two")), Caller)
    del provider.keys["two"]


async def test_a_look_up_uses_no_thread_of_anybody_else(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("asyncio's own threads are for the runtime")

    monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", forbidden)
    assert isinstance(await who(callers(provider), provider.token()), Caller)


GATEWAY = Settings(development=True, trust_gateway_headers=True)
ID = ("User-Id", str(USER))
REFUSED: list[tuple[int, list[tuple[str, str]]]] = [
    (400, [ID, ID]),
    (400, [ID, ("User-Id", str(UUID(int=8)))]),
    (400, [ID, ("User-Roles", "CUSTOMER"), ("User-Roles", "MASTER")]),
    (400, [("Authorization", "Bearer a"), ("Authorization", "Bearer b")]),
    (401, []),
    (401, [("User-Id", "")]),
    (401, [("User-Id", "7")]),
    (401, [("User-Id", f"{USER},{UUID(int=8)}")]),
    (401, [ID, ("User-Roles", "")]),
    (401, [ID, ("User-Roles", "MASTER,")]),
    (401, [ID, ("Authorization", "")]),
    (401, [ID, ("Authorization", "Bearer ")]),
]


@pytest.mark.parametrize(("status", "headers"), REFUSED)
async def test_headers_that_name_nobody_or_two_are_refused(status: int, headers: list[tuple[str, str]]) -> None:
    with pytest.raises(Problem) as refused:
        await Callers(GATEWAY).of(request(*headers))
    assert refused.value.status == status


GATEWAYS = ["10.0.3.0/24", "2001:db8::7"]
SECRET = "what-the-gateway-sends"
FROM: list[tuple[dict[str, Any], str | None, str | None, bool]] = [
    ({"trust_gateway_addresses": GATEWAYS}, "10.0.3.7", None, True),
    ({"trust_gateway_addresses": GATEWAYS}, "::ffff:10.0.3.7", None, True),
    ({"trust_gateway_addresses": GATEWAYS}, "2001:db8::7", None, True),
    ({"trust_gateway_addresses": GATEWAYS}, "10.0.4.7", None, False),
    ({"trust_gateway_addresses": GATEWAYS}, "127.0.0.1", None, False),
    ({"trust_gateway_addresses": GATEWAYS}, "2001:db8::8", None, False),
    ({"trust_gateway_addresses": GATEWAYS}, "a-socket", None, False),
    ({"trust_gateway_addresses": GATEWAYS}, None, None, False),
    ({"trust_gateway_addresses": GATEWAYS, "development": True}, "127.0.0.1", None, False),
    ({"trust_gateway_secret": SECRET}, "127.0.0.1", SECRET, True),
    ({"trust_gateway_secret": SECRET}, "127.0.0.1", SECRET[:-1], False),
    ({"trust_gateway_secret": SECRET}, "127.0.0.1", "\xe9", False),
    (
        {"trust_gateway_secret": "what-the-gäteway-sends"},
        "127.0.0.1",
        "what-the-gäteway-sends".encode().decode("latin-1"),
        True,
    ),
    ({"trust_gateway_secret": SECRET}, "127.0.0.1", "", False),
    ({"trust_gateway_secret": SECRET}, "127.0.0.1", None, False),
    ({"trust_gateway_addresses": GATEWAYS, "trust_gateway_secret": SECRET}, "10.0.3.7", SECRET, True),
    ({"trust_gateway_addresses": GATEWAYS, "trust_gateway_secret": SECRET}, "10.0.3.7", "other", False),
    ({"trust_gateway_addresses": GATEWAYS, "trust_gateway_secret": SECRET}, "10.0.4.7", SECRET, False),
]


@pytest.mark.parametrize(("settings", "address", "secret", "taken"), FROM)
async def test_the_gateways_headers_are_taken_from_the_gateway_alone(
    settings: dict[str, Any], address: str | None, secret: str | None, taken: bool
) -> None:
    known = Callers(Settings.model_validate({"trust_gateway_headers": True, **settings}))
    asked = request(ID, *([("Gateway-Secret", secret)] if secret is not None else []))
    asked.scope["client"] = (address, 50_000) if address is not None else None
    try:
        assert (await known.of(asked)).user_id == USER and taken
    except Problem as problem:
        assert problem.status == 401 and not taken
        assert "TRUST_GATEWAY_ADDRESSES" in str(problem.body.detail) or "Gateway-Secret" in str(problem.body.detail)
        assert SECRET not in str(problem.body.detail)


async def test_settings_that_name_no_gateway_trust_nobody() -> None:
    """Settings are checked at start; should a check be missed, no header is taken."""
    with pytest.raises(Problem, match="not known"):
        await Callers(Settings().model_copy(update={"trust_gateway_headers": True})).of(request(ID))


async def test_without_the_setting_a_header_says_nothing() -> None:
    with pytest.raises(Problem) as refused:
        await Callers(Settings(trust_gateway_headers=False)).of(request(ID))
    assert refused.value.status == 401


@pytest.mark.parametrize(
    "settings",
    [
        {"jwt_algorithms": ["RS256", "HS256"]},
        {"jwt_algorithms": ["none"]},
        {"jwt_algorithms": []},
        {"jwt_algorithms": ["HS256"], "jwt_jwks_url": "http://127.0.0.1/keys"},
        {"jwt_jwks_url": "file:///etc/passwd"},
        {"http_streams_max": 5_000},
        {"http_requests_max": 5_000},
        {"http_streams_per_caller_max": 2_000},
        {"http_body_bytes_per_s_min": 10_000},
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match=next(iter(settings)).rsplit("_max", 1)[0] + "|" + next(iter(settings)).upper()
    ):
        Settings.model_validate(settings)


def test_a_caller_may_make_so_many_requests_a_second_and_ten_seconds_worth_at_once() -> None:
    now = 1_000.0
    pace = Pace(2.0, "caller", lambda: now)
    one, other = UUID(int=1), UUID(int=2)
    assert [pace.wait_s(one) for _ in range(21)] == [0] * 20 + [1]
    assert pace.wait_s(other) == 0, "each has their own"
    now += 0.5
    assert [pace.wait_s(one), pace.wait_s(one)] == [0, 1], "one that was refused does not count"
    now += 3_600
    assert [pace.wait_s(one) for _ in range(21)] == [0] * 20 + [1], "nothing is saved up"
    seldom = Pace(0.01, "caller", lambda: now)
    assert [seldom.wait_s(one), seldom.wait_s(one)] == [0, 100]


async def test_customers_are_counted_and_operators_are_not() -> None:
    values = {"trust_gateway_headers": True, "development": True, "http_caller_requests_per_s": 0.001}
    callers = Callers(Settings.model_validate(values), is_service=True)
    for _ in range(3):
        await callers.of(request(ID, ("User-Roles", "OPERATOR")))
    await callers.of(request(ID))
    with pytest.raises(Problem) as refused:
        await callers.of(request(ID))
    answer = on_problem(request(ID), refused.value)
    assert answer.status_code == 429 and 0 < int(answer.headers["Retry-After"]) <= 1_000
    unlimited = Settings.model_validate(values | {"http_caller_requests_per_s": None})
    for elsewhere in (Callers(Settings.model_validate(values)), Callers(unlimited, is_service=True)):
        for _ in range(3):
            await elsewhere.of(request(ID))
