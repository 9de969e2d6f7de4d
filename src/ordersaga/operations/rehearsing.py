"""Dry runs: for each letter what a replay would do now. Nothing is changed."""

from collections.abc import Sequence
from typing import Final, TypeAlias
from uuid import UUID

from msgspec import Struct

from ordersaga.messaging.handler import Handler
from ordersaga.messaging.letters import Letter, has_type_id, record_of, restored
from ordersaga.messaging.redrive import NO_VALUE, Redrive
from ordersaga.messaging.rehearsal import Effect, Explain, Rehearsal

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
            told.append(Rehearsed(letter, f"is refused: {NO_VALUE}", None))
        elif letter.replay_publishes:
            with_type = has_type_id(restored(redrive.settings, letter, contents[letter.id], type_id))
            words = f"goes out on {letter.topic}, {'with' if with_type else 'without'} __TypeId__"
            told.append(Rehearsed(letter, words, None))
        elif letter.topic not in read:
            told.append(Rehearsed(letter, f"is refused: {redrive.service} does not read {letter.topic}", None))
    ours = [letter for letter in letters if not letter.replay_publishes and letter.topic in read]
    async with redrive.pool.acquire() as db:
        records = [record_of(letter, contents[letter.id]) for letter in ours]
        effects = await rehearsal.run(db, records, redrive.clock(), redrive.new_id)
    return told + [Rehearsed(each, in_words(effect), effect) for each, effect in zip(ours, effects, strict=True)]


def in_words(effect: Effect) -> str:
    """The effect of a replay, in words."""
    if effect.problem:
        return f"fails again: {effect.problem}"
    if effect.unknown:
        return f"not known before: {effect.unknown}"
    if effect.is_dropped:
        return f"dropped: {effect.note or 'nothing changes and nothing goes out'}"
    changes = ", ".join(f"{table} ({rows})" for table, rows in effect.changes.items())
    sends = ", ".join(effect.sends)
    if not effect.changes:
        return f"changes nothing, answers again with {sends}"
    return f"changes {changes}" + (f", sends {sends}" if sends else "") + (f"; {effect.note}" if effect.note else "")
