"""A Kafka of lists: topics with partitions, a group that gives them out, consumers, and publishers whose records travel by themselves.

As the real one, it keeps the order within a partition and of one publisher, and nothing else. A process that has lost a partition
hears of it late, and goes on with its old position until then.
"""

import asyncio
import random
import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final

from ordersaga.messaging.handler import MESSAGE_ID, Record
from ordersaga.messaging.kafka import Failure, Fetched, Gap, KafkaUnavailable, Partition, Publication, Refusal
from ordersaga.messaging.kafka.topics import TopicState
from tests.simulation.scheduler import CURRENT, START_S, Gate, Process, Scheduler

FETCH_MAX: Final = 6
HEARS_AFTER_FETCHES_MAX: Final = 4


class Log:
    """All topics. An offset may be missing, as where a transaction of somebody's ended; behind one that is open nobody can read.

    `refusing`: topics that take no record. `refused`: the ids of records that were refused so.
    """

    def __init__(self, scheduler: Scheduler, topics: Iterable[str], partitions: int) -> None:
        self._scheduler: Final = scheduler
        self._count: Final = partitions
        self.records: Final[dict[Partition, list[Record]]] = {
            Partition(topic, number): [] for topic in topics for number in range(partitions)
        }
        self.ends: Final[dict[Partition, int]] = dict.fromkeys(self.records, 0)
        self._open: Final[dict[Partition, list[int]]] = {}
        self.refusing: Final[set[str]] = set()
        self.refused: Final[set[bytes]] = set()
        self.watchers: Final[list[Callable[[Record, str], None]]] = []
        self.loses: Callable[[Record], bool] = lambda record: False
        self.lost: Final[list[tuple[Record, str]]] = []

    def partition_of(self, topic: str, key: bytes | None) -> Partition:
        """By the key, as every producer of the system does; without one, any."""
        number = zlib.crc32(key) if key is not None else self._scheduler.random.randrange(self._count)
        return Partition(topic, number % self._count)

    def append(self, to: Partition, key: bytes | None, value: bytes | None, headers: Any, who: str) -> Record:
        """Write a record at the end, unless it is lost."""
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
        """An offset that no record has."""
        self.ends[to] += 1

    def begin(self, to: Partition) -> int:
        """Somebody's transaction begins with a record that nobody will ever get. Returns where."""
        at = self.ends[to]
        self._open.setdefault(to, []).append(at)
        self.skip(to)
        self._scheduler.progress()
        return at

    def abort(self, to: Partition, at: int) -> None:
        """It is given up; its marker has an offset too."""
        self._open[to].remove(at)
        self.skip(to)
        self._scheduler.progress()

    def stable(self, partition: Partition) -> int:
        """Up to where it can be read."""
        return min(self._open.get(partition) or [self.ends[partition]])

    def records_of(self, topic: str) -> list[Record]:
        """All records of a topic."""
        return [record for partition, records in self.records.items() if partition.topic == topic for record in records]

    def after(self, partition: Partition, offset: int) -> list[Record]:
        """The records from an offset on that can be read."""
        records = self.records[partition]
        if self._open.get(partition):
            records = [record for record in records if record.offset < self.stable(partition)]
        begin = len(records)
        while begin and records[begin - 1].offset >= offset:
            begin -= 1
        return records[begin:]


class Group:
    """A consumer group. It decides at once; its members hear of it when they fetch, one sooner, one later."""

    def __init__(self, partitions: Sequence[Partition], dice: random.Random) -> None:
        self.partitions: Final = list(partitions)
        self._dice: Final = dice
        self.members: Final[list[Consumer]] = []
        self._owners: Final[dict[Partition, Consumer]] = {}

    def join(self, member: "Consumer") -> None:
        self.members.append(member)
        self.rebalance()

    def leave(self, member: "Consumer") -> None:
        """A member that has left, or has not been heard of for too long."""
        if member in self.members:
            self.members.remove(member)
            self.rebalance()

    def rebalance(self) -> None:
        """Give each partition to any member. Whoever had one does not know it yet, and the next one does not wait for that."""
        for partition in self.partitions if self.members else ():
            old, new = self._owners.get(partition), self._dice.choice(self.members)
            if old is new:
                continue
            if old is not None:
                old.hear("revoked", partition, self._dice.randrange(HEARS_AFTER_FETCHES_MAX))
            new.hear("assigned", partition, self._dice.randrange(2))
            self._owners[partition] = new


class Consumer:
    """A member of a group, as `PartitionConsumer`."""

    def __init__(self, process: Process, log: Log, group: Group) -> None:
        self.process: Final = process
        self._scheduler: Final = process.scheduler
        self._log: Final = log
        self.group: Final = group
        self._news: list[tuple[str, Partition, int]] = []
        self._reading: Final[dict[Partition, int]] = {}
        self._joined = False
        self.go_back = 0
        self.unreadable = False
        self.silent_s = 0.0
        group.join(self)

    def hear(self, what: str, partition: Partition, after_fetches: int) -> None:
        """The group has decided something about us."""
        self._news.append((what, partition, after_fetches))

    # What the runtime calls ------------------------------------------------------------------------------------------------

    async def fetch(self, records_max: int, wait_s: float) -> Fetched:
        async def take() -> Fetched:
            return self._fetch(records_max)

        gate = Gate(self.process, "fetch", "fetch", take)
        gate.not_before_s = self._scheduler.now_s + wait_s
        gate.early = lambda: bool(self._news) or any(self._has_more(p, at) for p, at in self._reading.items())
        fetched: Fetched = await self._scheduler.gate(gate)
        return fetched

    def _has_more(self, partition: Partition, at: int) -> bool:
        records = self._log.records[partition]
        return bool(records) and records[-1].offset >= at and bool(self._log.after(partition, at))

    def _fetch(self, records_max: int) -> Fetched:
        records = self._poll(min(records_max, self._scheduler.random.randint(1, FETCH_MAX)))
        assigned, revoked = self._listen()
        failures = []
        if self.unreadable and self._reading:
            failures = [Failure(sorted(self._reading)[0], "the log could not be read")]
            self.unreadable = False
        told = [f"{r.topic}/{r.partition}/{r.offset}" for r in records]
        told += [f"+{p.topic}/{p.partition}" for p in assigned] + [f"-{p.topic}/{p.partition}" for p in revoked]
        if told:
            self._scheduler.progress()
            self._scheduler.say(self.process.name, "gets", " ".join(told))
        return Fetched(records, self._joined, assigned, revoked, failures, None)

    def _poll(self, records_max: int) -> list[Record]:
        """Records of any partitions, in the order of each."""
        dice = self._scheduler.random
        queues = {p: deque(self._log.after(p, at)) for p, at in sorted(self._reading.items()) if self._has_more(p, at)}
        if self.go_back:
            for partition, queue in queues.items():
                again = self._log.after(partition, self._reading[partition] - self.go_back)
                queue.extendleft(reversed(again[: len(again) - len(queue)]))
            self.go_back = 0
        records: list[Record] = []
        while queues and len(records) < records_max:
            partition = dice.choice(list(queues))
            record = queues[partition].popleft()
            records.append(record)
            self._reading[partition] = record.offset + 1
            if not queues[partition]:
                del queues[partition]
        return records

    def _listen(self) -> tuple[list[Partition], list[Partition]]:
        """What has reached us of the group's decisions, those about one partition in their order."""
        assigned: list[Partition] = []
        revoked: list[Partition] = []
        late: list[tuple[str, Partition, int]] = []
        for what, partition, after_fetches in self._news:
            if after_fetches > 0 or any(partition == each for _, each, _ in late):
                late.append((what, partition, after_fetches - 1))
            elif what == "assigned":
                assigned.append(partition)
            else:
                self._reading.pop(partition, None)
                revoked.append(partition)
                if partition in assigned:
                    assigned.remove(partition)
        self._joined = self._joined or bool(assigned)
        self._news = late
        return assigned, revoked

    async def read_from(self, positions: dict[Partition, int]) -> None:
        async def begin() -> None:
            self._reading.update(positions)

        await self._ask("read from", begin)

    async def leave(self, partitions: Iterable[Partition]) -> None:
        gone = list(partitions)

        async def stop() -> None:
            for partition in gone:
                self._reading.pop(partition, None)

        await self._ask("leave", stop)

    async def log_bounds(self, partitions: Sequence[Partition]) -> dict[Partition, tuple[int, int]]:
        async def look() -> dict[Partition, tuple[int, int]]:
            return {partition: (0, self._log.ends[partition]) for partition in partitions}

        return await self._ask("log bounds", look, may_fail=True)  # type: ignore[no-any-return]

    async def known_ends(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        return {partition: self._log.ends[partition] for partition in partitions}

    async def gaps(self, positions: dict[Partition, int]) -> dict[Partition, Gap]:
        async def look() -> dict[Partition, Gap]:
            found = {}
            for partition, at in positions.items():
                end, records = self._log.ends[partition], self._log.after(partition, at)
                first = records[0].offset if records else None
                found[partition] = Gap(at, 0, self._log.stable(partition), end, first)
            return found

        return await self._ask("what lies before us", look, may_fail=True)  # type: ignore[no-any-return]

    async def readable_from(self, partition: Partition, offset: int) -> int | None:
        return None

    async def start_offsets(
        self, partitions: Sequence[Partition], start_at: str, begun: Collection[str]
    ) -> dict[Partition, int]:
        async def look() -> dict[Partition, int]:
            return dict.fromkeys(partitions, 0)

        return await self._ask("start offsets", look, may_fail=True)  # type: ignore[no-any-return]

    async def commit(self, positions: dict[Partition, int]) -> None:
        """For lag tools; nothing of ours reads it."""

    async def close(self) -> None:
        async def leave() -> None:
            self._reading.clear()
            self.group.leave(self)

        await self._ask("leave the group", leave)

    async def _ask(self, what: str, work: Callable[[], Any], may_fail: bool = False) -> Any:
        gate = Gate(self.process, "kafka", what, work)
        if may_fail:
            gate.fail = _unavailable
        return await self._scheduler.gate(gate)


async def _unavailable() -> Exception:
    return KafkaUnavailable("the broker did not answer")


class Topics:
    """As the runtime's `Topics`."""

    async def ids(self, names: Sequence[str]) -> dict[str, str]:
        async def look() -> dict[str, str]:
            return {name: id_of(name) for name in names}

        process = CURRENT.get()
        assert process is not None
        gate = Gate(process, "kafka", "topic ids", look)
        gate.fail = _unavailable
        return await process.scheduler.gate(gate)  # type: ignore[no-any-return]

    async def states(self, names: Sequence[str]) -> dict[str, TopicState]:
        return {name: TopicState(topic_id, 1, 1, (), None) for name, topic_id in (await self.ids(names)).items()}

    async def reachable(self) -> bool:
        return True


def id_of(topic: str) -> str:
    """Kafka's own id of a topic."""
    return f"id-of-{topic}"


class Publisher:
    """As the runtime's `Publisher`. Queued records travel when the scheduler says so, each partition's in order, and so do the answers."""

    def __init__(self, process: Process, log: Log) -> None:
        self.process: Final = process
        self._scheduler: Final = process.scheduler
        self._log: Final = log
        self._queues: Final[dict[Partition, deque[tuple[Publication, _Ticket]]]] = {}
        self._unanswered: Final[list[tuple[Publication, _Ticket, bool]]] = []
        self._closed = False
        self.failed: Final = asyncio.Event()
        process.at_death[self] = self._die
        self._scheduler.deliverers.append(self)

    def publish(self, publications: Sequence[Publication]) -> "asyncio.Future[list[Refusal]]":
        ticket = _Ticket(self._scheduler.loop, len(publications))
        for each in publications:
            to = self._log.partition_of(each.topic, each.key)
            if each.partition is not None:
                to = Partition(each.topic, each.partition)
            if self.failed.is_set():
                ticket.settle(failed=True)
            elif not self._closed:
                self._queues.setdefault(to, deque()).append((each, ticket))
        return ticket.done

    async def answers(self) -> bool:
        return True

    async def close(self, flush_s: float = 5.0) -> None:
        async def flush() -> None:
            if flush_s:
                while self._queues:
                    self._send(next(iter(self._queues)))
                self._answer(len(self._unanswered))
            await self._die()

        await self._scheduler.gate(Gate(self.process, "kafka", "close the publisher", flush))

    # Steps of their own --------------------------------------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        return bool(self._queues or self._unanswered) and not self.process.frozen

    def deliver(self) -> None:
        """Let something travel: a few records of one partition, or answers to what has arrived."""
        fate = self._scheduler.strikes.at(Gate(self.process, "publish", "publish", _unavailable))
        if fate is not None:
            self._break(fatal=fate == "fail after")
            return
        dice = self._scheduler.random
        if self._queues and (not self._unanswered or dice.random() < 0.5):
            partition = dice.choice(list(self._queues))
            for _ in range(dice.randint(1, len(self._queues[partition]))):
                self._send(partition)
        else:
            self._answer(dice.randint(1, len(self._unanswered)))

    def _send(self, to: Partition) -> None:
        publication, ticket = self._queues[to].popleft()
        if not self._queues[to]:
            del self._queues[to]
        refused = publication.topic in self._log.refusing
        if refused:
            self._log.refused.add(dict(publication.headers)[MESSAGE_ID] or b"")
            self._scheduler.say(self.process.name, f"is REFUSED a record by {publication.topic}")
        else:
            self._write(to, publication)
        self._unanswered.append((publication, ticket, refused))

    def _write(self, to: Partition, each: Publication) -> None:
        self._log.append(to, each.key, each.value, each.headers, self.process.name)

    def _answer(self, count: int) -> None:
        for publication, ticket, refused in self._unanswered[:count]:
            if refused:
                ticket.refused.append(Refusal(publication.id, "the topic takes nothing"))
            ticket.settle(failed=False)
        del self._unanswered[:count]
        self._scheduler.progress()

    def _break(self, fatal: bool) -> None:
        """What is under way fails, though some of it may have arrived: to one partition, or, fatal, all, now and from here on."""
        self._scheduler.say(self.process.name, "publishing FAILS", "for good" if fatal else "")
        if not self._queues and not fatal:
            return
        dice = self._scheduler.random
        tickets = []
        for partition in list(self._queues) if fatal else [dice.choice(list(self._queues))]:
            queue = self._queues.pop(partition)
            for publication, _ in list(queue)[: dice.randint(0, len(queue))]:
                if publication.topic not in self._log.refusing:
                    self._write(partition, publication)
            tickets += [ticket for _, ticket in queue]
        if fatal:
            tickets += [ticket for _, ticket, _ in self._unanswered]
            self._unanswered.clear()
        self.failed.set()
        for ticket in tickets:
            ticket.settle(failed=True)

    def _lose(self) -> None:
        """What was queued is gone, but what of it was already on its way."""
        dice = self._scheduler.random
        for partition in list(self._queues):
            for _ in range(dice.randint(0, len(self._queues[partition]))):
                self._send(partition)
        self._queues.clear()
        self._unanswered.clear()

    async def _die(self) -> None:
        self._lose()
        self._closed = True
        self.process.at_death.pop(self, None)
        if self in self._scheduler.deliverers:
            self._scheduler.deliverers.remove(self)


class _Ticket:
    """The answers to one `publish`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, count: int) -> None:
        self.done: Final[asyncio.Future[list[Refusal]]] = loop.create_future()
        self.refused: Final[list[Refusal]] = []
        self._left = count
        self._failed = False
        if not count:
            self.done.set_result(self.refused)

    def settle(self, failed: bool) -> None:
        self._left -= 1
        self._failed |= failed
        if self._left or self.done.done():
            return
        if self._failed:
            self.done.set_exception(KafkaUnavailable("a record was not delivered"))
        else:
            self.done.set_result(self.refused)
