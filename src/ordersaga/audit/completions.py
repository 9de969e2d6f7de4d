"""Reads the completion records from Kafka and sorts them by order id in a temporary file, so that memory stays flat.

Kafka removes records after the topic's retention. `Log` knows where each partition begins and how far it can be read, so that a record
that Kafka removed is not taken for a record that was never written.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from ordersaga.contracts.codec import Undecodable, decode
from ordersaga.contracts.headers import MESSAGE_ID
from ordersaga.contracts.messages import OrderCompletedMessage
from ordersaga.contracts.topics import BY_MESSAGE
from ordersaga.messaging.handler import Record
from ordersaga.messaging.kafka import Gap, KafkaUnavailable, Partition, Tap, Topics, gaps_of
from ordersaga.said import say
from ordersaga.settings import Settings

COMPLETED_TOPIC: Final = BY_MESSAGE[OrderCompletedMessage].name
FETCH_RECORDS: Final = 10_000
FETCH_WAIT_S: Final = 0.2
SILENT_S: Final = 30.0
BEFORE: Final = timedelta(seconds=2)
"""Records of two Order processes may stand in a partition in another order than their time stamps."""
EVER: Final = datetime.min.replace(tzinfo=UTC)
EVER_MS: Final = 100 * 365 * 86_400_000
MAPPED_SAMPLE: Final = 1_000
_SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995
_UINT32: Final = 0xFFFFFFFF


class Log:
    """The bounds of the topic's partitions, and the completion records that were read from them."""

    def __init__(self, gaps: Sequence[Gap], kept_since: datetime) -> None:
        """`kept_since`: Kafka's retention removes only records older than this."""
        self.gaps: Final = gaps
        begun = [_moment(gap.first_ms) for gap in gaps if gap.first_ms is not None]
        # An empty partition does not tell when its last record was removed. Assume the time when the other partitions lost theirs.
        self._emptied_before: Final = max([kept_since, *begun]) if begun else datetime.max.replace(tzinfo=UTC)
        self.unreadable = 0
        self.problems: Final = [
            say(
                "audit.recorded.unreadable_partition",
                "{partition} cannot be read: {why}",
                partition=f"{COMPLETED_TOPIC}/{number}",
                why=gap.why,
            )
            for number, gap in enumerate(gaps)
            if gap.why
        ]
        self._db: Final = sqlite3.connect("")  # a file that SQLite makes when its cache is full, and removes
        self._db.execute(
            "CREATE TABLE record (order_id BLOB, message_id BLOB, customer_id BLOB, status TEXT, total_amount INT, at_ms INT)"
        )
        self._sampled = 0
        self._is_mapped = True
        """Whether each key is in the partition that Java's partitioner gives it. After partitions were added, older keys are not."""

    def add(self, records: Sequence[Record]) -> None:
        """Store records. A record that cannot be decoded is only counted in `unreadable`."""
        rows = []
        for record in records:
            try:
                message = decode(record.topic, record.value)
            except Undecodable:
                self.unreadable += 1
                continue
            if not isinstance(message, OrderCompletedMessage):
                continue
            self._compare(record)
            message_id = _message_id(record) or f"{record.partition}/{record.offset}".encode()
            amount, customer = message.total_amount, message.customer_id.bytes
            rows.append((message.order_id.bytes, message_id, customer, message.status, amount, record.timestamp_ms))
        self._db.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?, ?)", rows)

    def _compare(self, record: Record) -> None:
        if record.key is not None and self._sampled < MAPPED_SAMPLE:
            self._sampled += 1
            self._is_mapped &= partition_of(record.key, len(self.gaps)) == record.partition

    async def by_order(self) -> AsyncIterator[dict[str, Any]]:
        """Every record by order id. Repeats with the same `message-id` are one record."""
        for row in self._rows():
            yield row

    def _rows(self) -> Iterator[dict[str, Any]]:
        found = self._db.execute(
            "SELECT order_id, max(customer_id), max(status), max(total_amount), min(at_ms), "
            "count(DISTINCT customer_id || status || total_amount) FROM record GROUP BY order_id, message_id"
        )
        for order_id, customer_id, status, total_amount, at_ms, versions in found:
            at = datetime.fromtimestamp(at_ms / 1000, UTC)
            yield {
                "order_id": UUID(bytes=order_id),
                "customer_id": UUID(bytes=customer_id),
                "status": status,
                "total_amount": total_amount,
                "at": at,
                "versions": versions,
            }

    def was_removed(self, order_id: UUID, completed_at: datetime) -> bool:
        """Whether Kafka may have removed the record of an order that was completed at that time."""
        for gap in self._candidates(order_id):
            begins = self._emptied_before if gap.first_ms is None else _moment(gap.first_ms) + BEFORE
            if gap.low > 0 and completed_at < begins:
                return True
        return False

    def is_hidden(self, order_id: UUID, completed_at: datetime) -> str | None:
        """Why the record of an order completed at that time cannot be read now, though Kafka may have it. None: it could be read."""
        for gap in self._candidates(order_id):
            if gap.why:
                return say(
                    "audit.recorded.hidden",
                    "a partition of {topic} cannot be read: {why}",
                    topic=COMPLETED_TOPIC,
                    why=gap.why,
                )
            begun = EVER if gap.open_ms is None else _moment(gap.open_ms)
            if gap.is_open and completed_at + BEFORE > begun:
                if begun == EVER:
                    return say(
                        "audit.recorded.open",
                        "a transaction that is open keeps the end of a partition of {topic} from being read",
                        topic=COMPLETED_TOPIC,
                    )
                return say(
                    "audit.recorded.open_since",
                    "a transaction that is open since {at} keeps the end of a partition of {topic} from being read",
                    at=begun,
                    topic=COMPLETED_TOPIC,
                )
        return None

    def _candidates(self, order_id: UUID) -> Sequence[Gap]:
        if not self._is_mapped:
            return self.gaps
        return [self.gaps[partition_of(str(order_id).encode(), len(self.gaps))]]

    def close(self) -> None:
        """Close SQLite, which removes its file."""
        self._db.close()


async def read(settings: Settings, progress: Callable[[str, str, int], None]) -> Log:
    """Read the topic to its present end. Raises `KafkaUnavailable`, also for a missing topic, and SQLite's errors."""
    topics = Topics(settings)
    if not await topics.reachable():
        raise KafkaUnavailable(f"Kafka at {settings.kafka_bootstrap_servers} does not answer")
    state = (await topics.states([COMPLETED_TOPIC], configs=True)).get(COMPLETED_TOPIC)
    if state is None:
        raise KafkaUnavailable(f"there is no topic {COMPLETED_TOPIC}")
    count = state.partitions
    found = await asyncio.to_thread(gaps_of, settings, {Partition(COMPLETED_TOPIC, n): 0 for n in range(count)})
    log = Log([found[Partition(COMPLETED_TOPIC, n)] for n in range(count)], _kept_since(state.config))
    tap = await asyncio.to_thread(Tap, settings, [COMPLETED_TOPIC], True)
    loop = asyncio.get_running_loop()
    try:
        heard_at, read = loop.time(), 0
        while not await tap.at_end():
            records = await tap.fetch(FETCH_RECORDS, FETCH_WAIT_S)
            log.add(records)
            read += len(records)
            progress("audit.doing.completions", "{count} completion {count:record|records} read", read)
            if records:
                heard_at = loop.time()
            elif loop.time() - heard_at > SILENT_S:
                raise KafkaUnavailable(f"nothing more of {COMPLETED_TOPIC} came within {SILENT_S:.0f} s")
    except BaseException:
        log.close()
        raise
    finally:
        await asyncio.to_thread(tap.close)
    return log


def _kept_since(config: dict[str, str] | None) -> datetime:
    if config is None:
        return datetime.now(UTC)  # without a known retention, any record may have been removed
    kept_ms = int(config["retention.ms"])
    return EVER if not 0 <= kept_ms < EVER_MS else datetime.now(UTC) - timedelta(milliseconds=kept_ms)


def _message_id(record: Record) -> bytes | None:
    try:
        return record.header(MESSAGE_ID)
    except UnicodeError:
        return None


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def partition_of(key: bytes, partitions: int) -> int:
    """The partition that Java's default partitioner gives a key: murmur2 without its sign, modulo the number of partitions."""
    length = len(key)
    h = (_SEED ^ length) & _UINT32
    whole = length & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(key[at : at + 4], "little") * _M & _UINT32
        k = (k ^ (k >> 24)) * _M & _UINT32
        h = (h * _M & _UINT32) ^ k
    if length & 3:
        h = (h ^ int.from_bytes(key[whole:], "little")) * _M & _UINT32
    h = (h ^ (h >> 13)) * _M & _UINT32
    h ^= h >> 15
    return (h & 0x7FFFFFFF) % partitions
