"""One process of a service: its connections, its outbox and its loops, started and stopped together."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

import structlog

from ordersaga.contracts.topics import Topic
from ordersaga.messaging.admission import Admission
from ordersaga.messaging.assignment import Assignment
from ordersaga.messaging.backlog import MEASURE_EVERY_S, Backlog
from ordersaga.messaging.calls import Calls
from ordersaga.messaging.consumer_faults import READ_EVERY_S, ConsumerFaults
from ordersaga.messaging.consumer_parts import ConsumerParts
from ordersaga.messaging.consuming import Consuming
from ordersaga.messaging.database import DATABASE_ERRORS, Connection, Pool, answers, connect, planned_anew
from ordersaga.messaging.errors import CannotStart
from ordersaga.messaging.gather import Gather, Write
from ordersaga.messaging.handler import Handler
from ordersaga.messaging.health import Alarms, Health, Trouble
from ordersaga.messaging.ids import new_id
from ordersaga.messaging.instance import Instance
from ordersaga.messaging.kafka import PartitionConsumer, Publisher, Topics
from ordersaga.messaging.loops import LIMIT_S, Beat, Loop, Loops, Work, every
from ordersaga.messaging.outbox import Outbox
from ordersaga.messaging.parking import Parking
from ordersaga.messaging.pruning import PRUNE_EVERY_S, Prune, Pruning
from ordersaga.messaging.stalls import AWAY
from ordersaga.messaging.unpublished import TRY_EVERY_S, Unpublished
from ordersaga.said import say
from ordersaga.settings import Settings

log: Final = structlog.get_logger()

Request = TypeVar("Request")
Answer = TypeVar("Answer")

WAITING: Final = "waiting"
CONSUMING_ENDS_WITHIN_S: Final = 10.0
LONG_LIMIT_S: Final = 300.0
"""For loops with long rounds: a turn that isolates failing records, pruning, timers after a long outage."""
CHECK_STALLS_EVERY_S: Final = 1.0
ASK_AGAIN_S: Final = 0.5
REFUSALS_MAX: Final = 3
ANSWERS_WITHIN_S: Final = 2.0


def utc_now() -> datetime:
    """The real clock."""
    return datetime.now(UTC)


def end_this_process() -> None:
    """End the process in order, by a SIGTERM of its own."""
    os.kill(os.getpid(), signal.SIGTERM)


class Ports(NamedTuple):
    """The process's ways to PostgreSQL, Kafka and the operating system. `tests/simulation` gives its own."""

    connect: Callable[[str, Settings], Awaitable[Pool]] = connect
    claim_instance: Callable[[str], Awaitable[Instance]] = Instance.claim
    consumer: Callable[[Settings, Sequence[str], str, str | None], PartitionConsumer] = PartitionConsumer
    publisher: Callable[[Settings], Publisher] = Publisher
    topics: Callable[[Settings], Topics] = Topics
    admission: Callable[[Settings, str, Sequence[Topic]], Admission] = Admission
    end_process: Callable[[], None] = end_this_process


class Runtime:
    """An `async with` block: entering it starts the loops; leaving it finishes the turn, publishes its output and leaves the group.

    The settings `{service}_database_url` and `{service}_group` are the service's own.
    """

    def __init__(
        self,
        settings: Settings,
        service: str,
        handler: Handler,
        clock: Callable[[], datetime] = utc_now,
        new_id: Callable[[], UUID] = new_id,
        ports: Ports = Ports(),  # noqa: B008  # a tuple of functions, of which none is called here
    ) -> None:
        self.settings: Final = settings
        self.service: Final = service
        self.clock: Final = clock
        self.new_id: Final = new_id
        self._ports: Final = ports
        self.handler: Final = handler
        self._admission: Final = ports.admission(settings, service, handler.topics)
        self._admitted = False
        self._stopping: Final = asyncio.Event()
        self.topics: Final = ports.topics(settings)
        self.alarms: Final = Alarms(clock)
        self.calls: Final = Calls(clock)
        self.faults: Final = ConsumerFaults(self.alarms) if settings.consumer_faults else None
        self._loops: Final = Loops(self.alarms, self._stopping)
        self.jobs_changed: Final = asyncio.Event()
        """Set when a request to this process has added or stopped an operators' job: the loop that works on jobs looks seldom otherwise."""
        self._asking_database: asyncio.Task[bool] | None = None
        self.pool: Pool
        self.outbox: Outbox
        self._pruning: Pruning
        self._consuming_loop: Loop
        self.consuming: Consuming | None = None
        self._assignment: Assignment | None = None
        self._cannot_start: CannotStart | None = None

    async def __aenter__(self) -> "Runtime":
        self._admission.check_options()
        self.pool = await self._ports.connect(self.settings.database_url(self.service), self.settings)
        self.outbox = Outbox(self.settings, self.pool, self._ports.publisher)
        self.every(self.settings.outbox_adopt_after_ms / 2000, self._adopt, "outbox adoption")
        self._consuming_loop = self._loops.start("consuming", self._consume, limit_s=LONG_LIMIT_S)
        self._pruning = Pruning(self.settings, self.pool, self.clock)
        backlog = Backlog(self.settings, self.pool, self.clock, self.alarms)
        self.every(MEASURE_EVERY_S, backlog.measure, "measuring")
        self.every(CHECK_STALLS_EVERY_S, self._check_stalls, "watching the turns")
        self.every(PRUNE_EVERY_S, self._pruning.prune, "pruning", LONG_LIMIT_S)
        group = self.settings.group(self.service)
        unpublished = Unpublished(self.settings, group, self.pool, self.outbox, self.topics, self.clock)
        self.every(TRY_EVERY_S, unpublished.publish, "publishing dead letters again")
        if self.faults is not None:
            self.every(READ_EVERY_S, partial(self.faults.read, self.pool), "reading faults on purpose")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        if self.consuming:
            self.consuming.stop()
        # A turn that waits for Kafka is cancelled after a while: before its commit nothing has happened, and after it the next owner of
        # its partitions publishes its outbox rows.
        await self._loops.stop(last=self._consuming_loop, within_s=CONSUMING_ENDS_WITHIN_S)
        await self.outbox.close()
        with contextlib.suppress(*DATABASE_ERRORS):
            async with asyncio.timeout(ANSWERS_WITHIN_S):
                await self.calls.add(self.pool)
        await self.pool.close()
        if self._cannot_start:
            raise self._cannot_start

    async def run(self) -> None:
        """Live until SIGTERM or SIGINT, as a service without an HTTP face. Raises `CannotStart`. (One with a face: `http/server.py`.)"""
        told = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, told.set)
        async with self:
            await told.wait()

    def gather(
        self,
        work: Callable[[Connection, Sequence[Request], datetime], Awaitable[Write[Answer]]],
        short: bool = False,
        about: Callable[[Request], UUID | None] | None = None,
    ) -> Gather[Request, Answer]:
        """A gathered HTTP write on this service's database and outbox. `short` and `about` as in `Gather`."""
        return Gather(work, self.settings, self.pool, self.outbox, self.clock, self.new_id, short, about)

    def reading(self) -> AbstractAsyncContextManager[Connection]:
        """A connection for the reads of an HTTP request; waits for a free one up to `request_timeout_ms`."""
        return self.pool.acquire(timeout=self.settings.request_timeout_ms / 1000)

    @contextlib.asynccontextmanager
    async def searching(self) -> AsyncIterator[Connection]:
        """A connection for an HTTP request's search. A search has optional filters, so PostgreSQL plans it anew for those given."""
        async with self.reading() as db, planned_anew(db):
            yield db

    @property
    def assignment(self) -> Assignment | None:
        """The partitions of this process; None while it is no member of its group."""
        return self._assignment

    def prune_after(self, kept: timedelta, table: str, prune: Prune) -> None:
        """Have the rows of a table of the service pruned that are older than `kept`."""
        self._pruning.add(table, kept, prune)

    def every(self, seconds: float, work: Callable[[], Awaitable[Any]], name: str, limit_s: float = LIMIT_S) -> None:
        """Start a loop that calls `work` every so many seconds. A round that fails, or lasts longer than `limit_s`, is an alarm."""
        self._loops.start(name, every(seconds, work), limit_s=limit_s, again_s=seconds)

    def supervise(self, name: str, work: Work, needed_for_http: bool = False) -> None:
        """Start a loop with rounds of its own, after each of which it calls `beat()`.

        With `needed_for_http` the process is not ready while the loop fails.
        """
        self._loops.start(name, work, needed_for_http=needed_for_http)

    async def _adopt(self) -> None:
        await self.outbox.adopt(self.clock())

    async def _check_stalls(self) -> None:
        if self.consuming is not None:
            self.consuming.stalls.check()

    async def _consume(self, beat: Beat) -> None:
        """The loop that consumes. After a fatal error the supervisor restarts this loop, with a new consumer."""
        try:
            await self._wait_for(lambda: answers(self.pool), "the database", beat, self._admission.refused_by_database)
            await self._wait_for(
                self.topics.reachable,
                f"Kafka at {self.settings.kafka_bootstrap_servers}",
                beat,
                self._admission.refused_by_kafka,
            )
            if self._stopping.is_set():
                return
            self.alarms.tell(AWAY, "", None)
            if not self._admitted:
                if why := await self._admission.lacks_rights():
                    raise CannotStart(why)
                self._admitted = True
            await self._run_turns(beat)
        except CannotStart as error:
            self._cannot_start = error
            self._ports.end_process()
            await self._stopping.wait()

    async def _run_turns(self, beat: Beat) -> None:
        group = self.settings.group(self.service)
        instance = await self._ports.claim_instance(self.settings.database_url(self.service))
        consumer = self._ports.consumer(
            self.settings, [topic.name for topic in self.handler.topics], group, f"{group}-{instance.number}"
        )
        try:
            self._assignment = Assignment(
                consumer, self.topics, self.outbox, self.pool, self.settings.start_at, self.alarms
            )
            parts = ConsumerParts(
                self.settings,
                group,
                self.faults.around(self.handler) if self.faults else self.handler,
                self.pool,
                consumer,
                self._assignment,
                Parking(self.settings),
                self.outbox,
                self.clock,
                self.new_id,
                self.alarms,
                self.faults,
            )
            self.consuming = Consuming(parts, beat)
            await self.consuming.run()
        finally:
            self._assignment = None
            try:
                await consumer.close()
            finally:
                instance.release()

    async def _wait_for(
        self,
        is_up: Callable[[], Awaitable[bool]],
        what: str,
        beat: Beat,
        refused: Callable[[], Awaitable[str | None]],
    ) -> None:
        """Wait until it is up. Raises `CannotStart` if a process that has just started is refused again and again."""
        refusals = 0
        while not self._stopping.is_set() and not await is_up():
            beat(well=False)
            why = None if self._admitted else await refused()
            refusals = refusals + 1 if why else 0
            if why and refusals >= REFUSALS_MAX:
                raise CannotStart(why)
            if self.alarms.tell(
                WAITING,
                "",
                Trouble(
                    say("alarm.waiting", "no record is consumed until {what} answers", what=what),
                    say("todo.waiting", "check that {what} is up and can be reached", what=what),
                ),
            ):
                log.warning(f"waiting for {what}")
            await asyncio.sleep(ASK_AGAIN_S)
        self.alarms.tell(WAITING, "", None)

    async def health(self) -> Health:
        """The health of this process."""
        problems = [] if await self._database_answers() else [say("problem.database", "database: does not answer")]
        started = self._assignment is not None and self._assignment.settled
        return Health([*problems, *self._loops.problems], self.alarms.now(), started)

    def dead(self) -> list[str]:
        """The loops that only a restart of the process can bring back."""
        return self._loops.dead

    async def _database_answers(self) -> bool:
        """Whether the database answers within `ANSWERS_WITHIN_S`. One task asks at a time: a frozen database may keep it for longer."""
        if self._asking_database is None or self._asking_database.done():
            self._asking_database = asyncio.create_task(answers(self.pool))
        await asyncio.wait([self._asking_database], timeout=ANSWERS_WITHIN_S)
        return self._asking_database.done() and not self._asking_database.cancelled() and self._asking_database.result()
