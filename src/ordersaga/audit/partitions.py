"""Compares each service's ledger with the log of every partition in Kafka, also of partitions that were never read."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from msgspec import Struct, field

from ordersaga.audit.finding import Finding, Moment
from ordersaga.contracts.topics import TOPICS
from ordersaga.messaging.kafka import Gap, KafkaUnavailable, Partition, Topics, TopicState, gaps_of
from ordersaga.said import say
from ordersaga.settings import ServiceName, Settings

FUTURE: Final = timedelta(seconds=60)


class Handled(Struct):
    """The finding. `behind`: pairs of service and topic with records that are, or may be, unhandled. `late`: those pairs that the delay in
    flight does not explain."""

    finding: Finding
    behind: set[tuple[ServiceName, str]] = field(default_factory=set)
    late: set[tuple[ServiceName, str]] = field(default_factory=set)


def finding() -> Finding:
    """The finding, before any partition is judged."""
    return Finding("every record in Kafka is handled", "handled", unit="partitions")


async def handled(
    settings: Settings, ledgers: dict[ServiceName, Sequence[Any]], moment: Moment, finding: Finding
) -> Handled:
    """Compare each service's ledger with Kafka. A missing topic or partition does not keep the others from being judged."""
    found = Handled(finding)
    reachable = await Topics(settings).reachable()

    async def judge(service: ServiceName, rows: Sequence[Any]) -> None:
        topics = {topic.name for topic in TOPICS if service in topic.consumers}
        try:
            if not reachable:
                raise KafkaUnavailable("it does not answer")
            await _Service(settings, service, rows, topics, moment, found).judge()
        except KafkaUnavailable as error:
            found.finding.unknown(
                f"{service}: "
                + say(
                    "audit.kafka",
                    "Kafka at {servers}: {error}",
                    servers=settings.kafka_bootstrap_servers,
                    error=str(error),
                )
            )
            found.behind |= {(service, topic) for topic in topics}
            found.late |= {(service, topic) for topic in topics}

    await asyncio.gather(*(judge(service, rows) for service, rows in ledgers.items()))
    return found


class _Service:
    def __init__(
        self,
        settings: Settings,
        service: ServiceName,
        rows: Sequence[Any],
        topics: set[str],
        moment: Moment,
        found: Handled,
    ) -> None:
        self._settings: Final = settings
        self._service: Final = service
        self._rows: Final = {Partition(row["topic"], row["partition"]): row for row in rows}
        self._topics: Final = topics
        self._moment: Final = moment
        self._found: Final = found
        self._finding: Final = found.finding
        self._refused: Final[set[str]] = set()

    async def judge(self) -> None:
        names = sorted(self._topics | {partition.topic for partition in self._rows})
        there = await self._partitions(names)
        partitions = [Partition(name, n) for name, (_, count) in sorted(there.items()) for n in range(count)]
        positions = {each: self._rows[each]["next_offset"] if each in self._rows else 0 for each in partitions}
        gaps = await asyncio.to_thread(gaps_of, self._settings, positions)
        for partition in partitions:
            self._finding.count += 1
            self._judge(partition, gaps[partition], there[partition.topic][0])
        for partition in sorted(self._rows.keys() - set(partitions)):
            if partition.topic in there:
                count = there[partition.topic][1]
                self._unknown(
                    partition,
                    say(
                        "audit.handled.no_partition",
                        "the ledger has a row for it, and the topic has {count} {count:partition|partitions}, 0 to {last}",
                        count=count,
                        last=count - 1,
                    ),
                )

    async def _partitions(self, names: Sequence[str]) -> dict[str, tuple[str, int]]:
        """Kafka's id and the number of partitions of each topic. A topic that is missing or refused gets a finding."""
        states = await self._states(names)
        for name in names:
            if name in states or name in self._refused:
                continue
            if name in self._topics:
                self._breaks(
                    Partition(name, -1), say("audit.handled.no_topic", "is not in Kafka") + self._rows_of(name)
                )
            else:
                self._unknown(
                    Partition(name, -1),
                    say("audit.handled.topic_missing", "the topic is not in Kafka") + self._rows_of(name),
                )
        return {name: (state.topic_id, state.partitions) for name, state in states.items()}

    async def _states(self, names: Sequence[str]) -> dict[str, TopicState]:
        """The topics that Kafka has. Kafka refuses the whole request because of one topic that we may not read; each topic is then asked
        for alone."""
        topics = Topics(self._settings)
        try:
            return await topics.states(names)
        except KafkaUnavailable as error:
            if not await topics.reachable():
                raise
            if len(names) == 1:
                self._refused.add(names[0])
                self._unknown(Partition(names[0], -1), say("audit.error", "{error}", error=str(error)))
                return {}
        states: dict[str, TopicState] = {}
        for name in names:
            states |= await self._states([name])
        return states

    def _rows_of(self, topic: str) -> str:
        rows = [row for partition, row in self._rows.items() if partition.topic == topic]
        return (
            say(
                "audit.handled.rows",
                ", and the ledger stands in {count} {count:partition|partitions} of it",
                count=len(rows),
            )
            if rows
            else ""
        )

    def _judge(self, partition: Partition, gap: Gap, topic_id: str) -> None:
        row = self._rows.get(partition)
        if gap.why is not None:
            self._unknown(partition, say("audit.partition.unknown", "{why}", why=gap.why))
            return
        if gap.has_records or gap.is_open:
            self._found.behind.add((self._service, partition.topic))
        if row is not None and row["topic_id"] != topic_id and partition.topic in self._topics:
            self._breaks(
                partition,
                say(
                    "audit.handled.again",
                    "the topic was deleted and made again since; `ordersaga topics accept` lets it go on",
                ),
            )
        elif row is not None and gap.position > gap.high:
            self._breaks(
                partition,
                say(
                    "audit.handled.past_end",
                    "stands {count} {count:record|records} past the log's end at {end}",
                    count=gap.position - gap.high,
                    end=gap.high,
                ),
            )
        elif row is not None and gap.position < gap.low:
            self._breaks(
                partition,
                say(
                    "audit.handled.removed",
                    "{count} {count:offset was|offsets were} removed before {count:it was|they were} handled",
                    count=gap.low - gap.position,
                ),
            )
        if gap.first is not None:
            self._judge_records(partition, gap, gap.first)
        if gap.is_open:
            self._judge_transaction(partition, gap)

    def _judge_records(self, partition: Partition, gap: Gap, first: int) -> None:
        count = gap.stable - first
        what = (
            say("audit.handled.behind_one", "is 1 record behind")
            if count == 1
            else say("audit.handled.behind", "is {count} {count:record|records} behind", count=count)
        )
        if partition not in self._rows:
            what += say("audit.handled.never", ", and was never read")
        at = None if gap.first_ms is None else datetime.fromtimestamp(gap.first_ms / 1000, UTC)
        if at is not None:
            what += say("audit.handled.oldest", ", the oldest from {at}, {age} ago", at=at, age=self._moment.now - at)
        if self._moment.at_rest:
            self._breaks(partition, what)
        elif at is None or at > self._moment.now + FUTURE:
            self._unknown(
                partition, what + say("audit.handled.no_time", ": its time stamp does not tell how long it has waited")
            )
        elif at < self._moment.cutoff:
            self._breaks(partition, what)
        else:
            self._finding.waits(f"{self._service}: {_name(partition)} " + what)

    def _judge_transaction(self, partition: Partition, gap: Gap) -> None:
        what = say(
            "audit.handled.transaction",
            "a transaction is open at offset {offset} and keeps {count} {count:offset|offsets} from being read",
            offset=gap.stable,
            count=gap.high - gap.stable,
        )
        at = None if gap.open_ms is None else datetime.fromtimestamp(gap.open_ms / 1000, UTC)
        if at is not None:
            what += say("audit.handled.since", ", since {at}, {age} ago", at=at, age=self._moment.now - at)
        if self._moment.at_rest or (at is not None and at < self._moment.cutoff):
            self._breaks(partition, "stands still: " + what)
        elif at is None:
            self._unknown(partition, what)
        else:
            self._finding.waits(f"{self._service}: {_name(partition)} waits: " + what)

    def _breaks(self, partition: Partition, what: str) -> None:
        self._mark_late(partition)
        self._finding.breaks(f"{self._service}: {_name(partition)} " + what)

    def _unknown(self, partition: Partition, why: str) -> None:
        self._mark_late(partition)
        self._finding.unknown(f"{self._service}: {_name(partition)}: " + why)

    def _mark_late(self, partition: Partition) -> None:
        self._found.behind.add((self._service, partition.topic))
        self._found.late.add((self._service, partition.topic))


def _name(partition: Partition) -> str:
    return partition.topic if partition.partition < 0 else f"{partition.topic}/{partition.partition}"
