"""What takes part in a comparison: processes on the same broker and database server, awake while it is their turn, at rest otherwise."""

import asyncio
import os
import signal
import socket
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final
from uuid import UUID

import asyncpg
import psutil

from benchmarks.flow import COMPLETED, SERVICES, records_of
from benchmarks.measure import TopicEnd, per_order, reading_of
from benchmarks.process import LoadProcess
from benchmarks.records import LoadRecord, RecordPlan
from benchmarks.report import Figures
from benchmarks.shop import WORKERS, audit, place, record_payments
from ordersaga.devstack.folder import StackFolder
from ordersaga.devstack.server import Server
from ordersaga.devstack.side_by_side import side_by_side
from ordersaga.devstack.stack import DevStack
from ordersaga.devstack.system import TOGETHER, ServiceProcess, System
from ordersaga.messaging.kafka import KafkaUnavailable, Partition, Topics, watermarks
from ordersaga.settings import Settings

ROOT: Final = Path(__file__).parents[2]
SETTLE_S: Final = 0.5
TIDIED_S: Final = 1.5
"""Our outbox deletes what is acknowledged half a second later. A process that is frozen before leaves its rows there, and the audit finds them."""
LOOK_S: Final = 2.0
LIMIT_S: Final = 900.0
LEADER_TRIES: Final = 5
GROUP_SESSION_MS: Final = 300_000
"""As long as librdkafka waits for an answer at most: who is frozen meanwhile stays in its group."""


class Contender(ABC):
    """One way to do the work. `topics` stands before the names of its topics, `databases` are its own on the shared server.

    Started once, then frozen by SIGSTOP and continued, so that what a process has learnt is kept from round to round.
    """

    def __init__(self, name: str, stack: DevStack, topics: str, databases: Sequence[str]) -> None:
        self.name: Final = name
        self.stack: Final = stack
        self.topics: Final = topics
        self.databases: Final = databases
        self.started: dict[str, Server] = {}

    @abstractmethod
    def processes(self) -> dict[str, Server]:
        """Its processes, not started yet."""

    async def prepare(self) -> None:  # noqa: B027  # there may be nothing to make
        """Make databases and topics, once, before the first `wake`."""

    def wake(self) -> None:
        """Be able to work."""
        if not self.started:
            self.started = self.processes()
            side_by_side([server.start for server in self.started.values()])
        self._signal(signal.SIGCONT)

    def rest(self) -> None:
        """Use no CPU and no broker while others are measured."""
        self._signal(signal.SIGSTOP)

    def stop(self) -> None:
        """End its processes."""
        for server in self.started.values():
            server.kill()

    def _signal(self, what: signal.Signals) -> None:
        for server in self.started.values():
            if server.pid is not None:
                for process in [*psutil.Process(server.pid).children(recursive=True), psutil.Process(server.pid)]:
                    os.kill(process.pid, what)

    @abstractmethod
    async def place(self, orders: int) -> list[LoadRecord]:
        """Put orders into Order's database; what is to be written to the topics for them."""

    def ordered(self, orders: int) -> None:  # noqa: B027  # an audit needs no number
        """Told before orders are placed over HTTP."""

    @abstractmethod
    async def check(self) -> list[str]:
        """What is wrong with the result of all rounds; empty: all orders completed, and the stock decreased by exactly them."""

    async def round(self, orders: int) -> Figures:
        """N orders, from the first record to the last completion record; the figures."""
        records = await self.place(orders)
        completed = TopicEnd(self.stack.bootstrap_servers, self.topics + COMPLETED)
        plan = RecordPlan(self.stack.bootstrap_servers, records)
        load = await LoadProcess.ready("benchmarks.records", plan, float)
        await asyncio.sleep(SETTLE_S)
        before = self.reading()
        loading = asyncio.create_task(load.go())
        ended = await asyncio.to_thread(self._wait, completed, orders)
        seconds = ended - await loading
        await asyncio.sleep(TIDIED_S)
        used = per_order(self.reading(), before, orders)
        completed.close()
        return {"orders_per_s": orders / seconds, "seconds": seconds, "orders": orders, **used}

    def reading(self) -> Figures:
        """All counters of its processes, its databases and the shared servers."""
        pids = {name: server.pid for name, server in self.started.items()}
        return reading_of(self.stack, pids, self.databases)

    def _wait(self, completed: TopicEnd, orders: int) -> float:
        """Like `TopicEnd.wait`, but a process that has died ends it. Raises RuntimeError, TimeoutError."""
        for patience in range(int(LIMIT_S / LOOK_S)):
            try:
                return completed.wait(orders, LOOK_S)
            except TimeoutError as error:
                dead = [server for server in self.started.values() if not server.is_running]
                if dead:
                    raise RuntimeError(f"{self.name} has died.\n{dead[0].log_tail()}") from None
                if patience == int(LIMIT_S / LOOK_S) - 1:
                    tails = "\n".join(server.log_tail() for server in self.started.values())
                    raise TimeoutError(f"{self.name}: {error}\n{tails}") from None
        raise AssertionError


class Ours(Contender):
    """Our own services with a batch limit. Contenders of this kind share one system's databases and topics, and have groups of their own:
    what another has done meanwhile each learns from the ledger."""

    def __init__(
        self,
        name: str,
        system: System,
        shelf: Sequence[UUID],
        batch_max: int,
        services: Sequence[str] = SERVICES,
        workers: int = WORKERS,
        one_process: bool = False,
    ) -> None:
        """`one_process`: its services share a process, or each of its workers."""
        super().__init__(name, system.stack, "", [f"ordersaga_{service}" for service in services])
        self._system: Final = system
        self._shelf: Final = shelf
        self._batch_max: Final = batch_max
        self._services: Final = services
        self._workers: Final = workers
        self._one_process: Final = one_process

    def processes(self) -> dict[str, Server]:
        def process(name: str, services: Sequence[str]) -> Server:
            made = ServiceProcess(self.stack.folder, name, None, self._workers, services)
            made.environment |= self._system.environment | {
                "ORDERSAGA_HTTP_PORT": str(made.port),
                "ORDERSAGA_BATCH_MAX": str(self._batch_max),
                "ORDERSAGA_KAFKA_SESSION_TIMEOUT_MS": str(GROUP_SESSION_MS),
            }
            made.environment |= {f"ORDERSAGA_{each.upper()}_GROUP": f"{self.name}-{each}" for each in services}
            return made

        if self._one_process:
            return {TOGETHER: process(TOGETHER, self._services)}
        return {service: process(service, [service]) for service in self._services}

    async def place(self, orders: int) -> list[LoadRecord]:
        db = await asyncpg.connect(self._system.settings.database_url("order"))
        placed = await place(db, self._shelf, orders)
        await db.close()
        await record_payments(self._system.settings, (order.order_id for order in placed))
        return list(records_of(placed))

    async def check(self) -> list[str]:
        """What the audit says of the system, whoever of its contenders did what."""
        return await audit(self._system.settings, gateway=False)


class PeerProcess(Server):
    """One process of a peer. It counts as started at once, since the warm-up waits for its first results; with `listens`, once it accepts
    connections at its `port`."""

    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(
        self,
        folder: StackFolder,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        listens: bool = False,
    ) -> None:
        self.name = name  # type: ignore[misc]  # here each object is a server of its own
        super().__init__(folder)
        self._given: Final = list(command)
        self._listens: Final = listens
        self.environment |= {"PYTHONPATH": str(ROOT), **environment}

    def _prepare(self) -> None:
        pass

    def _command(self) -> list[str]:
        return self._given

    def _is_ready(self, log_from: int) -> bool:
        if not self._listens:
            return True
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


async def make_topics(settings: Settings, names: Sequence[str]) -> None:
    """Make topics and wait until the broker leads each partition, which takes it a moment. Raises KafkaUnavailable."""
    await Topics(settings).create([(name, {}) for name in names], settings.topic_partitions, -1)
    partitions = [Partition(name, number) for name in names for number in range(settings.topic_partitions)]
    for patience in reversed(range(LEADER_TRIES)):
        try:
            await asyncio.to_thread(watermarks, settings, partitions)
            return
        except (
            KafkaUnavailable
        ):  # a client that asked too early goes on believing what it heard: the next try has its own
            if not patience:
                raise
