"""Dead letters of partners: imported from `<topic>-dlt` or `<topic>.DLT` (before spring-kafka 3.3) into a service's table `dead_letter`.

Importing a topic again changes nothing: a letter's id is made from its topic, partition and offset. Letters of our own services share
`<topic>-dlt` and are skipped, since the service that gave the record up has the row already.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from msgspec import Struct

from ordersaga.contracts.headers import MESSAGE_ID
from ordersaga.contracts.topics import BY_NAME, DEAD_LETTER_SUFFIX
from ordersaga.messaging import acts, dead_letters, spring_headers
from ordersaga.messaging.acts import NotPossible, Operator
from ordersaga.messaging.database import Connection
from ordersaga.messaging.dead_letters import REASON_CHARS_MAX, order_key
from ordersaga.messaging.handler import Record
from ordersaga.messaging.ids import output_id
from ordersaga.messaging.kafka import Tap, Topics
from ordersaga.messaging.queries import queries
from ordersaga.messaging.redrive import Redrive
from ordersaga.messaging.spring_headers import DeadLetterHeaders
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
    """The result of an import: how many letters are new, how many the table had already, and how many are our own and were skipped."""

    topic: str
    new: int = 0
    known: int = 0
    ours: int = 0


def original_of(topic: str) -> str:
    """The topic that a dead letter topic belongs to, or the topic itself."""
    return next((topic.removesuffix(suffix) for suffix in SUFFIXES if topic.endswith(suffix)), topic)


def keeper_of(topic: str) -> ServiceName:
    """The service whose database gets a topic's imported letters: its producer. (Where the consumer is ours, its letters are not imported.)"""
    known = BY_NAME.get(original_of(topic))
    if known is None or known.producer is None or known.producer == "client":
        raise NotPossible(
            f"{topic} is not a topic of the contract: name the service that keeps its letters with `--service`"
        )
    return known.producer


async def find_topics(settings: Settings, topic: str) -> dict[str, str]:
    """The dead letter topics of a topic that exist, with Kafka's ids. `topic` may itself be a dead letter topic."""
    names = [topic] if topic.endswith(SUFFIXES) else [topic + suffix for suffix in SUFFIXES]
    found = await Topics(settings).ids(names)
    if not found:
        raise NotPossible(f"there is no topic {' or '.join(names)} on {settings.kafka_bootstrap_servers}")
    return found


async def import_letters(redrive: Redrive, topic: str, topic_id: str, operator: Operator) -> Imported:
    """Import a dead letter topic up to its present end. Raises Kafka and database errors; letters imported until then stay."""
    imported = Imported(topic)
    tap = await Tap.open(redrive.settings, [topic], from_beginning=True)
    try:
        while not await tap.at_end():
            records = await tap.fetch(FETCH_RECORDS_MAX, FETCH_WAIT_S)
            async with redrive.pool.acquire() as db, db.transaction():
                await _add(db, redrive, records, topic_id, imported)
    finally:
        await tap.end()
    async with redrive.pool.acquire() as db, db.transaction():
        after = {"new": imported.new, "known": imported.known, "ours": imported.ours}
        await acts.add(db, operator, "import", topic, {}, after, redrive.clock())
    return imported


async def _add(db: Connection, redrive: Redrive, records: Sequence[Record], topic_id: str, imported: Imported) -> None:
    groups = {redrive.settings.group(service) for service in SERVICES}
    rows = {}
    for record in records:
        spring = spring_headers.read(record.headers or ())
        if spring.group in groups:
            imported.ours += 1
        else:
            row = _row(record, spring, topic_id)
            rows[row["id"]] = row
    known = {row["id"] for row in await sql.known_dead_letters(db, ids=list(rows))}
    new = [row for row in rows.values() if row["id"] not in known]
    imported.known += len(rows) - len(new)
    imported.new += len(new)
    if new:
        await sql.import_dead_letters(db, new)
        await _link(db, new, redrive.clock())


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


def _row(record: Record, spring: DeadLetterHeaders, topic_id: str) -> dict[str, Any]:
    headers = spring_headers.without(record.headers or ())
    topic = spring.topic or original_of(record.topic)
    return {
        "id": output_id(IDS_ARE_OF, topic_id, record.partition, record.offset, 0),
        "topic": topic,
        "partition": spring.partition,
        "record_offset": spring.offset,
        "order_key": order_key(topic, record.key, record.value),
        "key": record.key,
        "value": record.value,
        "header_names": [name for name, _ in headers],
        "header_values": [value for _, value in headers],
        "timestamp_ms": spring.timestamp_ms,
        "cause": storable(spring.cause or UNKNOWN, REASON_CHARS_MAX),
        "reason": storable(spring.message or UNKNOWN, REASON_CHARS_MAX),
        "stacktrace": spring.stacktrace and storable(spring.stacktrace, STACKTRACE_CHARS_MAX),
        "attempts": spring.attempts,
        "at": datetime.fromtimestamp(max(0, record.timestamp_ms) / 1000, UTC),
        "imported_from": f"{record.topic}/{record.partition}/{record.offset}",
        "consumer_group": spring.group,
    }
