"""How `make cluster` reads what a broker says of the replicas of each partition."""

import struct

from tests.chaos.in_sync import counts


def text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()


def partition(number: int, in_sync: list[int]) -> bytes:
    return struct.pack(">hiii3ii", 0, number, 1, 3, 1, 2, 3, len(in_sync)) + struct.pack(f">{len(in_sync)}i", *in_sync)


def test_the_replicas_in_sync_of_each_partition_are_counted() -> None:
    no_text = struct.pack(">h", -1)
    brokers = struct.pack(">i", 2) + b"".join(
        struct.pack(">i", node) + text("10.77.0.1") + struct.pack(">i", 9092) + rack
        for node, rack in ((1, no_text), (2, text("a rack")))
    )
    topics = [[partition(0, [1, 2, 3]), partition(1, [1])], [], [partition(0, [3, 1])]]
    answer = struct.pack(">i", 7) + brokers + struct.pack(">i", 1) + struct.pack(">i", len(topics))
    for partitions in topics:
        answer += struct.pack(">h", 0) + text("orders") + struct.pack(">bi", 0, len(partitions)) + b"".join(partitions)
    assert counts(answer) == [3, 1, 2]
