#!/usr/bin/env bash
# Software: FastStream 0.7.8 with aiokafka 0.14.0; beside it FastStream 0.7.8 with confluent-kafka 2.16.1. The broker is
# the mock cluster inside librdkafka, so that no Java is needed.
#
# Behaviour: FastStream's `faststream.kafka` decodes each header's value, and fails with AttributeError on one that is
# null. That is before the handler and the decoder are called, so neither is; the error is in the log, the
# record counts as processed, and its offset is committed by default. `faststream.confluent`, the other Kafka client of
# the same framework, leaves the header out and calls the handler.
#
# Expected: a header's value may be null in Kafka's protocol: the Java client writes and reads such headers, and so do
# librdkafka and aiokafka. A handler that does not ask for headers gets its record with both clients.
#
# Seen:
#   faststream.kafka:     handled [1, 3], committed 3
#   faststream.confluent: handled [1, 2, 3], committed 3
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  faststream==0.7.8 aiokafka==0.14.0 confluent-kafka==2.16.1 || exit 2

"$folder/venv/bin/python" - <<'PY'
import asyncio
import sys

import faststream.confluent
import faststream.kafka
from confluent_kafka import Consumer, Producer, TopicPartition

# The client with the mock cluster in it. Others find that by its address.
keeper = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1, "log_level": 2})
(broker,) = keeper.list_topics(timeout=30).brokers.values()
address = f"{broker.host}:{broker.port}"
for number, headers in ((1, []), (2, [("origin", None)]), (3, [])):
    keeper.produce("numbers", str(number), partition=0, headers=headers)
if keeper.flush(60):
    sys.exit("the mock cluster did not take the records")


def committed(group):
    asker = Consumer({"bootstrap.servers": address, "group.id": group, "log_level": 2})
    (place,) = asker.committed([TopicPartition("numbers", 0)], timeout=60)
    asker.close()
    return place.offset


async def handled(client, group):
    framework = client.KafkaBroker(address, logger=None, allow_auto_create_topics=False)
    seen, last = [], asyncio.Event()

    @framework.subscriber("numbers", group_id=group, auto_offset_reset="earliest")
    async def handle(number: int):
        seen.append(number)
        if number == 3:
            last.set()

    async with framework:
        await framework.start()
        await asyncio.wait_for(last.wait(), 60)
    return seen


outcome = {}
for client in (faststream.kafka, faststream.confluent):
    name = client.__name__
    outcome[name] = asyncio.run(handled(client, name)), committed(name)
    print(f"{name + ':':21} handled {outcome[name][0]}, committed {outcome[name][1]}")
sys.exit(outcome != {"faststream.kafka": ([1, 3], 3), "faststream.confluent": ([1, 2, 3], 3)})
PY
