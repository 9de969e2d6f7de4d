"""A Kafka of lists: topics with partitions of records. `consumer.py` and `producer.py` have its clients."""

import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from ordersaga.messaging.handler import Record
from ordersaga.messaging.kafka import KafkaUnavailable, Partition
from ordersaga.messaging.kafka.topics import TopicState
from tests.simulation.scheduler import CURRENT, START_S, Gate, Scheduler


class Log:
    """All topics. An offset may hold no record, as a transaction marker does. Records behind an open transaction cannot be read.

    `refusing`: topics that take no record, each with the code of the broker's error. `refused`: the ids of records refused for good so.
    """

    def __init__(self, scheduler: Scheduler, topics: Iterable[str], partitions: int) -> None:
        self._scheduler: Final = scheduler
        self._count: Final = partitions
        self.records: Final[dict[Partition, list[Record]]] = {
            Partition(topic, number): [] for topic in topics for number in range(partitions)
        }
        self.ends: Final[dict[Partition, int]] = dict.fromkeys(self.records, 0)
        self._open: Final[dict[Partition, list[int]]] = {}
        self.refusing: Final[dict[str, int]] = {}
        self.refused: Final[set[bytes]] = set()
        self.tried_alone: Final[set[bytes]] = set()
        """Message ids that came back with a refused batch. Records queued behind them may overtake them if the topic is mended meanwhile."""
        self.watchers: Final[list[Callable[[Record, str], None]]] = []
        self.loses: Callable[[Record], bool] = lambda record: False
        self.lost: Final[list[tuple[Record, str]]] = []

    def partition_of(self, topic: str, key: bytes | None) -> Partition:
        """The partition that the key chooses; without a key any partition."""
        number = zlib.crc32(key) if key is not None else self._scheduler.random.randrange(self._count)
        return Partition(topic, number % self._count)

    def append(self, to: Partition, key: bytes | None, value: bytes | None, headers: Any, who: str) -> Record:
        """Append a record, unless a fault loses it."""
        offset = self.ends[to]
        at_ms = int((self._scheduler.now_s - START_S) * 1000)
        record = Record(to.topic, to.partition, offset, key, value, tuple(headers) if headers else None, at_ms)
        self._scheduler.progress()
        if who != "somebody" and self.loses(record):
            self._scheduler.say(
                who, f"writes to {to.topic}/{to.partition}, and it is LOST", (key or b"-").decode()[-4:]
            )
            self.lost.append((record, who))
            return record
        self.records[to].append(record)
        self.ends[to] = offset + 1
        self._scheduler.say(who, f"writes {to.topic}/{to.partition}/{offset}", (key or b"-").decode()[-4:])
        for watcher in list(self.watchers):
            watcher(record, who)
        return record

    def skip(self, to: Partition) -> None:
        """Use up an offset without a record."""
        self.ends[to] += 1

    def begin(self, to: Partition) -> int:
        """Begin a partner's transaction with a record that will be aborted; returns its offset."""
        at = self.ends[to]
        self._open.setdefault(to, []).append(at)
        self.skip(to)
        self._scheduler.progress()
        return at

    def abort(self, to: Partition, at: int) -> None:
        """Abort the transaction; its marker takes an offset."""
        self._open[to].remove(at)
        self.skip(to)
        self._scheduler.progress()

    def stable(self, partition: Partition) -> int:
        """The last stable offset."""
        return min(self._open.get(partition) or [self.ends[partition]])

    def records_of(self, topic: str) -> list[Record]:
        """All records of a topic."""
        return [record for partition, records in self.records.items() if partition.topic == topic for record in records]

    def after(self, partition: Partition, offset: int) -> list[Record]:
        """The readable records from an offset on."""
        records = self.records[partition]
        if self._open.get(partition):
            records = [record for record in records if record.offset < self.stable(partition)]
        begin = len(records)
        while begin and records[begin - 1].offset >= offset:
            begin -= 1
        return records[begin:]


async def unavailable() -> Exception:
    return KafkaUnavailable("the broker did not answer")


class Topics:
    """As the runtime's `Topics`."""

    async def ids(self, names: Sequence[str]) -> dict[str, str]:
        async def look() -> dict[str, str]:
            return {name: id_of(name) for name in names}

        process = CURRENT.get()
        assert process is not None
        gate = Gate(process, "kafka", "topic ids", look)
        gate.fail = unavailable
        return await process.scheduler.gate(gate)

    async def states(self, names: Sequence[str], configs: bool = False) -> dict[str, TopicState]:
        return {name: TopicState(topic_id, 1, 1, (), None) for name, topic_id in (await self.ids(names)).items()}

    async def assigned(self, group: str) -> None:
        """The simulated group has a member for each partition, so there is nothing to describe."""

    async def reachable(self) -> bool:
        return True


def id_of(topic: str) -> str:
    """The topic id."""
    return f"id-of-{topic}"
