"""A loading process: writes the records on its standard input to Kafka as fast as the broker takes them.

Standard input: MessagePack, a list of [topic, key, value]. Standard output: the time of day of the first record.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence

import msgspec
from confluent_kafka import Producer

LoadRecord = tuple[str, bytes, bytes]


class RecordLoad:
    """The loading process, started and fed; it writes when it is told to, so that its start is not part of the time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def ready(cls, bootstrap_servers: str, records: Sequence[LoadRecord]) -> "RecordLoad":
        """A process that has all records and is connected."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.records", bootstrap_servers, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdin and process.stdout
        body = msgspec.msgpack.encode(records)
        process.stdin.write(len(body).to_bytes(8, "big") + body)
        await process.stdin.drain()
        await process.stdout.readline()
        return cls(process)

    async def go(self) -> float:
        """Write; returns when all is acknowledged, with the time of day of the first record. Raises RuntimeError."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(b"\n")
        began = await self._process.stdout.readline()
        if await self._process.wait():
            raise RuntimeError("the loading process failed")
        return float(began)


def main(bootstrap_servers: str) -> None:
    stdin = sys.stdin.buffer
    records = msgspec.msgpack.decode(stdin.read(int.from_bytes(stdin.read(8), "big")), type=list[LoadRecord])
    producer = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "partitioner": "murmur2_random",
            "acks": "all",
            "linger.ms": 5,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 10_000_000,
            "queue.buffering.max.kbytes": 2_000_000,
        }
    )
    for topic in {topic for topic, _, _ in records}:
        producer.list_topics(topic, 10)
    print("ready", flush=True)
    stdin.readline()
    began = time.time()
    for topic, key, value in records:
        producer.produce(topic, value, key)
    if producer.flush(120):
        raise SystemExit(1)
    print(began, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
