"""What a broker has done: records that it has got, and the requests that its clients have sent, by kind."""

import json
import socket
import struct
from collections import Counter
from types import TracebackType
from typing import Final, Self

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from benchmarks.customers import CLIENT_ID
from benchmarks.report import Figures
from ordersaga.devstack.kafka import KafkaBroker

TIMEOUT_S: Final = 10.0
KINDS: Final = ("PRODUCE", "FETCH", "OFFSET_COMMIT", "HEARTBEAT")
OTHERS: Final = (CLIENT_ID, "bench-admin")
REQUEST_LOGGER: Final = "kafka.request.logger"
INCREMENTAL_ALTER_CONFIGS: Final = 44
BROKER_LOGGER: Final = 8
NODE_ID: Final = "1"
COMPLETED: Final = "Completed request:"


def records(broker: KafkaBroker) -> Figures:
    """Records so far, in all topics but Kafka's own, and in Kafka's own, where consumers keep their positions."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers, "client.id": OTHERS[1], "log_level": 2})
    topics = admin.list_topics(timeout=TIMEOUT_S).topics
    asked = {
        TopicPartition(name, partition): OffsetSpec.latest()  # type: ignore[no-untyped-call]
        for name, topic in topics.items()
        for partition in topic.partitions
    }
    found: Counter[str] = Counter()
    for place, end in admin.list_offsets(asked, request_timeout=TIMEOUT_S).items():
        found["own_records" if place.topic.startswith("_") else "records"] += end.result().offset
    return {"records": float(found["records"]), "own_records": float(found["own_records"])}


class RequestLog:
    """Counts the requests that the broker answers inside of `with`, by its own request log, which is off otherwise: writing it costs CPU.

    Requests of the benchmark's own clients are left out.
    """

    def __init__(self, broker: KafkaBroker) -> None:
        self._broker: Final = broker
        self._from = 0
        self._found: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._from = self._broker.log_path.stat().st_size
        _set_level(self._broker.port, "DEBUG")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _set_level(self._broker.port, "WARN")
        with self._broker.log_path.open("rb") as log:
            log.seek(self._from)
            for line in log.read().decode(errors="replace").splitlines():
                _, is_request, told = line.partition(COMPLETED)
                if is_request:
                    header = json.loads(told)["requestHeader"]
                    if header["clientId"] not in OTHERS:
                        self._found[header["requestApiKeyName"]] += 1

    def counted(self, unit: str, of: float) -> Figures:
        """Requests for each of so many units: all, and those of each kind."""
        by_kind = {f"requests_per_{unit}_{kind.lower()}": self._found[kind] / of for kind in KINDS}
        return {f"requests_per_{unit}": self._found.total() / of, **by_kind}


def _set_level(port: int, level: str) -> None:
    """Set the level of the broker's request log, with the protocol's own bytes, since no client in Python has this request. Raises OSError."""
    config = _string(REQUEST_LOGGER) + struct.pack(">b", 0) + _string(level)
    resource = struct.pack(">b", BROKER_LOGGER) + _string(NODE_ID) + struct.pack(">i", 1) + config
    head = struct.pack(">hhi", INCREMENTAL_ALTER_CONFIGS, 0, 1) + _string(OTHERS[1])
    request = head + struct.pack(">i", 1) + resource + struct.pack(">b", 0)
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        with connection.makefile("rb") as answers:
            (length,) = struct.unpack(">i", answers.read(4))
            answer = answers.read(length)
    (error,) = struct.unpack_from(
        ">h", answer, 12
    )  # after the request's number, the throttle time and the count of resources
    if error:
        raise OSError(f"the broker's request log cannot be set to {level}: Kafka's error {error}")


def _string(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()
