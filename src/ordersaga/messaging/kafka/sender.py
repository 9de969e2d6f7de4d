"""Sends any record, as any partner's producer might: without a key, to a chosen partition, inside a transaction that commits or aborts."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar
from uuid import uuid4

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ordersaga.messaging.handler import Coordinates
from ordersaga.messaging.kafka.client import (
    CALL_TIMEOUT_S,
    KafkaForbids,
    KafkaUnavailable,
    client_config,
    forbidden,
)
from ordersaga.messaging.kafka.publisher import MESSAGE_BYTES_MAX, PARTITIONER, Publication
from ordersaga.settings import Settings

T = TypeVar("T")

THREADS: Final = 4
ROOM_S: Final = 0.1
TRANSACTIONS: Final = "ordersaga-sender-"


class Sender:
    """Sends records for tools and tests, and says where in Kafka they are. The client's calls block, so they run in threads.

    Every call raises `KafkaUnavailable` if a record has no acknowledgement within `CALL_TIMEOUT_S`, or is refused; `KafkaForbids` if an ACL
    does not allow it.
    """

    def __init__(self, settings: Settings) -> None:
        self._config: Final = client_config(
            settings,
            {
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": PARTITIONER,
                "linger.ms": 0,
                "message.timeout.ms": int(CALL_TIMEOUT_S * 1000),
                "message.max.bytes": MESSAGE_BYTES_MAX,
            },
        )
        self._producer: Final = Producer(self._config)
        self._threads: Final = ThreadPoolExecutor(THREADS, thread_name_prefix="sender")

    async def send(self, records: Sequence[Publication]) -> list[Coordinates]:
        """Send the records in this order and return where they are, in the same order."""
        return await self._in_thread(lambda: _send(self._producer, records))

    async def send_in_transaction(self, records: Sequence[Publication], commit: bool) -> list[Coordinates]:
        """Send the records in a transaction of their own. Without `commit` it is aborted once they are in the log."""

        def send() -> list[Coordinates]:
            producer = self._in_transaction()
            places = _send(producer, records)
            (producer.commit_transaction if commit else producer.abort_transaction)(CALL_TIMEOUT_S)
            return places

        return await self._in_thread(send)

    async def abort_overlapping(self, records: Sequence[Publication]) -> list[Coordinates]:
        """Send each record in a transaction of its own. All are open at once, and the one that began last is aborted first."""

        def send() -> list[Coordinates]:
            producers = [self._in_transaction() for _ in records]
            places = [_send(producer, [record])[0] for producer, record in zip(producers, records, strict=True)]
            for producer in reversed(producers):
                producer.abort_transaction(CALL_TIMEOUT_S)
            return places

        return await self._in_thread(send)

    def _in_transaction(self) -> Producer:
        producer = Producer(self._config | {"transactional.id": f"{TRANSACTIONS}{uuid4()}"})
        producer.init_transactions(CALL_TIMEOUT_S)
        producer.begin_transaction()
        return producer

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except KafkaException as error:
            raise _refusal(error.args[0], "") from error

    def close(self) -> None:
        """Stop the threads. Every call has ended by then."""
        self._threads.shutdown(wait=False)


def _send(producer: Producer, records: Sequence[Publication]) -> list[Coordinates]:
    places: dict[int, Coordinates] = {}
    errors: list[KafkaUnavailable] = []

    def delivered(number: int) -> Callable[[Any, Message], None]:
        def note(error: Any, message: Message) -> None:
            if error is not None:
                errors.append(_refusal(error, message.topic() or ""))
            else:
                places[number] = Coordinates(message.topic() or "", message.partition() or 0, message.offset() or 0)

        return note

    for number, record in enumerate(records):
        chosen: dict[str, Any] = {} if record.partition is None else {"partition": record.partition}
        produce = partial(
            producer.produce,
            record.topic,
            record.value,
            record.key,
            headers=record.headers or None,  # type: ignore[arg-type]  # the stub knows no header without a value
            on_delivery=delivered(number),
            **chosen,
        )
        _when_there_is_room(producer, produce)
    producer.flush(CALL_TIMEOUT_S)
    if errors or len(places) < len(records):
        raise errors[0] if errors else KafkaUnavailable("no acknowledgement in time")
    return [places[number] for number in range(len(records))]


def _when_there_is_room(producer: Producer, produce: Callable[[], None]) -> None:
    """Hand a record to the client, whose queue takes 100,000 records or a gigabyte: wait for acknowledgements while it is full."""
    end = time.monotonic() + CALL_TIMEOUT_S
    while True:
        try:
            return produce()
        except BufferError as error:
            if not producer.poll(ROOM_S) and time.monotonic() > end:
                raise KafkaUnavailable("no acknowledgement in time") from error


def _refusal(error: KafkaError, topic: str) -> KafkaUnavailable:
    missing = {
        KafkaError.TOPIC_AUTHORIZATION_FAILED: ("Write", f"topic {topic}"),
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: (
            "Write and Describe",
            f"transactional ids that begin with {TRANSACTIONS}",
        ),
        KafkaError.CLUSTER_AUTHORIZATION_FAILED: ("IdempotentWrite", "the cluster"),
    }.get(error.code())
    return KafkaForbids(forbidden(*missing)) if missing else KafkaUnavailable(error.str())
