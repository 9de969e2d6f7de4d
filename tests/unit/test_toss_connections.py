"""The adapter when connections break, hang or run out, and its breaker: real HTTP on 127.0.0.1, no mocks."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest

from ordersaga.payment.breaker import Breaker, HealthSign
from ordersaga.payment.gateway import (
    Approved,
    Found,
    NotFound,
    OurFault,
    Retry,
    Standing,
    Unknown,
)
from ordersaga.payment.toss import TossGateway, TossSettings
from ordersaga.sandbox.app import SandboxSettings, serving
from tests.unit.gateway_servers import KEY, Shop, http_answer, payment_json, raw_server, settings
from tests.unit.sandbox_client import until


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with (
        serving(SandboxSettings(secret_key=KEY)) as url,
        aiohttp.ClientSession(url) as http,
        TossGateway(settings(url)) as gateway,
    ):
        yield Shop(url, http, gateway)


# Lost connections and time-outs


async def test_a_connection_dropped_before_the_approval_took_nothing(shop: Shop) -> None:
    key = await shop.checkout(card="dropped")
    assert isinstance(await shop.gateway.confirm(key, "order-1", 5_000, "k"), Retry)
    assert await shop.held() == 0
    assert isinstance(await shop.gateway.confirm(key, "order-1", 5_000, "k"), Approved)


@pytest.mark.parametrize("card", ["answer-lost", "answer-truncated"])
async def test_an_approval_whose_answer_was_lost_is_learned_with_the_same_key(shop: Shop, card: str) -> None:
    key = await shop.checkout(card=card)
    assert isinstance(await shop.gateway.confirm(key, "order-1", 5_000, "k"), Retry)
    assert await shop.held() == 5_000
    assert isinstance(await shop.gateway.confirm(key, "order-1", 5_000, "k"), Approved)
    assert await shop.held() == 5_000


async def test_an_approval_answered_with_an_error_is_learned_only_by_a_get(shop: Shop) -> None:
    key = await shop.checkout(card="done-but-PROVIDER_ERROR")
    for _ in range(2):  # The same key replays the stored error: asking so for ever would never end.
        assert isinstance(await shop.gateway.confirm(key, "order-1", 5_000, "k"), Unknown)
    found = await shop.gateway.find(key)
    assert isinstance(found, Found) and found.payment.standing("order-1", 5_000) is Standing.CAPTURED


async def test_a_slow_gateway_is_a_time_out_and_the_same_key_finds_it_in_flight_then_done(shop: Shop) -> None:
    await shop.faults(orders={"order-1": {"confirm": {"latencyMs": 600, "times": 1}}})
    key = await shop.checkout()
    async with TossGateway(settings(shop.url, answer_timeout_s=0.2, connect_timeout_s=0.2)) as gateway:
        assert await gateway.confirm(key, "order-1", 5_000, "k") == Retry("TIMEOUT", 1.0)
        assert await gateway.confirm(key, "order-1", 5_000, "k") == Retry("IDEMPOTENT_REQUEST_PROCESSING", 1.0)
        async with asyncio.timeout(5):
            while True:
                answer = await gateway.confirm(key, "order-1", 5_000, "k")
                if not isinstance(answer, Retry):
                    break
                await asyncio.sleep(0.02)
        assert isinstance(answer, Approved)


async def test_a_server_that_accepts_and_says_nothing_is_a_time_out() -> None:
    async def hang(_: bytes) -> bytes:
        await asyncio.sleep(1)
        return b""

    async with (
        raw_server(hang) as url,
        TossGateway(settings(url, answer_timeout_s=0.1, connect_timeout_s=0.1)) as gateway,
    ):
        assert await gateway.confirm("pk-1", "order-1", 5_000, "k") == Retry("TIMEOUT", 1.0)


async def test_a_closed_port_is_a_retry() -> None:
    async with TossGateway(settings("http://127.0.0.1:1")) as gateway:
        assert await gateway.confirm("pk-1", "order-1", 5_000, "k") == Retry("CONNECTION_LOST", 1.0)


async def test_many_calls_share_a_bounded_number_of_connections() -> None:
    open_now = open_most = 0

    async def slow(_: bytes) -> bytes:
        nonlocal open_now, open_most
        open_now += 1
        open_most = max(open_most, open_now)
        await asyncio.sleep(0.5)
        open_now -= 1
        return http_answer(200, payment_json())

    # The last of 20 calls by two at a time waits 4.5 s: longer than the time-out, so that a wait that counted would fail it. A call
    # itself takes an eighth of the time-out, and the calls are few, so that a busy machine does not make one look slow.
    changes = {"connections_max": 2, "answer_timeout_s": 4.0, "connect_timeout_s": 4.0}
    async with raw_server(slow) as url, TossGateway(settings(url, **changes)) as gateway:
        answers = await asyncio.gather(*(gateway.find("pk-1") for _ in range(20)))
    assert all(isinstance(answer, Found) for answer in answers)
    assert open_most <= 2


async def test_a_call_that_finds_no_free_connection_in_time_was_never_sent(shop: Shop) -> None:
    await shop.faults(latencyMs=300)
    first, second = await shop.checkout("order-1"), await shop.checkout("order-2")
    async with TossGateway(settings(shop.url, connections_max=1, connection_wait_s=0.05)) as gateway:
        task = asyncio.create_task(gateway.confirm(first, "order-1", 5_000, "k1"))
        await shop.is_asked("confirm")
        assert await gateway.confirm(second, "order-2", 5_000, "k2") == Retry("NO_FREE_CONNECTION", 1.0)
        assert gateway.health.state == "closed"
        assert isinstance(await task, Approved)
    assert await shop.held() == 5_000


@pytest.mark.parametrize(
    "changes",
    [
        {"base_url": "127.0.0.1"},
        {"secret_key": ""},
        {"secret_key": "a:b"},
        {"connect_timeout_s": 0},
        {"connect_timeout_s": 50.0},
        {"connections_max": 0},
        {"sick_max": 0},
        {"open_s": 0},
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        replace(TossSettings("http://127.0.0.1", "sk"), **changes)  # type: ignore[arg-type]


def test_the_secret_key_is_not_printed() -> None:
    assert "test_sk" not in repr(TossSettings("http://127.0.0.1", "test_sk_x"))


# The breaker


async def test_the_breaker_stops_asking_a_dead_gateway_and_one_probe_brings_it_back(shop: Shop) -> None:
    await shop.faults(percent={"confirm": {"dropped": 100}})
    key = await shop.checkout()
    async with TossGateway(settings(shop.url, sick_max=3, open_s=0.2)) as gateway:
        for _ in range(3):
            assert await gateway.confirm(key, "order-1", 5_000, "k") == Retry("CONNECTION_LOST", 1.0)
        assert gateway.health.state == "open" and not gateway.health.ready
        assert gateway.health.reason == "CONNECTION_LOST"
        await shop.faults()
        answer = await gateway.confirm(key, "order-1", 5_000, "k")
        assert isinstance(answer, Retry) and answer.code == "BREAKER_OPEN" and 0 < answer.retry_after_s <= 0.2
        assert await shop.held() == 0  # Nothing was sent.
        await until(lambda: gateway.health.state == "half-open")
        assert isinstance(await gateway.confirm(key, "order-1", 5_000, "k"), Approved)
        assert gateway.health.state == "closed"


async def test_a_wrong_key_opens_the_breaker_at_once_and_fails_no_further_order(shop: Shop) -> None:
    async with TossGateway(TossSettings(shop.url, "test_sk_wrong")) as gateway:
        first = await gateway.confirm(await shop.checkout(), "order-1", 5_000, "k1")
        assert isinstance(first, OurFault)
        second = await gateway.confirm(await shop.checkout("order-2"), "order-2", 5_000, "k2")
        assert isinstance(second, Retry) and second.code == "BREAKER_OPEN"
        assert gateway.health.reason == "UNAUTHORIZED_KEY"


@pytest.mark.parametrize("outcome", ["REJECT_CARD_COMPANY", "PROVIDER_ERROR", "TOO_MANY_REQUESTS", "FORBIDDEN_REQUEST"])
async def test_declines_and_limits_are_signs_of_life(shop: Shop, outcome: str) -> None:
    await shop.faults(percent={"confirm": {outcome: 100}})
    async with TossGateway(settings(shop.url, sick_max=2)) as gateway:
        for n in range(5):
            await gateway.confirm(await shop.checkout(), "order-1", 5_000, f"k{n}")
        assert gateway.health.state == "closed"


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_only_one_probe_is_out_while_half_open_and_a_lost_one_is_replaced() -> None:
    clock = Clock()
    breaker = Breaker(sick_max=1, open_s=10, clock_s=clock)
    given = breaker.admit()
    assert given is not None and breaker.hand_back(given, HealthSign.SICK, "TIMEOUT")
    assert breaker.admit() is None
    clock.now_s = 10
    probe = breaker.admit()
    assert probe is not None and breaker.admit() is None
    breaker.hand_back(probe, HealthSign.NOTHING, "")  # The probe's caller was cancelled.
    probe = breaker.admit()
    assert probe is not None
    breaker.hand_back(probe, HealthSign.SICK, "TIMEOUT")
    assert breaker.admit() is None and breaker.health.opens_again_in_s == 10


def test_a_success_from_before_the_opening_does_not_close_the_breaker() -> None:
    clock = Clock()
    breaker = Breaker(sick_max=1, open_s=10, clock_s=clock)
    early, sick = breaker.admit(), breaker.admit()
    assert early is not None and sick is not None
    assert breaker.hand_back(sick, HealthSign.SICK, "TIMEOUT")
    breaker.hand_back(early, HealthSign.ALIVE, "")
    assert breaker.health.state == "open"


def test_failures_from_before_the_opening_do_not_prolong_it() -> None:
    clock = Clock()
    breaker = Breaker(sick_max=1, open_s=10, clock_s=clock)
    late, sick = breaker.admit(), breaker.admit()
    assert late is not None and sick is not None
    assert breaker.hand_back(sick, HealthSign.SICK, "TIMEOUT")
    clock.now_s = 9
    assert not breaker.hand_back(late, HealthSign.SICK, "TIMEOUT")
    assert breaker.health.opens_again_in_s == 1


def test_failures_count_only_in_a_row() -> None:
    breaker = Breaker(sick_max=2, open_s=10)
    for sign in (HealthSign.SICK, HealthSign.ALIVE, HealthSign.SICK, HealthSign.NOTHING):
        given = breaker.admit()
        assert given is not None and not breaker.hand_back(given, sign, "X")
    given = breaker.admit()
    assert given is not None and breaker.hand_back(given, HealthSign.SICK, "X")


async def test_a_cancelled_probe_does_not_bar_the_gateway_for_ever(shop: Shop) -> None:
    async with TossGateway(settings(shop.url, sick_max=1, open_s=0.05)) as gateway:
        await shop.faults(percent={"get": {"dropped": 100}})
        await gateway.find("pk-1")
        await shop.faults(latencyMs=500)
        await until(lambda: gateway.health.state == "half-open")
        probe = asyncio.create_task(gateway.find("pk-1"))
        await shop.is_asked("get")
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        await shop.faults()
        assert isinstance(await gateway.find("pk-1"), NotFound)
        assert gateway.health.state == "closed"
