"""Kafka as the partners of a role see it: sends records, hears the topics, and finds the records that belong to an id."""

import asyncio
import contextlib
import re
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Self

from ordersaga.conformance.tally import Tally
from ordersaga.conformance.wire import Heard, Sent
from ordersaga.contracts.topics import BY_NAME
from ordersaga.messaging.handler import Coordinates
from ordersaga.messaging.kafka import Publication, Sender, Tap, Topics
from ordersaga.settings import Settings

NEW_TOPICS_EVERY_S: Final = 1.0
TOPICS_HEARD_MAX: Final = 200
STRANGERS_KEPT_S: Final = 120.0
STRAYS_MAX: Final = 1_000
FETCH_MAX: Final = 2_000
FETCH_WAIT_S: Final = 0.02
RECENT_S: Final = 5.0
WORDS: Final = ("order", "stock", "pay", "deliver")
DEAD_LETTER_ENDS: Final = ("dlt", "dlq", ".errors", "-errors", "-error", ".err")
DEAD_LETTER_BEGINNINGS: Final = ("error.", "errors.")
"""Of Spring Cloud Stream."""
_dead_letter_word: Final = re.compile(r"(?<![a-z])(dlt|dlq|dead[-._]?letters?|poison(ed)?)(?![a-z])")


def has_dead_letter_name(topic: str) -> bool:
    """Whether a topic is called as topics for dead letters are."""
    name = topic.lower()
    return (
        bool(_dead_letter_word.search(name))
        or name.endswith(DEAD_LETTER_ENDS)
        or name.startswith(DEAD_LETTER_BEGINNINGS)
    )


class Stage:
    """Use with `async with`. Hears every topic whose name has to do with the order process, also one that is made later.

    `own`: the topics that the kit itself writes; what comes there is not heard. A failure of Kafka while it listens is raised by
    whatever waits next.
    """

    def __init__(self, settings: Settings, own: Iterable[str], dead_letter_topics: Sequence[str]) -> None:
        self._settings: Final = settings
        self._own: Final = frozenset(own)
        self._dead_letter_topics: Final = frozenset(dead_letter_topics)
        self._topics: Final = Topics(settings)
        self._sender: Final = Sender(settings)
        self._by_id: Final[dict[str, list[Heard]]] = defaultdict(list)
        self._letters: list[Heard] = []
        self.tally: Final = Tally()
        self.letters_awaited = 0
        """How many dead letters are waited for while other cases run."""
        self._changed: Final = asyncio.Condition()
        self._aborting: Final = asyncio.Lock()
        self._taps: Final[list[Tap]] = []
        self._tapped: Final[set[str]] = set()
        self._tasks: Final[list[asyncio.Task[None]]] = []
        self.partitions: dict[str, int] = {}
        self.closed: Final[list[str]] = []
        """Topics whose name has to do with the order process, and that an ACL does not let the kit read."""
        self.strays: Final[deque[Heard]] = deque(maxlen=STRAYS_MAX)
        """Records without any UUID: garbage, if the service wrote them."""
        self._waiting: Final[dict[object, float]] = {}
        """Since when something is waited for that must come."""
        self._waits: Final[deque[tuple[float, float]]] = deque()
        """When such a thing has come, and how long that took, in seconds."""
        self._followed: Final[set[str]] = set()
        self._over: Final[set[str]] = set()

    async def __aenter__(self) -> Self:
        own = await self._topics.access([*self._own])
        self.partitions = {name: found.partitions for name, found in own.items() if found.partitions}
        await self._tap(await self._to_be_tapped(), from_beginning=False)
        self._tasks.append(asyncio.create_task(self._watch_for_new_topics()))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for tap in self._taps:
            await tap.end()
        self._sender.close()

    def _worth_hearing(self, names: Iterable[str]) -> list[str]:
        """The topics of the guide first, then those with a word of the order process in their name."""
        wanted = [
            name
            for name in names
            if name not in self._own
            and (name in BY_NAME or self.is_dead_letter_topic(name) or any(word in name.lower() for word in WORDS))
        ]
        return sorted(wanted, key=lambda name: (name not in BY_NAME, name))[:TOPICS_HEARD_MAX]

    async def _to_be_tapped(self) -> list[str]:
        """The topics that are not heard yet, and that the kit may read."""
        names = [
            name
            for name in self._worth_hearing(await self._topics.names())
            if name not in self._tapped and name not in self.closed
        ]
        access = await self._topics.access(names)
        self.closed.extend(name for name in names if name in access and not access[name].allows("READ"))
        return [name for name in names if name not in self.closed]

    async def _tap(self, names: Sequence[str], from_beginning: bool) -> None:
        self._tapped.update(names)
        tap = await Tap.open(self._settings, names, from_beginning)
        self._taps.append(tap)
        self._tasks.append(asyncio.create_task(self._listen(tap)))

    async def _watch_for_new_topics(self) -> None:
        while True:
            await asyncio.sleep(NEW_TOPICS_EVERY_S)
            if names := await self._to_be_tapped():
                await self._tap(names, from_beginning=True)
            self._drop_strangers()

    async def _listen(self, tap: Tap) -> None:
        loop = asyncio.get_running_loop()
        while True:
            records = await tap.fetch(FETCH_MAX, FETCH_WAIT_S)
            if not records:
                continue
            for record in records:
                self._note(Heard(record, loop.time(), time.time()))
            async with self._changed:
                self._changed.notify_all()

    def _note(self, heard: Heard) -> None:
        if self.is_dead_letter_topic(heard.topic):
            self._letters.append(heard)
        else:
            self.tally.note(heard)
        ids = heard.ids
        for found in ids - self._over:
            self._by_id[found].append(heard)
        if not ids:
            self.strays.append(heard)

    def _drop_strangers(self) -> None:
        """Drop what was heard of ids that no case has asked for in time. A case may learn of its order's id only from a record."""
        before = asyncio.get_running_loop().time() - STRANGERS_KEPT_S
        for id in [id for id, there in self._by_id.items() if id not in self._followed and there[-1].at_s < before]:
            del self._by_id[id]

    def follow(self, id: str) -> None:
        """Keep what comes with this id until it is forgotten."""
        self._followed.add(id)

    def forget(self, ids: Iterable[str]) -> None:
        """Drop what was heard of these ids, and what will be: their case is over."""
        self._over.update(ids)
        self._followed.difference_update(ids)
        for id in ids:
            self._by_id.pop(id, None)
        self._letters = [each for each in self._letters if self._over.isdisjoint(each.ids)]

    def is_dead_letter_topic(self, topic: str) -> bool:
        """Whether records on this topic are dead letters, by its name."""
        return topic in self._dead_letter_topics or has_dead_letter_name(topic)

    async def send(self, records: Sequence[Publication], commit: bool | None, note: str) -> list[Sent]:
        """Send the records, in a transaction that is committed or aborted; None: without one.

        No two aborted transactions overlap, since some clients then take what was aborted: `abort_overlapping` is for the cases of that.
        """
        began = asyncio.get_running_loop().time()
        if commit is None:
            places = await self._sender.send(records)
        else:
            async with contextlib.nullcontext() if commit else self._aborting:
                places = await self._sender.send_in_transaction(records, commit)
        return self._sent(records, places, began, note)

    async def abort_overlapping(self, records: Sequence[Publication], note: str) -> list[Sent]:
        """Send each record in a transaction of its own. The transactions overlap, and all are aborted, the last one first."""
        began = asyncio.get_running_loop().time()
        async with self._aborting:
            return self._sent(records, await self._sender.abort_overlapping(records), began, note)

    def _sent(
        self, records: Sequence[Publication], places: Sequence[Coordinates], began: float, note: str
    ) -> list[Sent]:
        return [
            Sent(place, record.key, record.value, tuple(record.headers), began, note)
            for place, record in zip(places, records, strict=True)
        ]

    def heard(self, id: str) -> list[Heard]:
        """What was heard of an id so far."""
        return self._by_id.get(id.lower(), [])

    def letters_of(self, sent: Sent, id: str) -> list[Heard]:
        """The dead letters of a record: by their headers, or else, of those that came later, by the record's bytes or id."""
        return [
            each
            for each in self._letters
            if each.origin == sent.place
            or (
                each.origin is None
                and each.at_s > sent.at_s
                and ((sent.value and each.has(sent.value)) or self._is_copy(each, sent) or id.lower() in each.ids)
            )
        ]

    @staticmethod
    def _is_copy(letter: Heard, sent: Sent) -> bool:
        """Whether a dead letter has the record's value, and its key or none. Several records may have no value."""
        return letter.record.value == sent.value and letter.record.key in (None, sent.key)

    async def until(self, is_there: Callable[[], bool], wait_s: float, *, may_not_come: bool = False) -> bool:
        """Wait until something is heard that makes this true; False: the time is over, with some more where answers are slow just now.

        `may_not_come`: that is no sign that the service is slow.
        """
        wait_s = wait_s if may_not_come else self.patience_s(wait_s)
        with contextlib.suppress(TimeoutError), contextlib.nullcontext() if may_not_come else self._timed():
            async with asyncio.timeout(wait_s), self._changed:
                while not is_there():
                    self._raise_if_deaf()
                    await self._changed.wait()
                return True
        self._raise_if_deaf()
        return is_there()

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        loop, wait = asyncio.get_running_loop(), object()
        self._waiting[wait] = began = loop.time()
        try:
            yield
            self._waits.append((loop.time(), loop.time() - began))
        finally:
            del self._waiting[wait]

    def longest_wait_s(self) -> float:
        """The longest that a record is waited for, or was in the last seconds: how slow the service, Kafka and the kit are just now."""
        now = asyncio.get_running_loop().time()
        return max([self._longest_ended_s(), *(now - began for began in self._waiting.values())])

    def patience_s(self, wait_s: float) -> float:
        """How long what must come is waited for: up to twice as long as usual, by as much as it has taken others in the last seconds."""
        return wait_s + min(wait_s, self._longest_ended_s())

    def _longest_ended_s(self) -> float:
        now = asyncio.get_running_loop().time()
        while self._waits and self._waits[0][0] < now - RECENT_S:
            self._waits.popleft()
        return max((took for _, took in self._waits), default=0.0)

    def _raise_if_deaf(self) -> None:
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error
