"""Publishing in order, with the acknowledgements as futures."""

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

from ordersaga.messaging.kafka.client import KafkaUnavailable, Lifeline, client_config, has_brokers, is_fatal
from ordersaga.messaging.kafka.verdicts import Verdict, reason_of, verdict_of
from ordersaga.settings import Settings

log: Final = structlog.get_logger()

POLL_S: Final = 0.2
ACKNOWLEDGED_WITHIN_S: Final = 0.002
STOP_S: Final = 5.0
SILENT_SESSIONS_MAX: Final = 4
STUCK_TIMES_MAX: Final = 10
TOPIC_PATIENCE_S: Final = 5.0
"""For how long a topic may seem to be missing: a broker that is starting, or a topic that is just made again, says so for a moment."""
TOPIC_AGAIN_S: Final = 0.5
MESSAGE_BYTES_MAX: Final = 33_554_432
"""Above what any topic takes: the broker decides. It is far below the 100 MB at which a broker cuts the connection without a word."""
PARTITIONER: Final = "murmur2_random"


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


class Publisher:
    """Publishes in order, waits as long as it takes, and says which records Kafka will never take.

    Messages never time out in the queue (`message.timeout.ms=0`), so while the broker is away order is kept by waiting. But not for ever:
    a producer was seen to wait in vain when its broker had long been back, so one that hears nothing of a record for
    `SILENT_SESSIONS_MAX` session time-outs, after each of which it has asked again, has failed. Where others were acknowledged meanwhile,
    the record waits for a partition that cannot be written, and has `STUCK_TIMES_MAX` times as long.
    Records do not linger: any linger, however short, costs a millisecond of each way, and under load they share requests anyway while
    others are under way.
    Acknowledgements are fetched by the event loop itself: librdkafka hands them over one by one, and a thread of its own would wait
    for the interpreter at each of them while a turn is computing.

    Order: the records of a topic and partition arrive in the order in which they were given, with two exceptions. When the broker refuses a
    whole batch, its records are tried one by one, in their order, by a second producer; what is given for that topic meanwhile follows
    behind them, but what librdkafka had queued already may overtake them. And a record that is moved aside leaves its place to the next.
    """

    def __init__(self, settings: Settings, producer: Callable[[dict[str, Any]], Any] = Producer) -> None:
        self._make_producer: Final = producer
        self._loop: Final = asyncio.get_running_loop()
        self.failed: Final = asyncio.Event()
        self._config: Final = client_config(settings) | {
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": settings.kafka_compression,
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
        }
        self._producer: Final[Any] = producer(self._config)
        self._single: Any = None
        """Sends each record in a batch of its own; made when a batch is refused for the first time."""
        self._singles: Final[Counter[str]] = Counter()
        self._missing: Final[dict[str, float]] = {}
        self._waiting: Final[dict[str, list[tuple[Publication, _Ticket]]]] = {}
        self._narrow: Final[set[str]] = set()
        self._silence_s_max: Final = SILENT_SESSIONS_MAX * settings.kafka_session_timeout_ms / 1000
        self._lifeline: Final = Lifeline(settings)
        self._thread: Final = ThreadPoolExecutor(1, thread_name_prefix="publisher")
        self._look: asyncio.Future[bool] | None = None
        self._unanswered: Final[dict[asyncio.Future[list[Refusal]], float]] = {}  # since when; the oldest first
        self._answered_at = self._loop.time()
        self._polling = self._loop.call_soon(self._poll)

    def publish(self, publications: Sequence[Publication]) -> "asyncio.Future[list[Refusal]]":
        """Queue records in this order; the future ends when each is acknowledged or refused for good.

        It raises `KafkaUnavailable` if one failed for another reason; publishing then begins again at the oldest outbox row. `failed`
        says so at once, and what is asked for afterwards fails too, so that it does not overtake.
        """
        ticket = _Ticket(self._loop, len(publications))
        for each in publications:
            self._queue(each, ticket)
        if not ticket.done.done():
            if not self._unanswered:
                self._lifeline.heard()
                self._polling.cancel()
                self._polling = self._loop.call_later(ACKNOWLEDGED_WITHIN_S, self._poll)
            self._unanswered[ticket.done] = self._loop.time()
            ticket.done.add_done_callback(self._answered)
        return ticket.done

    def _answered(self, done: "asyncio.Future[list[Refusal]]") -> None:
        del self._unanswered[done]
        self._answered_at = self._loop.time()

    def _queue(self, each: Publication, ticket: "_Ticket") -> None:
        if self.failed.is_set():
            ticket.fail(KafkaError(KafkaError._PURGE_QUEUE))
        elif self._waiting and each.topic in self._waiting:
            self._waiting[each.topic].append((each, ticket))
        elif self._singles and each.topic in self._singles:
            self._produce_single(each, ticket)
        else:
            self._produce(self._producer, each, ticket, self._heard(each, ticket))

    def _produce(self, producer: Any, each: Publication, ticket: "_Ticket", heard: "Heard") -> None:
        target = {} if each.partition is None else {"partition": each.partition}
        try:
            producer.produce(each.topic, each.value, each.key, headers=each.headers, on_delivery=heard, **target)
        except BufferError:
            heard(KafkaError(KafkaError._QUEUE_FULL), None)
        except KafkaException as error:
            if (
                verdict_of(error.args[0]) is Verdict.ALONE
            ):  # librdkafka's own word on this record: there was no batch yet
                ticket.refuse(each, error.args[0].str())
            else:
                heard(error.args[0], None)
        except (TypeError, ValueError, OverflowError) as error:
            ticket.refuse(each, f"the client library takes no such record: {error}")

    def _heard(self, each: Publication, ticket: "_Ticket") -> "Heard":
        if self._missing and each.topic in self._missing:
            return lambda error, _: self._found(each, ticket) if error is None else self._judge(each, ticket, error)
        return lambda error, _: ticket.acknowledge() if error is None else self._judge(each, ticket, error)

    def _found(self, each: Publication, ticket: "_Ticket") -> None:
        """The topic that was missing takes records."""
        if self._missing.pop(each.topic, None) is not None:
            log.warning("a topic takes records again", topic=each.topic)
        ticket.acknowledge()

    def _judge(self, each: Publication, ticket: "_Ticket", error: KafkaError, was_single: bool = False) -> None:
        """Decide about a record that failed."""
        verdict = verdict_of(error)
        if self.failed.is_set():
            ticket.fail(error)
        elif verdict is Verdict.REFUSED or (verdict is Verdict.ALONE and was_single):
            ticket.refuse(each, reason_of(error, each.topic))
        elif verdict is Verdict.ALONE:
            self._produce_single(each, ticket)
        elif verdict is Verdict.ELSEWHERE and each.partition is not None:
            self._go_elsewhere(each, ticket)
        elif verdict in (Verdict.TOPIC, Verdict.ELSEWHERE):
            self._wait_for_topic(each, ticket, error)
        else:
            ticket.fail(error)
            self._fail(error, verdict)

    def _produce_single(self, each: Publication, ticket: "_Ticket") -> None:
        if self._single is None:
            self._single = self._make_producer(self._config | {"batch.num.messages": 1})
        if each.topic not in self._singles:
            log.warning("a topic refuses a batch; its records are tried one by one", topic=each.topic)
        self._singles[each.topic] += 1

        def heard(error: KafkaError | None, _: Message | None) -> None:
            self._singles[each.topic] -= 1
            if not self._singles[each.topic]:
                del self._singles[each.topic]
            if error is None:
                ticket.acknowledge()
            else:
                self._judge(each, ticket, error, was_single=True)

        self._produce(self._single, each, ticket, heard)

    def _go_elsewhere(self, each: Publication, ticket: "_Ticket") -> None:
        """As Spring Kafka does with a dead letter topic that is narrower than its topic."""
        if each.topic not in self._narrow:
            self._narrow.add(each.topic)
            log.warning(
                "a topic has no such partition; its records go where their keys choose",
                topic=each.topic,
                partition=each.partition,
                todo="`ordersaga topics create` makes a dead letter topic as wide as its topic",
            )
        self._queue(replace(each, partition=None), ticket)

    def _wait_for_topic(self, each: Publication, ticket: "_Ticket", error: KafkaError) -> None:
        """Only at first: once a topic has been missing for `TOPIC_PATIENCE_S`, its records are refused at once and hold nobody up."""
        now = self._loop.time()
        since = self._missing.setdefault(each.topic, now)
        if now - since >= TOPIC_PATIENCE_S:
            ticket.refuse(each, reason_of(error, each.topic))
        elif each.topic in self._waiting:
            self._waiting[each.topic].append((each, ticket))
        else:
            if now == since:
                log.warning("a topic takes no records", topic=each.topic, partition=each.partition, error=error.str())
            self._waiting[each.topic] = [(each, ticket)]
            self._loop.call_later(TOPIC_AGAIN_S, self._try_again, each.topic)

    def _try_again(self, topic: str) -> None:
        for each, ticket in self._waiting.pop(topic, ()):
            self._queue(each, ticket)

    def _poll(self) -> None:
        """Hear what has become of queued records, soon again while there are any."""
        try:
            if self._producer.poll(0):
                self._lifeline.heard()
            if self._single is not None:
                self._single.poll(0)
        except KafkaException as error:
            self._on_error(
                error.args[0]
            )  # so a producer says that it cannot go on; what became of its records is still to be heard
        self._look_whether_lost()
        self._look_whether_stuck()
        wait_s = ACKNOWLEDGED_WITHIN_S if self._unanswered else POLL_S
        self._polling = self._loop.call_later(wait_s, self._poll)

    def _look_whether_stuck(self) -> None:
        oldest = next(iter(self._unanswered.values()), None)
        if oldest is None:
            return
        patience_s = self._silence_s_max * (STUCK_TIMES_MAX if self._answered_at > oldest else 1)
        if self._loop.time() - oldest > patience_s:
            self._give_up(f"the broker has said nothing of a record for {patience_s:.0f} s")

    def _look_whether_lost(self) -> None:
        """Begin to look, in a thread, when records wait for Kafka in silence; and take up what was seen."""
        if self._look is None:
            if self._unanswered and self._lifeline.is_silent:
                self._look = self._loop.run_in_executor(self._thread, self._lifeline.is_lost, self._producer)
        elif self._look.done():
            if self._look.result():
                self._give_up("it has lost Kafka, which answers others")
            self._look = None

    async def answers(self) -> bool:
        """Whether Kafka answers this producer now, whatever keeps it from taking a record."""
        return await self._loop.run_in_executor(self._thread, has_brokers, self._producer)

    def _fail(self, error: KafkaError, verdict: Verdict) -> None:
        if verdict is Verdict.FATAL:
            self._give_up(error.str())
        self.failed.set()

    def _on_error(self, error: KafkaError) -> None:
        if is_fatal(error):
            self._give_up(error.str())

    def _give_up(self, why: str) -> None:
        """Nothing may be said any more of what is under way, and whoever waits for it could not replace the producer."""
        if not self.failed.is_set():
            log.error("the producer cannot go on and is replaced", error=why)
            self.failed.set()
        for waiting in self._unanswered:
            if not waiting.done():
                waiting.set_exception(KafkaUnavailable(why))

    async def close(self, flush_s: float = STOP_S) -> None:
        """Send what is queued, for `flush_s` at most, and stop; the rest stays in the outbox, and must not go out later from here."""
        if self._unanswered and flush_s:
            await asyncio.wait(self._unanswered, timeout=flush_s)
        self._polling.cancel()
        self.failed.set()
        if self._look is not None:
            await self._look
        self._thread.shutdown(wait=False)
        for producer in (self._producer, self._single):
            with contextlib.suppress(KafkaException):  # of one that had failed already
                if producer is not None:
                    producer.purge()
                    producer.close()


Heard = Callable[[KafkaError | None, Message | None], None]


class _Ticket:
    """Counts the answers to one `publish`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, count: int) -> None:
        self.done: Final[asyncio.Future[list[Refusal]]] = loop.create_future()
        self._left = count
        self._refused: list[Refusal] = []
        self._failure: KafkaError | None = None
        if not count:
            self.done.set_result([])

    def refuse(self, each: Publication, reason: str) -> None:
        self._refused.append(Refusal(each.id, reason))
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
