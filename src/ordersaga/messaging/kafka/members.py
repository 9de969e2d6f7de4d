"""Reads which partitions a member of a consumer group was assigned, from the bytes that the members hand on through Kafka."""

import struct

from ordersaga.messaging.kafka.client import Partition


def assigned_in(assignment: bytes) -> set[Partition]:
    """The partitions in a member's assignment; none for a member that has no assignment yet.

    `assignment`: Kafka's consumer protocol, of any version: version (int16), then for each topic its name (a string with an int16 length) and
    its partitions (int32, with an int32 count). What newer versions add comes after that and is not read. Raises `struct.error` and
    UnicodeDecodeError for other bytes.
    """
    found: set[Partition] = set()
    if not assignment:
        return found
    (topics,) = struct.unpack_from(">i", assignment, at := struct.calcsize(">h"))
    at += struct.calcsize(">i")
    for _ in range(topics):
        (length,) = struct.unpack_from(">h", assignment, at)
        name, count = struct.unpack_from(f">{length}si", assignment, at + 2)
        at += 2 + length + 4
        found |= {Partition(name.decode(), number) for number in struct.unpack_from(f">{count}i", assignment, at)}
        at += 4 * count
    return found
