"""A loading process that writes records to Kafka as fast as the broker takes them. Its result: the time of day of the first."""

import time
from collections.abc import Callable

from confluent_kafka import Producer
from msgspec import Struct

from benchmarks.process import obey

PRODUCER = {
    "partitioner": "murmur2_random",
    "acks": "all",
    "compression.type": "lz4",
    "queue.buffering.max.messages": 10_000_000,
    "queue.buffering.max.kbytes": 2_000_000,
}
LoadRecord = tuple[str, bytes, bytes]


class RecordPlan(Struct):
    """Topic, key and value of each record, in the order of writing."""

    bootstrap_servers: str
    records: list[LoadRecord]


def prepare(plan: RecordPlan) -> Callable[[], float]:
    """A connected producer. Raises SystemExit if the broker does not take all within two minutes."""
    producer = Producer({"bootstrap.servers": plan.bootstrap_servers, "linger.ms": 5, **PRODUCER})
    for topic in {topic for topic, _, _ in plan.records}:
        producer.list_topics(topic, 10)

    def go() -> float:
        began = time.time()
        for topic, key, value in plan.records:
            producer.produce(topic, value, key)
        if producer.flush(120):
            raise SystemExit("not all records were acknowledged")
        return began

    return go


if __name__ == "__main__":
    obey(RecordPlan, prepare)
