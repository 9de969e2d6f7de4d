"""Finds where a log can be read again after a batch with a wrong checksum or an unknown compression."""

import time
from typing import Final

from confluent_kafka import Consumer, KafkaError, TopicPartition

from ordersaga.messaging.kafka.client import (
    READING_GROUP,
    REPEATED_CALL_TIMEOUT_S,
    Partition,
    client_config,
    temporary_consumer,
    translated,
)
from ordersaga.settings import Settings

BAD_BATCH: Final = (KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION, KafkaError._NOT_IMPLEMENTED)
PROBE_S: Final = 3.0
POLL_S: Final = 0.1


def readable_from(settings: Settings, partition: Partition, offset: int) -> int | None:
    """The first readable offset after `offset`, at most the log's end; None: not found in time. Blocks.

    A broker returns the whole batch of an offset, so every offset of a bad batch fails. Binary search finds the first offset after the
    batch. Raises `KafkaUnavailable`.
    """
    config = client_config(
        settings,
        {
            "group.id": READING_GROUP,
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "check.crcs": True,
            "fetch.wait.max.ms": 50,
            "fetch.error.backoff.ms": 10,
        },
    )
    with temporary_consumer(config) as consumer:
        _, end = translated(
            lambda: consumer.get_watermark_offsets(TopicPartition(*partition), timeout=REPEATED_CALL_TIMEOUT_S)
        )
        bad, step = offset, 1
        while bad + step < end:
            readable = _is_readable(consumer, partition, bad + step)
            if readable is None:
                return None
            if readable:
                break
            bad, step = bad + step, step * 2
        good = min(bad + step, end)
        while good - bad > 1:
            middle = (bad + good) // 2
            readable = _is_readable(consumer, partition, middle)
            if readable is None:
                return None
            bad, good = (bad, middle) if readable else (middle, good)
        return good


def _is_readable(consumer: Consumer, partition: Partition, offset: int) -> bool | None:
    """True: a record comes from this offset. False: the error of a damaged batch comes. None: neither within `PROBE_S`.

    After any other error the partition is assigned again. librdkafka continues after a damaged batch, sometimes at an offset that does
    not exist, and the error of that offset can arrive after the next `assign`.
    """
    end_s = time.monotonic() + PROBE_S
    consumer.assign([TopicPartition(*partition, offset)])
    while time.monotonic() < end_s:
        message = consumer.poll(POLL_S)
        if message is None:
            continue
        error = message.error()
        if error is None:
            return True
        if error.code() in BAD_BATCH:
            return False
        consumer.assign([TopicPartition(*partition, offset)])
    return None
