"""What the audit cannot judge it says, with the reason, and judges all else; the exit code tells the three outcomes apart."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from typer.testing import CliRunner

from ordersaga.audit import Finding, verify
from ordersaga.cli.main import commands
from ordersaga.settings import SERVICES, Settings
from tests.integration.audit_rig import (
    AGREED,
    BOOKS,
    COMPLETE,
    GIVEN_BACK,
    HANDLED,
    INVARIANTS,
    KNOWN,
    LETTERS,
    PARKED,
    PRICED,
    PUBLISHED,
    RECORDED,
    SETTLED,
    STOCK,
    Scene,
    short,
)

UNKNOWN = "could not be judged"


def outcomes(findings: list[Finding]) -> dict[str, str]:
    """The invariants that do not simply hold."""
    return {short(each): each.outcome for each in findings if each.outcome != "holds"}


def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
    return port


async def command(settings: Settings, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit code of `ordersaga verify --json`, and what it says."""
    environment = {f"ORDERSAGA_{service.upper()}_DATABASE_URL": settings.database_url(service) for service in SERVICES}
    environment |= {f"ORDERSAGA_{service.upper()}_GROUP": settings.group(service) for service in SERVICES}
    environment |= {
        "ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "ORDERSAGA_GATEWAY_URL": settings.gateway_url,
        "ORDERSAGA_GATEWAY_BOOKS": str(settings.gateway_books),
    }
    run = ["verify", "--json", "--live", "0", *arguments]
    result = await asyncio.to_thread(CliRunner(env=environment).invoke, commands(), run)
    return result.exit_code, json.loads(result.stdout)


async def test_the_exit_code_tells_holding_broken_and_not_judged_apart(scene: Scene) -> None:
    code, found = await command(scene.settings)
    assert (code, {each["outcome"] for each in found}) == (0, {"holds"})
    away = scene.settings.model_copy(update={"gateway_url": f"http://127.0.0.1:{closed_port()}"})
    code, found = await command(away)
    (unknown,) = [each for each in found if each["outcome"] != "holds"]
    assert code == 2 and unknown["unjudged_count"] == 1 and "the gateway's books at http" in unknown["unjudged"][0]
    await scene.plant("order", "DELETE FROM timer")
    code, found = await command(away)
    assert code == 1 and {each["outcome"] for each in found} == {"holds", UNKNOWN, "broken"}


@pytest.mark.parametrize(
    ("service", "unknown"),
    [
        ("order", set(INVARIANTS) - {STOCK, BOOKS, SETTLED}),
        ("stock", {STOCK, COMPLETE, GIVEN_BACK, AGREED, KNOWN, PRICED, PUBLISHED, HANDLED, LETTERS, PARKED}),
        ("payment", {COMPLETE, GIVEN_BACK, AGREED, KNOWN, SETTLED, BOOKS, PUBLISHED, HANDLED, LETTERS, PARKED}),
    ],
)
async def test_a_database_that_does_not_answer_leaves_the_rest_judged(
    scene: Scene, service: str, unknown: set[str]
) -> None:
    settings = scene.settings.model_copy(
        update={
            f"{service}_database_url": type(scene.settings.order_database_url)(
                f"postgresql://postgres@127.0.0.1:{closed_port()}/{service}"
            )
        }
    )
    await scene.plant("delivery", "INSERT INTO outbox (id, adopt_at, topic, message_id, traceparent) "
                      "VALUES (1, now() - interval '1 hour', 'delivery-start-topic', gen_random_uuid(), '-')")  # fmt: skip
    found = await verify(settings)
    assert outcomes(found) == dict.fromkeys(unknown, UNKNOWN) | {PUBLISHED: "broken"}
    assert all(f"{service}'s database: " in why for each in found for why in each.unjudged)
    only = tuple(each for each in SERVICES if each != service)
    left = outcomes(await verify(settings, only=only))
    assert UNKNOWN not in left.values() and left.pop(PUBLISHED) == "broken"
    assert set(left.values()) == {"not applicable"}


async def test_a_database_without_its_tables_is_named_with_them(scene: Scene) -> None:
    await scene.db["delivery"].execute("ALTER TABLE delivery RENAME TO elsewhere")
    try:
        found = await verify(scene.settings)
    finally:
        await scene.db["delivery"].execute("ALTER TABLE elsewhere RENAME TO delivery")
    assert {why for each in found for why in each.unjudged} == {
        "delivery's database: no table delivery that may be read"
    }
    assert outcomes(found)[COMPLETE] == UNKNOWN and STOCK not in outcomes(found)


async def test_without_kafka_the_databases_are_judged(scene: Scene) -> None:
    await scene.plant("order", "UPDATE saga SET status = 'FAILED' WHERE order_id = '$completed'")
    settings = scene.settings.model_copy(update={"kafka_bootstrap_servers": f"127.0.0.1:{closed_port()}"})
    found = outcomes(await verify(settings))
    assert found.pop(HANDLED) == found.pop(RECORDED) == found.pop(LETTERS) == UNKNOWN
    assert set(found.values()) == {"broken"} and GIVEN_BACK in found


# The gateway --------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def gateway(answer: Callable[[web.Request], web.Response]) -> AsyncIterator[str]:
    """A gateway whose books answer so."""

    async def books(request: web.Request) -> web.Response:
        return answer(request)

    one = web.Application()
    one.router.add_get("/sandbox/books", books)
    runner = web.AppRunner(one)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
    await runner.cleanup()


async def books_of(scene: Scene, url: str, **changes: Any) -> Finding:
    settings = scene.settings.model_copy(update={"gateway_url": url, **changes})
    return next(each for each in await verify(settings) if short(each) == BOOKS)


def entry(**changes: Any) -> dict[str, Any]:
    known = {"paymentKey": "strange", "orderId": "o", "totalAmount": 1000, "balanceAmount": 1000, "currency": "KRW"}
    return known | {"approvedAt": "2026-01-01T00:00:00+09:00", "changedAt": "2026-01-01T00:00:00+09:00"} | changes


async def test_an_error_on_a_later_page_keeps_what_was_found_on_the_first(scene: Scene) -> None:
    def answer(request: web.Request) -> web.Response:
        if "cursor" not in request.query:
            return web.json_response({"items": [entry()], "next": "1"})
        return web.Response(status=500)

    async with gateway(answer) as url:
        found = await books_of(scene, url)
    assert found.broken == ["strange of order o: the gateway holds 1000 won, our table says 0"]
    assert "it answers 500, after 1 payment" in found.unjudged[0]


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: web.Response(status=500),
        lambda _: web.Response(status=404),
        lambda _: web.Response(text="<html>"),
        lambda _: web.json_response({"items": "none"}),
        lambda _: web.json_response({"items": [], "next": "0"}),
    ],
)
async def test_books_that_cannot_be_read_are_no_books_that_agree(
    scene: Scene, answer: Callable[[web.Request], web.Response]
) -> None:
    async with gateway(answer) as url:
        found = await books_of(scene, url)
    assert (found.outcome, found.broken) == (UNKNOWN, [])


async def test_another_currency_is_named(scene: Scene) -> None:
    async with gateway(lambda _: web.json_response({"items": [entry(currency="USD")], "next": None})) as url:
        found = await books_of(scene, url)
    assert found.broken[0].endswith("our table says 0; it is in USD")


async def test_a_payment_without_a_row_is_left_to_the_predecessor_if_it_was_approved_before_for_certain(
    scene: Scene,
) -> None:
    """The books' second in which ours took over is not before, and neither a later refund nor a row of ours moves an approval."""
    known = await scene.db["payment"].fetchval("SELECT payment_key FROM payment WHERE order_id = $1", scene.completed)
    await scene.plant(
        "payment",
        "INSERT INTO predecessor VALUES ('payment-cancel-requested-topic', 0, 'group:theirs', '2026-01-01T00:00:03.5Z')",
    )
    items = [
        entry(paymentKey="-before", approvedAt="2026-01-01T09:00:02+09:00", changedAt="2026-01-02T00:00:00Z"),
        entry(paymentKey="-same-second", approvedAt="2026-01-01T00:00:03Z"),
        entry(paymentKey="-later", approvedAt="2026-01-01T00:00:04Z"),
        entry(paymentKey=known, orderId=str(scene.completed), approvedAt="2026-01-01T00:00:00Z"),
    ]
    async with gateway(lambda _: web.json_response({"items": items, "next": None})) as url:
        found = await books_of(scene, url)
    named = {each.split(" of order")[0] for each in found.broken if "the gateway holds 1000" in each}
    assert named == {"-same-second", "-later", known}, found.broken
    assert "1 payment was taken before our payment took over" in " ".join(found.notes)


async def test_a_time_without_a_zone_makes_the_books_unreadable(scene: Scene) -> None:
    items = [entry(changedAt="2026-01-01T00:00:00")]
    async with gateway(lambda _: web.json_response({"items": items, "next": None})) as url:
        found = await books_of(scene, url)
    assert (found.outcome, found.broken) == (UNKNOWN, [])


async def test_a_real_gateway_shows_no_books_and_is_not_asked_for_them(scene: Scene) -> None:
    for settings in ({"gateway_books": False}, {"gateway_url": "https://api.tosspayments.com"}):
        found = await books_of(scene, **{"url": scene.settings.gateway_url} | _as_url(settings))
        assert (found.outcome, found.holds, found.count) == ("not applicable", True, 0)
    code, _ = await command(scene.settings.model_copy(update={"gateway_books": False}))
    assert code == 0


def _as_url(settings: dict[str, Any]) -> dict[str, Any]:
    return {"url" if name == "gateway_url" else name: value for name, value in settings.items()}
