"""One process of a service: its connections, its turns, its outbox, started and stopped as one."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

import structlog

from ordersaga.messaging.assignment import Assignment
from ordersaga.messaging.database import DATABASE_ERRORS, Connection, Pool, answers, connect, is_transient
from ordersaga.messaging.errors import CannotStart
from ordersaga.messaging.gather import Gather, Write
from ordersaga.messaging.handler import Handler
from ordersaga.messaging.ids import new_id
from ordersaga.messaging.instance import Instance
from ordersaga.messaging.kafka import KafkaUnavailable, PartitionConsumer, Publisher, Topics
from ordersaga.messaging.keeping import MEASURE_EVERY_S, PRUNE_EVERY_S, Keeping, Prune
from ordersaga.messaging.outbox import Outbox
from ordersaga.messaging.turn import Turns
from ordersaga.settings import ServiceName, Settings

log: Final = structlog.get_logger()

Request = TypeVar("Request")
Answer = TypeVar("Answer")

RESTART_WAIT_S: Final = 1.0
CONSUMING_ENDS_WITHIN_S: Final = 10.0
WAIT_S: Final = 0.5


def utc_now() -> datetime:
    """The clock of real processes."""
    return datetime.now(UTC)


def end_this_process() -> None:
    """End in order, as if told to."""
    os.kill(os.getpid(), signal.SIGTERM)


class Ports(NamedTuple):
    """What a process reaches outside of itself. `tests/simulation` puts a world of its own in their place."""

    connect: Callable[[str, Settings], Awaitable[Pool]] = connect
    claim_instance: Callable[[str], Awaitable[Instance]] = Instance.claim
    consumer: Callable[[Settings, Sequence[str], str, str | None], PartitionConsumer] = PartitionConsumer
    publisher: Callable[[Settings], Publisher] = Publisher
    topics: Callable[[Settings], Topics] = Topics
    end_process: Callable[[], None] = end_this_process


class Runtime:
    """Use `async with`; it waits for the database, starts the loops, and on leaving finishes the turn, publishes and leaves the group."""

    def __init__(
        self,
        settings: Settings,
        service: ServiceName,
        handler: Handler,
        clock: Callable[[], datetime] = utc_now,
        new_id: Callable[[], UUID] = new_id,
        ports: Ports = Ports(),  # noqa: B008  # nothing is called: a tuple of functions
    ) -> None:
        self.settings: Final = settings
        self.service: Final = service
        self.clock: Final = clock
        self.new_id: Final = new_id
        self._ports: Final = ports
        self._handler: Final = handler
        self._loops: Final[list[asyncio.Task[None]]] = []
        self._stopping: Final = asyncio.Event()
        self.pool: Pool
        self.outbox: Outbox
        self._keeping: Keeping
        self.turns: Turns | None = None
        self._assignment: Assignment | None = None
        self._trouble: str | None = None
        self._cannot_start: CannotStart | None = None

    async def __aenter__(self) -> "Runtime":
        self.pool = await self._ports.connect(self.settings.database_url(self.service), self.settings)
        self.outbox = Outbox(self.settings, self.pool, self._ports.publisher)
        self.every(self.settings.outbox_adopt_after_ms / 2000, self._adopt, "outbox adoption")
        self._spawn(self._consume())
        self._keeping = Keeping(self.settings, self.pool, self.clock)
        self.every(MEASURE_EVERY_S, self._keeping.measure, "measuring")
        self.every(PRUNE_EVERY_S, self._keeping.prune, "pruning")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        if self.turns:
            self.turns.stop()
        consuming, others = self._loops[1:2], self._loops[:1] + self._loops[2:]
        for task in others:
            task.cancel()
        # A turn may wait for Kafka in vain. Ended before its commit it is as if it had not been; after it, its rows are published by whoever
        # takes its partitions.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONSUMING_ENDS_WITHIN_S):
                await asyncio.gather(*consuming, *others, return_exceptions=True)
        await self.outbox.close()
        await self.pool.close()
        if self._cannot_start:
            raise self._cannot_start

    def gather(
        self, work: Callable[[Connection, Sequence[Request], datetime], Awaitable[Write[Answer]]]
    ) -> Gather[Request, Answer]:
        """A gathered HTTP write over this service's database and outbox."""
        return Gather(work, self.settings, self.pool, self.outbox, self.clock, self.new_id)

    def keep(self, table: str, kept: timedelta, prune: Prune) -> None:
        """Have a table of the service's own pruned, too, of what is older than that."""
        self._keeping.keep(table, kept, prune)

    def every(self, seconds: float, work: Callable[[], Awaitable[Any]], name: str) -> None:
        """Run something again and again until the process stops; an error is logged once and the next time is another try."""
        self._spawn(self._repeat(seconds, work, name))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._loops.append(asyncio.create_task(work))

    async def _repeat(self, seconds: float, work: Callable[[], Awaitable[Any]], name: str) -> None:
        failing = False
        while not self._stopping.is_set():
            try:
                await work()
                failing = False
            except Exception as error:
                if not failing:
                    passing = is_transient(error) or isinstance(error, KafkaUnavailable)
                    log.log(
                        30 if passing else 40,
                        f"{name} failed",
                        error=f"{type(error).__name__}: {error}",
                        exc_info=None if passing else error,
                    )
                failing = True
            await asyncio.sleep(seconds)

    async def _adopt(self) -> None:
        await self.outbox.adopt(self.clock())

    async def _consume(self) -> None:
        """Take turns for as long as the process lives, as a new member of the group after each fatal error."""
        await self._wait_for(lambda: answers(self.pool), "the database")
        topics = self._ports.topics(self.settings)
        await self._wait_for(topics.reachable, f"Kafka at {self.settings.kafka_bootstrap_servers}")
        while not self._stopping.is_set():
            try:
                await self._take_turns()
            except CannotStart as error:
                self._trouble, self._cannot_start = str(error), error
                self._ports.end_process()
                return
            except (KafkaUnavailable, *DATABASE_ERRORS) as error:
                self._trouble = f"{type(error).__name__}: {error}"
                log.error("consuming begins again", error=self._trouble)
            except Exception as error:
                self._trouble = f"{type(error).__name__}: {error}"
                log.critical("consuming stopped by an error that is ours; it begins again", exc_info=error)
            if not self._stopping.is_set():
                await asyncio.sleep(RESTART_WAIT_S)

    async def _take_turns(self) -> None:
        group = self.settings.group(self.service)
        topics = self._ports.topics(self.settings)
        instance = await self._ports.claim_instance(self.settings.database_url(self.service))
        consumer = self._ports.consumer(
            self.settings, [topic.name for topic in self._handler.topics], group, f"{group}-{instance.number}"
        )
        try:
            self._assignment = Assignment(consumer, topics, self.outbox, self.pool, self.settings.start_at)
            self.turns = Turns(
                self.settings,
                group,
                self._handler,
                self.pool,
                consumer,
                self._assignment,
                self.outbox,
                self.clock,
                self.new_id,
            )
            await self.turns.run()
            await self.turns.tell_position()
        finally:
            try:
                await consumer.close()
            finally:
                instance.release()

    async def _wait_for(self, answers: Callable[[], Awaitable[bool]], what: str) -> None:
        said = False
        while not self._stopping.is_set() and not await answers():
            if not said:
                log.warning(f"waiting for {what}")
                said = True
            await asyncio.sleep(WAIT_S)

    async def problems(self) -> list[str]:
        """Why this process is not ready; empty: it is."""
        found = [] if await answers(self.pool) else ["database: it does not answer"]
        if self._assignment is not None and self._assignment.settled:
            self._trouble = None
        if self._trouble:
            found.append(f"consumer: {self._trouble}")
        if self._keeping.alarm:
            found.append(f"outbox: {self._keeping.alarm}")
        if self.turns is None or self._assignment is None:
            return [*found, "kafka: not connected yet"]
        if self.turns.trouble:
            found.append(f"last turn: {self.turns.trouble}")
        if self.turns.long_since_s:
            found.append(f"turn: the one under way has lasted for {self.turns.long_since_s:.0f} s")
        if not self._assignment.settled:
            found.append("partitions: not all are taken yet")
        found += [f"{p.topic}/{p.partition}: {problem}" for p, problem in self._assignment.stopped.items()]
        return found
