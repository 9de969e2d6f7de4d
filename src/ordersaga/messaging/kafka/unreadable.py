"""Where a log can be read again behind a batch that the client cannot read: one with a wrong checksum, or an unknown compression."""

import time
from typing import Final

from confluent_kafka import Consumer, KafkaError, TopicPartition

from ordersaga.messaging.kafka.client import LOOK_TIMEOUT_S, Partition, client_config, temporary_consumer, translated
from ordersaga.settings import Settings

BAD_BATCH: Final = (KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION, KafkaError._NOT_IMPLEMENTED)
PROBE_S: Final = 3.0
POLL_S: Final = 0.1


def readable_from(settings: Settings, partition: Partition, offset: int) -> int | None:
    """The first offset behind `offset` from which the log can be read, at the latest its end; None: it was not found in time. Blocks.

    A broker gives the whole batch that an offset lies in, so each offset within a bad batch fails alike, and the first one behind it is
    found by halves. Raises `KafkaUnavailable`.
    """
    config = client_config(settings) | {
        "group.id": "ordersaga-unreadable",
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "check.crcs": True,
        "fetch.wait.max.ms": 50,
        "fetch.error.backoff.ms": 10,
    }
    with temporary_consumer(config) as consumer:
        _, end = translated(lambda: consumer.get_watermark_offsets(TopicPartition(*partition), timeout=LOOK_TIMEOUT_S))
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
    """Whether a record comes from there (True), or the error of a damaged batch (False); None: neither comes in time.

    Another error says nothing about the batch: librdkafka reads on behind a damaged one, at times at an offset that nobody wrote, and
    that offset's error can come after the next `assign`. The partition is then assigned again.
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
