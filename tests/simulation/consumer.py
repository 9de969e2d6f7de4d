"""A consumer group of the simulated Kafka, and its members as the runtime's `PartitionConsumer`.

A member that has lost a partition hears of the loss some fetches later, and reads on from its old position until then.
"""

import random
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from ordersaga.messaging.handler import Record
from ordersaga.messaging.kafka import Fetched, FetchFailure, Gap, Partition
from tests.simulation.kafka import Log, unavailable
from tests.simulation.scheduler import Gate, Process

FETCH_MAX: Final = 6
HEARS_AFTER_FETCHES_MAX: Final = 4


class Group:
    """A consumer group. It assigns partitions at once; each member hears of the change at one of its next fetches."""

    def __init__(self, partitions: Sequence[Partition], dice: random.Random) -> None:
        self.partitions: Final = list(partitions)
        self._dice: Final = dice
        self.members: Final[list[Consumer]] = []
        self._owners: Final[dict[Partition, Consumer]] = {}

    def join(self, member: "Consumer") -> None:
        self.members.append(member)
        self.rebalance()

    def leave(self, member: "Consumer") -> None:
        """Remove a member that has left or was evicted."""
        if member in self.members:
            self.members.remove(member)
            self.rebalance()

    def rebalance(self) -> None:
        """Give each partition to a random member. The new owner may begin before the old one hears of its loss."""
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
        """Queue a decision of the group, heard after so many fetches."""
        self._news.append((what, partition, after_fetches))

    # What the runtime calls ------------------------------------------------------------------------------------------------

    async def fetch(self, records_max: int, wait_s: float, is_hurried: Callable[[], bool] = lambda: False) -> Fetched:
        async def take() -> Fetched:
            return self._fetch(records_max)

        gate = Gate(self.process, "fetch", "fetch", take)
        gate.not_before_s = self._scheduler.now_s + wait_s
        gate.early = lambda: (
            is_hurried() or bool(self._news) or any(self._has_more(p, at) for p, at in self._reading.items())
        )
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
            failures = [FetchFailure(sorted(self._reading)[0], "the log could not be read")]
            self.unreadable = False
        told = [f"{r.topic}/{r.partition}/{r.offset}" for r in records]
        told += [f"+{p.topic}/{p.partition}" for p in assigned] + [f"-{p.topic}/{p.partition}" for p in revoked]
        if told:
            self._scheduler.progress()
            self._scheduler.say(self.process.name, "gets", " ".join(told))
        return Fetched(records, self._joined, assigned, revoked, failures, None)

    def _poll(self, records_max: int) -> list[Record]:
        """Records of random partitions, in the order of each partition."""
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
        """The group's decisions that have arrived; those about one partition keep their order."""
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

        return await self._ask("log bounds", look, may_fail=True)

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

        return await self._ask("what lies before us", look, may_fail=True)

    async def readable_from(self, partition: Partition, offset: int) -> int | None:
        return None

    async def start_offsets(
        self, partitions: Sequence[Partition], start_at: str, begun: Collection[str]
    ) -> dict[Partition, int]:
        async def look() -> dict[Partition, int]:
            return dict.fromkeys(partitions, 0)

        return await self._ask("start offsets", look, may_fail=True)

    async def handled_until(
        self, starts: Mapping[Partition, int], start_at: str, now: datetime
    ) -> dict[Partition, datetime]:
        return {}

    async def commit(self, positions: dict[Partition, int]) -> None:
        """Do nothing: only lag tools read committed offsets."""

    async def close(self) -> None:
        async def leave() -> None:
            self._reading.clear()
            self.group.leave(self)

        await self._ask("leave the group", leave)

    async def _ask(self, what: str, work: Callable[[], Any], may_fail: bool = False) -> Any:
        gate = Gate(self.process, "kafka", what, work)
        if may_fail:
            gate.fail = unavailable
        return await self._scheduler.gate(gate)
