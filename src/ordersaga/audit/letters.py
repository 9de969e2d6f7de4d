"""Compares the records of the dead letter topics with the table `dead_letter`: each record that a service gave up must have its row.

An operator works with the rows. A missing row hides a record that no service has handled.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from msgspec import Struct

from ordersaga.audit.finding import Finding, Moment
from ordersaga.audit.sources import Sources
from ordersaga.contracts.headers import MESSAGE_ID
from ordersaga.contracts.topics import TOPICS
from ordersaga.messaging import spring_headers
from ordersaga.messaging.handler import Record
from ordersaga.messaging.kafka import KafkaUnavailable, Partition, Tap, Topics, gaps_of
from ordersaga.messaging.queries import queries
from ordersaga.said import say
from ordersaga.settings import ServiceName, Settings

sql: Final = queries(__file__)

FETCH_RECORDS: Final = 500
FETCH_WAIT_S: Final = 0.2
SILENT_S: Final = 30.0


class _LetterInKafka(Struct, frozen=True):
    """A record on a dead letter topic. `coordinates`: its own topic/partition/offset. `source`: those of the record that was given up."""

    letter_id: UUID
    coordinates: str
    source: tuple[str | None, int | None, int | None]
    value_digest: str | None
    at: datetime


class LettersInKafka:
    """Compares the dead letter topics with the rows, some records at a time, so that memory stays flat however many there are."""

    def __init__(self, settings: Settings, sources: Sources, moment: Moment, finding: Finding) -> None:
        self._settings: Final = settings
        self._sources: Final = sources
        self._moment: Final = moment
        self._finding: Final = finding
        self._kept_since: Final = moment.now - timedelta(days=settings.dead_letters_kept_days)
        self._services: Final[dict[str, ServiceName]] = {
            topic.dead_letters: topic.consumer for topic in TOPICS if topic.consumer in sources.db
        }
        self._pruned = 0

    async def judge(self, progress: Callable[[str, str, int], None]) -> None:
        """Read the topics from their beginning. A topic that cannot be read makes the finding unknown."""
        try:
            topics = await self._with_records()
            if topics:
                await self._read(topics, progress)
        except KafkaUnavailable as error:
            self._finding.unknown(say("audit.letters.away", "the dead letter topics: {error}", error=str(error)))
        if self._pruned:
            self._finding.notes_that(
                say(
                    "audit.letters.pruned",
                    "{count} {count:record|records} of the dead letter topics {count:is|are} older than dead_letters_kept_days and {count:has|have} no row; "
                    "the rows may have been pruned",
                    count=f"{self._pruned:,}",
                )
            )

    async def _with_records(self) -> Sequence[str]:
        kafka = Topics(self._settings)
        if not await kafka.reachable():
            raise KafkaUnavailable(f"Kafka at {self._settings.kafka_bootstrap_servers} does not answer")
        counts = await kafka.partition_counts(sorted(self._services))
        beginnings = {Partition(name, n): 0 for name, count in counts.items() for n in range(count)}
        gaps = await asyncio.to_thread(gaps_of, self._settings, beginnings)
        for partition, gap in gaps.items():
            if gap.why is not None:
                at = f"{partition.topic}/{partition.partition}"
                self._finding.unknown(f"{at}: " + say("audit.partition.unknown", "{why}", why=gap.why))
        return sorted({partition.topic for partition, gap in gaps.items() if gap.has_records})

    async def _read(self, topics: Sequence[str], progress: Callable[[str, str, int], None]) -> None:
        tap = await Tap.open(self._settings, topics, from_beginning=True)
        loop = asyncio.get_running_loop()
        try:
            heard_at, count = loop.time(), 0
            while not await tap.at_end():
                records = await tap.fetch(FETCH_RECORDS, FETCH_WAIT_S)
                await self._compare(records)
                count += len(records)
                progress("audit.doing.letters", "{count} {count:record|records} of dead letter topics read", count)
                if records:
                    heard_at = loop.time()
                elif loop.time() - heard_at > SILENT_S:
                    raise KafkaUnavailable(f"nothing more of {', '.join(topics)} came within {SILENT_S:.0f} s")
        finally:
            await tap.end()

    async def _compare(self, records: Sequence[Record]) -> None:
        by_service: dict[ServiceName, list[_LetterInKafka]] = {}
        for record in records:
            service = self._services[record.topic]
            letter = _letter_of(record, self._settings.group(service))
            if letter is not None:
                by_service.setdefault(service, []).append(letter)
        for service, letters in by_service.items():
            async with self._sources.guarded(service, self._finding) as db:
                ids = list({each.letter_id for each in letters})
                rows = {row["id"]: row for row in await sql.letters_by_id(db, ids=ids)}
                for each in letters:
                    self._judge(service, each, rows.get(each.letter_id))

    def _judge(self, service: ServiceName, letter: _LetterInKafka, row: Any) -> None:
        topic, partition, offset = letter.source
        what = f"{service}: " + say(
            "audit.letters.record",
            "{record} is dead letter {letter} of {source}",
            record=letter.coordinates,
            letter=letter.letter_id,
            source=f"{topic}/{partition}/{offset}",
        )
        if row is not None:
            if (row["topic"], row["partition"], row["record_offset"]) != letter.source:
                row_says = f"{row['topic']}/{row['partition']}/{row['record_offset']}"
                self._finding.breaks(
                    what + say("audit.letters.other_place", ", and its row says {place}", place=row_says)
                )
            elif row["value_digest"] != letter.value_digest and not row["is_erased"]:
                self._finding.breaks(what + say("audit.letters.other_value", ", and its row has another value"))
        elif self._moment.is_recent(letter.at):
            self._finding.waits(what + say("audit.letters.no_row_yet", ", and has no row yet"))
        elif letter.at < self._kept_since:
            self._pruned += 1
        else:
            self._finding.breaks(what + say("audit.letters.no_row", ", and has no row"))


def _letter_of(record: Record, group: str) -> _LetterInKafka | None:
    """The dead letter in this record. None: another group's dead letter, or no dead letter."""
    headers = spring_headers.read(record.headers or ())
    try:
        letter_id = UUID((record.header(MESSAGE_ID) or b"").decode())
    except ValueError:
        return None
    if headers.group != group:
        return None
    return _LetterInKafka(
        letter_id,
        f"{record.topic}/{record.partition}/{record.offset}",
        (headers.topic, headers.partition, headers.offset),
        None if record.value is None else hashlib.md5(record.value, usedforsecurity=False).hexdigest(),
        datetime.fromtimestamp(record.timestamp_ms / 1000, UTC),
    )
