#!/usr/bin/env bash
# Software: jgo 3.2.0, with Apache Kafka 4.4.0 and Log4j 2.25.5 on Maven Central.
#
# Behaviour: naming Log4j's bridge for slf4j beside Kafka's broker gives another version of `kafka-clients`:
# 3.9.1 instead of 4.4.0. jgo takes the dependency management of every artifact that is named for that of the
# whole list, as if each were a BOM, and Log4j's has the version of kafka-clients that Log4j itself is built
# with. A "!" behind the coordinate turns this off for it. No warning says that Kafka's own wish was
# overruled, and a broker with such a class path does not start.
#
# Expected: as with Maven and Gradle, where an artifact's dependency management concerns its own build alone,
# the artifact that needs kafka-clients says which: kafka_2.13 4.4.0 wants 4.4.0.
#
# Seen:
#   Kafka alone:             kafka-clients 4.4.0
#   Kafka and the bridge:    kafka-clients 3.9.1
#   Kafka and the bridge!:   kafka-clients 4.4.0
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jgo==3.2.0 || exit 2

# What jgo reads and keeps lies in the home folder.
HOME="$folder" M2_REPO="$folder/jars" "$folder/venv/bin/python" - <<'PY'
import os
import ssl
import sys

authorities = ssl.get_default_verify_paths()
if authorities.cafile:
    os.environ.setdefault("REQUESTS_CA_BUNDLE", authorities.cafile)

import jgo

KAFKA = "org.apache.kafka:kafka_2.13:4.4.0"
BRIDGE = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5"
seen = []
for case, coordinates in {
    "Kafka alone:": KAFKA,
    "Kafka and the bridge:": f"{KAFKA}+{BRIDGE}",
    "Kafka and the bridge!:": f"{KAFKA}+{BRIDGE}!",
}.items():
    seen += [each.version for each in jgo.resolve(coordinates) if each.artifactId == "kafka-clients"]
    print(f"{case:24} kafka-clients {seen[-1]}")
sys.exit(seen != ["4.4.0", "3.9.1", "4.4.0"])
PY
