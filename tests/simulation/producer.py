"""A simulated librdkafka producer below the runtime's own `Publisher`. Queued records travel when the scheduler says so.

As the real one, a producer keeps the order of the records of one partition, and nothing else.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaError

from ordersaga.contracts.headers import MESSAGE_ID
from ordersaga.messaging.kafka import Partition, Publisher
from ordersaga.settings import Settings
from tests.simulation.kafka import Log, unavailable
from tests.simulation.plan import BATCH_REFUSED
from tests.simulation.scheduler import Gate, Process, Scheduler

SINGLE: Final = "batch.num.messages"


def publisher_of(process: Process, log: Log, settings: Settings) -> Publisher:
    """The runtime's publisher in a simulated process, over simulated producers."""
    publisher = SimulatedPublisher(settings, lambda config: Producer(process, log, config))
    process.at_death[publisher] = publisher.die
    return publisher


class SimulatedPublisher(Publisher):
    """Does not ask a broker whether it answers: the real publisher uses a thread for that."""

    async def answers(self) -> bool:
        return True

    async def die(self) -> None:
        """Stop polling when the process is killed."""
        self._polling.cancel()


class Queued(NamedTuple):
    """A queued record and its delivery callback."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    heard: Callable[[KafkaError | None, Any], None]


class Producer:
    """As `confluent_kafka.Producer`, but a delivery callback runs when its answer arrives, not at the next poll."""

    def __init__(self, process: Process, log: Log, config: dict[str, Any]) -> None:
        self.process: Final = process
        self._scheduler: Final[Scheduler] = process.scheduler
        self._log: Final = log
        self._is_single: Final = config[SINGLE] == 1
        self._on_error: Final = config["error_cb"]
        self._queues: Final[dict[Partition, deque[Queued]]] = {}
        self._unanswered: Final[list[tuple[Queued, KafkaError | None]]] = []
        process.at_death[self] = self._die
        self._scheduler.deliverers.append(self)

    # What the runtime's publisher calls ----------------------------------------------------------------------------------

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        *,
        headers: Any,
        on_delivery: Any,
        partition: int | None = None,
    ) -> None:
        to = self._log.partition_of(topic, key) if partition is None else Partition(topic, partition)
        self._queues.setdefault(to, deque()).append(Queued(key, value, headers, on_delivery))

    def poll(self, _: float) -> int:
        """Returns 1 event, so that the publisher never takes Kafka for lost and looks for a broker in a thread."""
        return 1

    def purge(self) -> None:
        """Drop what is queued. Some of it is in flight already and arrives all the same."""
        dice = self._scheduler.random
        for to in list(self._queues):
            for _ in range(dice.randint(0, len(self._queues[to]))):
                self._send(to)
        self._queues.clear()
        self._unanswered.clear()

    def close(self) -> None:
        self.process.at_death.pop(self, None)
        if self in self._scheduler.deliverers:
            self._scheduler.deliverers.remove(self)

    async def _die(self) -> None:
        self.purge()
        self.close()

    # Steps of their own --------------------------------------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        return bool(self._queues or self._unanswered) and not self.process.frozen

    async def deliver(self) -> None:
        """Send a few records of one partition, or answer a few of those that were sent."""
        fate = self._scheduler.faults.at(Gate(self.process, "publish", "publish", unavailable))
        match fate:
            case None | "crash after":
                self._travel()
            case "fail before" | "fail after":
                self._break(fatal=fate == "fail after")
            case _ if fate == BATCH_REFUSED:
                self._refuse_batch()
        if fate in ("crash before", "crash after"):
            self._scheduler.say(self.process.name, "CRASH", "while publishing")
            await self._scheduler.kill(self.process)

    def _travel(self) -> None:
        dice = self._scheduler.random
        if self._queues and (not self._unanswered or dice.random() < 0.5):
            to = dice.choice(list(self._queues))
            for _ in range(dice.randint(1, len(self._queues[to]))):
                self._send(to)
        else:
            count = dice.randint(1, len(self._unanswered))
            answers = self._unanswered[:count]
            del self._unanswered[:count]
            self._answer(answers)

    def _send(self, to: Partition) -> None:
        queued = self._queues[to].popleft()
        if not self._queues[to]:
            del self._queues[to]
        code = self._log.refusing.get(to.topic)
        if code is None:
            self._log.append(to, queued.key, queued.value, queued.headers, self.process.name)
            self._unanswered.append((queued, None))
            return
        is_final = self._is_single or code == KafkaError.POLICY_VIOLATION
        (self._log.refused if is_final else self._log.tried_alone).add(dict(queued.headers)[MESSAGE_ID] or b"")
        self._scheduler.say(self.process.name, f"is REFUSED a record by {to.topic}")
        self._unanswered.append((queued, KafkaError(code)))

    def _answer(self, answers: list[tuple[Queued, KafkaError | None]]) -> None:
        self._scheduler.progress()
        for queued, error in answers:
            queued.heard(error, None)

    def _refuse_batch(self) -> None:
        """Refuse all that is queued for one partition as one batch. Each record alone would be taken."""
        if not self._queues or self._is_single:
            return self._travel()
        to = self._scheduler.random.choice(list(self._queues))
        batch = self._queues.pop(to)
        self._scheduler.say(self.process.name, f"is REFUSED a batch of {len(batch)} by {to.topic}/{to.partition}")
        self._answer([(queued, KafkaError(KafkaError.INVALID_RECORD)) for queued in batch])

    def _break(self, fatal: bool) -> None:
        """Fail what is queued for one partition; fatal: all that is queued or sent. Some of it may have arrived."""
        self._scheduler.say(self.process.name, "publishing FAILS", "for good" if fatal else "")
        if not self._queues and not fatal:
            return
        dice = self._scheduler.random
        failed: list[Queued] = []
        for to in list(self._queues) if fatal else [dice.choice(list(self._queues))]:
            queue = self._queues.pop(to)
            for queued in list(queue)[: dice.randint(0, len(queue))]:
                if to.topic not in self._log.refusing:
                    self._log.append(to, queued.key, queued.value, queued.headers, self.process.name)
            failed += queue
        error = KafkaError(KafkaError._MSG_TIMED_OUT)
        if fatal:
            failed += [queued for queued, _ in self._unanswered]
            self._unanswered.clear()
            error = KafkaError(KafkaError._FATAL, fatal=True)
            self._on_error(error)
        self._answer([(queued, error) for queued in failed])
