"""Asks one broker, and no other, how many replicas of each partition are in sync. librdkafka lets nobody choose the broker that it asks."""

import socket
import struct
from typing import BinaryIO, Final

METADATA: Final = 3
VERSION: Final = 1
ALL_TOPICS: Final = -1
ANSWER_S: Final = 2.0
REQUEST: Final = struct.pack(">hhihi", METADATA, VERSION, 0, -1, ALL_TOPICS)
"""Its key, its version, a number of ours, no name of ours, and what it asks for: the protocol's `MetadataRequest`."""


def in_sync_counts(host: str, port: int) -> list[int]:
    """The number of replicas in sync of each partition, as this broker knows it. Raises OSError if it does not answer."""
    with socket.create_connection((host, port), ANSWER_S) as broker:
        broker.sendall(struct.pack(">i", len(REQUEST)) + REQUEST)
        with broker.makefile("rb") as answer:
            (size,) = struct.unpack(">i", _exactly(answer, 4))
            return counts(_exactly(answer, size))


def counts(answer: bytes) -> list[int]:
    """The number of replicas in sync of each partition in a `MetadataResponse` of version 1."""
    read = _Reader(answer)
    read.number("i")  # of the request
    for _ in range(read.number("i")):  # the brokers
        read.number("i")
        read.skip_text()
        read.number("i")
        read.skip_text()
    read.number("i")  # the controller
    found = []
    for _ in range(read.number("i")):  # the topics
        read.number("h")
        read.skip_text()
        read.number("b")
        for _ in range(read.number("i")):  # the partitions
            read.number("h")
            read.number("i")
            read.number("i")
            read.skip_numbers()
            found.append(read.skip_numbers())
    return found


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data: Final = data
        self._at = 0

    def number(self, kind: str) -> int:
        found: int = struct.unpack_from(f">{kind}", self._data, self._at)[0]
        self._at += struct.calcsize(f">{kind}")
        return found

    def skip_text(self) -> None:
        length = self.number("h")  # -1: there is no text
        self._at += max(0, length)

    def skip_numbers(self) -> int:
        """Skip a list of numbers; returns how many there were."""
        count = self.number("i")
        self._at += 4 * count
        return count


def _exactly(answer: BinaryIO, size: int) -> bytes:
    data = answer.read(size)
    if len(data) < size:
        raise ConnectionError("the broker ended the connection within its answer")
    return data
