"""Records that no client library writes: a batch made by hand and sent in a Produce request of its own, as the protocol guide has it.

Source: https://kafka.apache.org/protocol and https://kafka.apache.org/documentation/#recordbatch (record batch, magic 2).
"""

import socket
import struct
import time
from collections.abc import Sequence

Header = tuple[bytes, bytes | None]

TIMEOUT_S = 10.0
CASTAGNOLI = 0x82F63B78
PRODUCE = 0
VERSION = 3


def crc32c(data: bytes) -> int:
    """The checksum of a batch."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (CASTAGNOLI if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def varint(number: int) -> bytes:
    """Zigzag, seven bits a byte."""
    rest, out = (number << 1) ^ (number >> 63), bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])


def record(key: bytes | None, value: bytes | None, headers: Sequence[Header]) -> bytes:
    def sized(part: bytes | None) -> bytes:
        return varint(-1) if part is None else varint(len(part)) + part

    body = b"\0" + varint(0) + varint(0) + sized(key) + sized(value) + varint(len(headers))
    body += b"".join(sized(name) + sized(content) for name, content in headers)
    return varint(len(body)) + body


def batch(one: bytes, timestamp_ms: int) -> bytes:
    """A batch of one record."""
    times = struct.pack(">qq", timestamp_ms, timestamp_ms)
    checked = struct.pack(">hi", 0, 0) + times + struct.pack(">qhii", -1, -1, -1, 1) + one
    return struct.pack(">qiibI", 0, len(checked) + 9, -1, 2, crc32c(checked)) + checked


def send(
    bootstrap: str,
    topic: str,
    partition: int,
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[Header],
    timestamp_ms: int | None = None,
) -> int:
    """Write one record to the broker itself, which must lead the partition; returns its offset."""
    made = batch(record(key, value, headers), int(time.time() * 1000) if timestamp_ms is None else timestamp_ms)
    name = topic.encode()
    body = struct.pack(">hhih", PRODUCE, VERSION, 1, -1) + struct.pack(">hhi", -1, 1, 10_000)
    body += struct.pack(">ih", 1, len(name)) + name + struct.pack(">iii", 1, partition, len(made)) + made
    host, port = bootstrap.rsplit(":", 1)
    with socket.create_connection((host, int(port)), TIMEOUT_S) as connection:
        connection.sendall(struct.pack(">i", len(body)) + body)
        answer = connection.makefile("rb")
        (size,) = struct.unpack(">i", answer.read(4))
        said = answer.read(size)
    _, code, offset = struct.unpack_from(">ihq", said, 4 + 4 + 2 + len(name) + 4)
    assert code == 0, f"the broker refused the batch with error {code}"
    return int(offset)
