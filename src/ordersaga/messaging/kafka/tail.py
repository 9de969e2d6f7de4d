"""Reads the newest records of a topic for a person who looks at it: without a group, without commits, and back to a limit.

One thread reads for all who ask, one after the other, and those who ask for the same at nearly the same time share one answer. So the number of
lookers does not matter to Kafka.
"""

import asyncio
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from msgspec import Struct

from ordersaga.messaging.handler import Record
from ordersaga.messaging.kafka.client import READING_GROUP, Partition, client_config, temporary_consumer, translated
from ordersaga.messaging.kafka.near import Near, records_near
from ordersaga.messaging.kafka.span import Fits, Span, bounds_in
from ordersaga.settings import Settings

NEWEST: Final = 20
FOUND_MAX: Final = 50
LOOK_BACK: Final = 50_000
"""A search reads at most so many records."""
SEARCH_AT_ONCE: Final = 4_000
"""The first span of a search has so many records, of all partitions together. Each span is twice as long as the one before."""
LIMIT_S: Final = 5.0
WAITING_MAX: Final = 8
FRESH_S: Final = 1.0

Found = TypeVar("Found")


class TooManyLook(Exception):
    """So many wait for a look into Kafka that another one is refused."""


class Look(Struct, frozen=True):
    """What a look found, the newest first.

    `looked`: how many records were read. `since_ms`: every record after this time was among them; None: all that Kafka has were.
    `bounds`: the first offset of each partition, and the offset of its next record.
    """

    records: list[Record]
    looked: int
    since_ms: int | None
    bounds: dict[Partition, tuple[int, int]]


class Tail:
    """Raises `KafkaUnavailable` and `TooManyLook`. A topic that Kafka does not have has no partition in `bounds`."""

    def __init__(self, settings: Settings) -> None:
        self._config: Final = client_config(
            settings,
            {
                "group.id": READING_GROUP,
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",  # if retention removes what was asked for
                "queued.max.messages.kbytes": 4_096,
            },
        )
        self._thread: Final = ThreadPoolExecutor(1, thread_name_prefix="tail")
        self._waiting = 0
        self._recent: Final[dict[tuple[Any, ...], asyncio.Future[Any]]] = {}

    async def newest(self, topic: str) -> Look:
        """The newest records of all partitions."""
        return await self._shared(("newest", topic), lambda: self._look(topic, NEWEST, NEWEST, _any))

    async def search(self, topic: str, order_id: str) -> Look:
        """The newest records with this id as their key or anywhere in their value."""
        fits = functools.partial(has_id, order_id)
        return await self._shared(
            ("search", topic, order_id), lambda: self._look(topic, FOUND_MAX, SEARCH_AT_ONCE, fits)
        )

    async def at(self, place: Partition, offset: int) -> Look:
        """Records of one partition from an offset on."""
        return await self._shared(("at", place, offset), lambda: self._at(place, offset))

    async def near(self, order_id: str, times: Mapping[str, Sequence[int]]) -> Near:
        """The records with this id, of each topic near the given times (milliseconds since 1970)."""
        asked = tuple((topic, tuple(each)) for topic, each in times.items())
        fits = functools.partial(has_id, order_id)
        return await self._shared(("near", order_id, asked), lambda: self._near(times, fits))

    async def _shared(self, key: tuple[Any, ...], work: Callable[[], Found]) -> Found:
        if key not in self._recent:
            if self._waiting >= WAITING_MAX:
                raise TooManyLook
            self._waiting += 1
            asked = asyncio.get_running_loop().run_in_executor(self._thread, lambda: translated(work))
            asked.add_done_callback(functools.partial(self._done, key))
            self._recent[key] = asked
        found: Found = await asyncio.shield(self._recent[key])
        return found

    def _done(self, key: tuple[Any, ...], asked: asyncio.Future[Any]) -> None:
        self._waiting -= 1
        if not asked.cancelled():
            asked.exception()  # whoever asked has it, or has left
        asyncio.get_running_loop().call_later(FRESH_S, self._recent.pop, key, None)

    def _look(self, topic: str, found_max: int, at_once: int, fits: Fits) -> Look:
        """Read back from the end, span by span, until enough is found or the limit is reached. Each span is twice as long as the one before:
        the client takes a while to turn to another place."""
        deadline = time.monotonic() + LIMIT_S
        with temporary_consumer(self._config) as consumer:
            bounds = bounds_in(consumer, topic)
            begins = {each: high for each, (_, high) in bounds.items()}
            oldest: dict[Partition, int] = {}
            found: list[Record] = []
            looked = 0
            while time.monotonic() < deadline and len(found) < found_max and looked < LOOK_BACK:
                length = max(found_max, min(at_once, LOOK_BACK - looked) // max(1, len(bounds)))
                spans = {
                    each: (max(low, begins[each] - length), begins[each])
                    for each, (low, _) in bounds.items()
                    if begins[each] > low
                }
                if not spans:
                    break
                span = Span(consumer, spans, fits)
                is_whole = span.read(deadline)
                found += span.records
                if not is_whole:
                    break
                looked += span.looked
                begins |= {each: begin for each, (begin, _) in spans.items()}
                oldest |= span.oldest
                at_once *= 2
        left = [each for each, (low, _) in bounds.items() if begins[each] > low]
        since = max((oldest.get(each, _now_ms()) for each in left), default=None)
        found.sort(key=lambda each: (each.timestamp_ms, each.offset), reverse=True)
        return Look(found[:found_max], looked, since, bounds)

    def _at(self, place: Partition, offset: int) -> Look:
        with temporary_consumer(self._config) as consumer:
            bounds = bounds_in(consumer, place.topic)
            low, high = bounds.get(place, (0, 0))
            begin = max(low, offset)
            if begin >= high:
                return Look([], 0, None, bounds)
            span = Span(consumer, {place: (begin, min(high, begin + NEWEST))}, _any)
            span.read(time.monotonic() + LIMIT_S)
        return Look(span.records, span.looked, None, bounds)

    def _near(self, times: Mapping[str, Sequence[int]], fits: Fits) -> Near:
        with temporary_consumer(self._config) as consumer:
            return records_near(consumer, times, fits, time.monotonic() + LIMIT_S, LOOK_BACK)


def has_id(order_id: str, record: Record) -> bool:
    """Whether the key or the value has this id, in lower or upper case. Partners write either, and a key also in quotes."""
    wanted = order_id.lower().encode()
    return any(wanted in part.lower() for part in (record.key, record.value) if part)


def _any(_: Record) -> bool:
    return True


def _now_ms() -> int:
    return int(time.time() * 1000)
