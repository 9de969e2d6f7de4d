#!/usr/bin/env bash
# Software: confluent-kafka 2.16.1 (librdkafka 2.16.0) and the mock broker inside of it.
#
# Behaviour: while one thread is in `Consumer.poll(3)`, a call of the same consumer in another thread, such as
# `position`, which asks nobody, or `committed(..., timeout=1)`, begins only when the poll is over. It does not
# sleep until then: it wakes up some 900 times a second to look. The call's own time-out does not end the wait.
#
# Expected: librdkafka's handle may be used by many threads at once, and both calls take less than a millisecond
# when nobody polls. So `position` answers at once, `committed` within its second, and who has to wait sleeps.
#
# Seen:
#   position:  0.00 s alone; beside a poll 2.8 s, 2581 wake-ups
#   committed: 0.00 s alone; beside a poll 2.8 s with a time-out of 1 s, 2551 wake-ups
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check confluent-kafka==2.16.1 || exit 2

"$folder/venv/bin/python" - <<'PY'
import resource
import threading
import time

from confluent_kafka import Consumer, TopicPartition

POLL_S, AHEAD_S, LIMIT_S = 3.0, 0.2, 1.0


def timed(call):
    before, began = resource.getrusage(resource.RUSAGE_THREAD), time.monotonic()
    call()
    took_s = time.monotonic() - began
    return took_s, resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before.ru_nvcsw


consumer = Consumer({"group.id": "shop", "bootstrap.servers": "", "test.mock.num.brokers": 1, "log_level": 0})
consumer.assign([TopicPartition("orders", 0, 0)])
consumer.poll(1)
place = [TopicPartition("orders", 0)]
calls = {
    "position": lambda: consumer.position(place),
    "committed": lambda: consumer.committed(place, timeout=LIMIT_S),
}
for name, call in calls.items():
    alone_s, _ = timed(call)
    polling = threading.Thread(target=consumer.poll, args=(POLL_S,))
    polling.start()
    time.sleep(AHEAD_S)
    beside_s, wake_ups = timed(call)
    polling.join()
    print(f"{name}: {alone_s:.2f} s alone; beside a poll {beside_s:.1f} s, {wake_ups} wake-ups")
    assert alone_s < 0.5, "it answers at once when nobody polls"
    assert beside_s > POLL_S - AHEAD_S - 0.5 > LIMIT_S, "it waits for the end of the poll, over its own time-out"
    assert wake_ups > 100 * beside_s, "it looks hundreds of times a second"
consumer.close()
PY
