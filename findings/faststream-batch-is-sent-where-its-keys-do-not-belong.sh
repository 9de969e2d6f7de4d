#!/usr/bin/env bash
# Software: FastStream 0.7.8 with aiokafka 0.14.0; beside it FastStream 0.7.8 with confluent-kafka 2.16.1. The broker is
# the mock cluster inside librdkafka, so that no Java is needed.
#
# Behaviour: `publish_batch` of `faststream.kafka` takes a key for each message (`KafkaPublishMessage`) and writes it into
# the record, but sends the whole batch to one partition, which is chosen at random for each batch. So records of one key
# lie in several partitions. With `publish`, and with both calls of `faststream.confluent`, the key chooses the partition.
# Of `partition`, the docstrings of both calls say that without it the configured partitioner selects the partition.
#
# Expected: records of one key are in one partition, where they are read in the order in which they were written; or a
# batch with keys and without a partition is refused.
#
# Seen (forty batches, each with a message for each of four keys; the topic has four partitions):
#   faststream.kafka publish_batch:     partitions with records of a key: 4, 4, 4, 4
#   faststream.kafka publish:           partitions with records of a key: 1, 1, 1, 1
#   faststream.confluent publish_batch: partitions with records of a key: 1, 1, 1, 1
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
from collections import defaultdict

import faststream.confluent
import faststream.kafka
from confluent_kafka import Consumer, Producer, TopicPartition

KEYS = "abcd"
BATCHES = 40
PARTITIONS = 4  # of a topic that the mock cluster makes

# The client with the mock cluster in it. Others find that by its address.
keeper = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1, "log_level": 2})
(broker,) = keeper.list_topics(timeout=30).brokers.values()
address = f"{broker.host}:{broker.port}"


async def batches(client, topic):
    async with client.KafkaBroker(address, logger=None, allow_auto_create_topics=False) as framework:
        for number in range(BATCHES):
            messages = [client.KafkaPublishMessage(number, key=key.encode()) for key in KEYS]
            await framework.publish_batch(*messages, topic=topic)


async def singles(client, topic):
    async with client.KafkaBroker(address, logger=None, allow_auto_create_topics=False) as framework:
        for number in range(BATCHES):
            for key in KEYS:
                await framework.publish(number, topic=topic, key=key.encode())


def places(topic):
    """The number of partitions that have records of a key."""
    reader = Consumer({"bootstrap.servers": address, "group.id": "none", "log_level": 2})
    reader.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    seen, count, until = defaultdict(set), 0, time.monotonic() + 60
    while count < BATCHES * len(KEYS) and time.monotonic() < until:
        record = reader.poll(1)
        if record is not None and not record.error():
            seen[record.key().decode()].add(record.partition())
            count += 1
    reader.close()
    if count < BATCHES * len(KEYS):
        sys.exit(f"read {count} records")
    return [len(seen[key]) for key in KEYS]


def story(said, publish, client):
    topic = said.replace(" ", ".")
    keeper.list_topics(topic, timeout=30)  # makes it
    asyncio.run(publish(client, topic))
    found = places(topic)
    print(f"{said + ':':35} partitions with records of a key: {', '.join(map(str, found))}")
    return found


apart = story("faststream.kafka publish_batch", batches, faststream.kafka)
single = story("faststream.kafka publish", singles, faststream.kafka)
other = story("faststream.confluent publish_batch", batches, faststream.confluent)
sys.exit(min(apart) == 1 or single != [1] * 4 or other != [1] * 4)
PY
