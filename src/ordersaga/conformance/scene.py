"""What one case sends and hears: sends its records, waits for the answers to its own orders, and keeps both for the report."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar
from uuid import UUID, uuid4

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.conformance.hooks import Hooks
from ordersaga.conformance.stage import Stage
from ordersaga.conformance.verdicts import DEAD_LETTERS, Broken, NotOffered, Silent
from ordersaga.conformance.wire import Heard, Json, Sent, compact, shortened, shown, uuids_in
from ordersaga.contracts.headers import TYPE_ID
from ordersaga.contracts.topics import BY_NAME
from ordersaga.messaging.kafka import Publication

T = TypeVar("T")
Headers = Sequence[tuple[str, bytes | None]]

WHY_CHARS_MAX: Final = 200
STRANGER_CHARS_MAX: Final = 120
OWN_KEY: Final = b"\0the message's own id"
"""Stands for the record key that Java's producers write: the order id as text."""


class Limits(Struct, frozen=True):
    """How long cases wait. `quiet_s`: after an answer, for a second one that must not come, and longer where answers are slow."""

    answer_s: float = 10.0
    quiet_s: float = 2.0


class Offers(Struct, frozen=True):
    """What the service has.

    `without`: tags of cases that the service is declared not to have. `undeliverable_zipcode`: one that Delivery refuses; None: nobody has
    said, so ours is tried; empty: there is none.
    """

    without: frozenset[str] = frozenset()
    undeliverable_zipcode: str | None = None
    dead_letter_topic: str = "{topic}-dlt"
    load: int = 500

    def dead_letter_topic_of(self, topic: str) -> str:
        """The topic where dead letters of a topic are expected."""
        return self.dead_letter_topic.replace("{topic}", topic)


class Manners(Struct):
    """How this service is spoken to, found out by the first request.

    `answer_topics`: where it answers instead of a topic of the guide. `type_ids`: the `__TypeId__` to send on a topic. One fault, a wrong
    topic or a header that it cannot do without, then fails the cases of that fault alone.
    """

    answer_topics: dict[str, str] = {}
    type_ids: dict[str, str] = {}


class Scene:
    """One case: its records and its orders. All cases share one `Stage`, which hears the records of every order."""

    def __init__(self, stage: Stage, hooks: Hooks, limits: Limits, offers: Offers, manners: Manners) -> None:
        self.stage: Final = stage
        self.hooks: Final = hooks
        self.limits = limits
        self.offers: Final = offers
        self._answer_topics: Final = manners.answer_topics
        self._type_ids: Final = manners.type_ids
        self.sent: Final[list[Sent]] = []
        self.ids: Final[list[str]] = []
        self.notes: Final[list[str]] = []
        """What the report tells beside the records: calls of hooks, figures."""
        self._background: Final[list[asyncio.Task[Any]]] = []
        self.later: Final[list[Coroutine[Any, Any, None]]] = []
        """What is still to be judged when the next case has begun, such as a dead letter that is waited for."""
        self._letters_awaited = 0

    def in_background(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Begin something that may take until the end of the case."""
        task = asyncio.create_task(work)
        self._background.append(task)
        return task

    async def end(self) -> None:
        """End what is still under way, and forget the case's records."""
        for each in self.later:
            each.close()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self._await_letters(-self._letters_awaited)
        self.stage.forget(self.ids)

    def hurry(self) -> None:
        """Wait for an answer no longer than for what must not come."""
        self.limits = replace(self.limits, answer_s=min(self.limits.answer_s, self.quiet_s))

    def new_id(self) -> str:
        """A new order id. What comes with it belongs to this case."""
        return self.follow(str(uuid4()))

    def follow(self, id: str) -> str:
        """What comes with this id belongs to this case, too."""
        UUID(id)
        self.ids.append(id.lower())
        self.stage.follow(id.lower())
        return id

    def heard(self) -> list[Heard]:
        """Everything that came for this case, in the order of its coming."""
        found = {each.record.coordinates: each for id in self.ids for each in self.stage.heard(id)}
        return sorted(found.values(), key=lambda each: each.at_s)

    async def send(
        self,
        topic: str,
        message: Json | bytes | None,
        *,
        key: bytes | None = OWN_KEY,
        headers: Headers | None = None,
        partition: int | None = None,
        commit: bool | None = None,
        times: int = 1,
        note: str = "",
    ) -> Sent:
        """Send a message, or any bytes, so many times.

        `headers` None: the type header that this service is known to need, if any. `commit`: inside a transaction that is committed, or
        else aborted.
        """
        if key == OWN_KEY:
            key = str(message["orderId"]).encode() if isinstance(message, dict) else None
        value = compact(message) if isinstance(message, dict) else message
        said = list(self.usual_headers(topic) if headers is None else headers)
        records = [Publication(n, topic, partition, key, value, said) for n in range(times)]
        sent = await self.stage.send(records, commit, note)
        self._has_sent(sent)
        return sent[-1]

    def _has_sent(self, sent: Sequence[Sent]) -> None:
        self.sent.extend(sent)
        own = set(self.ids)
        for each in sent:
            for order in uuids_in(each.key, each.value) & own:
                self.stage.tally.ask(each.place.topic, order, each)

    async def abort_overlapping(self, topic: str, messages: Sequence[Json]) -> None:
        """Send each message to one partition, in transactions that overlap and are aborted, the last one first."""
        records = [
            Publication(
                n, topic, 0, str(message["orderId"]).encode(), compact(message), list(self.usual_headers(topic))
            )
            for n, message in enumerate(messages)
        ]
        note = "in a transaction that was aborted, as was one that began later, before it"
        self._has_sent(await self.stage.abort_overlapping(records, note))

    def usual_headers(self, topic: str) -> Headers:
        """The headers of a record that is not about headers."""
        return [(TYPE_ID, self._type_ids[topic].encode())] if topic in self._type_ids else []

    async def send_all(self, topic: str, messages: Sequence[Json]) -> None:
        """Send many messages at once."""
        records = [
            Publication(
                n, topic, None, str(message["orderId"]).encode(), compact(message), list(self.usual_headers(topic))
            )
            for n, message in enumerate(messages)
        ]
        self._has_sent(await self.stage.send(records, None, ""))

    def place_of(self, topic: str) -> str:
        """Where this service answers instead of a topic of the guide, or that topic."""
        return self._answer_topics.get(topic, topic)

    def here(self, topic: str, id: str) -> list[Heard]:
        """The answers that have come for an order so far."""
        place = self.place_of(topic)
        return [each for each in self.stage.heard(id) if each.topic == place]

    async def answers(self, topic: str, id: str, count: int = 1, wait_s: float | None = None) -> list[Heard]:
        """The answers for an order, at least `count`. Raises `Broken` if fewer have come in time."""
        wait_s = self.limits.answer_s if wait_s is None else wait_s
        if not await self.stage.until(lambda: len(self.here(topic, id)) >= count, wait_s):
            there = len(self.here(topic, id))
            what = "no record" if not there else f"only {there} of {count} records"
            raise Silent(
                f"{what} for order {id} came on {topic} within {round(wait_s, 1):g} s{self._came_instead(topic, id)}"
            )
        return self.here(topic, id)

    def hook_failure(self) -> BaseException | None:
        """Why a hook in the background has failed; None: none has."""
        for task in self._background:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                return error
        return None

    def _came_instead(self, topic: str, id: str) -> str:
        others = [each for each in self.stage.heard(id) if each.topic != self.place_of(topic)]
        letters = [each for each in others if self.stage.is_dead_letter_topic(each.topic)]
        if letters:
            return f"; the request became a dead letter on {letters[0].topic}{why_of(letters[0])}"
        return f"; instead a record came on {others[0].topic}" if others else self._for_another_order(topic)

    def _for_another_order(self, topic: str) -> str:
        """Which answers name another order than the one that was asked for, as the end of a sentence."""
        asked, place = self.sent[-1] if self.sent else None, self.place_of(topic)
        if asked is None or b"orderId" not in (asked.value or b""):
            return ""
        if strangers := self.stage.tally.of_strangers(place, asked.at_s):
            value = shown(strangers[-1].record.value, STRANGER_CHARS_MAX)
            return f"; meanwhile an answer came for an order that nobody has asked for: {value}"
        if surplus := self.stage.tally.surplus(asked.place.topic, place, asked.at_s):
            return f"; meanwhile an answer may have come under another order's id, since {surplus}"
        return ""

    @property
    def quiet_s(self) -> float:
        """How long a record that must not come is waited for: longer where those that must come are slow just now."""
        return min(self.limits.quiet_s + self.stage.longest_wait_s(), max(self.limits.quiet_s, self.limits.answer_s))

    async def quiet(self, has_come: Callable[[], bool] = lambda: False) -> bool:
        """Wait long enough for a record that must not come; returns whether it has."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while (left := began + self.quiet_s - loop.time()) > 0:
            if await self.stage.until(has_come, left, may_not_come=True):
                return True
        return has_come()

    async def silence(self, topic: str, id: str, why: str) -> None:
        """Wait, and raise `Broken` if anything comes for this order on the topic."""
        if await self.quiet(lambda: bool(self.here(topic, id))):
            came = self.here(topic, id)
            raise Broken(f"{why}, and yet {shown(came[0].record.value)} came on {topic}")

    async def letter(self, sent: Sent, id: str) -> None:
        """Wait until a record is a dead letter. One that does not come soon is waited for while the next cases run, where it raises `Broken` if
        the record is none in time."""
        if DEAD_LETTERS in self.offers.without:
            return
        soon_s = 0.0 if self.stage.letters_awaited else min(self.quiet_s, self.limits.answer_s)
        if await self.stage.until(lambda: bool(self.stage.letters_of(sent, id)), soon_s):
            self._look_at_letters(sent, id)
        else:
            self._await_letters(1)
            self.later.append(self._late_letter(sent, id))

    def _await_letters(self, more: int) -> None:
        self._letters_awaited += more
        self.stage.letters_awaited += more

    async def _late_letter(self, sent: Sent, id: str) -> None:
        try:
            came = await self.stage.until(lambda: bool(self.stage.letters_of(sent, id)), self.limits.answer_s)
        finally:
            self._await_letters(-1)
        if not came:
            topic = self.offers.dead_letter_topic_of(sent.place.topic)
            raise Broken(
                f"the record at {sent.place} did not become a dead letter within {self.limits.answer_s:g} s; expected on {topic}, "
                "or on any topic whose name says that it has dead letters. "
                f"{self._copies_of(sent, id)}--dead-letter-topic names another; "
                f"--without {DEAD_LETTERS} says that the service keeps them elsewhere"
            )
        self._look_at_letters(sent, id)

    def _copies_of(self, sent: Sent, id: str) -> str:
        """Where else the record came, as a sentence; empty: nowhere."""
        topics = {
            each.topic
            for each in self.stage.heard(id)
            if each.topic not in BY_NAME and sent.value and each.has(sent.value)
        }
        return f"It came on {', '.join(sorted(topics))}: if that is the place, name it. " if topics else ""

    def _look_at_letters(self, sent: Sent, id: str) -> None:
        found = self.stage.letters_of(sent, id)
        self.keep(found)
        must(
            any(each.origin is not None or each.has(sent.value) for each in found),
            f"the dead letter of the record at {sent.place} has neither the record's bytes, nor headers that say where the record is: "
            "nobody can replay it",
        )

    def keep(self, records: Sequence[Heard]) -> None:
        """Show these records in the report, too."""
        for each in records:
            self.notes.append(f"dead letter at {each.record.coordinates}{why_of(each)}")

    def need(self, what: object, said: str) -> None:
        """Raise `NotOffered` unless the service has what this case needs."""
        if not what:
            raise NotOffered(said)


def why_of(letter: Heard) -> str:
    """What a dead letter says about its failure, as the end of a sentence. Empty where its headers say nothing."""
    said = letter.failure.message
    return f" ({shortened(said, WHY_CHARS_MAX)})" if said else ""


def must(holds: object, happened: str) -> None:
    """Raise `Broken` with what happened, unless it holds."""
    if not holds:
        raise Broken(happened)
