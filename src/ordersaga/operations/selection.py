"""Selections: the letters that an act is about, named by their ids, or all open ones that fit."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from msgspec import Struct

from ordersaga.messaging.acts import STALE, NotPossible
from ordersaga.messaging.letters import Letter, LetterFilter
from ordersaga.operations.ports import OperatorsDesk

ID_CHARS_MIN: Final = 6

Found = list[tuple[OperatorsDesk, Letter]]


class Selection(Struct, frozen=True, kw_only=True):
    """These ids, or all open letters that fit. At least one condition is required; `everything` stands for all open letters."""

    ids: Sequence[str] = ()
    order_key: UUID | None = None
    topic: str | None = None
    cause: str | None = None
    before: datetime | None = None
    everything: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether no condition is given."""
        conditions = (self.order_key, self.topic, self.cause, self.before)
        return not self.ids and not self.everything and all(each is None for each in conditions)


async def resolve(selection: Selection, desks: Sequence[OperatorsDesk], rows_max: int | None = None) -> Found:
    """The letters as they are now, in the order of their records, in which they are replayed.

    Ids keep their own order. Raises `NotPossible` without a condition, and for an id that is unknown, ambiguous, or of a letter that is not
    open.
    """
    if selection.is_empty:
        raise NotPossible("name letters by their ids, or give a condition", "INVALID")
    if selection.ids:
        return [await _open(text, desks) for text in dict.fromkeys(selection.ids)]
    wanted = LetterFilter(
        order_key=selection.order_key, topic=selection.topic, cause=selection.cause, before=selection.before
    )
    letters = [(desk, letter) for desk in desks for letter in await desk.redrive.find(wanted, rows_max)]
    return sorted(letters, key=lambda each: _by_record(*each))


async def _open(text: str, desks: Sequence[OperatorsDesk]) -> tuple[OperatorsDesk, Letter]:
    desk, letter = await by_id(text, desks)
    if refusal := await desk.redrive.refusal(letter):
        raise NotPossible(refusal, title=STALE)
    return desk, letter


def _by_record(desk: OperatorsDesk, letter: Letter) -> tuple[Any, ...]:
    offset = -1 if letter.offset is None else letter.offset
    return desk.service, letter.topic, -1 if letter.partition is None else letter.partition, offset, letter.at


async def _beginning_with(text: str, desk: OperatorsDesk) -> Sequence[Letter]:
    """At most two letters. A whole id is found by the index, the beginning of one in all rows."""
    try:
        return list((await desk.redrive.by_ids([UUID(text)])).values())
    except ValueError:
        return await desk.redrive.find(LetterFilter(ids=[text], statuses=None), rows_max=2)


async def by_id(text: str, desks: Sequence[OperatorsDesk]) -> tuple[OperatorsDesk, Letter]:
    """The one letter whose id begins with this text, with its service. Raises `NotPossible`."""
    if len(text) < ID_CHARS_MIN or set(text.lower()) - set("0123456789abcdef-"):
        raise NotPossible(f"{text} is no letter's id, nor the first {ID_CHARS_MIN} characters of one", "INVALID")
    matches = [(desk, letter) for desk in desks for letter in await _beginning_with(text.lower(), desk)]
    if not matches:
        raise NotPossible(f"no dead letter of {', '.join(desk.service for desk in desks)} has the id {text}", "UNKNOWN")
    if len(matches) > 1:
        raise NotPossible(f"more than one id begins with {text}: {', '.join(str(letter.id) for _, letter in matches)}")
    return matches[0]
