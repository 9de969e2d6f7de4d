"""The blows of a chaos run to the system itself.

A blow is an async context manager. Entering it strikes, starts the killed part again where an operator would, and yields a `Struck`.
Leaving it undoes the rest of the blow.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

import asyncpg
import psutil

from ordersaga.devstack.server import Server
from ordersaga.devstack.system import SANDBOX, System
from ordersaga.settings import SERVICES, ServiceName
from tests.chaos import neighbours
from tests.chaos.struck import (
    AGAIN_LIMIT_S,
    BROKER_LIMIT_S,
    FROZEN_S,
    TAKEN_OVER_LIMIT_S,
    Blow,
    Struck,
    pid_of,
    send_signals,
)

GONE_S: Final = 25.0
TAKEN_S_MAX: Final = 30.0
WAKES_AFTER_S: Final = (0.0, 5.0)
CUT_OFF_S: Final = 1.0
CUT_OFF_TRIES: Final = 200
SILENT_S: Final = (0.2, 1.0)
SILENT_TRIES: Final = 60
DOWN_S: Final = (0.0, 2.0)


@contextlib.asynccontextmanager
async def kill_service(system: System, chance: random.Random) -> AsyncIterator[Struck]:
    """Kill all processes of a service at once, and start it again."""
    name = chance.choice(SERVICES)
    since_s, ready_s = await _kill_and_start(system.process_of(name), lambda: system.start(name), chance)
    yield Struck(f"{name} killed and started again, ready after {ready_s:.1f} s", since_s, AGAIN_LIMIT_S)


@contextlib.asynccontextmanager
async def kill_worker(system: System, chance: random.Random) -> AsyncIterator[Struck]:
    """Kill one process of a service; its supervisor starts another at once."""
    name = chance.choice(SERVICES)
    send_signals([chance.choice(workers(system, name))], "SIGKILL")
    yield Struck(f"a worker of {name} killed; its supervisor starts another", time.time(), AGAIN_LIMIT_S)


@contextlib.asynccontextmanager
async def lose_instance(system: System, chance: random.Random) -> AsyncIterator[Struck]:
    """Kill one process of a service while its supervisor is frozen: the other processes must take its partitions over."""
    name = chance.choice(SERVICES)
    victim = chance.choice(workers(system, name))
    supervisor = psutil.Process(pid_of(system.process_of(name)))
    send_signals([supervisor], "SIGSTOP")
    try:
        send_signals([victim], "SIGKILL")
        since_s = time.time()
        yield Struck(f"a worker of {name} killed; another takes over", since_s, TAKEN_OVER_LIMIT_S)
        await asyncio.sleep(max(0.0, since_s + GONE_S - time.time()))
    finally:
        send_signals([supervisor], "SIGCONT")


@contextlib.asynccontextmanager
async def freeze_worker(system: System, chance: random.Random) -> AsyncIterator[Struck]:
    """Freeze one process of a service; it may go on with partitions that another process has taken meanwhile."""
    name = chance.choice(SERVICES)
    victim = chance.choice(workers(system, name))
    frozen_s = await _freeze(victim, chance.uniform(*FROZEN_S))
    yield Struck(f"a worker of {name} frozen for {frozen_s:.1f} s", time.time(), TAKEN_OVER_LIMIT_S)


@contextlib.asynccontextmanager
async def make_zombie(system: System, chance: random.Random) -> AsyncIterator[Struck]:
    """Freeze one process of a service with records fetched and no transaction begun, until another process has its partitions.

    Its database sessions are frozen first, so its next turn waits at its first statement; then the process itself is frozen. It wakes
    when its partitions are taken, or some seconds later, when the new owner has committed turns.
    """
    name = chance.choice(SERVICES)
    victim = chance.choice(workers(system, name))
    cut_off = await _cut_off(system, name, victim)
    try:
        await asyncio.sleep(CUT_OFF_S)
        send_signals([victim], "SIGSTOP")
        frozen_s = time.time()
        await _taken_over(system, name)
        await asyncio.sleep(chance.choice(WAKES_AFTER_S))
    finally:
        for each in (*cut_off, victim):
            send_signals([each], "SIGCONT")
    what = f"a worker of {name} frozen for {time.time() - frozen_s:.1f} s before a commit"
    yield Struck(what, time.time(), TAKEN_OVER_LIMIT_S)


@contextlib.asynccontextmanager
async def kill_kafka(system: System, chance: random.Random) -> AsyncIterator[Struck]:
    """Kill the broker, and start it again on the same port and data."""
    kafka = system.stack.kafka
    _, ready_s = await _kill_and_start(kafka, kafka.start, chance)
    yield Struck(f"Kafka killed and started again, back after {ready_s:.1f} s", time.time(), BROKER_LIMIT_S)


@contextlib.asynccontextmanager
async def freeze_kafka(system: System, chance: random.Random) -> AsyncIterator[Struck]:
    """Freeze the broker: its connections stay open and silent."""
    frozen_s = await _freeze(psutil.Process(pid_of(system.stack.kafka)), chance.uniform(*FROZEN_S))
    yield Struck(f"Kafka frozen for {frozen_s:.1f} s", time.time(), BROKER_LIMIT_S)


@contextlib.asynccontextmanager
async def kill_unpublished(system: System, chance: random.Random) -> AsyncIterator[Struck]:
    """Kill all processes of a service that has committed records which Kafka does not have yet.

    The broker is frozen again and again until the outbox of the service holds such records.
    """
    name = chance.choice(SERVICES)
    broker = psutil.Process(pid_of(system.stack.kafka))
    for _ in range(SILENT_TRIES):
        send_signals([broker], "SIGSTOP")
        try:
            await asyncio.sleep(chance.uniform(*SILENT_S))
            if await _unpublished(system, name):
                await asyncio.to_thread(system.process_of(name).kill)
                break
        finally:
            send_signals([broker], "SIGCONT")
        await asyncio.sleep(chance.uniform(*SILENT_S))
    else:
        raise AssertionError(f"{name} had no unpublished records though Kafka was frozen {SILENT_TRIES} times")
    since_s = time.time()
    await asyncio.to_thread(system.start, name)
    what = f"{name} killed while Kafka was frozen, and started again, ready after {time.time() - since_s:.1f} s"
    yield Struck(what, since_s, AGAIN_LIMIT_S)


@contextlib.asynccontextmanager
async def kill_postgres(system: System, chance: random.Random) -> AsyncIterator[Struck]:
    """Kill the database server, and start it again on the same port and data."""
    postgres = system.stack.postgres
    _, ready_s = await _kill_and_start(postgres, postgres.start, chance)
    yield Struck(f"PostgreSQL killed and started again, back after {ready_s:.1f} s", time.time())


@contextlib.asynccontextmanager
async def kill_gateway(system: System, chance: random.Random) -> AsyncIterator[Struck]:
    """Kill the payment gateway during payments that it may have approved, and start it again."""
    await _kill_and_start(system.process_of(SANDBOX), lambda: system.start(SANDBOX), chance)
    yield Struck("the payment gateway killed and started again", time.time())


BACKENDS: Final = """SELECT pid, state FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND client_port = ANY ($1::int[])"""

BLOWS: Final[dict[str, Blow]] = {
    "kill-service": Blow("service", kill_service),
    "kill-worker": Blow("service", kill_worker),
    "lose-instance": Blow("service", lose_instance),
    "freeze-worker": Blow("service", freeze_worker),
    "make-zombie": Blow(None, make_zombie),
    "kill-unpublished": Blow(None, kill_unpublished),
    "kill-kafka": Blow("kafka", kill_kafka),
    "freeze-kafka": Blow("kafka", freeze_kafka),
    "kill-postgres": Blow("postgres", kill_postgres),
    "kill-gateway": Blow("gateway", kill_gateway),
    "freeze-postgres": Blow("postgres", neighbours.freeze_postgres),
    "read-only-postgres": Blow("postgres", neighbours.read_only_postgres),
    "refuse-dead-letters": Blow(None, neighbours.refuse_dead_letters),
    "restart-with-parked": Blow(None, neighbours.restart_with_parked),
    "write-in-transactions": Blow("partner", neighbours.write_in_transactions),
    "hanging-provider": Blow("provider", neighbours.ask_hanging_provider),
}


def workers(system: System, name: str) -> list[psutil.Process]:
    """The worker processes of a service."""
    return psutil.Process(pid_of(system.process_of(name))).children()


async def _cut_off(system: System, name: ServiceName, victim: psutil.Process) -> list[psutil.Process]:
    """Freeze the database sessions of a process at a moment without an open transaction; returns the sessions' processes."""
    ports = [each.laddr.port for each in victim.net_connections("tcp") if each.status == psutil.CONN_ESTABLISHED]
    async with _database(system, name) as db:
        for _ in range(CUT_OFF_TRIES):
            found = [psutil.Process(row["pid"]) for row in await db.fetch(BACKENDS, ports)]
            for each in found:
                send_signals([each], "SIGSTOP")
            states = [row["state"] for row in await db.fetch(BACKENDS, ports)]
            if states == ["idle"] * len(found):
                return found
            for each in found:
                send_signals([each], "SIGCONT")
            await asyncio.sleep(0.01)
    raise AssertionError(f"no moment was found at which a worker of {name} had no transaction open")


async def _taken_over(system: System, name: ServiceName) -> None:
    """Return as soon as a process takes partitions of a service."""
    async with _database(system, name) as db:
        before = await db.fetchval("SELECT sum(epoch) FROM ledger")
        end_s = time.time() + TAKEN_S_MAX
        while time.time() < end_s:
            if await db.fetchval("SELECT sum(epoch) FROM ledger") != before:
                return
            await asyncio.sleep(0.001)
    raise AssertionError(f"no process took the partitions of a frozen worker of {name} within {TAKEN_S_MAX:.0f} s")


async def _unpublished(system: System, name: ServiceName) -> bool:
    """Whether the outbox of a service holds committed records of a turn; Payment's turns write none, so records of its requests count."""
    async with _database(system, name) as db:
        found: bool = await db.fetchval(
            "SELECT EXISTS (SELECT FROM outbox WHERE source_topic IS NOT NULL OR $1)", name == "payment"
        )
    return found


@contextlib.asynccontextmanager
async def _database(system: System, name: ServiceName) -> AsyncIterator[asyncpg.Connection]:
    db = await asyncpg.connect(system.settings.database_url(name))
    try:
        yield db
    finally:
        db.terminate()


async def _kill_and_start(server: Server, start: Callable[[], None], chance: random.Random) -> tuple[float, float]:
    """Returns the time of the new start, and the seconds until the server was ready."""
    await asyncio.to_thread(server.kill)
    await asyncio.sleep(chance.uniform(*DOWN_S))
    since_s = time.time()
    await asyncio.to_thread(start)
    return since_s, time.time() - since_s


async def _freeze(victim: psutil.Process, frozen_s: float) -> float:
    send_signals([victim], "SIGSTOP")
    try:
        await asyncio.sleep(frozen_s)
    finally:
        send_signals([victim], "SIGCONT")
    return frozen_s
