"""Kafka, and the only import of confluent_kafka: a consumer, a publisher and the topics, each with a small asynchronous face.

librdkafka's calls block, so the consumer lives in one thread of its own; the publisher's acknowledgements come back through another.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from msgspec import Struct

from ordersaga.contracts.topics import TOPICS
from ordersaga.messaging.handler import Record
from ordersaga.settings import Settings

log: Final = structlog.get_logger()
T = TypeVar("T")

CALL_TIMEOUT_S: Final = 10.0
LOOK_TIMEOUT_S: Final = 5.0
"""For what is asked again and again: a client that was cut off may wait in vain for a controller, while its next call finds one."""
POLL_S: Final = 0.2
ACKNOWLEDGED_WITHIN_S: Final = 0.002
LINGER_MS: Final = 0.2
SAY_AGAIN_S: Final = 60.0
STOP_S: Final = 5.0
REFUSED_FOR_GOOD: Final = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD)
HEARTBEAT_MS: Final = 500
DEAD_LETTER_BYTES_MAX: Final = 1_048_588 + 64 * 1024
PARTITIONER: Final = "murmur2_random"


class Partition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class KafkaUnavailable(Exception):
    """The broker did not answer, or not as it should; trying again may help."""


class Publication(Struct, frozen=True, gc=False):
    """A record to publish. `partition` None: by the key, as Java's producer chooses."""

    id: int
    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


class Refusal(NamedTuple):
    """A record that the broker will never take."""

    id: int
    reason: str


def client_config(settings: Settings) -> dict[str, Any]:
    """What every client of the same cluster needs to reach it."""
    password = settings.kafka_sasl_password
    config = {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "security.protocol": settings.kafka_security_protocol,
        "sasl.mechanism": settings.kafka_sasl_mechanism,
        "sasl.username": settings.kafka_sasl_username,
        "sasl.password": password and password.get_secret_value(),
        "ssl.ca.location": settings.kafka_ssl_ca_location,
        "client.id": "ordersaga",
        "log_level": 2,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1000,
        "allow.auto.create.topics": False,
    }
    return {name: value for name, value in config.items() if value is not None}


class PartitionConsumer:
    """A member of a consumer group that reads only partitions it was told to, from where it was told to.

    The group says which partitions are ours (`Fetched.assigned`); nothing is read from one until `read_from` is called with the
    position that the ledger gave. All calls run in one thread.
    """

    def __init__(self, settings: Settings, topics: Sequence[str], group: str, instance: str | None) -> None:
        self._settings: Final = settings
        self._thread: Final = ThreadPoolExecutor(1, thread_name_prefix="consumer")
        self._assigned: list[Partition] = []
        self._revoked: list[Partition] = []
        self._reading: set[Partition] = set()
        self._joined = False
        self._error: KafkaError | None = None
        self._said_down_at = -SAY_AGAIN_S
        config = client_config(settings) | {
            "group.id": group,
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": settings.kafka_session_timeout_ms,
            "heartbeat.interval.ms": HEARTBEAT_MS,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 100,
            "fetch.error.backoff.ms": 50,
            "fetch.queue.backoff.ms": 5,
            "queued.max.messages.kbytes": 65536,
            "error_cb": self._on_error,
        }
        if instance:
            config["group.instance.id"] = instance
        self._consumer: Final = Consumer(config)
        self._consumer.subscribe(
            list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    async def _call(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def fetch(self, records_max: int, wait_s: float) -> "Fetched":
        """What is there, up to `records_max`; waits up to `wait_s` for the first record and never to fill."""
        return await self._call(self._fetch, records_max, wait_s)

    def _fetch(self, records_max: int, wait_s: float) -> "Fetched":
        messages: list[Message] = []
        try:
            first = self._consumer.poll(wait_s)
            if first is not None:
                messages.append(first)
                if records_max > 1:
                    messages += self._consumer.consume(records_max - 1, 0)
        except KafkaException as error:
            self._error = error.args[0]
        records, failures = [], []
        for message in messages:
            problem = message.error()
            if problem is None:
                records.append(_record(message))
            elif _is_fatal(problem):
                self._error = problem
            else:
                failures.append((Partition(message.topic() or "", message.partition() or 0), problem.str()))
        fetched = Fetched(records, self._joined, self._assigned, self._revoked, failures, self._error)
        self._assigned, self._revoked, self._error = [], [], None
        return fetched

    async def read_from(self, positions: dict[Partition, int]) -> None:
        """Begin, or begin again, to read partitions at these offsets."""
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
        """Stop reading partitions; they stay ours in the group."""
        await self._call(self._leave, partitions)

    def _leave(self, partitions: Iterable[Partition]) -> None:
        known = self._reading.intersection(partitions)
        if known:
            self._consumer.incremental_unassign([TopicPartition(*partition) for partition in known])
            self._reading -= known

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._joined = True
        consumer.incremental_assign([])  # acknowledges the group's decision; reading begins in `read_from`
        self._assigned += [Partition(each.topic, each.partition) for each in partitions]

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        gone = [Partition(each.topic, each.partition) for each in partitions]
        consumer.incremental_unassign([TopicPartition(*partition) for partition in self._reading.intersection(gone)])
        self._reading.difference_update(gone)
        self._revoked += gone
        self._assigned = [partition for partition in self._assigned if partition not in gone]

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._on_revoke(consumer, partitions)

    def _on_error(self, error: KafkaError) -> None:
        if _is_fatal(error):
            self._error = error
        elif error.code() == KafkaError._ALL_BROKERS_DOWN and time.monotonic() - self._said_down_at > SAY_AGAIN_S:
            self._said_down_at = time.monotonic()
            log.warning("Kafka does not answer; waiting for it", error=error.str())

    async def log_bounds(self, partitions: Sequence[Partition]) -> dict[Partition, tuple[int, int]]:
        """Of each log, the first offset that it still has, and the one that its next record will get."""
        return await self._call(_translated, lambda: _bounds(self._consumer, partitions))

    async def start_offsets(self, partitions: Sequence[Partition], start_at: str) -> dict[Partition, int]:
        """Where partitions begin that have no ledger row: `earliest`, `latest`, an ISO 8601 time, or `group:NAME`."""
        return await self._call(_translated, lambda: self._start_offsets(partitions, start_at))

    def _start_offsets(self, partitions: Sequence[Partition], start_at: str) -> dict[Partition, int]:
        bounds = {
            p: self._consumer.get_watermark_offsets(TopicPartition(*p), timeout=CALL_TIMEOUT_S) for p in partitions
        }
        if start_at == "earliest":
            return {partition: low for partition, (low, _) in bounds.items()}
        if start_at == "latest":
            return {partition: high for partition, (_, high) in bounds.items()}
        if start_at.startswith("group:"):
            found = _committed_offsets(self._config_of_other(start_at.removeprefix("group:")), partitions)
            return {p: offset if offset >= 0 else bounds[p][0] for p, offset in found.items()}
        at_ms = int(datetime.fromisoformat(start_at).timestamp() * 1000)
        times = self._consumer.offsets_for_times(
            [TopicPartition(*p, at_ms) for p in partitions], timeout=CALL_TIMEOUT_S
        )
        return {
            Partition(t.topic, t.partition): t.offset if t.offset >= 0 else bounds[Partition(t.topic, t.partition)][1]
            for t in times
        }

    def _config_of_other(self, group: str) -> dict[str, Any]:
        return client_config(self._settings) | {"group.id": group}

    async def commit(self, positions: dict[Partition, int]) -> None:
        """Tell Kafka where we are, for lag tools only; nothing of ours reads it, so a failure is no concern."""

        def tell() -> None:
            try:
                self._consumer.commit(
                    offsets=[TopicPartition(*p, offset) for p, offset in positions.items()], asynchronous=True
                )
            except KafkaException as error:
                log.debug("offsets for lag tools were not committed", error=str(error))

        await self._call(tell)

    async def close(self) -> None:
        """Leave the group, at once for the others: a static member that only closes would hold its partitions until its session ends.

        librdkafka's own end is waited for `STOP_S` at most: with its broker gone it may never come, and must not keep the process.
        """

        def leave() -> None:
            with contextlib.suppress(KafkaException):  # one that the group has fenced has nothing to leave
                self._consumer.unsubscribe()
                for _ in range(int(STOP_S / 0.05)):
                    self._consumer.poll(0.05)
                    if not self._reading:
                        break

        try:
            await self._call(leave)
        finally:
            self._thread.shutdown(wait=False)
        end = threading.Thread(target=self._consumer.close, daemon=True)
        end.start()
        await asyncio.to_thread(end.join, STOP_S)
        if end.is_alive():
            log.warning("the consumer did not end in time and is left behind")


class Fetched(NamedTuple):
    """Records, whether the group has spoken yet, what it gave and took since the last fetch, partitions that cannot be read, a fatal error."""

    records: list[Record]
    joined: bool
    assigned: list[Partition]
    revoked: list[Partition]
    failures: list[tuple[Partition, str]]
    fatal: KafkaError | None


def _is_fatal(error: KafkaError) -> bool:
    """Whether the client can only be closed; librdkafka says so in a flag or in a code, by the way the error came."""
    return error.fatal() or error.code() == KafkaError._FATAL


def _record(message: Any) -> Record:
    headers = message.headers()
    return Record(
        message.topic(),
        message.partition(),
        message.offset(),
        message.key(),
        message.value(),
        tuple(headers) if headers else None,
        message.timestamp()[1],
    )


def _committed_offsets(config: dict[str, Any], partitions: Sequence[Partition]) -> dict[Partition, int]:
    other = Consumer(config)
    try:
        found = other.committed([TopicPartition(*p) for p in partitions], timeout=CALL_TIMEOUT_S)
        return {Partition(t.topic, t.partition): t.offset for t in found}
    finally:
        other.close()


def _translated(work: Callable[[], T]) -> T:
    try:
        return work()
    except KafkaException as error:
        raise KafkaUnavailable(error.args[0].str()) from error


class Publisher:
    """Publishes in order, waits as long as it takes, and says which records the broker will never take.

    Messages never time out in the queue (`message.timeout.ms=0`), so while the broker is away order is kept by waiting.
    Records linger for `LINGER_MS`, long enough for those of one call to share requests, too short for anybody to notice.
    Acknowledgements are fetched by the event loop itself: librdkafka hands them over one by one, and a thread of its own would wait
    for the interpreter at each of them while a turn is computing.
    """

    def __init__(self, settings: Settings) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self.failed: Final = asyncio.Event()
        self._producer: Final[Any] = Producer(
            client_config(settings)
            | {
                "acks": "all",
                "enable.idempotence": True,
                "compression.type": settings.kafka_compression,
                "partitioner": PARTITIONER,
                "message.timeout.ms": 0,
                "linger.ms": LINGER_MS,
                "queue.buffering.max.messages": 2_000_000,
                "queue.buffering.max.kbytes": 1_048_576,
                "message.max.bytes": 2_000_000,
                "batch.num.messages": 10_000,
                "batch.size": 1_000_000,
                "error_cb": self._on_error,
            }
        )
        self._unanswered: Final[set[asyncio.Future[list[Refusal]]]] = set()
        self._polling = self._loop.call_soon(self._poll)

    def publish(self, publications: Sequence[Publication]) -> "asyncio.Future[list[Refusal]]":
        """Queue records in this order; the future ends when each is acknowledged or refused for good.

        It raises `KafkaUnavailable` if one failed for another reason; publishing then begins again at the oldest outbox row. `failed`
        says so at once, and what is asked for afterwards fails too, so that it does not overtake.
        """
        ticket = _Ticket(self._loop, len(publications), self._on_failure)
        for each in publications:
            if self.failed.is_set():
                ticket.settle(each.id, KafkaError(KafkaError._PURGE_QUEUE))
            else:
                self._queue(each, ticket)
        if not ticket.done.done():
            if not self._unanswered:
                self._polling.cancel()
                self._polling = self._loop.call_later(ACKNOWLEDGED_WITHIN_S, self._poll)
            self._unanswered.add(ticket.done)
            ticket.done.add_done_callback(self._unanswered.discard)
        return ticket.done

    def _queue(self, each: Publication, ticket: "_Ticket") -> None:
        target = {} if each.partition is None else {"partition": each.partition}
        try:
            self._producer.produce(
                each.topic,
                each.value,
                each.key,
                headers=each.headers,
                on_delivery=ticket.acknowledger(each.id),
                **target,
            )
        except BufferError:
            ticket.settle(each.id, KafkaError(KafkaError._QUEUE_FULL))
        except KafkaException as error:
            ticket.settle(each.id, error.args[0])

    def _poll(self) -> None:
        """Hear what has become of queued records, soon again while there are any."""
        try:
            self._producer.poll(0)
        except (
            KafkaException
        ) as error:  # how one that cannot go on tells it; the acknowledgements are still to be heard
            self._on_error(error.args[0])
        wait_s = ACKNOWLEDGED_WITHIN_S if self._unanswered else POLL_S
        self._polling = self._loop.call_later(wait_s, self._poll)

    def _on_failure(self, error: KafkaError) -> None:
        self._on_error(error)
        self.failed.set()

    def _on_error(self, error: KafkaError) -> None:
        if _is_fatal(error) and not self.failed.is_set():
            log.error("the producer cannot go on and is replaced", error=error.str())
            self.failed.set()

    async def close(self, flush_s: float = STOP_S) -> None:
        """Send what is queued, for `flush_s` at most; the rest stays in the outbox."""
        if self._unanswered and flush_s:
            await asyncio.wait(self._unanswered, timeout=flush_s)
        self._polling.cancel()


class _Ticket:
    """Counts the acknowledgements of one `publish`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, count: int, on_failure: Callable[[KafkaError], None]) -> None:
        self.done: Final[asyncio.Future[list[Refusal]]] = loop.create_future()
        self._on_failure: Final = on_failure
        self._left = count
        self._refused: list[Refusal] = []
        self._failure: KafkaError | None = None
        if not count:
            self.done.set_result([])

    def acknowledger(self, id: int) -> Callable[[KafkaError | None, Message], None]:
        return lambda error, _: self.settle(id, error)

    def settle(self, id: int, error: KafkaError | None) -> None:
        if error is not None:
            if error.code() in REFUSED_FOR_GOOD:
                self._refused.append(Refusal(id, error.str()))
            else:
                self._failure = error
                self._on_failure(error)
        self._left -= 1
        if self._left or self.done.done():
            return
        if self._failure is not None:
            self.done.set_exception(KafkaUnavailable(self._failure.str()))
        else:
            self.done.set_result(self._refused)


class Topics:
    """Creating and describing topics. Calls block, so each runs in a thread."""

    def __init__(self, settings: Settings) -> None:
        self._admin: Final = AdminClient(client_config(settings))

    async def ids(self, names: Sequence[str]) -> dict[str, str]:
        """Kafka's own id of each topic that exists; a topic deleted and made again has another."""
        return {name: str(found.topic_id) for name, found in (await self._describe(names)).items()}

    async def partition_counts(self, names: Sequence[str]) -> dict[str, int]:
        """How many partitions each topic that exists has."""
        return {name: len(found.partitions) for name, found in (await self._describe(names)).items()}

    async def _describe(self, names: Sequence[str]) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            found = {}
            for name, future in self._admin.describe_topics(
                TopicCollection(list(names)), request_timeout=LOOK_TIMEOUT_S
            ).items():
                try:
                    found[name] = future.result()
                except KafkaException as error:
                    if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                        raise
            return found

        return await asyncio.to_thread(_translated, ask)

    async def create(
        self, wanted: Sequence[tuple[str, dict[str, str]]], partitions: int, replication_factor: int
    ) -> None:
        """Create topics with their configs; one that is there is left as it is."""
        new = [
            NewTopic(name, num_partitions=partitions, replication_factor=replication_factor, config=config)
            for name, config in wanted
        ]

        def ask() -> None:
            for future in self._admin.create_topics(new, request_timeout=CALL_TIMEOUT_S).values() if new else ():
                try:
                    future.result()
                except KafkaException as error:
                    if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                        raise

        await asyncio.to_thread(_translated, ask)

    async def reachable(self) -> bool:
        """Whether the cluster answers at all."""

        def ask() -> bool:
            return bool(self._admin.list_topics(timeout=2).brokers)

        try:
            return await asyncio.to_thread(_translated, ask)
        except KafkaUnavailable:
            return False


class Tap:
    """Reads whole topics without being a member of any group: for whoever looks on. From now on, or from the beginning."""

    def __init__(self, settings: Settings, topics: Sequence[str], from_beginning: bool = False) -> None:
        self._thread: Final = ThreadPoolExecutor(1, thread_name_prefix="tap")
        self._consumer: Final = Consumer(
            client_config(settings) | {"group.id": "ordersaga-tap", "enable.auto.commit": False}
        )
        self._ends = _patiently(lambda: _bounds(self._consumer, _partitions(self._consumer, topics)))
        self._consumer.assign(
            [TopicPartition(*p, low if from_beginning else high) for p, (low, high) in self._ends.items()]
        )

    async def fetch(self, records_max: int, wait_s: float) -> list[Record]:
        """What is there; waits up to `wait_s` for the first record."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._fetch, records_max, wait_s)

    def _fetch(self, records_max: int, wait_s: float) -> list[Record]:
        first = self._consumer.poll(wait_s)
        messages = [] if first is None else [first, *self._consumer.consume(records_max, 0)]
        return [_record(message) for message in messages if message.error() is None]

    async def at_end(self) -> bool:
        """Whether everything was read that was there when the tap was opened."""

        def ask() -> bool:
            places = self._consumer.position(
                [TopicPartition(*p) for p, (low, high) in self._ends.items() if high > low]
            )
            return all(place.offset >= self._ends[Partition(place.topic, place.partition)][1] for place in places)

        return await asyncio.get_running_loop().run_in_executor(self._thread, ask)

    def close(self) -> None:
        """Stop reading."""
        self._thread.submit(self._consumer.close).result()
        self._thread.shutdown()


def _partitions(consumer: Consumer, topics: Sequence[str]) -> list[Partition]:
    described = consumer.list_topics(timeout=CALL_TIMEOUT_S).topics
    return [Partition(name, number) for name in topics if name in described for number in described[name].partitions]


def _bounds(consumer: Consumer, partitions: Iterable[Partition]) -> dict[Partition, tuple[int, int]]:
    return {p: consumer.get_watermark_offsets(TopicPartition(*p), timeout=LOOK_TIMEOUT_S) for p in partitions}


def _patiently(work: Callable[[], T]) -> T:
    """A topic made a moment ago has no leader yet, and says so."""
    for _ in range(int(CALL_TIMEOUT_S / POLL_S)):
        with contextlib.suppress(KafkaException):
            return work()
        time.sleep(POLL_S)
    return _translated(work)


async def create_missing_topics(settings: Settings) -> list[str]:
    """Create the topics that are missing, dead letter topics too, and return their names; existing ones are left as they are.

    A dead letter may be as large as any record, and its headers come on top.
    """
    topics = Topics(settings)
    wanted: list[tuple[str, dict[str, str]]] = [(topic.name, {}) for topic in TOPICS]
    wanted += [(topic.dead_letters, {"max.message.bytes": str(DEAD_LETTER_BYTES_MAX)}) for topic in TOPICS]
    there = await topics.ids([name for name, _ in wanted])
    missing = [(name, config) for name, config in wanted if name not in there]
    await topics.create(missing, settings.topic_partitions, settings.topic_replication_factor)
    return [name for name, _ in missing]


def watermarks(settings: Settings, partitions: Sequence[Partition]) -> dict[Partition, tuple[int, int]]:
    """The bounds of partitions' logs, for audits and tools. Blocks. Raises `KafkaUnavailable`."""
    consumer = Consumer(client_config(settings) | {"group.id": "ordersaga-audit"})
    try:
        return _patiently(lambda: _bounds(consumer, partitions))
    finally:
        consumer.close()
