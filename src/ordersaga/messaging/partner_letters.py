"""Dead letters of partners: read from `<topic>-dlt` or `<topic>.DLT` (before spring-kafka 3.3) into a service's `dead_letter` table.

Reading a topic again changes nothing: a letter's id comes from its place. Our own letters share `<topic>-dlt` and are left out, for the
service that gave them up has them already.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from msgspec import Struct

from ordersaga.contracts.topics import BY_NAME, DEAD_LETTER_SUFFIX
from ordersaga.messaging import acts, dead_letters, spring_headers
from ordersaga.messaging.acts import NotPossible, Operator
from ordersaga.messaging.database import Connection
from ordersaga.messaging.dead_letters import REASON_CHARS_MAX, order_key
from ordersaga.messaging.handler import MESSAGE_ID, Record
from ordersaga.messaging.kafka import Tap, Topics
from ordersaga.messaging.message_ids import output_id
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


class Imported(Struct):
    """What reading a dead letter topic brought: new letters, letters that were here, and letters of our own, which were left out."""

    topic: str
    new: int = 0
    known: int = 0
    ours: int = 0


def original_of(topic: str) -> str:
    """The topic that a dead letter topic belongs to, or the topic itself."""
    return next((topic.removesuffix(suffix) for suffix in SUFFIXES if topic.endswith(suffix)), topic)


def keeper_of(topic: str) -> ServiceName:
    """Whose database keeps a topic's imported letters: its producer's, for where the consumer is ours there is nothing to import."""
    known = BY_NAME.get(original_of(topic))
    if known is None or known.producer == "client":
        raise NotPossible(
            f"{topic} is no topic of the contract, so `--service` must say whose database keeps its letters"
        )
    return known.producer


async def find_topics(settings: Settings, topic: str) -> dict[str, str]:
    """The dead letter topics of a topic that there are, with Kafka's ids; a dead letter topic may be named itself."""
    names = [topic] if topic.endswith(SUFFIXES) else [topic + suffix for suffix in SUFFIXES]
    found = await Topics(settings).ids(names)
    if not found:
        raise NotPossible(f"there is no topic {' or '.join(names)} on {settings.kafka_bootstrap_servers}")
    return found


async def bring_in(redrive: Redrive, topic: str, topic_id: str, operator: Operator) -> Imported:
    """Read a dead letter topic to the end it has now. Raises Kafka and database errors; what was kept until then stays."""
    imported = Imported(topic)
    tap = await Tap.open(redrive.settings, [topic], from_beginning=True)
    try:
        while not await tap.at_end():
            records = await tap.fetch(FETCH_RECORDS_MAX, FETCH_WAIT_S)
            async with redrive.pool.acquire() as db, db.transaction():
                await _keep(db, redrive, records, topic_id, imported)
    finally:
        await tap.end()
    async with redrive.pool.acquire() as db, db.transaction():
        after = {"new": imported.new, "known": imported.known, "ours": imported.ours}
        await acts.note(db, operator, "import", topic, {}, after, redrive.clock())
    return imported


async def _keep(db: Connection, redrive: Redrive, records: Sequence[Record], topic_id: str, imported: Imported) -> None:
    groups = {redrive.settings.group(service) for service in SERVICES}
    rows = {}
    for record in records:
        failure = spring_headers.read(record.headers or ())
        if failure.group in groups:
            imported.ours += 1
        else:
            row = _row(record, failure, topic_id)
            rows[row["id"]] = row
    known = {row["id"] for row in await sql.known_dead_letters(db, ids=list(rows))}
    new = [row for row in rows.values() if row["id"] not in known]
    imported.known += len(rows) - len(new)
    imported.new += len(new)
    if new:
        await sql.import_dead_letters(db, new)
        await _link(db, new, redrive.clock())


async def _link(db: Connection, rows: Sequence[dict[str, Any]], now: datetime) -> None:
    """A letter that we had published again, and that its consumer gave up again, comes back with the `message-id` it had then."""
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


def _row(record: Record, failure: spring_headers.Failure, topic_id: str) -> dict[str, Any]:
    headers = spring_headers.without(record.headers or ())
    topic = failure.topic or original_of(record.topic)
    return {
        "id": output_id(IDS_ARE_OF, topic_id, record.partition, record.offset, 0),
        "topic": topic,
        "partition": failure.partition,
        "record_offset": failure.offset,
        "order_key": order_key(topic, record.key, record.value),
        "key": record.key,
        "value": record.value,
        "header_names": [name for name, _ in headers],
        "header_values": [value for _, value in headers],
        "timestamp_ms": failure.timestamp_ms,
        "cause": storable(failure.cause or UNKNOWN, REASON_CHARS_MAX),
        "reason": storable(failure.message or UNKNOWN, REASON_CHARS_MAX),
        "stacktrace": failure.stacktrace and storable(failure.stacktrace, STACKTRACE_CHARS_MAX),
        "attempts": failure.attempts,
        "at": datetime.fromtimestamp(max(0, record.timestamp_ms) / 1000, UTC),
        "imported_from": f"{record.topic}/{record.partition}/{record.offset}",
        "consumer_group": failure.group,
    }
