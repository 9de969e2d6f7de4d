"""A frozen database holds neither the audit nor a command of operators: each ends with a sentence and the exit code that it promises."""

import asyncio
import contextlib
import importlib
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest

from ordersaga.audit import records, sources, verify
from ordersaga.devstack import DevStack
from ordersaga.messaging import guests
from ordersaga.messaging.migrating import migrate
from ordersaga.settings import SERVICES, Settings
from tests.commands import Answer, type_command
from tests.integration.troubled_postgres import TroubledPostgres, troubled_postgres

STOPPED = "the server has stopped answering"
CODES: dict[tuple[str, ...], int] = {
    ("verify", "--live", "0"): 2,
    ("dead-letters", "list"): 1,
    ("parked", "list"): 1,
    ("orders", "show", str(uuid4())): 1,
}
"""The exit code of each command. They are typed side by side, since each waits for the frozen server."""


@pytest.fixture(scope="module")
def server() -> Iterator[TroubledPostgres]:
    with troubled_postgres() as one:
        yield one


@pytest.fixture(scope="module")
def settings(server: TroubledPostgres, stack: DevStack) -> Settings:
    """Four databases on the server that freezes."""
    databases = {service: f"frozen_{service}" for service in SERVICES}
    server.create_databases(databases.values())
    urls = {f"{service}_database_url": server.database_url(database) for service, database in databases.items()}
    made = Settings.model_validate(urls | {"kafka_bootstrap_servers": stack.bootstrap_servers, "gateway_books": False})
    for service in SERVICES:
        migrate(made.database_url(service), importlib.import_module(f"ordersaga.{service}"))
    return made


async def test_a_server_that_freezes_under_the_audit_makes_the_rest_unknown(
    server: TroubledPostgres, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "WATCH_EVERY_S", 0.5)
    monkeypatch.setattr(sources, "ANSWER_S", 1.0)
    outboxes = records.outboxes
    with contextlib.ExitStack() as frozen:

        async def freeze_then_read(*arguments: object) -> object:
            frozen.enter_context(server.frozen())
            return await outboxes(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(records, "outboxes", freeze_then_read)
        async with asyncio.timeout(60):
            findings = await verify(settings)
    judged = {each.invariant: each for each in findings if each.outcome != "not applicable"}
    assert {each.outcome for each in judged.values()} == {"could not be judged"}
    why = {why for each in findings for why in each.unjudged}
    assert any(each.startswith(f"stock's database: {STOPPED}") for each in why), why
    assert not any("closed" in each for each in why), why


async def test_commands_that_find_the_server_frozen_end_within_seconds(
    server: TroubledPostgres, settings: Settings
) -> None:
    environment = {f"ORDERSAGA_{service.upper()}_DATABASE_URL": settings.database_url(service) for service in SERVICES}
    environment |= {
        "ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "ORDERSAGA_GATEWAY_BOOKS": "false",
    }

    async def type_one(arguments: tuple[str, ...]) -> tuple[Answer, float]:
        began = time.monotonic()
        answer = await asyncio.to_thread(type_command, arguments, environment)
        return answer, time.monotonic() - began

    with server.frozen():
        async with asyncio.timeout(60):
            answers = await asyncio.gather(*map(type_one, CODES))
    for (result, took_s), (arguments, code) in zip(answers, CODES.items(), strict=True):
        said = f"{arguments} {result.out} {result.err}"
        assert result.code == code, said
        assert took_s < 45, said
        assert "no answer in time" in said.replace("\n", " "), said


async def test_a_statement_on_a_server_that_freezes_ends_at_its_limit(
    server: TroubledPostgres, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guests, "STATEMENT_S", 0.5)
    monkeypatch.setattr(guests, "OVER_STATEMENT_S", 0.5)
    url = settings.database_url("stock")
    async with guests.pool(url, settings) as pool, guests.connection(url, settings) as alone:
        assert await pool.fetchval("SELECT 1") == await alone.fetchval("SELECT 1")
        with server.frozen():
            began = time.monotonic()
            for ask in (pool.fetchval, alone.fetchval):
                with pytest.raises(TimeoutError):
                    await ask("SELECT 1")
            assert time.monotonic() - began < 10
        assert await pool.fetchval("SELECT 1") == 1
