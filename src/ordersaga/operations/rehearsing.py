"""Dry runs: for each letter what a replay would do now. Nothing is changed."""

from collections.abc import Sequence
from uuid import UUID

from msgspec import Struct

from ordersaga.messaging.redrive import Letter, has_type_id, record_of, restored
from ordersaga.messaging.rehearsal import Effect
from ordersaga.operations.desk import Desk


class Rehearsed(Struct, frozen=True):
    """What a replay of a letter would do, in words; the effect is None where the service's handler would not take the record."""

    letter: Letter
    words: str
    effect: Effect | None


async def rehearse(desk: Desk, letters: Sequence[Letter], type_id: str | None) -> list[Rehearsed]:
    """What a replay of each letter would do. Letters of one order begin with the state that those before them leave.

    Raises `NotPossible`, and errors for which no record is to blame.
    """
    groups: dict[UUID, list[Letter]] = {}
    for letter in letters:
        groups.setdefault(letter.order_key or letter.id, []).append(letter)
    return [each for group in groups.values() for each in await _rehearse_order(desk, group, type_id)]


async def _rehearse_order(desk: Desk, letters: Sequence[Letter], type_id: str | None) -> list[Rehearsed]:
    contents = await desk.redrive.contents([letter.id for letter in letters])
    read = {topic.name for topic in desk.handler().topics}
    told = []
    for letter in letters:
        if letter.replay_publishes:
            with_type = has_type_id(restored(desk.settings, letter, contents[letter.id], type_id))
            words = f"goes out on {letter.topic}, {'with' if with_type else 'without'} __TypeId__"
            told.append(Rehearsed(letter, words, None))
        elif letter.topic not in read:
            told.append(Rehearsed(letter, f"is refused: {desk.service} does not read {letter.topic}", None))
    ours = [letter for letter in letters if not letter.replay_publishes and letter.topic in read]
    async with desk.pool.acquire() as db:
        records = [record_of(letter, contents[letter.id]) for letter in ours]
        effects = await desk.rehearsal().run(db, records, desk.clock(), desk.new_id)
    return told + [Rehearsed(each, in_words(effect), effect) for each, effect in zip(ours, effects, strict=True)]


def in_words(effect: Effect) -> str:
    """The effect of a replay, in words."""
    if effect.problem:
        return f"fails again: {effect.problem}"
    if effect.is_dropped:
        return f"dropped: {effect.note or 'nothing changes and nothing goes out'}"
    changes = ", ".join(f"{table} ({rows})" for table, rows in effect.changes.items())
    sends = ", ".join(effect.sends)
    if not effect.changes:
        return f"changes nothing, answers again with {sends}"
    return f"changes {changes}" + (f", sends {sends}" if sends else "") + (f"; {effect.note}" if effect.note else "")
