"""Dry runs: for each letter what a replay would do now. Nothing is changed."""

from collections.abc import Sequence
from typing import Final, TypeAlias
from uuid import UUID

from msgspec import Struct

from ordersaga.messaging.handler import Handler
from ordersaga.messaging.letters import Letter, has_type_id, record_of, restored
from ordersaga.messaging.redrive import NO_VALUE, Redrive
from ordersaga.messaging.rehearsal import Effect, Explain, Rehearsal
from ordersaga.said import Said, say

History: TypeAlias = tuple[frozenset[str], Explain | None]
"""A service's tables that only record incoming messages, and the function that reads why such a row was written."""
NO_HISTORY: Final[History] = (frozenset(), None)


class Rehearsed(Struct, frozen=True):
    """What a replay of a letter would do, in words; the effect is None where the service's handler would not take the record."""

    letter: Letter
    words: str
    effect: Effect | None


async def rehearse(
    redrive: Redrive, handler: Handler, history: History, letters: Sequence[Letter], type_id: str | None
) -> list[Rehearsed]:
    """What a replay of each letter would do. Letters of one order begin with the state that those before them leave.

    Raises `NotPossible`, and errors for which no record is to blame.
    """
    groups: dict[UUID, list[Letter]] = {}
    for letter in letters:
        groups.setdefault(letter.order_key or letter.id, []).append(letter)
    rehearsal = Rehearsal(handler.handle, *history)
    read = {topic.name for topic in handler.topics}
    return [each for group in groups.values() for each in await _one_order(redrive, rehearsal, read, group, type_id)]


async def _one_order(
    redrive: Redrive, rehearsal: Rehearsal, read: set[str], letters: Sequence[Letter], type_id: str | None
) -> list[Rehearsed]:
    contents = await redrive.contents([letter.id for letter in letters])
    told = []
    for letter in letters:
        if letter.replay_publishes and contents[letter.id].value is None:
            told.append(Rehearsed(letter, say("dry.refused", "is refused: ") + NO_VALUE, None))
        elif letter.replay_publishes:
            with_type = has_type_id(restored(redrive.settings, letter, contents[letter.id], type_id))
            words = (
                say("dry.with_type", "goes out on {topic}, with __TypeId__", topic=letter.topic)
                if with_type
                else say("dry.without_type", "goes out on {topic}, without __TypeId__", topic=letter.topic)
            )
            told.append(Rehearsed(letter, words, None))
        elif letter.topic not in read:
            why = say(
                "dry.not_read",
                "is refused: {service} does not read {topic}",
                service=redrive.service,
                topic=letter.topic,
            )
            told.append(Rehearsed(letter, why, None))
    ours = [letter for letter in letters if not letter.replay_publishes and letter.topic in read]
    async with redrive.pool.acquire() as db:
        records = [record_of(letter, contents[letter.id]) for letter in ours]
        effects = await rehearsal.run(db, records, redrive.clock(), redrive.new_id)
    return told + [Rehearsed(each, in_words(effect), effect) for each, effect in zip(ours, effects, strict=True)]


def in_words(effect: Effect) -> str:
    """The effect of a replay, in words."""
    if effect.problem:
        return say("dry.fails", "fails again: ") + _told(effect.problem)
    if effect.unknown:
        return say("dry.unknown", "not known before: ") + _told(effect.unknown)
    if effect.is_dropped:
        nothing = say("dry.nothing", "nothing changes and nothing goes out")
        return say("dry.dropped", "dropped: ") + (_told(effect.note) if effect.note else nothing)
    changes = ", ".join(f"{table} ({rows})" for table, rows in effect.changes.items())
    sends = ", ".join(effect.sends)
    if not effect.changes:
        return say("dry.answers", "changes nothing, answers again with {sends}", sends=sends)
    words = say("dry.changes", "changes {changes}", changes=changes)
    if sends:
        words += say("dry.sends", ", sends {sends}", sends=sends)
    return words + "; " + _told(effect.note) if effect.note else words


def _told(words: str) -> Said:
    """The words of an error or of the service; in every language, where they have no sayings of their own."""
    return words if isinstance(words, Said) else say("dry.error", "{error}", error=words)
