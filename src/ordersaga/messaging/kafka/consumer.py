"""A member of a consumer group with a small async interface. librdkafka's calls block, so they run in a thread of their own."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from ordersaga.messaging.handler import Record
from ordersaga.messaging.kafka.client import (
    CALL_TIMEOUT_S,
    KafkaUnavailable,
    Partition,
    client_config,
    close_consumer,
    is_fatal,
    record_of,
    translated,
)
from ordersaga.messaging.kafka.gaps import Gap, gaps_of
from ordersaga.messaging.kafka.leaders import Leaders
from ordersaga.messaging.kafka.lifeline import Lifeline
from ordersaga.messaging.kafka.predecessor import PUBLISHED_WITHIN, handled_until, offsets_of_group
from ordersaga.messaging.kafka.unreadable import BAD_BATCH, readable_from
from ordersaga.settings import Settings

log: Final = structlog.get_logger()
T = TypeVar("T")

LOG_EVERY_S: Final = 60.0
STOP_S: Final = 5.0
SLICE_S: Final = 0.4
QUIET_MS: Final = 1000
GATHERED_FROM: Final = 64
GATHER_S: Final = 0.04
"""Where so many records are there at once, a turn waits for those that come within this time. Under a backlog each service has its input from
another in pieces, and would hand smaller ones on. Where fewer are there, somebody may wait for one of them."""
BEATS_IN_SESSION: Final = 4
WITHOUT_PARTITIONS_SESSIONS_MAX: Final = 3


def quiet_ms_of(session_ms: int) -> int:
    """How long a fetch waits for records, and the time between two heartbeats. A partition that is assigned meanwhile is read after it."""
    return min(QUIET_MS, session_ms // BEATS_IN_SESSION)


class PartitionConsumer:
    """A member of a consumer group that reads only the partitions and offsets it is given.

    The group assigns partitions (`Fetched.assigned`). A partition is read only after `read_from` with the offset of the ledger. All calls
    run in one thread.
    """

    def __init__(
        self,
        settings: Settings,
        topics: Sequence[str],
        group: str,
        instance: str | None,
        consumer: Callable[[dict[str, Any]], Any] = Consumer,
    ) -> None:
        self._settings: Final = settings
        self._thread: Final = ThreadPoolExecutor(1, thread_name_prefix="consumer")
        self._assigned: list[Partition] = []
        self._revoked: list[Partition] = []
        self._reading: set[Partition] = set()
        self._joined = False
        self._error: KafkaError | None = None
        self._owned: Final[set[Partition]] = set()
        self._all_taken_at: float | None = None
        self._without_s_max: Final = WITHOUT_PARTITIONS_SESSIONS_MAX * settings.kafka_session_timeout_ms / 1000
        self._down_logged_at = -LOG_EVERY_S
        self._lifeline: Final = Lifeline(settings)
        self._watch_thread: Final = ThreadPoolExecutor(1, thread_name_prefix="log-watch")
        self._is_lost = False
        quiet_ms = quiet_ms_of(settings.kafka_session_timeout_ms)
        config = client_config(
            settings,
            {
                "group.id": group,
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": settings.kafka_session_timeout_ms,
                "heartbeat.interval.ms": quiet_ms,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "check.crcs": True,  # else bytes that a disk has damaged are handled as a partner's message
                "fetch.wait.max.ms": quiet_ms,
                "fetch.error.backoff.ms": 50,
                "fetch.queue.backoff.ms": 5,
                "queued.max.messages.kbytes": 65536,
                "error_cb": self._on_error,
                "on_commit": self._on_commit,
            },
        )
        if instance:
            config["group.instance.id"] = instance
        self._consumer: Final[Any] = consumer(config)
        self._leaders: Final = Leaders(partial(AdminClient, client_config(settings)))
        self._consumer.subscribe(
            list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    async def _call(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def fetch(self, records_max: int, wait_s: float, is_hurried: Callable[[], bool] = lambda: False) -> "Fetched":
        """Up to `records_max` records. Waits up to `wait_s` for the first record, and for more only where there are many (`GATHER_S`).

        The wait ends early when the group changes, when Kafka is silent, and when `is_hurried()`, which is asked every `SLICE_S`.
        """
        return await self._call(self._fetch, records_max, wait_s, is_hurried)

    def _fetch(self, records_max: int, wait_s: float, is_hurried: Callable[[], bool]) -> "Fetched":
        messages: list[Message] = []
        try:
            first = self._first(wait_s, is_hurried)
            if first is not None:
                messages.append(first)
                if records_max > 1:
                    messages += self._consumer.consume(records_max - 1, 0)
                if GATHERED_FROM <= len(messages) < records_max:
                    messages += self._consumer.consume(records_max - len(messages), GATHER_S)
        except KafkaException as error:
            self._error = error.args[0]
        if messages:
            self._lifeline.heard()
        elif self._lifeline.is_silent and self._lifeline.is_lost(self._consumer):
            self._is_lost = True
            self._error = KafkaError(
                KafkaError._STATE, "the consumer has lost Kafka, although Kafka answers other clients"
            )
        # librdkafka can stay outside of its group without an error for other reasons, too.
        if self._all_taken_at is not None and time.monotonic() - self._all_taken_at > self._without_s_max:
            self._error = KafkaError(KafkaError._STATE, "the group revoked all partitions and has assigned none since")
        records: list[Record] = []
        failures: dict[Partition, FetchFailure] = {}
        for message in messages:
            problem = message.error()
            if problem is None:
                # After a batch with a wrong checksum librdkafka continues, sometimes at an offset that does not exist. Records that
                # follow an error are dropped: handling them would move the ledger past the batch.
                if not failures or _partition_of(message) not in failures:
                    records.append(record_of(message))
            elif is_fatal(problem):
                self._error = problem
            else:
                partition = _partition_of(message)
                failures.setdefault(partition, FetchFailure(partition, problem.str(), problem.code() in BAD_BATCH))
        fetched = Fetched(records, self._joined, self._assigned, self._revoked, list(failures.values()), self._error)
        self._assigned, self._revoked, self._error = [], [], None
        return fetched

    def _first(self, wait_s: float, is_hurried: Callable[[], bool]) -> Message | None:
        """Wait for the first record in slices, since `poll` alone returns neither for the group's decisions nor when it is told to."""
        end_s = time.monotonic() + wait_s
        while True:
            first: Message | None = self._consumer.poll(max(0.0, min(SLICE_S, end_s - time.monotonic())))
            news = self._assigned or self._revoked or self._error or self._lifeline.is_silent
            if first is not None or news or is_hurried() or time.monotonic() >= end_s:
                return first

    @property
    def silent_s(self) -> float:
        """Seconds since something came from Kafka."""
        return self._lifeline.silent_s

    async def read_from(self, positions: dict[Partition, int]) -> None:
        """Read partitions from these offsets, also those that are read already."""
        await self._call(self._read_from, positions)

    def _read_from(self, positions: dict[Partition, int]) -> None:
        self._leave(positions)
        wanted = [
            TopicPartition(*partition, offset)
            for partition, offset in positions.items()
            if partition not in self._revoked
        ]
        if wanted:
            self._consumer.incremental_assign(wanted)
            self._reading |= {Partition(each.topic, each.partition) for each in wanted}

    async def leave(self, partitions: Iterable[Partition]) -> None:
        """Stop reading partitions; the group keeps them assigned to this process."""
        await self._call(self._leave, partitions)

    def _leave(self, partitions: Iterable[Partition]) -> None:
        known = self._reading.intersection(partitions)
        if known:
            self._consumer.incremental_unassign([TopicPartition(*partition) for partition in known])
            self._reading -= known

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._joined = True
        consumer.incremental_assign([])  # accepts the assignment; `read_from` starts to read
        given = [Partition(each.topic, each.partition) for each in partitions]
        self._assigned += given
        self._owned.update(given)
        self._all_taken_at = None

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        gone = [Partition(each.topic, each.partition) for each in partitions]
        consumer.incremental_unassign([TopicPartition(*partition) for partition in self._reading.intersection(gone)])
        self._reading.difference_update(gone)
        self._revoked += gone
        self._assigned = [partition for partition in self._assigned if partition not in gone]
        self._owned.difference_update(gone)
        if not self._owned:
            self._all_taken_at = time.monotonic()

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._on_revoke(consumer, partitions)

    def _on_error(self, error: KafkaError) -> None:
        if is_fatal(error):
            self._error = error
        elif error.code() == KafkaError._ALL_BROKERS_DOWN and time.monotonic() - self._down_logged_at > LOG_EVERY_S:
            self._down_logged_at = time.monotonic()
            log.warning("Kafka does not answer; the consumer waits", error=error.str())

    def _on_commit(self, error: KafkaError | None, _: list[TopicPartition]) -> None:
        if error is None:
            self._lifeline.heard()

    async def log_bounds(self, partitions: Sequence[Partition]) -> dict[Partition, tuple[int, int]]:
        """Of each partition the first offset of the log and the offset of the next record; not of those whose leader does not answer.

        Raises `KafkaUnavailable` where no broker does.
        """
        return await self._call(translated, lambda: self._leaders.bounds(partitions))

    async def known_ends(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The end of each log as of the last fetch; sends no request."""
        asked = list(partitions)

        def ends() -> dict[Partition, int]:
            found = {p: self._consumer.get_watermark_offsets(TopicPartition(*p), cached=True) for p in asked}
            return {partition: bounds[1] for partition, bounds in found.items() if bounds and bounds[1] >= 0}

        return await self._call(ends)

    async def gaps(self, positions: dict[Partition, int]) -> dict[Partition, Gap]:
        """The gap between each position and the log's end. Raises `KafkaUnavailable`."""
        return await asyncio.get_running_loop().run_in_executor(self._watch_thread, gaps_of, self._settings, positions)

    async def readable_from(self, partition: Partition, offset: int) -> int | None:
        """The first readable offset after a batch that cannot be read; None: not found in time. Raises `KafkaUnavailable`."""
        return await asyncio.get_running_loop().run_in_executor(
            self._watch_thread, readable_from, self._settings, partition, offset
        )

    async def start_offsets(
        self, partitions: Sequence[Partition], start_at: str, begun: Collection[str]
    ) -> dict[Partition, int]:
        """The start offsets of partitions without a ledger row. `start_at`: `earliest`, `latest`, an ISO 8601 time, or `group:NAME`.

        `begun`: topics with ledger rows of other partitions. Raises `CannotStart` where the group has no committed offset, `KafkaUnavailable`
        where a leader does not answer.
        """
        return await self._call(translated, lambda: self._start_offsets(partitions, start_at, begun))

    def _start_offsets(
        self, partitions: Sequence[Partition], start_at: str, begun: Collection[str]
    ) -> dict[Partition, int]:
        if start_at.startswith("group:"):
            group = start_at.removeprefix("group:")
            return offsets_of_group(client_config(self._settings), group, partitions, begun)
        bounds = self._leaders.bounds(partitions)
        if untold := set(partitions) - set(bounds):
            raise KafkaUnavailable(f"no leader says where {min(untold)} begins and ends")
        if start_at == "earliest":
            return {partition: low for partition, (low, _) in bounds.items()}
        if start_at == "latest":
            return {partition: high for partition, (_, high) in bounds.items()}
        at_ms = int(datetime.fromisoformat(start_at).timestamp() * 1000)
        times = self._consumer.offsets_for_times(
            [TopicPartition(*p, at_ms) for p in partitions], timeout=CALL_TIMEOUT_S
        )
        return {
            Partition(t.topic, t.partition): t.offset if t.offset >= 0 else bounds[Partition(t.topic, t.partition)][1]
            for t in times
        }

    async def handled_until(
        self, starts: Mapping[Partition, int], start_at: str, now: datetime
    ) -> dict[Partition, datetime]:
        """Until when another consumer group handled partitions that begin at these offsets. Empty where `start_at` names none.

        `now`: a time before the offsets were looked up.
        """
        if start_at in ("earliest", "latest"):
            return {}
        if not start_at.startswith("group:"):
            return dict.fromkeys(starts, datetime.fromisoformat(start_at) - PUBLISHED_WITHIN)
        config = client_config(self._settings) | {"group.id": start_at.removeprefix("group:")}
        return await self._call(translated, lambda: handled_until(config, starts, now))

    async def commit(self, positions: dict[Partition, int]) -> None:
        """Commit offsets for lag tools, without waiting. We never read them, so a failure is ignored. The callback shows that Kafka answers."""

        def tell() -> None:
            try:
                self._consumer.commit(
                    offsets=[TopicPartition(*p, offset) for p, offset in positions.items()], asynchronous=True
                )
            except KafkaException as error:
                log.debug("offsets for lag tools were not committed", error=str(error))

        await self._call(tell)

    async def close(self) -> None:
        """Leave the group and stop.

        Unsubscribing frees the partitions at once: a static member that only closes keeps them until its session ends. A consumer that has
        lost Kafka cannot leave the group and is not waited for.
        """

        def leave() -> None:
            with contextlib.suppress(KafkaException):  # a fenced member has nothing to leave
                self._consumer.unsubscribe()
                for _ in range(int(STOP_S / 0.05)):
                    self._consumer.poll(0.05)
                    if not self._reading:
                        break

        try:
            if not self._is_lost:
                await self._call(leave)
        finally:
            self._thread.shutdown(wait=False)
            self._watch_thread.shutdown(wait=False, cancel_futures=True)
        closing = ThreadPoolExecutor(1, thread_name_prefix="consumer-close")
        limit_s = 0 if self._is_lost else STOP_S
        closed = await asyncio.get_running_loop().run_in_executor(closing, close_consumer, self._consumer, limit_s)
        closing.shutdown(wait=False)
        if not closed and not self._is_lost:
            log.warning("the consumer did not close in time and is left to its thread")


def _partition_of(message: Message) -> Partition:
    return Partition(message.topic() or "", message.partition() or 0)


class FetchFailure(NamedTuple):
    """Why a partition could not be read any further. `is_batch`: the next batch is damaged."""

    partition: Partition
    why: str
    is_batch: bool = False


class Fetched(NamedTuple):
    """One fetch: records, and the changes in the group since the last fetch.

    `joined`: the group has assigned partitions at least once. `assigned`, `revoked`: since the last fetch. `failures`: partitions that
    could not be read; `records` has the records before a partition's first error. `fatal`: the consumer must be replaced.
    """

    records: list[Record]
    joined: bool
    assigned: list[Partition]
    revoked: list[Partition]
    failures: list[FetchFailure]
    fatal: KafkaError | None

    @property
    def has_news(self) -> bool:
        """Whether there is something besides records."""
        return bool(self.assigned or self.revoked or self.failures or self.fatal)

    def before(self, later: "Fetched") -> "Fetched":
        """This fetch, which has only records, and the one after it, as one."""
        return later._replace(records=self.records + later.records)
