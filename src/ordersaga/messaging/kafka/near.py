"""Finds the records of several topics that were written near given times, such as those of one order, whose events are known."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition
from msgspec import Struct

from ordersaga.messaging.handler import Coordinates, Record
from ordersaga.messaging.kafka.client import REPEATED_CALL_TIMEOUT_S, Partition
from ordersaga.messaging.kafka.span import Fits, Span, bounds_in

WIDTHS_MS: Final = (3_600_000, 60_000, 5_000, 1_000)
"""How far from a time a look reaches, to both sides: the first of these that means no more records than may be read, else the last one."""

Bounds = Mapping[Partition, tuple[int, int]]
Stretches = dict[Partition, tuple[int, int]]


class Near(Struct, frozen=True):
    """What a look near some times found, the oldest record first.

    `looked`: how many records were read, up to `width_ms` before and after each time. `is_whole` false: there are more, which were not read.
    `removed_ms`: of a topic of which Kafka has removed records of these times, up to when. A topic that Kafka does not have is in `no_topics`.
    """

    records: list[Record]
    looked: int
    width_ms: int
    is_whole: bool
    removed_ms: dict[str, int]
    no_topics: frozenset[str]


def records_near(
    consumer: Consumer, times: Mapping[str, Sequence[int]], fits: Fits, deadline: float, looked_max: int
) -> Near:
    """The records that fit, of each topic near its times (milliseconds since 1970). Blocks. Raises `KafkaException` and `KafkaUnavailable`."""
    bounds = {place: each for topic in times for place, each in bounds_in(consumer, topic).items()}
    for width_ms in WIDTHS_MS:
        rounds = [(windows, _stretches(consumer, windows, bounds)) for windows in _rounds(times, width_ms)]
        if sum(end - begin for _, each in rounds for begin, end in each.values()) <= looked_max:
            break
    found: dict[Coordinates, Record] = {}
    removed: dict[str, int] = {}
    looked, is_whole = 0, True
    for windows, stretches in rounds:
        span = Span(consumer, {place: each for place, each in stretches.items() if each[0] < each[1]}, fits)
        is_whole &= span.read(deadline)
        looked += span.looked
        found |= {record.coordinates: record for record in span.records}
        for place, (begin, _) in stretches.items():
            if 0 < begin == bounds[place][0]:
                begins_ms = span.oldest.get(place, windows[place.topic][1])
                removed[place.topic] = max(begins_ms, removed.get(place.topic, 0))
    return Near(
        sorted(found.values(), key=lambda each: (each.timestamp_ms, each.partition, each.offset)),
        looked,
        width_ms,
        is_whole,
        removed,
        frozenset(times) - {place.topic for place in bounds},
    )


def _rounds(times: Mapping[str, Sequence[int]], width_ms: int) -> Iterator[dict[str, tuple[int, int]]]:
    """The windows to read, one of each topic at once: a client reads a partition in one place at a time."""
    windows = {topic: list(_windows(each, width_ms)) for topic, each in times.items()}
    for at_once in zip_longest(*windows.values()):
        yield {topic: window for topic, window in zip(windows, at_once, strict=True) if window is not None}


def _windows(times: Iterable[int], width_ms: int) -> Iterator[tuple[int, int]]:
    """A window around each time; windows that meet are one."""
    begin = end = None
    for each in sorted(times):
        if begin is None or end is None or each - width_ms > end:
            if begin is not None and end is not None:
                yield begin, end
            begin = each - width_ms
        end = each + width_ms
    if begin is not None and end is not None:
        yield begin, end


def _stretches(consumer: Consumer, windows: Mapping[str, tuple[int, int]], bounds: Bounds) -> Stretches:
    """The offsets of each partition that its topic's window has."""
    places = [place for place in bounds if place.topic in windows]
    begins = _offsets(consumer, {place: windows[place.topic][0] for place in places}, bounds)
    ends = _offsets(consumer, {place: windows[place.topic][1] for place in places}, bounds)
    return {place: (begins[place], ends[place]) for place in places}


def _offsets(consumer: Consumer, times: Mapping[Partition, int], bounds: Bounds) -> dict[Partition, int]:
    """The first offset at or after each time; the end where there is none."""
    if not times:
        return {}
    asked = [TopicPartition(*place, max(0, at)) for place, at in times.items()]
    found = consumer.offsets_for_times(asked, timeout=REPEATED_CALL_TIMEOUT_S)
    if failed := next((each.error for each in found if each.error is not None), None):
        raise KafkaException(failed)
    offsets = {Partition(each.topic, each.partition): each.offset for each in found}
    return {place: bounds[place][1] if offsets[place] < 0 else offsets[place] for place in times}
