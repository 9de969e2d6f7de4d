"""Publishes records in order; the acknowledgements come as futures."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from msgspec import Struct
from msgspec.structs import replace

from ordersaga.messaging.kafka.client import KafkaUnavailable, client_config, is_fatal
from ordersaga.messaging.kafka.lifeline import Lifeline, has_brokers
from ordersaga.messaging.kafka.remedies import Remedy, reason_of, remedy_of
from ordersaga.settings import Settings

log: Final = structlog.get_logger()

POLL_S: Final = 1.0
"""Between two looks for errors while no record is in flight."""
ACKNOWLEDGED_WITHIN_S: Final = 0.02
"""Between two looks for acknowledgements while records are in flight, of which some may be seen sooner: each call of `publish` looks first."""
STOP_S: Final = 5.0
SILENT_SESSIONS_MAX: Final = 4
STUCK_TIMES_MAX: Final = 10
TOPIC_PATIENCE_S: Final = 5.0
"""How long the publisher waits for a missing topic: while a broker starts, or a topic was just created again, it is missing for a
moment."""
TOPIC_AGAIN_S: Final = 0.5
MESSAGE_BYTES_MAX: Final = 33_554_432
"""Larger than the limit of any topic, so that the broker decides; far below the 100 MB at which a broker closes the connection."""
PARTITIONER: Final = "murmur2_random"
GZIP_LEVEL: Final = 1
"""This level takes a third of the default level's time for our records, and they come out a tenth larger."""


class Publication(Struct, frozen=True, gc=False):
    """A record to publish. `partition` None: chosen by the key, as Java's producer does. `id`: the outbox row."""

    id: int
    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


class RefusedRecord(NamedTuple):
    """The `id` of a record that Kafka refuses for good, and the reason."""

    id: int
    reason: str


class Publisher:
    """Publishes in order, waits while Kafka is away, and names the records that Kafka refuses for good.

    Records never time out in the queue (`message.timeout.ms=0`): while the broker is away they wait, and their order holds. librdkafka
    can wait for ever although the broker is back. So the producer has failed when a record has no acknowledgement for
    `SILENT_SESSIONS_MAX` session time-outs (librdkafka repeats its request after each). If other records were acknowledged meanwhile, only
    the record's partition cannot be written, and the limit is `STUCK_TIMES_MAX` times as long.
    No linger: even a short linger costs a millisecond for each message, and under load records share requests anyway.
    The event loop polls for acknowledgements. A thread would need the interpreter lock for each of them while a turn is computing.

    Order: the records of a partition arrive in the order of the calls, with two exceptions. When the broker refuses a whole batch, a second
    producer sends its records one by one, in order. Later records of the topic follow through that producer, but records that librdkafka
    has queued already may overtake. And a refused record is left out.
    """

    def __init__(self, settings: Settings, producer: Callable[[dict[str, Any]], Any] = Producer) -> None:
        self._make_producer: Final = producer
        self._loop: Final = asyncio.get_running_loop()
        self.failed: Final = asyncio.Event()
        self._config: Final = client_config(
            settings,
            {
                "acks": "all",
                "enable.idempotence": True,
                "compression.type": settings.kafka_compression,
                "compression.level": GZIP_LEVEL if settings.kafka_compression == "gzip" else -1,
                "partitioner": PARTITIONER,
                "message.timeout.ms": 0,
                "linger.ms": 0,
                "queue.buffering.max.messages": 2_000_000,
                "queue.buffering.max.kbytes": 1_048_576,
                "message.max.bytes": MESSAGE_BYTES_MAX,
                "batch.num.messages": 10_000,
                "batch.size": 1_000_000,
                "topic.metadata.propagation.max.ms": int(TOPIC_AGAIN_S * 1000),
                "error_cb": self._on_error,
            },
        )
        self._producer: Final[Any] = producer(self._config)
        self._single: Any = None
        """The second producer: sends each record in a batch of its own. Created when a batch is refused for the first time."""
        self._singles: Final[Counter[str]] = Counter()
        self._missing: Final[dict[str, float]] = {}
        self._waiting: Final[dict[str, list[tuple[Publication, _Ticket]]]] = {}
        self._lacks_partition: Final[set[str]] = set()
        self._silence_s_max: Final = SILENT_SESSIONS_MAX * settings.kafka_session_timeout_ms / 1000
        self._lifeline: Final = Lifeline(settings)
        self._thread: Final = ThreadPoolExecutor(1, thread_name_prefix="publisher")
        self._loss_check: asyncio.Future[bool] | None = None
        self._unanswered: Final[dict[asyncio.Future[list[RefusedRecord]], float]] = {}  # since when, the oldest first
        self._answered_at = self._loop.time()
        self._polling = self._loop.call_soon(self._poll)

    def publish(self, publications: Sequence[Publication]) -> "asyncio.Future[list[RefusedRecord]]":
        """Queue records in this order. The future is done when each record is acknowledged or refused for good.

        The future raises `KafkaUnavailable` if a record failed for another reason. `failed` is then set at once, later calls fail too, so
        that no record overtakes, and publishing begins again at the oldest outbox row.
        """
        if self._unanswered:
            self._take_answers()
        ticket = _Ticket(self._loop, len(publications))
        for publication in publications:
            self._queue(publication, ticket)
        if not ticket.done.done():
            if not self._unanswered:
                self._lifeline.heard()
                self._polling.cancel()
                self._polling = self._loop.call_later(ACKNOWLEDGED_WITHIN_S, self._poll)
            self._unanswered[ticket.done] = self._loop.time()
            ticket.done.add_done_callback(self._answered)
        return ticket.done

    def _answered(self, done: "asyncio.Future[list[RefusedRecord]]") -> None:
        del self._unanswered[done]
        self._answered_at = self._loop.time()

    def _queue(self, publication: Publication, ticket: "_Ticket") -> None:
        if self.failed.is_set():
            ticket.fail(KafkaError(KafkaError._PURGE_QUEUE))
        elif self._waiting and publication.topic in self._waiting:
            self._waiting[publication.topic].append((publication, ticket))
        elif self._singles and publication.topic in self._singles:
            self._produce_single(publication, ticket)
        else:
            self._produce(self._producer, publication, ticket, self._on_delivery(publication, ticket))

    def _produce(self, producer: Any, publication: Publication, ticket: "_Ticket", on_delivery: "OnDelivery") -> None:
        target = {} if publication.partition is None else {"partition": publication.partition}
        try:
            producer.produce(
                publication.topic,
                publication.value,
                publication.key,
                headers=publication.headers,
                on_delivery=on_delivery,
                **target,
            )
        except BufferError:
            on_delivery(KafkaError(KafkaError._QUEUE_FULL), None)
        except KafkaException as error:
            if remedy_of(error.args[0]) is Remedy.ALONE:  # librdkafka refused this record and sent nothing
                ticket.refuse(publication, error.args[0].str())
            else:
                on_delivery(error.args[0], None)
        except (TypeError, ValueError, OverflowError) as error:
            ticket.refuse(publication, f"the client library does not take this record: {error}")

    def _on_delivery(self, publication: Publication, ticket: "_Ticket") -> "OnDelivery":
        if self._missing and publication.topic in self._missing:
            return lambda error, _: (
                self._found(publication, ticket) if error is None else self._judge(publication, ticket, error)
            )
        return lambda error, _: ticket.acknowledge() if error is None else self._judge(publication, ticket, error)

    def _found(self, publication: Publication, ticket: "_Ticket") -> None:
        """A record of a topic that was missing is acknowledged."""
        if self._missing.pop(publication.topic, None) is not None:
            log.warning("a topic takes records again", topic=publication.topic)
        ticket.acknowledge()

    def _judge(self, publication: Publication, ticket: "_Ticket", error: KafkaError, was_single: bool = False) -> None:
        """Handle a record that failed, by the remedy for its error."""
        remedy = remedy_of(error)
        if self.failed.is_set():
            ticket.fail(error)
        elif remedy is Remedy.REFUSED or (remedy is Remedy.ALONE and was_single):
            ticket.refuse(publication, reason_of(error, publication.topic))
        elif remedy is Remedy.ALONE:
            self._produce_single(publication, ticket)
        elif remedy is Remedy.ELSEWHERE and publication.partition is not None:
            self._go_elsewhere(publication, ticket)
        elif remedy in (Remedy.TOPIC, Remedy.ELSEWHERE):
            self._wait_for_topic(publication, ticket, error)
        else:
            ticket.fail(error)
            self._fail(error, remedy)

    def _produce_single(self, publication: Publication, ticket: "_Ticket") -> None:
        if self._single is None:
            self._single = self._make_producer(self._config | {"batch.num.messages": 1})
        if publication.topic not in self._singles:
            log.warning("a topic refuses a batch; its records are sent one by one", topic=publication.topic)
        self._singles[publication.topic] += 1

        def on_delivery(error: KafkaError | None, _: Message | None) -> None:
            self._singles[publication.topic] -= 1
            if not self._singles[publication.topic]:
                del self._singles[publication.topic]
            if error is None:
                ticket.acknowledge()
            else:
                self._judge(publication, ticket, error, was_single=True)

        self._produce(self._single, publication, ticket, on_delivery)

    def _go_elsewhere(self, publication: Publication, ticket: "_Ticket") -> None:
        """Let the key choose the partition, as Spring Kafka does for a dead letter topic with fewer partitions than its topic."""
        if publication.topic not in self._lacks_partition:
            self._lacks_partition.add(publication.topic)
            log.warning(
                "a topic lacks this partition; the keys choose the partitions of its records",
                topic=publication.topic,
                partition=publication.partition,
                todo="`ordersaga topics create` makes a dead letter topic as wide as its topic",
            )
        self._queue(replace(publication, partition=None), ticket)

    def _wait_for_topic(self, publication: Publication, ticket: "_Ticket", error: KafkaError) -> None:
        """Retry until the topic has been missing for `TOPIC_PATIENCE_S`. After that its records are refused at once and block nothing."""
        now = self._loop.time()
        since = self._missing.setdefault(publication.topic, now)
        if now - since >= TOPIC_PATIENCE_S:
            ticket.refuse(publication, reason_of(error, publication.topic))
        elif publication.topic in self._waiting:
            self._waiting[publication.topic].append((publication, ticket))
        else:
            if now == since:
                log.warning(
                    "a topic takes no records",
                    topic=publication.topic,
                    partition=publication.partition,
                    error=error.str(),
                )
            self._waiting[publication.topic] = [(publication, ticket)]
            self._loop.call_later(TOPIC_AGAIN_S, self._try_again, publication.topic)

    def _try_again(self, topic: str) -> None:
        for publication, ticket in self._waiting.pop(topic, ()):
            self._queue(publication, ticket)

    def _poll(self) -> None:
        """Fetch acknowledgements, and again after `ACKNOWLEDGED_WITHIN_S` while records are in flight."""
        self._take_answers()
        self._check_lost()
        self._check_stuck()
        wait_s = ACKNOWLEDGED_WITHIN_S if self._unanswered else POLL_S
        self._polling = self._loop.call_later(wait_s, self._poll)

    def _take_answers(self) -> None:
        try:
            if self._producer.poll(0):
                self._lifeline.heard()
            if self._single is not None:
                self._single.poll(0)
        except KafkaException as error:
            self._on_error(error.args[0])  # a fatal error; the acknowledgements of its records may still come

    def _check_stuck(self) -> None:
        oldest = next(iter(self._unanswered.values()), None)
        if oldest is None:
            return
        patience_s = self._silence_s_max * (STUCK_TIMES_MAX if self._answered_at > oldest else 1)
        if self._loop.time() - oldest > patience_s:
            self._give_up(f"a record was not acknowledged for {patience_s:.0f} s")

    def _check_lost(self) -> None:
        """Check in a thread whether the producer has lost Kafka, when records are in flight and nothing comes."""
        if self._loss_check is None:
            if self._unanswered and self._lifeline.is_silent:
                self._loss_check = self._loop.run_in_executor(self._thread, self._lifeline.is_lost, self._producer)
        elif self._loss_check.done():
            if self._loss_check.result():
                self._give_up("it has lost Kafka, although Kafka answers other clients")
            self._loss_check = None

    async def answers(self) -> bool:
        """Whether Kafka answers this producer, also when it takes no record of some topic."""
        return await self._loop.run_in_executor(self._thread, has_brokers, self._producer)

    def _fail(self, error: KafkaError, remedy: Remedy) -> None:
        if remedy is Remedy.FATAL:
            self._give_up(error.str())
        self.failed.set()

    def _on_error(self, error: KafkaError) -> None:
        if is_fatal(error):
            self._give_up(error.str())

    def _give_up(self, why: str) -> None:
        """Fail the records in flight: their acknowledgements may never come, and the producer is replaced only after they are done."""
        if not self.failed.is_set():
            log.error("the producer cannot go on and is replaced", error=why)
            self.failed.set()
        for waiting in self._unanswered:
            if not waiting.done():
                waiting.set_exception(KafkaUnavailable(why))

    async def close(self, flush_s: float = STOP_S) -> None:
        """Send queued records for up to `flush_s`, then drop the rest, which stays in the outbox, and stop."""
        if self._unanswered and flush_s:
            await asyncio.wait(self._unanswered, timeout=flush_s)
        self._polling.cancel()
        self.failed.set()
        if self._loss_check is not None:
            await self._loss_check
        self._thread.shutdown(wait=False)
        for producer in (self._producer, self._single):
            with contextlib.suppress(KafkaException):  # a producer that has failed may raise here
                if producer is not None:
                    producer.purge()
                    producer.close()


OnDelivery = Callable[[KafkaError | None, Message | None], None]


class _Ticket:
    """Counts the acknowledgements and refusals of one call of `publish`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, count: int) -> None:
        self.done: Final[asyncio.Future[list[RefusedRecord]]] = loop.create_future()
        self._left = count
        self._refused: list[RefusedRecord] = []
        self._failure: KafkaError | None = None
        if not count:
            self.done.set_result([])

    def refuse(self, publication: Publication, reason: str) -> None:
        self._refused.append(RefusedRecord(publication.id, reason))
        self.acknowledge()

    def fail(self, error: KafkaError) -> None:
        self._failure = error
        self.acknowledge()

    def acknowledge(self) -> None:
        self._left -= 1
        if self._left or self.done.done():
            return
        if self._failure is not None:
            self.done.set_exception(KafkaUnavailable(self._failure.str()))
        else:
            self.done.set_result(self._refused)
