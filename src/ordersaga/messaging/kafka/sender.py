"""Sends any record, as any partner's producer might: without a key, to a chosen partition, inside a transaction that commits or aborts."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar
from uuid import uuid4

from confluent_kafka import KafkaException, Message, Producer

from ordersaga.messaging.handler import Coordinates
from ordersaga.messaging.kafka.client import CALL_TIMEOUT_S, KafkaUnavailable, client_config
from ordersaga.messaging.kafka.publisher import MESSAGE_BYTES_MAX, PARTITIONER, Publication
from ordersaga.settings import Settings

T = TypeVar("T")

THREADS: Final = 4


class Sender:
    """Sends records for tools and tests, and says where in Kafka they are. The client's calls block, so they run in threads.

    Every call raises `KafkaUnavailable` if a record has no acknowledgement within `CALL_TIMEOUT_S`, or is refused.
    """

    def __init__(self, settings: Settings) -> None:
        self._config: Final = client_config(settings) | {
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": PARTITIONER,
            "linger.ms": 0,
            "message.timeout.ms": int(CALL_TIMEOUT_S * 1000),
            "message.max.bytes": MESSAGE_BYTES_MAX,
        }
        self._producer: Final = Producer(self._config)
        self._threads: Final = ThreadPoolExecutor(THREADS, thread_name_prefix="sender")

    async def send(self, records: Sequence[Publication]) -> list[Coordinates]:
        """Send the records in this order and return where they are, in the same order."""
        return await self._in_thread(lambda: _send(self._producer, records))

    async def send_in_transaction(self, records: Sequence[Publication], commit: bool) -> list[Coordinates]:
        """Send the records in a transaction of their own. Without `commit` it is aborted once they are in the log."""

        def send() -> list[Coordinates]:
            producer = Producer(self._config | {"transactional.id": f"ordersaga-sender-{uuid4()}"})
            producer.init_transactions(CALL_TIMEOUT_S)
            producer.begin_transaction()
            places = _send(producer, records)
            (producer.commit_transaction if commit else producer.abort_transaction)(CALL_TIMEOUT_S)
            return places

        return await self._in_thread(send)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except KafkaException as error:
            raise KafkaUnavailable(error.args[0].str()) from error

    def close(self) -> None:
        """Stop the threads. Every call has ended by then."""
        self._threads.shutdown(wait=False)


def _send(producer: Producer, records: Sequence[Publication]) -> list[Coordinates]:
    places: dict[int, Coordinates] = {}
    errors: list[str] = []

    def delivered(number: int) -> Callable[[Any, Message], None]:
        def note(error: Any, message: Message) -> None:
            if error is not None:
                errors.append(error.str())
            else:
                places[number] = Coordinates(message.topic() or "", message.partition() or 0, message.offset() or 0)

        return note

    for number, record in enumerate(records):
        chosen: dict[str, Any] = {} if record.partition is None else {"partition": record.partition}
        producer.produce(
            record.topic,
            record.value,
            record.key,
            headers=record.headers or None,  # type: ignore[arg-type]  # the stub knows no header without a value
            on_delivery=delivered(number),
            **chosen,
        )
    producer.flush(CALL_TIMEOUT_S)
    if errors or len(places) < len(records):
        raise KafkaUnavailable(errors[0] if errors else "no acknowledgement in time")
    return [places[number] for number in range(len(records))]
