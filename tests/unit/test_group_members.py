"""The partitions of a group's member are read from the bytes of Kafka's consumer protocol."""

import struct

import pytest

from ordersaga.messaging.kafka.client import Partition
from ordersaga.messaging.kafka.members import assigned_in

ORDERS = struct.pack(">h", 12) + b"order-events" + struct.pack(">i2i", 2, 0, 7)
KOREAN = struct.pack(">h", 6) + "주문".encode() + struct.pack(">ii", 1, 3)


def test_each_topic_and_partition_is_read_and_what_newer_versions_add_is_not() -> None:
    user_data, newer = struct.pack(">i", -1), b"\x00\x00\x00\x09"
    expected = {Partition("order-events", 0), Partition("order-events", 7), Partition("주문", 3)}
    for version in (0, 3):
        assert assigned_in(struct.pack(">hi", version, 2) + ORDERS + KOREAN + user_data + newer) == expected


def test_a_member_without_an_assignment_has_no_partition() -> None:
    assert assigned_in(b"") == set()
    assert assigned_in(struct.pack(">hi", 0, 0) + struct.pack(">i", -1)) == set()


def test_bytes_that_end_too_early_are_an_error() -> None:
    with pytest.raises(struct.error):
        assigned_in((struct.pack(">hi", 0, 2) + ORDERS + KOREAN)[:-4])
