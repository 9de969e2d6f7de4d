"""A database that freezes, becomes read-only, or is cut off without a word: nobody waits longer than a limit, and all goes on after it."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from ordersaga import stock
from ordersaga.cli.serve import application
from ordersaga.devstack import DevStack
from ordersaga.messaging import instance
from ordersaga.messaging.database import Connection, answers, connect
from ordersaga.messaging.gather import Gather, OutcomeUnknown, Write
from ordersaga.messaging.migrating import migrate
from ordersaga.messaging.runtime import Runtime
from ordersaga.messaging.servers import Servers, connect_alone
from ordersaga.settings import Settings
from tests.contract.rig import Rig, ids, rig, told, took_effect, until
from tests.integration.service import OPERATOR, running
from tests.integration.stock_rig import PRODUCTS
from tests.integration.troubled_postgres import Network, TroubledPostgres, troubled_postgres

LIMITS = {"request_timeout_ms": 1_000, "lock_timeout_ms": 500, "statement_timeout_ms": 1_500}
BACK_WITHIN_S = 10.0


@pytest.fixture(scope="module")
def postgres() -> Iterator[TroubledPostgres]:
    with troubled_postgres() as server:
        yield server


@contextlib.asynccontextmanager
async def troubled(stack: DevStack, server: TroubledPostgres, **changed: Any) -> AsyncIterator[Rig]:
    """A service whose database is on that server."""
    name = f"troubled_{uuid4().hex[:8]}"
    server.create_databases([name])
    async with rig(stack, delivery_database_url=server.database_url(name), **LIMITS, **changed) as service:
        await service.db.execute("CREATE TABLE counter (n int PRIMARY KEY, value int NOT NULL DEFAULT 0)")
        await service.db.execute("INSERT INTO counter SELECT n FROM generate_series(0, 299) n")
        yield service


async def count_up(db: Connection, requests: Sequence[int], _: datetime) -> Write[int]:
    rows = await db.fetch(
        "UPDATE counter c SET value = value + 1 FROM (SELECT n FROM counter WHERE n = ANY ($1) ORDER BY n FOR UPDATE) l"
        " WHERE c.n = l.n RETURNING c.n, c.value",
        list(requests),
    )
    values = {row["n"]: row["value"] for row in rows}
    return Write([values[n] for n in requests])


async def timed(work: Any) -> tuple[Any, float]:
    began = time.monotonic()
    try:
        return await work, time.monotonic() - began
    except Exception as error:
        return error, time.monotonic() - began


async def read(runtime: Runtime) -> Any:
    async with runtime.reading() as db:
        return await db.fetchval("SELECT count(*) FROM counter")


async def succeeds(count: Gather[int, int], n: int) -> bool:
    with contextlib.suppress(OutcomeUnknown):
        await count(n)
        return True
    return False


async def test_a_frozen_database_holds_nobody_and_all_goes_on_after_it(
    stack: DevStack, postgres: TroubledPostgres
) -> None:
    before, meanwhile = [told(uuid4()) for _ in range(20)], [told(uuid4()) for _ in range(20)]
    async with troubled(stack, postgres) as service, service.instance() as runtime:
        count = runtime.gather(count_up)
        service.send(*before)
        await until(lambda: took_effect(service, 20))
        assert await count(1) == 1
        with postgres.frozen():
            asked = [timed(count(2)), timed(count(3)), timed(read(runtime)), timed(answers(runtime.pool))]
            written, other, seen, ready = await asyncio.gather(*asked)
            service.send(*meanwhile)
            assert isinstance(written[0], OutcomeUnknown) and written[1] < 2
            assert isinstance(other[0], OutcomeUnknown) and other[1] < 2
            assert isinstance(seen[0], TimeoutError) and seen[1] < 2
            assert ready[0] is False and ready[1] < 3
            # The turn under way is left too, and what is tried on new connections is left as soon.
            await until(_has_trouble(runtime))
            assert (await timed(count(4)))[1] < 2
            assert await answers(runtime.pool) is False
        await until(lambda: succeeds(count, 5), BACK_WITHIN_S)
        await until(lambda: took_effect(service, 40), BACK_WITHIN_S)
        assert await read(runtime) == 300
        assert sorted(await service.effects()) == ids([*before, *meanwhile])


def _has_trouble(runtime: Runtime) -> Any:
    async def has_trouble() -> bool:
        return any(each.alarm == "turn failed" for each in runtime.alarms.now())

    return has_trouble


async def test_a_cancelled_call_does_not_wait_for_a_frozen_server(postgres: TroubledPostgres) -> None:
    settings = Settings(statement_timeout_ms=30_000)
    pool = await connect(postgres.database_url("postgres"), settings)

    async def work() -> None:
        async with pool.acquire() as db, db.transaction():
            await db.execute("SELECT pg_sleep(60)")

    task = asyncio.create_task(work())
    await asyncio.sleep(0.5)
    with postgres.frozen():
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await pool.close()
        assert time.monotonic() - began < 10


async def test_a_statement_ends_with_the_client_that_gave_it_up(postgres: TroubledPostgres) -> None:
    """Or its locks would stay for as long as it lasts."""
    pool = await connect(postgres.database_url("postgres"), Settings())
    with pytest.raises(TimeoutError):
        async with pool.acquire(timeout=0.3) as db:
            await db.execute("SELECT pg_sleep(25)")
    query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(25)%'"

    async def gone() -> bool:
        async with pool.acquire() as db:
            return await db.fetchval(query) == 0

    await until(gone, 5)
    await pool.close()


async def test_a_read_only_database_is_503_and_left_as_soon_as_it_can_write(
    stack: DevStack, postgres: TroubledPostgres
) -> None:
    meanwhile = [told(uuid4()) for _ in range(20)]
    async with troubled(stack, postgres) as service, service.instance() as runtime:
        count = runtime.gather(count_up)
        assert await count(1) == 1
        with postgres.read_only():
            await until(_refused(count))
            service.send(*meanwhile)
            await until(_has_trouble(runtime))
            assert await read(runtime) == 300
        await until(lambda: succeeds(count, 2), BACK_WITHIN_S)
        await until(lambda: took_effect(service, 20), BACK_WITHIN_S)
        assert sorted(await service.effects()) == ids(meanwhile)
        assert await service.count("parked") == 0


def _refused(count: Gather[int, int]) -> Any:
    async def refused() -> bool:
        return not await succeeds(count, 1)

    return refused


async def test_connections_go_to_the_server_that_can_write(postgres: TroubledPostgres) -> None:
    """A failover: the old server still answers and takes no write, or it does not answer at all."""
    with troubled_postgres() as other:
        url = f"postgresql://postgres@127.0.0.1:{postgres.port},127.0.0.1:{other.port}/postgres"
        pool = await connect(url, Settings())

        async def port() -> int:
            async with pool.acquire(timeout=4) as db, db.transaction():
                await db.execute("CREATE TABLE IF NOT EXISTS written ()")
                return await db.fetchval("SELECT inet_server_port()")

        assert await port() == postgres.port
        with postgres.read_only():
            await until(lambda: _is(port, other.port))
            alone = await connect_alone(url, "test")
            assert await alone.fetchval("SELECT inet_server_port()") == other.port
            await alone.close()
        with other.frozen():
            await until(lambda: _is(port, postgres.port), 20)
        await pool.close()


async def _is(port: Any, wanted: int) -> bool:
    with contextlib.suppress(asyncpg.PostgresError, OSError):
        return await port() == wanted
    return False


async def test_a_machine_that_is_cut_off_is_silent_for_no_longer_than_the_setting_says(
    postgres: TroubledPostgres,
) -> None:
    """The operating system ends such a connection; what it does when the network is cut, `make cluster` shows."""
    pool = await connect(postgres.database_url("postgres"), Settings(database_silence_ms=1_500))
    async with pool.acquire() as db:
        ours: Any = db
        wire = ours._con._transport.get_extra_info("socket")
        assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1_500
        assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 1
    await pool.close()


async def test_a_url_says_itself_which_servers_will_do(postgres: TroubledPostgres) -> None:
    with postgres.read_only():
        places = f"127.0.0.1:{postgres.port},127.0.0.1:{postgres.port}"
        await until(lambda: _only_reads(postgres))
        with pytest.raises(asyncpg.TargetServerAttributeNotMatched):
            await Servers(f"postgresql://postgres@{places}/postgres").connect()
        any_will_do = await Servers(f"postgresql://postgres@{places}/postgres?target_session_attrs=any").connect()
        await any_will_do.close()


async def _only_reads(postgres: TroubledPostgres) -> bool:
    db = await asyncpg.connect(postgres.database_url("postgres"))
    try:
        return await db.fetchval("SHOW default_transaction_read_only") == "on"
    finally:
        await db.close()


async def test_a_network_that_swallows_what_is_sent_holds_nobody(stack: DevStack, postgres: TroubledPostgres) -> None:
    meanwhile = [told(uuid4()) for _ in range(20)]
    async with troubled(stack, postgres) as service, Network(postgres.port).listening() as network:
        url = service.settings.database_url("delivery").replace(str(postgres.port), str(network.port))
        changed = Settings.model_validate(service.settings.model_dump() | {"delivery_database_url": url})
        async with service.instance(delivery_database_url=changed.delivery_database_url) as runtime:
            count = runtime.gather(count_up)
            assert await count(1) == 1
            network.swallow()
            service.send(*meanwhile)
            answer, lasted_s = await timed(count(2))
            assert isinstance(answer, OutcomeUnknown) and lasted_s < 2
            await until(lambda: succeeds(count, 3), BACK_WITHIN_S)
            await until(lambda: took_effect(service, 20), BACK_WITHIN_S)
        assert sorted(await service.effects()) == ids(meanwhile)


async def test_a_request_that_waits_for_a_row_holds_up_no_other(stack: DevStack, postgres: TroubledPostgres) -> None:
    async with (
        troubled(stack, postgres) as service,
        service.instance(request_timeout_ms=3_000, database_connections_max=8) as runtime,
    ):
        count = runtime.gather(count_up)
        async with service.db.transaction():
            await service.db.execute("SELECT FROM counter WHERE n = 123 FOR UPDATE")
            first = [asyncio.create_task(timed(count(n))) for n in range(300)]
            await asyncio.sleep(0.6)  # the first set has met the row
            later = [asyncio.create_task(timed(count(n))) for n in range(100)]
            others = await asyncio.gather(*first[:123], *first[124:], *later)
            assert {answer for answer, _ in others} == {1, 2}
            assert max(lasted_s for _, lasted_s in others) < 2
            refused, lasted_s = await first[123]
            assert isinstance(refused, OutcomeUnknown)
            assert 2.5 < lasted_s < 4
        assert await count(123) in (1, 2)  # a try may have been under way when the row became free


async def test_a_request_gets_its_row_as_soon_as_it_is_free(stack: DevStack, postgres: TroubledPostgres) -> None:
    async with troubled(stack, postgres) as service, service.instance(request_timeout_ms=10_000) as runtime:
        count = runtime.gather(count_up)
        async with service.db.transaction():
            await service.db.execute("SELECT FROM counter WHERE n = 1 FOR UPDATE")
            waiting = asyncio.create_task(count(1))
            await asyncio.sleep(2)
            assert not waiting.done()
        assert await asyncio.wait_for(waiting, 2) == 1


async def test_an_instance_takes_its_number_at_the_server_that_answers(
    postgres: TroubledPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock on a server that nobody asks any more keeps no other process from the number."""
    monkeypatch.setattr(instance, "ASK_EVERY_S", 0.4)
    with troubled_postgres() as other:
        held = await instance.Instance.claim(
            f"postgresql://postgres@127.0.0.1:{postgres.port},127.0.0.1:{other.port}/postgres"
        )
        there = await asyncpg.connect(other.database_url("postgres"))

        async def is_held_there() -> bool:
            return bool(await there.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"))

        assert not await is_held_there()
        with postgres.frozen():
            await until(is_held_there)
        await asyncio.sleep(0.5)
        assert await is_held_there()
        held.release()
        await there.close()


@pytest.mark.parametrize("trouble", ["frozen", "read_only"])
async def test_over_http_it_is_503_with_retry_after_and_never_500(
    stack: DevStack, postgres: TroubledPostgres, trouble: str
) -> None:
    name = f"shelf_{uuid4().hex[:8]}"
    postgres.create_databases([name])
    made = {"name": "a cup", "price": 1_000, "quantity": 1}
    settings = Settings.model_validate(
        {
            "kafka_bootstrap_servers": stack.bootstrap_servers,
            "stock_database_url": postgres.database_url(name),
            "stock_group": name,
            "development": True,
            "trust_gateway_headers": True,
            "topic_partitions": 3,
            **LIMITS,
        }
    )
    await asyncio.to_thread(migrate, settings.database_url("stock"), stock)
    async with running(settings, application("stock")) as client:

        async def post() -> int:
            return (await client.post(PRODUCTS, json=made, headers=OPERATOR)).status_code

        async def status_of_post() -> bool:
            return await post() == 503

        async def is_made() -> bool:
            return await post() == 201

        await until(is_made, BACK_WITHIN_S)
        with getattr(postgres, trouble)():
            await until(status_of_post)
            (refused, lasted_s), (ready, looked_s) = await asyncio.gather(
                timed(client.post(PRODUCTS, json=made, headers=OPERATOR)), timed(client.get("/health/ready"))
            )
            assert refused.status_code == 503 and refused.headers["retry-after"]
            assert lasted_s < 2
            assert ready.status_code == (503 if trouble == "frozen" else 200)
            assert looked_s < 3
            if trouble == "frozen":
                read_, lasted_s = await timed(client.get(PRODUCTS))
                assert read_.status_code == 503 and read_.headers["retry-after"]
                assert lasted_s < 2
        await until(is_made, BACK_WITHIN_S)
