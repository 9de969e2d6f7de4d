"""Dead letters of partners: imported from a topic, whatever its name and whatever stack wrote them, into tables `dead_letter`.

Whose letter it is, the original topic says, in the headers (`letter_headers.py`): its producer keeps the letter. Importing a topic again
changes nothing: a letter's id is made from its topic, partition and offset. Letters of our own services are skipped, since the service that
gave the record up has the row already. Several letters of one failure are one: the newest supersedes the others.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from msgspec import Struct

from ordersaga.contracts.codec import text_of
from ordersaga.contracts.headers import MESSAGE_ID
from ordersaga.contracts.topics import BY_NAME, DEAD_LETTER_SUFFIX
from ordersaga.messaging import acts, dead_letters, letter_headers
from ordersaga.messaging.acts import NotPossible, Operator
from ordersaga.messaging.database import Connection
from ordersaga.messaging.dead_letters import REASON_CHARS_MAX, order_key
from ordersaga.messaging.handler import Coordinates, Record
from ordersaga.messaging.ids import output_id
from ordersaga.messaging.kafka import Tap, Topics, records_at
from ordersaga.messaging.letter_headers import Failure
from ordersaga.messaging.queries import queries
from ordersaga.messaging.redrive import Redrive
from ordersaga.messaging.texts import storable
from ordersaga.settings import SERVICES, ServiceName, Settings

sql: Final = queries(__file__)

SUFFIXES: Final = (DEAD_LETTER_SUFFIX, ".DLT")
IDS_ARE_OF: Final = "dead-letters import"
FETCH_RECORDS_MAX: Final = 1_000
FETCH_WAIT_S: Final = 0.2
STACKTRACE_CHARS_MAX: Final = 20_000
UNKNOWN: Final = "unknown"

Keeper = Callable[[str], Awaitable[Redrive]]
"""The acts on the letters of a service, by its name."""


class Imported(Struct):
    """What an import of a topic found.

    `new` and `known` letters, by the services that keep them; `copies`: further letters of a failure that has one; `ours`: letters of our own
    services; `unclear`: records without a header that says their topic; `strange`: letters of topics that are not of the contract.
    """

    topic: str
    new: int = 0
    known: int = 0
    copies: int = 0
    ours: int = 0
    unclear: int = 0
    services: dict[str, int] = {}
    strange: dict[str, int] = {}


class _Letter(Struct, frozen=True):
    record: Record
    failure: Failure
    topic: str


async def find_topics(settings: Settings, topic: str) -> dict[str, str]:
    """The topics to import, with Kafka's ids: the topic itself, or, for one of the contract or one that is not there, its dead letter topics."""
    kafka, names = Topics(settings), [topic + suffix for suffix in SUFFIXES]
    found = {} if topic in BY_NAME else await kafka.ids([topic])
    found = found or await kafka.ids(names)
    if not found:
        itself = "" if topic in BY_NAME else f", and none {topic},"
        raise NotPossible(f"there is no topic {' or '.join(names)}{itself} on {settings.kafka_bootstrap_servers}")
    return found


class Import:
    """Imports topics. `service` keeps all letters; None: each is kept by the service that sent its record.

    `original_topic`: where records come from that have no header which says so. `progress` is told how many records of a topic are read.
    """

    def __init__(
        self,
        settings: Settings,
        keeper: Keeper,
        operator: Operator,
        service: str | None,
        original_topic: str | None,
        progress: Callable[[str, int], None],
    ) -> None:
        self._settings: Final = settings
        self._keeper: Final = keeper
        self._operator: Final = operator
        self._service: Final = service
        self._original_topic: Final = original_topic
        self._progress: Final = progress
        self._groups: Final = frozenset(settings.group(service) for service in SERVICES)

    async def run(self, topic: str, topic_id: str) -> Imported:
        """Import a topic up to its present end. Raises Kafka and database errors; letters imported until then stay."""
        imported, count = Imported(topic), 0
        tap = await Tap.open(self._settings, [topic], from_beginning=True)
        try:
            while not await tap.at_end():
                records = await tap.fetch(FETCH_RECORDS_MAX, FETCH_WAIT_S)
                count += len(records)
                self._progress(topic, count)
                for service, letters in self._sorted(records, imported).items():
                    await self._add(service, letters, topic_id, imported)
        finally:
            await tap.end()
        for service in imported.services:
            redrive = await self._keeper(service)
            async with redrive.pool.acquire() as db, db.transaction():
                after = {"new": imported.new, "known": imported.known, "copies": imported.copies, "ours": imported.ours}
                await acts.add(db, self._operator, "import", topic, {}, after, redrive.clock())
        return imported

    def _sorted(self, records: Sequence[Record], imported: Imported) -> dict[str, list[_Letter]]:
        """The letters of these records, by the services that keep them."""
        by_service: dict[str, list[_Letter]] = {}
        for record in records:
            if letter_headers.is_of(record, self._groups):
                imported.ours += 1
                continue
            failure = letter_headers.read(record.headers or ())
            topic = failure.topic or self._original_topic
            if topic is None:
                imported.unclear += 1
                continue
            service = self._service or producer_of(topic)
            if service is None:
                imported.strange[topic] = imported.strange.get(topic, 0) + 1
                continue
            by_service.setdefault(service, []).append(_Letter(record, failure, topic))
        return by_service

    async def _add(self, service: str, letters: Sequence[_Letter], topic_id: str, imported: Imported) -> None:
        redrive = await self._keeper(service)
        originals = await asyncio.to_thread(_originals, self._settings, letters)
        rows = [_row(each, originals.get(each.record.coordinates), topic_id) for each in letters]
        async with redrive.pool.acquire() as db, db.transaction():
            known = {row["id"] for row in await sql.known_dead_letters(db, ids=[row["id"] for row in rows])}
            new = await _without_copies(db, [row for row in rows if row["id"] not in known])
            if new:
                await sql.import_dead_letters(db, new)
                await sql.supersede_copies(db, ids=[row["id"] for row in new], now=redrive.clock())
                await _link(db, new, redrive.clock())
        imported.known += len(known)
        imported.new += len(new)
        imported.copies += len(rows) - len(known) - len(new)
        imported.services[service] = imported.services.get(service, 0) + len(new)


def producer_of(topic: str) -> ServiceName | None:
    """The service that sends a topic's records, and so keeps its imported letters. The letters of our own consumers are not imported."""
    known = BY_NAME.get(topic)
    return known.producer if known is not None and known.producer not in (None, "client") else None  # type: ignore[return-value]


async def _without_copies(db: Connection, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without letters of failures that have a newer letter, or one that is decided. A row `follows` the older letter of its failure."""
    placed = [row for row in rows if row["record_offset"] is not None]
    latest = {
        _failure_of(row): dict(row)
        for row in await sql.letters_of_places(
            db,
            topics=[row["topic"] for row in placed],
            partitions=[row["partition"] for row in placed],
            offsets=[row["record_offset"] for row in placed],
        )
    }
    new = []
    for row in rows:
        failure = _failure_of(row)
        earlier = latest.get(failure) if row["record_offset"] is not None else None
        if earlier is not None:
            if earlier["status"] != "OPEN" or earlier["at"] > row["at"]:
                continue
            row["follows"] = earlier["id"]
            row["attempts"] = earlier["attempts"]  # further tries were those of the queue's own consumer
        latest[failure] = row | {"status": "OPEN"}
        new.append(row)
    return new


def _failure_of(row: Any) -> tuple[Any, ...]:
    """What letters of one failure have in common. A topic that was deleted and made again has other orders at the same offsets.

    A consumer whose stack names no group is told by its queue.
    """
    consumer = row["consumer_group"] or row["imported_from"].rsplit("/", 2)[0]
    what = row["order_key"] or row["value"]
    return (row["topic"], row["partition"], row["record_offset"], consumer, what)


async def _link(db: Connection, rows: Sequence[dict[str, Any]], now: datetime) -> None:
    """Let letters follow the ones that we published again: a consumer that gives such a record up again keeps our `message-id`."""
    ids, message_ids = [], []
    for row in rows:
        its_id = dict(zip(row["header_names"], row["header_values"], strict=True)).get(MESSAGE_ID)
        try:
            message_ids.append(UUID((its_id or b"").decode()))
            ids.append(row["id"])
        except ValueError:
            continue
    if ids:
        await dead_letters.supersede_published(db, ids, message_ids, now)


def _originals(settings: Settings, letters: Sequence[_Letter]) -> dict[Coordinates, Record]:
    """The original records of letters that have lost something of them, by the letters' coordinates. Blocks.

    None where the record is gone, or where another one is at its place: the topic was made again, or is another cluster's.
    """
    places = {}
    for each in letters:
        failure = each.failure
        if (
            failure.partition is not None
            and failure.offset is not None
            and (failure.is_altered or not _has_value(each))
        ):
            places[each.record.coordinates] = Coordinates(each.topic, failure.partition, failure.offset)
    found = records_at(settings, set(places.values())) if places else {}
    return {
        each.record.coordinates: record
        for each in letters
        if (place := places.get(each.record.coordinates))
        and (record := found.get(place))
        and _is_original(each, record)
    }


def _is_original(letter: _Letter, record: Record) -> bool:
    """Whether this is the letter's record, as far as the letter tells: time, key, order."""
    if letter.failure.timestamp_ms not in (None, record.timestamp_ms):
        return False
    if letter_headers.unwrapped_key(letter.record.key, letter.record.headers or ()) not in (None, record.key):
        return False
    if not _has_value(letter):
        return True
    value = letter_headers.unwrapped(letter.record.value, letter.record.headers or ())
    order = order_key(letter.topic, None, value)
    return value == record.value or (order is not None and order == order_key(letter.topic, None, record.value))


def _has_value(letter: _Letter) -> bool:
    """Whether the letter has its record's value. SmallRye writes an object again from what it has read, and `null` for no value."""
    is_smallryes = (letter.failure.stack or "").startswith("SmallRye")
    return letter.record.value is not None and not (is_smallryes and letter.record.value == b"null")


def _row(letter: _Letter, original: Record | None, topic_id: str) -> dict[str, Any]:
    record, failure, topic = letter.record, letter.failure, letter.topic
    first = original or record
    headers = letter_headers.without(first.headers or ())
    value = letter_headers.unwrapped(first.value, first.headers or ()) if original or _has_value(letter) else None
    if failure.stack is None and value is not None:  # a letter by a team's own code
        value = letter_headers.object_in(value) or value
    key = letter_headers.unwrapped_key(first.key, first.headers or ())
    order = order_key(topic, key, value)
    if key is None and failure.lost_key and order is not None and topic in BY_NAME:
        key = text_of(order)  # what every record of the contract has as key
    return {
        "id": output_id(IDS_ARE_OF, topic_id, record.partition, record.offset, 0),
        "topic": topic,
        "partition": failure.partition,
        "record_offset": failure.offset,
        "order_key": order,
        "key": key,
        "value": value,
        "header_names": [storable(name) for name, _ in headers],
        "header_values": [each for _, each in headers],
        "timestamp_ms": original.timestamp_ms if original else failure.timestamp_ms,
        "cause": storable(failure.cause or UNKNOWN, REASON_CHARS_MAX),
        "reason": storable(failure.message or UNKNOWN, REASON_CHARS_MAX),
        "stacktrace": failure.stacktrace and storable(failure.stacktrace, STACKTRACE_CHARS_MAX),
        "attempts": failure.attempts,
        "at": datetime.fromtimestamp(max(0, record.timestamp_ms) / 1000, UTC),
        "imported_from": f"{record.topic}/{record.partition}/{record.offset}",
        "consumer_group": failure.group and storable(failure.group),
        "follows": None,
    }
