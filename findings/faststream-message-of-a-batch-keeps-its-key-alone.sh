#!/usr/bin/env bash
# Software: FastStream 0.7.8 with aiokafka 0.14.0 and with confluent-kafka 2.16.1. The broker is the mock cluster inside
# librdkafka, so that no Java is needed.
#
# Behaviour: the documentation of `publish_batch` has `KafkaPublishMessage` give a message of a batch its own key, headers,
# correlation id and timestamp. The record gets the key; the other three are dropped without a word, with either Kafka
# client, and the record has a correlation id that FastStream has made. Where no message of the batch has a key, the call
# fails, since the wrapper itself is what is serialized.
#
# Expected: each record has what its message was given, as with `publish`, or the argument is refused.
#
# Seen (with either client):
#   publish:                      x=1, correlation_id=mine, timestamp 1000
#   publish_batch, with a key:    no x, correlation_id another, timestamp another
#   publish_batch, without a key: PydanticSerializationError
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  faststream==0.7.8 aiokafka==0.14.0 confluent-kafka==2.16.1 || exit 2

"$folder/venv/bin/python" - <<'PY'
import asyncio
import sys
import time

import faststream.confluent
import faststream.kafka
from confluent_kafka import Consumer, Producer, TopicPartition

GIVEN = {"headers": {"x": "1"}, "correlation_id": "mine", "timestamp_ms": 1000}

# The client with the mock cluster in it. Others find that by its address.
keeper = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1, "log_level": 2})
(broker,) = keeper.list_topics(timeout=30).brokers.values()
address = f"{broker.host}:{broker.port}"


async def published(client, way, topic):
    """None, or the error of the call."""
    async with client.KafkaBroker(address, logger=None, allow_auto_create_topics=False) as framework:
        if way == "publish":
            await framework.publish(7, topic=topic, key=b"a", **GIVEN)
            return None
        key = b"a" if way == "publish_batch, with a key" else None
        try:
            await framework.publish_batch(client.KafkaPublishMessage(7, key=key, **GIVEN), topic=topic)
        except Exception as error:
            return type(error).__name__
        return None


def record(topic):
    """What the only record of a topic has of what it was given."""
    reader = Consumer({"bootstrap.servers": address, "group.id": "none", "log_level": 2})
    reader.assign([TopicPartition(topic, partition, 0) for partition in range(4)])
    found, until = None, time.monotonic() + 60
    while found is None and time.monotonic() < until:
        found = reader.poll(1)
    reader.close()
    if found is None:
        sys.exit("no record in time")
    headers = {name: value.decode() for name, value in found.headers()}
    one = "x=1" if headers.get("x") == "1" else "no x"
    correlation = "correlation_id=mine" if headers["correlation_id"] == "mine" else "correlation_id another"
    return f"{one}, {correlation}, timestamp {'1000' if found.timestamp()[1] == 1000 else 'another'}"


STATED = {
    "publish": "x=1, correlation_id=mine, timestamp 1000",
    "publish_batch, with a key": "no x, correlation_id another, timestamp another",
    "publish_batch, without a key": "PydanticSerializationError",
}
wrong = False
for client in (faststream.kafka, faststream.confluent):
    print(client.__name__)
    for number, (way, stated) in enumerate(STATED.items()):
        topic = f"{client.__name__}.{number}"
        keeper.list_topics(topic, timeout=30)  # makes it
        seen = asyncio.run(published(client, way, topic)) or record(topic)
        print(f"  {way + ':':29} {seen}")
        wrong |= seen != stated
sys.exit(wrong)
PY
