"""Which record in Kafka belongs to which message of an order's story. Pure.

Order's timeline says which message came in or went out, and when, and not at which place in Kafka: writing places would cost every order.
The record of a message that went out names the record that caused it (`causation-id`). Where it does not, the time decides.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from ordersaga.contracts.headers import CAUSATION_ID, MESSAGE_ID
from ordersaga.contracts.topics import BY_MESSAGE
from ordersaga.messaging.handler import Record

TOPICS_OF: Final = {message.__name__: topic.name for message, topic in BY_MESSAGE.items() if topic.key == "order_id"}
CLOCKS_MS: Final = 2_000
"""Clocks of two processes differ by less."""


class Mention(Struct, frozen=True):
    """A message that a line of the story names. `at`: when it was handled or, if it was `sent`, when it was decided. `number`: of the line."""

    number: str
    message: str
    topic: str
    at: datetime
    sent: bool
    place: int = 0

    @property
    def name(self) -> str:
        """Names the mention on its page."""
        return f"{self.number}-{f'out-{self.place}' if self.sent else 'in'}"

    @property
    def at_ms(self) -> int:
        return int(self.at.timestamp() * 1000)


class Match(Struct, frozen=True):
    """The record of a mention, and the same record where Kafka has it once more (published again after a crash)."""

    record: Record
    again: Sequence[Record] = ()


def mention(number: str, message: str, at: datetime, sent: bool = False, place: int = 0) -> Mention | None:
    """The mention of a message; None for what is no message about an order, such as a command."""
    topic = TOPICS_OF.get(message)
    return None if topic is None else Mention(number, message, topic, at, sent, place)


def sent_by(number: str, messages: Iterable[str], at: datetime) -> list[Mention]:
    """The mentions of the messages that went out with a line."""
    found = (mention(number, each, at, True, place) for place, each in enumerate(messages))
    return [each for each in found if each is not None]


def times_of(mentions: Iterable[Mention]) -> dict[str, list[int]]:
    """Of each topic the times near which its records are to be looked for: milliseconds since 1970, in order."""
    times: dict[str, set[int]] = defaultdict(set)
    for each in mentions:
        times[each.topic].add(each.at_ms)
    return {topic: sorted(found) for topic, found in times.items()}


def matched(mentions: Sequence[Mention], records: Iterable[Record]) -> dict[str, Match]:
    """The record of each mention, by the mention's name; a mention whose record is not among these is left out."""
    by_topic: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_topic[record.topic].append(record)
    came_in = _came_in([each for each in mentions if not each.sent], by_topic)
    causes = {each.number: came_in[each.name].record for each in mentions if each.name in came_in}
    return came_in | _sent([each for each in mentions if each.sent], by_topic, causes)


def _came_in(mentions: Sequence[Mention], by_topic: Mapping[str, list[Record]]) -> dict[str, Match]:
    """From the last mention on: the last record that was there when it was handled."""
    left = {topic: list(records) for topic, records in by_topic.items()}
    found: dict[str, Match] = {}
    for each in sorted(mentions, key=lambda each: each.at, reverse=True):
        before = [one for one in left.get(each.topic, ()) if one.timestamp_ms <= each.at_ms + CLOCKS_MS]
        if before:
            found[each.name] = Match(before[-1])
            left[each.topic].remove(before[-1])
    return found


def _sent(
    mentions: Sequence[Mention], by_topic: Mapping[str, list[Record]], causes: Mapping[str, Record]
) -> dict[str, Match]:
    """From the last mention on: the record that the line's own record has caused; else the first one since it was decided."""
    once = {topic: _once(records) for topic, records in by_topic.items()}
    found: dict[str, Match] = {}
    for each in sorted(mentions, key=lambda each: each.at, reverse=True):
        cause = causes.get(each.number)
        fitting = [one for one in once.get(each.topic, ()) if _may_be(one[0], each, cause)]
        if fitting:
            first, *again = fitting[0]
            found[each.name] = Match(first, again)
            once[each.topic].remove(fitting[0])
    return found


def _may_be(record: Record, mention: Mention, cause: Record | None) -> bool:
    said = record.header(CAUSATION_ID)
    if cause is not None and said is not None:
        return said in (cause.header(MESSAGE_ID), str(cause.coordinates).encode())
    return record.timestamp_ms >= mention.at_ms - CLOCKS_MS


def _once(records: Iterable[Record]) -> list[list[Record]]:
    """Each record with its repeats, which have the same `message-id`."""
    same: dict[object, list[Record]] = {}
    for record in records:
        same.setdefault(record.header(MESSAGE_ID) or record.coordinates, []).append(record)
    return list(same.values())
