"""Publishing in order, with the acknowledgements as futures."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from msgspec import Struct

from ordersaga.messaging.kafka.client import KafkaUnavailable, Lifeline, client_config, is_fatal
from ordersaga.settings import Settings

log: Final = structlog.get_logger()

POLL_S: Final = 0.2
ACKNOWLEDGED_WITHIN_S: Final = 0.002
STOP_S: Final = 5.0
SILENT_SESSIONS_MAX: Final = 4
REFUSED_FOR_GOOD: Final = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD)
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
    """Publishes in order, waits as long as it takes, and says which records the broker will never take.

    Messages never time out in the queue (`message.timeout.ms=0`), so while the broker is away order is kept by waiting. But not for ever:
    a producer was seen to wait in vain when its broker had long been back, so one that hears nothing of a record for
    `SILENT_SESSIONS_MAX` session time-outs, after each of which it has asked again, has failed.
    Records do not linger: any linger, however short, costs a millisecond of each way, and under load they share requests anyway while
    others are under way.
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
                "linger.ms": 0,
                "queue.buffering.max.messages": 2_000_000,
                "queue.buffering.max.kbytes": 1_048_576,
                "message.max.bytes": 2_000_000,
                "batch.num.messages": 10_000,
                "batch.size": 1_000_000,
                "error_cb": self._on_error,
            }
        )
        self._silence_s_max: Final = SILENT_SESSIONS_MAX * settings.kafka_session_timeout_ms / 1000
        self._lifeline: Final = Lifeline(settings)
        self._look: asyncio.Future[bool] | None = None
        self._unanswered: Final[dict[asyncio.Future[list[Refusal]], float]] = {}  # since when; the oldest first
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
                self._lifeline.heard()
                self._polling.cancel()
                self._polling = self._loop.call_later(ACKNOWLEDGED_WITHIN_S, self._poll)
            self._unanswered[ticket.done] = self._loop.time()
            ticket.done.add_done_callback(self._unanswered.pop)
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
            if self._producer.poll(0):
                self._lifeline.heard()
        except KafkaException as error:
            self._on_error(
                error.args[0]
            )  # so a producer says that it cannot go on; what became of its records is still to be heard
        self._look_whether_lost()
        oldest = next(iter(self._unanswered.values()), None)
        if oldest is not None and self._loop.time() - oldest > self._silence_s_max:
            self._give_up(f"the broker has said nothing of a record for {self._silence_s_max:.0f} s")
        wait_s = ACKNOWLEDGED_WITHIN_S if self._unanswered else POLL_S
        self._polling = self._loop.call_later(wait_s, self._poll)

    def _look_whether_lost(self) -> None:
        """Begin to look, in a thread, when records wait for Kafka in silence; and take up what was seen."""
        if self._look is None:
            if self._unanswered and self._lifeline.is_silent:
                self._look = self._loop.run_in_executor(None, self._lifeline.is_lost, self._producer)
        elif self._look.done():
            if self._look.result():
                self._give_up("it has lost Kafka, which answers others")
            self._look = None

    def _on_failure(self, error: KafkaError) -> None:
        self._on_error(error)
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
        with contextlib.suppress(KafkaException):  # of one that had failed already
            self._producer.purge()
            self._producer.close()


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
